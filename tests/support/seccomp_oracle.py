"""What a seccomp profile means, said once more and as plainly as possible: the oracle of the tests.

It works on the JSON as :mod:`json` reads it and looks every call up by name; nothing here is
compiled, sorted or merged, and nothing comes from ``proa.runtime``.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from proa.linux import syscall_tables

DOCKER_PROFILE = Path(__file__).parent / "data/docker-seccomp-default.json"

X32_BIT = 0x40000000
KILL_PROCESS = 0x80000000
ENOSYS = 0x00050000 | 38

ENTRIES = {
    # Entry: AUDIT_ARCH_*, marker in the number.
    "x86_64": (0xC000003E, 0),
    "x32": (0xC000003E, X32_BIT),
    "x86": (0x40000003, 0),
    "aarch64": (0xC00000B7, 0),
    "arm": (0x40000028, 0),
}

# Arguments that a 64-bit kernel reads as int, for the calls that tests give conditions.
# SYSCALL_DEFINE3(socket, int, int, int), (personality, unsigned int); clone takes the lower half of
# its flags; SYSCALL_DEFINE3(ioctl, unsigned int, unsigned int, unsigned long);
# SYSCALL_DEFINE3(fcntl, unsigned int, unsigned int, unsigned long); (umask, int).
NARROW = {
    "socket": {0, 1, 2},
    "personality": {0},
    "clone": {0},
    "ioctl": {0, 1},
    "fcntl": {0, 1},
    "umask": {0},
    "mmap": set(),
    "lseek": {0, 2},
}

_ACTIONS = {
    "SCMP_ACT_KILL": 0,
    "SCMP_ACT_KILL_THREAD": 0,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}


def load_docker_profile() -> dict[str, Any]:
    """Load Docker's profile as it is published."""
    profile: dict[str, Any] = json.loads(DOCKER_PROFILE.read_text())
    return profile


def reduce_docker(
    profile: Mapping[str, Any], arch: str, capabilities: Collection[str]
) -> dict[str, Any]:
    """Keep the rules for an architecture (``amd64``) and capabilities, on a new kernel."""
    rules = []
    for rule in profile["syscalls"]:
        includes, excludes = rule.get("includes", {}), rule.get("excludes", {})
        if arch in excludes.get("arches", []):
            continue
        if set(excludes.get("caps", [])) & set(capabilities):
            continue
        if includes.get("arches") and arch not in includes["arches"]:
            continue
        if not set(includes.get("caps", [])) <= set(capabilities):
            continue
        rules.append(rule)
    return {**profile, "syscalls": rules}


def action(name: str, errno_ret: int | None) -> int:
    """Return what a filter returns for an action."""
    value = _ACTIONS[name]
    if name in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"):
        value |= 1 if errno_ret is None else errno_ret
    return value


class Oracle:
    """Judges calls by a profile without conditions on the machine (the OCI's format)."""

    def __init__(self, profile: Mapping[str, Any]) -> None:
        self._rules = [
            (set(rule["names"]), action(rule["action"], rule.get("errnoRet")), rule.get("args", []))
            for rule in profile["syscalls"]
        ]
        self._default = action(profile["defaultAction"], profile.get("defaultErrnoRet"))
        self._permissive = profile["defaultAction"].rpartition("_")[2] in ("ALLOW", "LOG", "TRACE")
        named = set().union(*(names for names, _, _ in self._rules))
        self._names: dict[str, dict[int, str]] = {}
        self._last: dict[str, int] = {}
        for entry in ENTRIES:
            table = syscall_tables.numbers(entry)
            self._names[entry] = {number: name for name, number in table.items()}
            self._last[entry] = max((n for name, n in table.items() if name in named), default=-1)

    def judge(self, entry: str, number: int, args: Sequence[int] = (0,) * 6) -> int:
        """Return the verdict; ``number`` is without the entry's marker."""
        if number > self._last[entry] and not self._permissive:
            return ENOSYS
        name = self._names[entry].get(number)
        rules = [
            (value, conditions)
            for names, value, conditions in self._rules
            if name in names and value != self._default
        ]
        for value, conditions in rules:
            if not conditions:
                return value
        narrow = set(range(6)) if entry in ("x86", "arm") else NARROW.get(name or "", set())
        for value, conditions in rules:
            repeated = len({c["index"] for c in conditions}) < len(conditions)
            held = [_holds(c, args[c["index"]], c["index"] in narrow) for c in conditions]
            if any(held) if repeated else all(held):
                return value
        return self._default


def _holds(condition: Mapping[str, Any], argument: int, narrow: bool) -> bool:
    value, value_two = condition["value"], condition.get("valueTwo", 0)
    if narrow:
        argument &= 0xFFFFFFFF
        # -1 written as a 64-bit number is -1 of an int.
        value, value_two = (
            v & 0xFFFFFFFF if v >= 0xFFFFFFFF80000000 else v for v in (value, value_two)
        )
    outcomes: dict[str, bool] = {
        "SCMP_CMP_NE": argument != value,
        "SCMP_CMP_LT": argument < value,
        "SCMP_CMP_LE": argument <= value,
        "SCMP_CMP_EQ": argument == value,
        "SCMP_CMP_GE": argument >= value,
        "SCMP_CMP_GT": argument > value,
        "SCMP_CMP_MASKED_EQ": argument & value == value_two,
    }
    return outcomes[condition["op"]]
