"""Device rules: their meaning, in v1's folded form and as the BPF program of v2."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.cgroups.devices import (
    ACCESS_ALL,
    ACCESS_MKNOD,
    ACCESS_READ,
    ACCESS_WRITE,
    DeviceRule,
    FoldedRules,
    check_rules,
    describe_access,
    describe_key,
    effective_rules,
    fold_rules,
)
from proa.cgroups.v2.devices import compile_rules
from proa.errors import Invalid, Unsupported
from proa.linux import ebpf
from proa.linux.ebpf import Instruction
from proa.oci.resources import LinuxDeviceCgroup

Device = tuple[str, int, int]
NULL: Device = ("c", 1, 3)
KMSG: Device = ("c", 1, 11)
DISK: Device = ("b", 8, 0)


def oracle(rules: Sequence[DeviceRule], device: Device, access: int) -> bool:
    """The OCI meaning, said plainly: for each bit, the last rule about it decides."""
    for bit in (ACCESS_MKNOD, ACCESS_READ, ACCESS_WRITE):
        if not access & bit:
            continue
        allowed = False
        for rule in rules:
            about = rule.type in ("a", device[0])
            about = about and rule.major in (None, device[1]) and rule.minor in (None, device[2])
            if about and rule.access & bit:
                allowed = rule.allow
        if not allowed:
            return False
    return True


def run(program: Sequence[Instruction], device: Device, access: int) -> bool:
    """Execute a device program as the kernel's interpreter would; refuses what it would refuse."""
    kind = ebpf.DEVICE_BLOCK if device[0] == "b" else ebpf.DEVICE_CHAR
    context = struct.pack("=III", access << 16 | kind, device[1], device[2])
    registers: dict[int, int] = {}
    at = 0
    for _step in range(len(program) + 1):
        opcode, target, source, offset, immediate = program[at]
        at += 1
        if opcode == ebpf.LDX_W:
            assert source == 1, "only the context may be read"
            (registers[target],) = struct.unpack_from("=I", context, offset)
        elif opcode == ebpf.MOV32_X:
            registers[target] = registers[source]
        elif opcode == ebpf.MOV32_K:
            registers[target] = immediate
        elif opcode == ebpf.AND32_K:
            registers[target] &= immediate
        elif opcode == ebpf.RSH32_K:
            registers[target] >>= immediate
        elif opcode == ebpf.JA:
            at += offset
        elif opcode == ebpf.JNE32_K:
            at += offset if registers[target] != immediate else 0
        elif opcode == ebpf.JSET32_K:
            at += offset if registers[target] & immediate else 0
        elif opcode == ebpf.EXIT:
            assert registers[0] in (0, 1)
            return registers[0] == 1
        else:
            raise AssertionError(f"unknown opcode {opcode:#x}")
    raise AssertionError("the program does not end")


def folded_allows(folded: FoldedRules, device: Device, access: int) -> bool:
    """The v1 kernel's decision over a default and exceptions."""
    exceptional = 0
    for (kind, major, minor), bits in folded.exceptions:
        if kind == device[0] and major in (None, device[1]) and minor in (None, device[2]):
            exceptional |= bits
    return not access & exceptional if folded.allow else not access & ~exceptional


def reachable(program: Sequence[Instruction]) -> set[int]:
    """Indexes that control flow can reach; the verifier wants all of them."""
    seen: set[int] = set()
    todo = [0]
    while todo:
        at = todo.pop()
        if at in seen:
            continue
        seen.add(at)
        instruction = program[at]
        if instruction.opcode == ebpf.EXIT:
            continue
        if instruction.opcode in (ebpf.JA, ebpf.JNE32_K, ebpf.JSET32_K):
            todo.append(at + 1 + instruction.offset)
        if instruction.opcode != ebpf.JA:
            todo.append(at + 1)
    return seen


numbers = st.one_of(st.none(), st.sampled_from((0, 1, 3, 8)))
some_rules = st.lists(
    st.builds(
        LinuxDeviceCgroup,
        allow=st.booleans(),
        type=st.sampled_from(("", "a", "b", "c")),
        major=numbers,
        minor=numbers,
        access=st.sampled_from(("", "r", "w", "m", "rw", "rwm", "mr")),
    ),
    max_size=6,
)
devices = st.tuples(
    st.sampled_from(("b", "c")), st.sampled_from((0, 1, 3, 8, 9)), st.sampled_from((0, 1, 3, 8, 9))
)
accesses = st.integers(1, ACCESS_ALL)


