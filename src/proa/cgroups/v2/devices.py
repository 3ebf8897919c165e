"""v2 device allow list: a BPF program in place of v1's control files.

The program keeps the access bits that are still undecided in one register and walks the rules from
the last to the first, so that later rules win for each of read, write and mknod by itself: an allow
rule takes its bits away, access is granted when none is left; a deny rule refuses when it meets one
that is. What no rule is about is denied.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from proa.cgroups.devices import ACCESS_ALL, DeviceRule
from proa.linux import ebpf
from proa.linux.ebpf import Instruction

_CONTEXT, _TYPE, _ACCESS, _MAJOR, _MINOR = 1, 2, 3, 4, 5
_TYPES = {"b": ebpf.DEVICE_BLOCK, "c": ebpf.DEVICE_CHAR}
_RESULT = 0


def compile_rules(rules: Sequence[DeviceRule]) -> list[Instruction]:
    """The program for a list of rules (:func:`proa.cgroups.devices.effective_rules`)."""
    program = [
        Instruction(ebpf.LDX_W, _TYPE, _CONTEXT, ebpf.CONTEXT_ACCESS_TYPE),
        Instruction(ebpf.MOV32_X, _ACCESS, _TYPE),
        Instruction(ebpf.AND32_K, _TYPE, immediate=0xFFFF),
        Instruction(ebpf.RSH32_K, _ACCESS, immediate=16),
        Instruction(ebpf.LDX_W, _MAJOR, _CONTEXT, ebpf.CONTEXT_MAJOR),
        Instruction(ebpf.LDX_W, _MINOR, _CONTEXT, ebpf.CONTEXT_MINOR),
    ]
    for rule in reversed(rules):
        program += _compile_rule(rule)
        if rule.type == "a":
            # It decides everything: earlier rules are dead, and the verifier refuses dead code.
            return program
    return program + _decide(allow=False)


def _compile_rule(rule: DeviceRule) -> list[Instruction]:
    tests: list[tuple[int, int]] = []
    if rule.type != "a":
        tests.append((_TYPE, _TYPES[rule.type]))
    if rule.major is not None:
        tests.append((_MAJOR, rule.major))
    if rule.minor is not None:
        tests.append((_MINOR, rule.minor))
    action = _act(rule)
    # A test that fails jumps over the tests after it and the action.
    jumps = [
        Instruction(
            ebpf.JNE32_K, register, offset=len(tests) - 1 - i + len(action), immediate=value
        )
        for i, (register, value) in enumerate(tests)
    ]
    return jumps + action


def _act(rule: DeviceRule) -> list[Instruction]:
    decide = _decide(allow=rule.allow)
    if rule.access == ACCESS_ALL:
        return decide
    if rule.allow:
        return [
            Instruction(ebpf.AND32_K, _ACCESS, immediate=ACCESS_ALL & ~rule.access),
            Instruction(ebpf.JNE32_K, _ACCESS, offset=len(decide), immediate=0),
            *decide,
        ]
    return [
        Instruction(ebpf.JSET32_K, _ACCESS, offset=1, immediate=rule.access),
        Instruction(ebpf.JA, offset=len(decide)),
        *decide,
    ]


def _decide(*, allow: bool) -> list[Instruction]:
    return [
        Instruction(ebpf.MOV32_K, _RESULT, immediate=int(allow)),
        Instruction(ebpf.EXIT),
    ]


def load(rules: Sequence[DeviceRule]) -> int:
    """Compile and load; returns the program's descriptor."""
    return ebpf.load_device_program(compile_rules(rules))


def attach(cgroup_fd: int, program_fd: int) -> None:
    """Put a program in force in a fresh group."""
    ebpf.attach_device_program(cgroup_fd, program_fd)


def replace(cgroup_fd: int, program_fd: int) -> None:
    """Put a program in the place of those in force.

    The new one is attached first: in between both must consent, so nothing is allowed that neither
    list allows.
    """
    before = ebpf.attached_device_programs(cgroup_fd)
    try:
        ebpf.attach_device_program(cgroup_fd, program_fd)
        for old in before:
            ebpf.detach_device_program(cgroup_fd, old)
    finally:
        for old in before:
            os.close(old)
