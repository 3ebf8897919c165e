"""From the OCI's ``linux.seccomp`` to a classic BPF program.

The program looks at the architecture, then finds the call's number in a balanced tree of ranges
with equal verdicts, then, for the few calls that need it, compares arguments.

Semantics are those of runc with libseccomp, which authors of profiles write for:

* A rule without ``args`` decides its calls whatever other rules with ``args`` say; of several, the
  first counts. A rule whose action is the default is redundant and ignored.
* The conditions of a rule must all hold; if two of them look at the same argument, each becomes a
  rule of its own. Of several rules that match, the first counts.
* Names that the machine's kernel does not have are ignored.
* With a default action that refuses, calls newer than every call that the profile names get ENOSYS
  (unless ENOSYS is the default anyway), so that a C library falls back to what it used before.

It is stricter in two places. An argument that the system call reads as 32 bits is compared as 32
bits: ``socket(0x100000028)`` is ``socket(AF_VSOCK)`` and gets its verdict. And a call from an
architecture that the profile does not list gets the default action, or death when the default lets
calls through.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeAlias

from proa.errors import Invalid, Unsupported
from proa.linux import bpf, seccomp, syscall_tables
from proa.oci.seccomp import LinuxSeccomp, LinuxSeccompArg, LinuxSyscall
from proa.runtime.security.seccomp_checks import Checks, Conditions, Decision

_PERMISSIVE = (seccomp.RET_ALLOW, seccomp.RET_LOG, seccomp.RET_TRACE)
_ENOSYS = seccomp.RET_ERRNO | errno.ENOSYS
_NO_CALL = 0xFFFFFFFF

ACTIONS = {
    "SCMP_ACT_KILL": seccomp.RET_KILL_THREAD,
    "SCMP_ACT_KILL_THREAD": seccomp.RET_KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": seccomp.RET_KILL_PROCESS,
    "SCMP_ACT_TRAP": seccomp.RET_TRAP,
    "SCMP_ACT_ERRNO": seccomp.RET_ERRNO,
    "SCMP_ACT_TRACE": seccomp.RET_TRACE,
    "SCMP_ACT_ALLOW": seccomp.RET_ALLOW,
    "SCMP_ACT_LOG": seccomp.RET_LOG,
    "SCMP_ACT_NOTIFY": seccomp.RET_USER_NOTIF,
}

OPERATORS = (
    "SCMP_CMP_NE",
    "SCMP_CMP_LT",
    "SCMP_CMP_LE",
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_MASKED_EQ",
)


class Family(NamedTuple):
    """The architectures whose calls one machine runs, by table, and how they are told apart."""

    native: str
    audit_arches: tuple[tuple[int, tuple[str, ...]], ...]


_X86 = (seccomp.AUDIT_ARCH_I386, ("x86",))
_ARM = (seccomp.AUDIT_ARCH_ARM, ("arm",))
_FAMILIES = {
    "x86_64": Family("x86_64", ((seccomp.AUDIT_ARCH_X86_64, ("x86_64", "x32")), _X86)),
    "i686": Family("x86", (_X86,)),
    "i386": Family("x86", (_X86,)),
    "aarch64": Family("aarch64", ((seccomp.AUDIT_ARCH_AARCH64, ("aarch64",)), _ARM)),
    "armv7l": Family("arm", (_ARM,)),
    "armv6l": Family("arm", (_ARM,)),
}

_ARCHITECTURE_WORDS = (
    "X86 X86_64 X32 ARM AARCH64 LOONGARCH64 M68K MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 "
    "MIPSEL64N32 PARISC PARISC64 PPC PPC64 PPC64LE RISCV64 S390 S390X SH SHEB"
)
ARCHITECTURES = frozenset(f"SCMP_ARCH_{word}" for word in _ARCHITECTURE_WORDS.split())
"""Architectures that a profile may name; those that this machine cannot run are skipped."""

_32_BIT = ("x86", "arm")
_ALL_NARROW = 0x3F
_MAX_EXCEPTIONS = 3


class _Rule(NamedTuple):
    names: tuple[str, ...]
    value: int
    alternatives: tuple[tuple[LinuxSeccompArg, ...], ...]


# Numbers from the first member up to the next range get the decision, but for single exceptions.
# Plain tuples: building some hundred named ones takes a fifth of the time of a compilation.
_Exceptions: TypeAlias = "tuple[tuple[int, Decision], ...]"
_Range: TypeAlias = "tuple[int, Decision, _Exceptions]"


def compile_program(spec: LinuxSeccomp, machine: str | None = None) -> bytes:
    """Compile a filter.

    Args:
        spec: the filter as data.
        machine: architecture as uname(2) says it; this machine's by default.

    Returns:
        A packed array of ``struct sock_filter``.

    Raises:
        Invalid: an unknown action, operator or architecture, a bad index or value, or a filter that
            does not fit the 4096 instructions that the kernel takes.
        Unsupported: Proa has no system call table for the machine, or an action needs a listener.
    """
    family, listed = _architectures(spec, machine or os.uname().machine)
    default = _value(spec.default_action, spec.default_errno_ret, spec)
    if default == seccomp.RET_USER_NOTIF:
        raise Invalid("SCMP_ACT_NOTIFY cannot be the default action of a seccomp filter")
    permissive = default & ~seccomp.RET_DATA in _PERMISSIVE
    foreign = seccomp.RET_KILL_PROCESS if permissive else default
    beyond = default if permissive else _ENOSYS
    rules = [_normalize(rule, spec) for rule in spec.syscalls]
    assembler = bpf.Assembler()
    checks = Checks(assembler, default)
    elsewhere = assembler.ret(foreign)
    # The native tree is emitted last: it comes first in the program, in reach of the first jump.
    entries: list[tuple[int, int]] = []
    for audit_arch, arches in reversed(family.audit_arches):
        ranges: list[_Range] = []
        for arch in arches:
            if arch in listed:
                ranges += _ranges(arch, rules, default, beyond)
            elif arch == "x32":
                # Calls with its marker are foreign, but for -1: a tracer sets that to skip a call.
                ranges.append((seccomp.X32_SYSCALL_BIT, foreign, ((_NO_CALL, default),)))
        if ranges:
            tree = _tree(assembler, checks, _fold(ranges))
            entries.append((audit_arch, assembler.load(seccomp.DATA_NR, tree)))
    label = elsewhere
    for audit_arch, entry in entries:
        label = assembler.branch(bpf.JMP_JEQ_K, audit_arch, entry, label)
    assembler.load(seccomp.DATA_ARCH, label)
    try:
        return assembler.pack()
    except ValueError as error:
        raise Invalid(f"the seccomp filter is too long: {error}", "use fewer rules") from error


def _architectures(spec: LinuxSeccomp, machine: str) -> tuple[Family, set[str]]:
    """Return what a machine runs, and which architectures' calls the filter judges."""
    family = _FAMILIES.get(machine)
    if family is None:
        raise Unsupported(
            f"no system call table for {machine}", "run the container with seccomp=unconfined"
        )
    for name in spec.architectures:
        if name not in ARCHITECTURES:
            raise Invalid(f"unknown seccomp architecture {name!r}")
    listed = {name.removeprefix("SCMP_ARCH_").lower() for name in spec.architectures}
    return family, listed | {family.native}