@given(some_rules, devices, accesses)
def test_the_program_decides_as_the_rules_say(
    rules: list[LinuxDeviceCgroup], device: Device, access: int
) -> None:
    checked = check_rules(rules)
    assert run(compile_rules(checked), device, access) == oracle(checked, device, access)


@given(some_rules)
def test_the_program_has_no_dead_code(rules: list[LinuxDeviceCgroup]) -> None:
    program = compile_rules(effective_rules(rules))
    assert reachable(program) == set(range(len(program)))


@given(some_rules, devices, accesses)
def test_folding_keeps_the_meaning_or_refuses(
    rules: list[LinuxDeviceCgroup], device: Device, access: int
) -> None:
    checked = check_rules(rules)
    try:
        folded = fold_rules(checked)
    except Unsupported:
        return
    assert folded_allows(folded, device, access) == oracle(checked, device, access)


@pytest.mark.parametrize(
    ("device", "access", "allowed"),
    [
        (NULL, ACCESS_ALL, True),
        (("c", 136, 7), ACCESS_READ | ACCESS_WRITE, True),
        (KMSG, ACCESS_MKNOD, True),
        (KMSG, ACCESS_READ, False),
        (DISK, ACCESS_MKNOD, True),
        (DISK, ACCESS_READ | ACCESS_MKNOD, False),
        (("c", 10, 200), ACCESS_WRITE, False),
    ],
)
def test_defaults(device: Device, access: int, allowed: bool) -> None:
    rules = effective_rules(())
    assert run(compile_rules(rules), device, access) is allowed
    assert folded_allows(fold_rules(rules), device, access) is allowed


def test_a_generated_spec_does_not_take_the_defaults_away() -> None:
    own = (
        LinuxDeviceCgroup(allow=False, access="rwm"),
        LinuxDeviceCgroup(allow=True, type="b", major=8, minor=0, access="r"),
    )
    program = compile_rules(effective_rules(own))
    assert run(program, NULL, ACCESS_ALL)
    assert run(program, DISK, ACCESS_READ)
    assert not run(program, DISK, ACCESS_WRITE)


def test_privileged_means_everything() -> None:
    rules = effective_rules((LinuxDeviceCgroup(allow=True, access="rwm"),))
    assert run(compile_rules(rules), DISK, ACCESS_ALL)
    assert fold_rules(rules) == FoldedRules(True, ())


def test_part_of_a_wildcard_cannot_be_taken_away_on_v1() -> None:
    rules = check_rules(
        (
            LinuxDeviceCgroup(allow=True, type="c", major=1, access="rw"),
            LinuxDeviceCgroup(allow=False, type="c", major=1, minor=11, access="w"),
        )
    )
    with pytest.raises(Unsupported, match=r"cannot except c 1:11 from c 1:\*"):
        fold_rules(rules)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (LinuxDeviceCgroup(allow=True, type="x"), "type 'x'"),
        (LinuxDeviceCgroup(allow=True, type="p"), "fifo"),
        (LinuxDeviceCgroup(allow=True, type="c", access="rx"), "access 'rx'"),
        (LinuxDeviceCgroup(allow=True, type="c", major=1 << 32), "out of range"),
        (LinuxDeviceCgroup(allow=True, type="c", minor=-2), "out of range"),
    ],
)
def test_refused_rules(rule: LinuxDeviceCgroup, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        check_rules((rule,))


def test_kernel_notation() -> None:
    assert describe_key(("c", 136, None)) == "c 136:*"
    assert describe_access(ACCESS_READ | ACCESS_MKNOD) == "rm"


def test_instructions_are_encoded_as_the_kernel_reads_them() -> None:
    # r2 = *(u32 *)(r1 + 4); if w2 != 0xffffffff goto +3
    assert Instruction(ebpf.LDX_W, 2, 1, 4).encode().hex() == "6112040000000000"
    assert Instruction(ebpf.JNE32_K, 2, offset=3, immediate=-1).encode().hex() == "56020300ffffffff"
