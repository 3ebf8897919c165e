"""The device allow list: which device nodes a container may make, read and write.

OCI rules are a list in which later rules win, for each of ``r``, ``w`` and ``m`` (mknod) by itself.
Cgroup v2 runs them as they are (:mod:`proa.cgroups.v2.devices`); v1 knows one default and a set of
exceptions to it, so the list is folded into that form here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from proa.errors import Invalid, Unsupported
from proa.oci.resources import LinuxDeviceCgroup

DeviceType = Literal["a", "b", "c"]
Key = tuple[DeviceType, int | None, int | None]
"""Type, major, minor; None is the wildcard."""

ACCESS_MKNOD = 1
ACCESS_READ = 2
ACCESS_WRITE = 4
ACCESS_ALL = ACCESS_MKNOD | ACCESS_READ | ACCESS_WRITE
_BITS = {"m": ACCESS_MKNOD, "r": ACCESS_READ, "w": ACCESS_WRITE}


class DeviceRule(msgspec.Struct, frozen=True):
    """One checked rule.

    Attributes:
        type: ``a`` only in a rule about everything: both types, all numbers, all access.
        access: a mask of ``ACCESS_*``; the values are those of ``BPF_DEVCG_ACC_*``.
    """

    allow: bool
    type: DeviceType
    major: int | None
    minor: int | None
    access: int

    @property
    def key(self) -> Key:
        """What the rule is about."""
        return (self.type, self.major, self.minor)


def _allow(kind: str, major: int | None, minor: int | None, access: str) -> LinuxDeviceCgroup:
    return LinuxDeviceCgroup(allow=True, type=kind, major=major, minor=minor, access=access)


DEFAULT_DEVICES: tuple[LinuxDeviceCgroup, ...] = (
    # Making nodes is harmless while they cannot be opened; package managers do it.
    _allow("c", None, None, "m"),
    _allow("b", None, None, "m"),
    _allow("c", 1, 3, "rwm"),  # null
    _allow("c", 1, 5, "rwm"),  # zero
    _allow("c", 1, 7, "rwm"),  # full
    _allow("c", 1, 8, "rwm"),  # random
    _allow("c", 1, 9, "rwm"),  # urandom
    _allow("c", 5, 0, "rwm"),  # tty
    _allow("c", 5, 1, "rwm"),  # console
    _allow("c", 5, 2, "rwm"),  # ptmx
    _allow("c", 136, None, "rwm"),  # pts
)
"""What every container may use, as with Docker: no program gets far without these."""


def effective_rules(own: Iterable[LinuxDeviceCgroup]) -> list[DeviceRule]:
    """A container's whole list: nothing is allowed but its own rules and the default devices.

    The defaults come last, as in runc: the ``deny a`` that generated specs begin with, or a typing
    error of the user, must not take ``/dev/null`` away.

    Raises:
        Invalid: a rule outside the specification.
    """
    return check_rules((*own, *DEFAULT_DEVICES))


def check_rules(rules: Iterable[LinuxDeviceCgroup]) -> list[DeviceRule]:
    """Turn OCI rules into checked ones; a partial ``a`` becomes a rule for ``c`` and one for ``b``.

    Raises:
        Invalid: a type, number or access outside the specification.
    """
    checked: list[DeviceRule] = []
    for rule in rules:
        if rule.type not in ("", "a", "b", "c", "u", "p"):
            raise Invalid(f"device rule type {rule.type!r} is none of a, b, c")
        if rule.type == "p":
            raise Invalid("device rule type 'p' (fifo) has no device number")
        access = 0
        for letter in rule.access or "rwm":
            if letter not in _BITS:
                raise Invalid(f"device rule access {rule.access!r} has letters other than r, w, m")
            access |= _BITS[letter]
        major, minor = _number(rule.major), _number(rule.minor)
        kinds: Sequence[DeviceType]
        if rule.type not in ("", "a"):
            kinds = ("b",) if rule.type == "b" else ("c",)
        elif major is None and minor is None and access == ACCESS_ALL:
            kinds = ("a",)
        else:
            kinds = ("c", "b")
        checked += [DeviceRule(rule.allow, kind, major, minor, access) for kind in kinds]
    return checked


class FoldedRules(msgspec.Struct, frozen=True):
    """Rules as v1 has them: a default, and the access that differs from it by device."""

    allow: bool
    exceptions: tuple[tuple[Key, int], ...]


def fold_rules(rules: Iterable[DeviceRule]) -> FoldedRules:
    """Reduce a list of rules to a default and exceptions, without changing its meaning.

    What no rule is about is denied.

    Raises:
        Unsupported: the list takes away part of a wildcard, which v1 cannot express.
    """
    allow = False
    exceptions: dict[Key, int] = {}
    for rule in rules:
        if rule.type == "a":
            allow = rule.allow
            exceptions = {}
        elif rule.allow != allow:
            exceptions[rule.key] = exceptions.get(rule.key, 0) | rule.access
        else:
            _take_away(exceptions, rule)
    return FoldedRules(allow, tuple(sorted(exceptions.items(), key=_order)))


def _take_away(exceptions: dict[Key, int], rule: DeviceRule) -> None:
    """Undo exceptions that a later rule covers."""
    for key, bits in list(exceptions.items()):
        if key[0] != rule.type or not bits & rule.access:
            continue
        if _covers(rule.key, key):
            left = bits & ~rule.access
            if left:
                exceptions[key] = left
            else:
                del exceptions[key]
        elif _overlaps(rule.key, key):
            raise Unsupported(
                f"device rules: cgroup v1 cannot except {describe_key(rule.key)} "
                f"from {describe_key(key)}",
                "list the devices one by one",
            )


def _covers(wide: Key, narrow: Key) -> bool:
    return all(w is None or w == n for w, n in zip(wide[1:], narrow[1:], strict=True))


def _overlaps(one: Key, other: Key) -> bool:
    return all(a is None or b is None or a == b for a, b in zip(one[1:], other[1:], strict=True))


def describe_key(key: Key) -> str:
    """``c 1:3``, with ``*`` for a wildcard: the kernel's own notation."""
    kind, major, minor = key
    return f"{kind} {'*' if major is None else major}:{'*' if minor is None else minor}"


def describe_access(bits: int) -> str:
    """The letters of an access mask in the kernel's order."""
    return "".join(letter for letter in "rwm" if _BITS[letter] & bits)


def _number(value: int | None) -> int | None:
    if value is None or value == -1:  # runc's files write the wildcard as -1
        return None
    if not 0 <= value < 1 << 32:
        raise Invalid(f"device number {value} is out of range")
    return value


def _order(item: tuple[Key, int]) -> tuple[str, int, int]:
    (kind, major, minor), _bits = item
    return (kind, -1 if major is None else major, -1 if minor is None else minor)