def _value(action: str, errno_ret: int | None, spec: LinuxSeccomp) -> int:
    """Return what the filter returns for an action of the OCI."""
    value = ACTIONS.get(action)
    if value is None:
        raise Invalid(f"unknown seccomp action {action!r}")
    if value in (seccomp.RET_ERRNO, seccomp.RET_TRACE):
        if errno_ret is None:
            errno_ret = errno.EPERM
        if not 0 <= errno_ret <= seccomp.RET_DATA:
            raise Invalid(f"seccomp errnoRet {errno_ret} is not between 0 and {seccomp.RET_DATA}")
        return value | errno_ret
    if errno_ret is not None:
        raise Invalid(f"seccomp action {action} does not take an errnoRet")
    if value == seccomp.RET_USER_NOTIF and not spec.listener_path:
        raise Unsupported(
            "SCMP_ACT_NOTIFY needs a listener", "name an agent's socket as listenerPath"
        )
    return value


def _normalize(rule: LinuxSyscall, spec: LinuxSeccomp) -> _Rule:
    if not rule.names:
        raise Invalid("a seccomp rule names no system call")
    value = _value(rule.action, rule.errno_ret, spec)
    if value == seccomp.RET_USER_NOTIF and "write" in rule.names:
        # The listener's descriptor is handed over with calls that the filter already sees.
        raise Invalid("SCMP_ACT_NOTIFY cannot be used for write")
    for arg in rule.args:
        if not 0 <= arg.index <= 5:
            raise Invalid(f"argument index {arg.index} of {rule.names[0]} is not between 0 and 5")
        if arg.op not in OPERATORS:
            raise Invalid(f"unknown seccomp operator {arg.op!r} for {rule.names[0]}")
        if not (0 <= arg.value < 1 << 64 and 0 <= arg.value_two < 1 << 64):
            raise Invalid(f"a value for {rule.names[0]} is not an unsigned 64-bit number")
    if not rule.args:
        alternatives: tuple[tuple[LinuxSeccompArg, ...], ...] = ()
    elif len({arg.index for arg in rule.args}) < len(rule.args):
        alternatives = tuple((arg,) for arg in rule.args)
    else:
        alternatives = (rule.args,)
    return _Rule(rule.names, value, alternatives)


