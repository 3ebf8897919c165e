"""The default filter, every call against the published JSON profile as oracle."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import proa.runtime.security
from proa.linux import syscall_tables
from proa.oci.seccomp import LinuxSeccomp
from proa.runtime.security import capabilities, seccomp, seccomp_compile, seccomp_profile
from tests.support.bpf_machine import Program
from tests.support.seccomp_oracle import (
    ENOSYS,
    ENTRIES,
    Oracle,
    load_docker_profile,
    reduce_docker,
)

ALLOW = 0x7FFF0000
EPERM = 0x00050001

MACHINES = {
    # uname -m: name in includes and excludes, entries, a machine's kernel beside it.
    "x86_64": ("amd64", ("x86_64", "x32", "x86")),
    "aarch64": ("arm64", ("aarch64", "arm")),
}

CAPABILITY_SETS = {
    "default": capabilities.DEFAULT,
    "none": frozenset[str](),
    "admin": capabilities.DEFAULT | {"CAP_SYS_ADMIN"},
    "all": frozenset(capabilities.supported()),
}

# Around every value of the profile's conditions, and what an int's register may carry above it.
INTERESTING = sorted(
    {
        base + delta
        for base in (0, 1, 8, 38, 39, 40, 131072, 131080, 0x7E020000, 0x10000000, 0xFFFFFFFF)
        for delta in (-1, 0, 1)
        if base + delta >= 0
    }
)
HIGH_HALVES = (0, 1 << 32, 0xFFFFFFFF << 32, 0x8000000000000000)


def default_spec(machine: str, names: frozenset[str]) -> LinuxSeccomp:
    """Resolve the shipped profile for a machine."""
    return seccomp_profile.resolve(
        seccomp_profile.load_default(), names, machine=machine, kernel=(6, 18)
    )


def arguments() -> Iterator[tuple[int, ...]]:
    """Yield argument vectors: interesting ones in the first two places, then random ones."""
    for low in INTERESTING:
        for high in HIGH_HALVES:
            value = (low | high) & (1 << 64) - 1
            yield (value, 0, 0, 0, 0, 0)
            yield (0, value, 0, 0, 0, 0)
    rng = random.Random(1)
    for _ in range(50):
        yield tuple(rng.getrandbits(64) for _ in range(6))


@pytest.mark.parametrize("capability_set", CAPABILITY_SETS)
@pytest.mark.parametrize("machine", MACHINES)
def test_every_number_gets_the_profiles_verdict(machine: str, capability_set: str) -> None:
    short, entries = MACHINES[machine]
    names = CAPABILITY_SETS[capability_set]
    program = Program(seccomp_compile.compile_program(default_spec(machine, names), machine))
    oracle = Oracle(reduce_docker(load_docker_profile(), short, names))
    vectors = list(arguments())
    rng = random.Random(2)
    for entry in entries:
        arch, marker = ENTRIES[entry]
        table = syscall_tables.numbers(entry)
        conditional = {table[name] for name in ("socket", "personality", "clone") if name in table}
        for number in [*range(700), 0xF0001, 0xF0002, 0xF0005, 0xF0006, 0xF0007, 0x3FFFFFFF]:
            chosen = vectors if number in conditional else rng.choices(vectors, k=3)
            for args in chosen:
                expected = oracle.judge(entry, number, args)
                got = program.run(arch, number | marker, args).value
                assert got == expected, (entry, number, args)


def test_numbers_outside_every_table_are_not_let_through() -> None:
    program = Program(
        seccomp_compile.compile_program(default_spec("x86_64", frozenset()), "x86_64")
    )
    rng = random.Random(3)
    for _ in range(2000):
        number = rng.getrandbits(32) | 0x80000000
        for arch in (0xC000003E, 0x40000003):
            assert program.run(arch, number).value == ENOSYS
    assert program.run(0xC000003E, 0xFFFFFFFF).value == ENOSYS


@pytest.mark.parametrize("arch", [0, 0xC00000B7, 0x40000028, 0x80000016, 0xFFFFFFFF])
def test_a_foreign_architecture_gets_the_default_action(arch: int) -> None:
    program = Program(
        seccomp_compile.compile_program(default_spec("x86_64", frozenset()), "x86_64")
    )
    for number in range(500):
        assert program.run(arch, number).value == EPERM


def test_high_bits_do_not_carry_a_family_past_the_filter() -> None:
    program = Program(
        seccomp_compile.compile_program(default_spec("x86_64", capabilities.DEFAULT), "x86_64")
    )
    for entry, number in (("x86_64", 41), ("x32", 41)):
        arch, marker = ENTRIES[entry]
        for high in (0, 1, 0x7FFFFFFF, 0xFFFFFFFF):
            for family in (38, 40):
                assert program.run(arch, number | marker, [high << 32 | family]).value == EPERM
            assert program.run(arch, number | marker, [high << 32 | 2]).value == ALLOW


def test_the_shipped_profile_is_dockers() -> None:
    shipped = Path(proa.runtime.security.__path__[0]) / "seccomp_default.json"
    assert json.loads(shipped.read_text()) == load_docker_profile()


def test_the_default_filter_is_small_and_shallow() -> None:
    spec = default_spec("x86_64", capabilities.DEFAULT)
    native = msgspec.structs.replace(spec, architectures=("SCMP_ARCH_X86_64",))
    assert len(Program(seccomp_compile.compile_program(native, "x86_64"))) <= 120
    program = Program(seccomp_compile.compile_program(spec, "x86_64"))
    assert len(program) <= 240
    steps = [program.run(0xC000003E, number).steps for number in range(470)]
    assert max(steps) <= 20


def test_equal_needs_share_one_object_and_one_program() -> None:
    first = seccomp.default_profile(capabilities.DEFAULT)
    # CAP_CHOWN makes no difference to the profile.
    second = seccomp.default_profile(capabilities.DEFAULT - {"CAP_CHOWN"})
    assert first is second
    assert seccomp.compile_spec(first) is seccomp.default_filter(capabilities.DEFAULT)
    admin = seccomp.default_profile(capabilities.DEFAULT | {"CAP_SYS_ADMIN"})
    assert seccomp.compile_spec(admin) != seccomp.compile_spec(first)


def test_an_equal_spec_is_not_compiled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = seccomp.default_profile(capabilities.DEFAULT)
    program = seccomp.compile_spec(spec)
    copy = msgspec.json.decode(msgspec.json.encode(spec), type=LinuxSeccomp)
    assert copy is not spec
    assert copy == spec

    def refuse(_: LinuxSeccomp) -> bytes:
        raise AssertionError("compiled again")

    monkeypatch.setattr(seccomp_compile, "compile_program", refuse)
    assert seccomp.compile_spec(copy) is program


def test_many_specs_do_not_pile_up() -> None:
    for code in range(40):
        spec = LinuxSeccomp(default_action="SCMP_ACT_ERRNO", default_errno_ret=code)
        assert Program(seccomp.compile_spec(spec)).run(0, 0).value == 0x00050000 | code
    assert len(seccomp._by_identity) <= 16
    assert len(seccomp._by_value) <= 16


def test_this_machines_default_needs_no_arguments() -> None:
    if os.uname().machine not in MACHINES:
        pytest.skip("no oracle for this machine")
    assert seccomp.default_filter(capabilities.DEFAULT) == seccomp_compile.compile_program(
        default_spec(os.uname().machine, capabilities.DEFAULT)
    )
