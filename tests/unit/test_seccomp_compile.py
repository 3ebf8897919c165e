"""The compiler: every operator and action, any profile against the oracle, libseccomp beside it."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proa.errors import Invalid, Unsupported
from proa.linux import syscall_tables
from proa.oci.seccomp import LinuxSeccomp, LinuxSeccompArg, LinuxSyscall
from proa.runtime.security import capabilities, seccomp, seccomp_compile, seccomp_profile
from proa.runtime.security.seccomp_compile import compile_program
from tests.support import libseccomp
from tests.support.bpf_machine import Program
from tests.support.seccomp_oracle import ENTRIES, KILL_PROCESS, NARROW, Oracle

X86_64 = 0xC000003E
ALL_X86 = ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32")
ALLOW = 0x7FFF0000
EPERM = 0x00050001
ENOSYS = 0x00050000 | 38

NAMES = ("socket", "personality", "clone", "ioctl", "fcntl", "umask", "mmap", "lseek")
PLAIN_NAMES = ("read", "write", "close", "openat", "getpid", "futex", "no_such_call", *NAMES)

values = st.one_of(
    st.integers(0, 64),
    st.sampled_from([0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**63, 2**64 - 1]),
    st.integers(0, 2**64 - 1),
)
actions = st.sampled_from(
    [("SCMP_ACT_ALLOW", None), ("SCMP_ACT_KILL_PROCESS", None), ("SCMP_ACT_KILL_THREAD", None),
     ("SCMP_ACT_KILL", None), ("SCMP_ACT_TRAP", None), ("SCMP_ACT_LOG", None),
     ("SCMP_ACT_ERRNO", None), ("SCMP_ACT_ERRNO", 38), ("SCMP_ACT_TRACE", 7)]
)  # fmt: skip


@st.composite
def conditions(draw: st.DrawFn) -> dict[str, Any]:
    operator = draw(st.sampled_from(seccomp_compile.OPERATORS))
    value = draw(values)
    condition = {"index": draw(st.integers(0, 5)), "op": operator, "value": value}
    if operator == "SCMP_CMP_MASKED_EQ":
        condition["valueTwo"] = draw(st.one_of(st.just(0), st.just(value), values)) & (
            value if draw(st.booleans()) else 2**64 - 1
        )
    return condition


@st.composite
def profiles(draw: st.DrawFn) -> dict[str, Any]:
    rules: list[dict[str, Any]] = []
    for _ in range(draw(st.integers(0, 6))):
        name, code = draw(actions)
        args = draw(st.lists(conditions(), max_size=3))
        names = draw(st.lists(st.sampled_from(NAMES if args else PLAIN_NAMES), min_size=1))
        rules.append({"names": names, "action": name, "args": args})
        if code is not None:
            rules[-1]["errnoRet"] = code
    name, code = draw(actions)
    profile: dict[str, Any] = {
        "defaultAction": name,
        "architectures": list(ALL_X86),
        "syscalls": rules,
    }
    return profile if code is None else {**profile, "defaultErrnoRet": code}


def spec_of(profile: dict[str, Any]) -> LinuxSeccomp:
    return msgspec.json.decode(msgspec.json.encode(profile), type=LinuxSeccomp)


def program_of(**profile: Any) -> Program:
    return Program(compile_program(LinuxSeccomp(**profile), "x86_64"))


def rule(*names: str, action: str = "SCMP_ACT_ALLOW", **fields: Any) -> LinuxSyscall:
    return LinuxSyscall(names=names, action=action, **fields)


def arg(index: int, op: str, value: int, value_two: int = 0) -> LinuxSeccompArg:
    return LinuxSeccompArg(index=index, op=f"SCMP_CMP_{op}", value=value, value_two=value_two)


@settings(max_examples=300, deadline=None)
@given(profile=profiles(), seed=st.integers(0, 2**32))
def test_any_profile_means_what_the_oracle_says(profile: dict[str, Any], seed: int) -> None:
    program = Program(compile_program(spec_of(profile), "x86_64"))
    oracle = Oracle(profile)
    rng = random.Random(seed)
    operands = [c["value"] for r in profile["syscalls"] for c in r["args"]]
    operands += [c.get("valueTwo", 0) for r in profile["syscalls"] for c in r["args"]] or [0]
    for entry in ("x86_64", "x32", "x86"):
        arch, marker = ENTRIES[entry]
        table = syscall_tables.numbers(entry)
        numbers = [table[name] for name in PLAIN_NAMES if name in table] + [499, 1000]
        for number in numbers:
            for _ in range(4):
                args = tuple(_near(rng, operands, entry) for _ in range(6))
                expected = oracle.judge(entry, number, args)
                assert program.run(arch, number | marker, args).value == expected, (entry, args)


def _near(rng: random.Random, operands: list[int], entry: str) -> int:
    """Pick an argument close to what the profile compares with; i386 has 32-bit registers."""
    value = rng.choice(operands) + rng.choice((-1, 0, 0, 1))
    value = rng.choice((value, value, value & 0xFFFFFFFF, value | 1 << 40, rng.getrandbits(64)))
    return value & (0xFFFFFFFF if entry == "x86" else 2**64 - 1)


@pytest.mark.parametrize("operator", seccomp_compile.OPERATORS)
@pytest.mark.parametrize("operand", [0, 1, 5, 2**32 - 1, 2**32, 2**32 + 5, 2**64 - 1])
def test_operators_compare_all_64_bits(operator: str, operand: int) -> None:
    rules = (rule("mmap", args=(arg(0, operator[9:], operand, operand & 5),)),)
    program = program_of(default_action="SCMP_ACT_ERRNO", syscalls=rules)
    oracle = Oracle(
        {
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": msgspec.to_builtins(rules),
        }
    )
    for high in (0, 1, 2, 2**31, 2**32 - 1):
        for low in (0, 1, 4, 5, 6, 2**31, 2**32 - 2, 2**32 - 1):
            args = (high << 32 | low, 0, 0, 0, 0, 0)
            assert program.run(X86_64, 9, args).value == oracle.judge("x86_64", 9, args), args


@pytest.mark.parametrize("name", [name for name in NARROW if NARROW[name]])
def test_int_arguments_are_compared_as_ints(name: str) -> None:
    number = syscall_tables.numbers("x86_64")[name]
    for index in range(3):
        program = program_of(
            default_action="SCMP_ACT_ALLOW",
            syscalls=(rule(name, action="SCMP_ACT_ERRNO", args=(arg(index, "EQ", 40),)),),
        )
        args = [0] * 6
        args[index] = 1 << 32 | 40
        refused = program.run(X86_64, number, args).value == EPERM
        assert refused == (index in NARROW[name])


def test_minus_one_of_an_int_may_be_written_as_64_bits() -> None:
    program = program_of(
        default_action="SCMP_ACT_ERRNO",
        syscalls=(rule("personality", args=(arg(0, "EQ", 2**64 - 1),)),),
    )
    assert program.run(X86_64, 135, [2**32 - 1]).value == ALLOW
    assert program.run(X86_64, 135, [2**64 - 1]).value == ALLOW
    assert program.run(X86_64, 135, [2**32 - 2]).value == EPERM


@pytest.mark.parametrize(
    ("action", "errno_ret", "value"),
    [
        ("SCMP_ACT_KILL", None, 0),
        ("SCMP_ACT_KILL_THREAD", None, 0),
        ("SCMP_ACT_KILL_PROCESS", None, 0x80000000),
        ("SCMP_ACT_TRAP", None, 0x00030000),
        ("SCMP_ACT_ERRNO", None, 0x00050001),
        ("SCMP_ACT_ERRNO", 0, 0x00050000),
        ("SCMP_ACT_ERRNO", 4095, 0x00050FFF),
        ("SCMP_ACT_TRACE", None, 0x7FF00001),
        ("SCMP_ACT_TRACE", 9, 0x7FF00009),
        ("SCMP_ACT_LOG", None, 0x7FFC0000),
        ("SCMP_ACT_ALLOW", None, 0x7FFF0000),
    ],
)
def test_actions(action: str, errno_ret: int | None, value: int) -> None:
    rules = (rule("getpid", action=action, errno_ret=errno_ret),)
    program = program_of(
        default_action="SCMP_ACT_ERRNO", default_errno_ret=99, syscalls=(*rules, rule("read"))
    )
    assert program.run(X86_64, 39).value == value
    assert program.run(X86_64, 1).value == 0x00050000 | 99
    assert program.run(X86_64, 0).value == ALLOW


def test_notify_needs_a_listener() -> None:
    rules = (rule("mkdir", action="SCMP_ACT_NOTIFY"),)
    with pytest.raises(Unsupported, match="needs a listener"):
        program_of(default_action="SCMP_ACT_ALLOW", syscalls=rules)
    spec = LinuxSeccomp(
        default_action="SCMP_ACT_ALLOW", listener_path="/run/agent.sock", syscalls=rules
    )
    assert Program(compile_program(spec, "x86_64")).run(X86_64, 83).value == 0x7FC00000
    assert seccomp.filter_flags(spec) == 8


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"default_action": "SCMP_ACT_PANIC"}, "SCMP_ACT_PANIC"),
        ({"syscalls": (rule("read", action="ALLOW"),)}, "ALLOW"),
        ({"syscalls": (rule("read", errno_ret=1),)}, "errnoRet"),
        ({"syscalls": (rule("read", action="SCMP_ACT_ERRNO", errno_ret=65536),)}, "65536"),
        ({"syscalls": (rule("read", args=(arg(6, "EQ", 0),)),)}, "index 6"),
        ({"syscalls": (rule("read", args=(arg(-1, "EQ", 0),)),)}, "index -1"),
        ({"syscalls": (rule("read", args=(arg(0, "EQUAL", 0),)),)}, "SCMP_CMP_EQUAL"),
        ({"syscalls": (rule("read", args=(arg(0, "EQ", 1 << 64),)),)}, "64-bit"),
        ({"syscalls": (rule("read", args=(arg(0, "EQ", -1),)),)}, "64-bit"),
        ({"architectures": ("SCMP_ARCH_VAX",)}, "SCMP_ARCH_VAX"),
        ({"syscalls": (rule(),)}, "names no system call"),
        ({"default_action": "SCMP_ACT_NOTIFY", "listener_path": "/x"}, "default action"),
        (
            {"listener_path": "/x", "syscalls": (rule("write", action="SCMP_ACT_NOTIFY"),)},
            "cannot be used for write",
        ),
    ],
)
def test_what_no_kernel_knows_is_invalid(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(Invalid, match=words):
        compile_program(LinuxSeccomp(**{"default_action": "SCMP_ACT_ERRNO", **fields}), "x86_64")


def test_a_machine_without_table_is_unsupported() -> None:
    with pytest.raises(Unsupported, match="s390x"):
        compile_program(LinuxSeccomp(default_action="SCMP_ACT_ERRNO"), "s390x")


def test_unknown_calls_are_ignored() -> None:
    program = program_of(
        default_action="SCMP_ACT_ERRNO", syscalls=(rule("read", "swapcontext", "nonesuch"),)
    )
    assert program.run(X86_64, 0).value == ALLOW


def test_a_rule_without_conditions_decides_its_call() -> None:
    refusal = rule("socket", action="SCMP_ACT_ERRNO", errno_ret=13, args=(arg(0, "EQ", 1),))
    for rules in ((refusal, rule("socket")), (rule("socket"), refusal)):
        program = program_of(default_action="SCMP_ACT_ERRNO", syscalls=rules)
        assert program.run(X86_64, 41, [1]).value == ALLOW


def test_conditions_on_one_argument_are_alternatives_as_in_runc() -> None:
    program = program_of(
        default_action="SCMP_ACT_ERRNO",
        syscalls=(rule("personality", args=(arg(0, "EQ", 0), arg(0, "EQ", 8))),),
    )
    assert [program.run(X86_64, 135, [n]).value for n in (0, 8, 9)] == [ALLOW, ALLOW, EPERM]


def test_conditions_on_different_arguments_must_all_hold() -> None:
    program = program_of(
        default_action="SCMP_ACT_ERRNO",
        syscalls=(rule("socket", args=(arg(0, "EQ", 2), arg(1, "EQ", 1))),),
    )
    verdicts = [program.run(X86_64, 41, args).value for args in ([2, 1], [2, 2], [1, 1])]
    assert verdicts == [ALLOW, EPERM, EPERM]


def test_calls_newer_than_the_profile_do_not_exist() -> None:
    program = program_of(default_action="SCMP_ACT_ERRNO", syscalls=(rule("read", "statx"),))
    assert program.run(X86_64, 332).value == ALLOW
    assert program.run(X86_64, 331).value == EPERM
    assert program.run(X86_64, 333).value == ENOSYS


@pytest.mark.parametrize("action", ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"])
def test_a_permissive_default_kills_foreign_calls_only(action: str) -> None:
    rules = (rule("mount", action="SCMP_ACT_ERRNO"),)
    program = program_of(default_action=action, syscalls=rules)
    default = program.run(X86_64, 0).value
    assert program.run(X86_64, 165).value == EPERM
    assert program.run(X86_64, 400).value == default
    # i386's and x32's mount would otherwise pass by another number.
    assert program.run(0x40000003, 21).value == KILL_PROCESS
    assert program.run(X86_64, 0x40000000 | 165).value == KILL_PROCESS
    # A tracer skips a call by making its number -1.
    assert program.run(X86_64, 0xFFFFFFFF).value == default


def test_a_program_of_a_thousand_verdicts_jumps_far() -> None:
    table = syscall_tables.numbers("x86_64")
    rules = tuple(
        rule(
            name,
            action="SCMP_ACT_ERRNO",
            errno_ret=number + 100,
            args=(arg(1, "GT", 2**33), arg(2, "NE", number)) if number % 3 == 0 else (),
        )
        for name, number in table.items()
    )
    profile = {"defaultAction": "SCMP_ACT_KILL_PROCESS", "architectures": list(ALL_X86),
               "syscalls": msgspec.to_builtins(rules)}  # fmt: skip
    packed = compile_program(spec_of(profile), "x86_64")
    program = Program(packed)
    assert len(program) > 2000
    oracle = Oracle(profile)
    for entry in ("x86_64", "x32", "x86"):
        arch, marker = ENTRIES[entry]
        for number in range(600):
            for args in ([0, 2**33 + 1, 2**40, 0, 0, 0], [0, 2**33, number, 0, 0, 0]):
                if entry == "x86":
                    args = [value & 0xFFFFFFFF for value in args]
                name = {n: k for k, n in syscall_tables.numbers(entry).items()}.get(number, "")
                if entry != "x86" and syscall_tables.narrow_arguments().get(name, 0) & 6:
                    continue
                got = program.run(arch, number | marker, args).value
                assert got == oracle.judge(entry, number, args), (entry, number)


def test_a_filter_that_no_kernel_would_take_is_invalid() -> None:
    many = tuple(arg(0, "EQ", (n << 33) + n) for n in range(2500))
    with pytest.raises(Invalid, match="too long"):
        program_of(default_action="SCMP_ACT_ERRNO", syscalls=(rule("mmap", args=many),))


def test_flags() -> None:
    spec = LinuxSeccomp(
        default_action="SCMP_ACT_ALLOW",
        flags=(
            "SECCOMP_FILTER_FLAG_TSYNC",
            "SECCOMP_FILTER_FLAG_LOG",
            "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
            "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
        ),
    )
    assert seccomp.filter_flags(spec) == 2 | 4 | 32
    with pytest.raises(Invalid, match="FLAG_FROBNICATE"):
        seccomp.filter_flags(
            LinuxSeccomp(default_action="SCMP_ACT_ALLOW", flags=("FLAG_FROBNICATE",))
        )


@pytest.mark.requires("libseccomp")
def test_libseccomp_gives_the_same_verdicts_on_the_default_profile() -> None:
    spec = seccomp_profile.resolve(
        seccomp_profile.load_default(), capabilities.DEFAULT, machine="x86_64", kernel=(6, 18)
    )
    ours = Program(compile_program(spec, "x86_64"))
    theirs = Program(libseccomp.compile_spec(libseccomp.load(), spec))
    library = libseccomp.load()
    rng = random.Random(4)
    compared = 0
    for entry in ("x86_64", "x32", "x86"):
        arch, marker = ENTRIES[entry]
        for name, number in syscall_tables.numbers(entry).items():
            known = libseccomp.resolve(library, entry, name)
            # Negative: a stand-in. On i386 for calls that socketcall(2) and ipc(2) also make; on
            # x32 a call that this libseccomp does not know there.
            if known is None or (known < 0 and entry == "x32"):
                continue
            for _ in range(12):
                # What fits 32 bits: above, libseccomp believes the upper half of an int's register.
                args = [rng.choice((rng.getrandbits(32), rng.randrange(64))) for _ in range(6)]
                got = ours.run(arch, number | marker, args).value
                assert got == theirs.run(arch, number | marker, args).value, (entry, name, args)
                compared += 1
    assert compared > 10000
    assert theirs.run(X86_64, 41, [1 << 32 | 40]).value == ALLOW
    assert ours.run(X86_64, 41, [1 << 32 | 40]).value == EPERM
    assert len(ours) < len(theirs)


@pytest.mark.requires("libseccomp")
@settings(max_examples=60, deadline=None)
@given(
    operator=st.sampled_from(seccomp_compile.OPERATORS),
    value=values,
    samples=st.lists(values, min_size=1, max_size=20),
)
def test_libseccomp_compares_64_bits_alike(operator: str, value: int, samples: list[int]) -> None:
    spec = LinuxSeccomp(
        default_action="SCMP_ACT_ERRNO",
        syscalls=(
            rule("mmap", args=(arg(0, operator[9:], value, value & 0xFF00FF),)),
            rule("brk", "listns"),
        ),
    )
    ours = Program(compile_program(spec, "x86_64"))
    theirs = Program(libseccomp.compile_spec(libseccomp.load(), spec))
    for sample in (*samples, value, value & 0xFF00FF):
        assert ours.run(X86_64, 9, [sample]).value == theirs.run(X86_64, 9, [sample]).value