def _ranges(arch: str, rules: Iterable[_Rule], default: int, beyond: int) -> list[_Range]:
    """Return the verdicts on all numbers of one architecture, from its first number on."""
    numbers = syscall_tables.numbers(arch)
    decisions, last = _decide(arch, numbers, rules, default)
    base = seccomp.X32_SYSCALL_BIT if arch == "x32" else 0
    decisions[last + 1] = beyond
    ranges: list[_Range] = [(base, default, ())]
    current: Decision = default
    expected = 0
    for number in sorted(decisions):
        decision = decisions[number]
        if number != expected and current != default:
            ranges.append((base + expected, default, ()))
            current = default
        if decision != current:
            ranges.append((base + number, decision, ()))
            current = decision
        expected = number + 1
    if len(ranges) > 1 and ranges[1][0] == base:
        del ranges[0]
    return ranges


def _decide(
    arch: str, numbers: Mapping[str, int], rules: Iterable[_Rule], default: int
) -> tuple[dict[int, Decision], int]:
    """Return the decision for each number that is not the default's, and the last number named."""
    plain: dict[int, int] = {}
    conditional: dict[int, list[tuple[Conditions, int]]] = {}
    last = -1
    for names, value, alternatives in rules:
        found = {number for number in map(numbers.get, names) if number is not None}
        if not found:
            continue
        last = max(last, *found)
        if value == default:
            continue
        if not alternatives:
            if plain:
                for number in found:
                    plain.setdefault(number, value)
            else:
                plain = dict.fromkeys(found, value)
            continue
        for name in dict.fromkeys(names):
            if name in numbers:
                chain = conditional.setdefault(numbers[name], [])
                chain += _conditional(arch, name, alternatives, value)
    decisions: dict[int, Decision] = {n: tuple(chain) for n, chain in conditional.items()}
    decisions |= plain
    return decisions, last


def _conditional(
    arch: str, name: str, alternatives: tuple[tuple[LinuxSeccompArg, ...], ...], value: int
) -> Iterable[tuple[Conditions, int]]:
    """Yield a rule's alternatives with the width that each argument has for this call."""
    narrow = _ALL_NARROW if arch in _32_BIT else syscall_tables.narrow_arguments().get(name, 0)
    for args in alternatives:
        conditions = tuple(
            (arg.index, arg.op, arg.value, arg.value_two, bool(narrow >> arg.index & 1))
            for arg in args
        )
        yield conditions, value


def _fold(ranges: Iterable[_Range]) -> list[_Range]:
    """Fold single numbers between two ranges with equal verdicts into exceptions.

    One comparison for equality then stands for two for order. Chains are kept short so that the
    tree stays balanced.
    """
    folded: list[_Range] = []
    for start, decision, exceptions in ranges:
        while len(folded) > 1:
            outer_start, outer_decision, outer_exceptions = folded[-2]
            single, single_decision, single_exceptions = folded[-1]
            if (
                outer_decision != decision
                or single + 1 != start
                or single_exceptions
                or len(outer_exceptions) + len(exceptions) >= _MAX_EXCEPTIONS
            ):
                break
            del folded[-2:]
            start = outer_start
            exceptions = (*outer_exceptions, (single, single_decision), *exceptions)
        folded.append((start, decision, exceptions))
    return folded


def _tree(assembler: bpf.Assembler, checks: Checks, ranges: list[_Range]) -> int:
    """Emit the search for the call's number, which is in A; return its entry."""

    def emit(low: int, high: int) -> int:
        if high - low == 1:
            _, decision, exceptions = ranges[low]
            label = checks.emit(decision)
            for number, exception in exceptions:
                label = assembler.branch(bpf.JMP_JEQ_K, number, checks.emit(exception), label)
            return label
        middle = (low + high) // 2
        upper = emit(middle, high)
        lower = emit(low, middle)
        return assembler.branch(bpf.JMP_JGE_K, ranges[middle][0], upper, lower)

    return emit(0, len(ranges))
