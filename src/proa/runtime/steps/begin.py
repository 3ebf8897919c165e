"""The child's first steps: what needs no identity inside, then waiting for the parent.

Order matters. The parent-death signal comes first so that no orphan waits for ever. What needs
neither mapped ids nor a cgroup runs while the parent makes the cgroup, opens what is to be shown,
composes the rest of the plan and writes the id maps.
Until ``unshare(CLONE_FILES)`` parent and child share one descriptor table, which is how descriptors
that the parent makes for this very user namespace reach the child, and the pty's master the parent.
"""

from __future__ import annotations

import os
import struct
from functools import lru_cache

from proa.linux.mount import MS_PRIVATE, MS_REC, MS_SLAVE
from proa.linux.namespaces import (
    CLONE_NEWCGROUP,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWTIME,
    CLONE_NEWUSER,
)
from proa.linux.process import CLONE_FILES, PR_SET_PDEATHSIG
from proa.linux.syscalls import AT_FDCWD
from proa.oci.spec import LinuxTimeOffset
from proa.runtime import slots
from proa.runtime.plan import Segment, Slot, SlotAddress, Steps

NAMESPACES = b"n"
MOUNTS = b"c"

WAIT = "wait for the supervisor"
"""Name of the steps in which the child waits."""

_SIGKILL = 9
_SIGSTOP = 19
_LAST_SIGNAL = 64
_SIG_SETMASK = 2
_SIGSET_BYTES = 8
_DEFAULT_ACTION = bytes(32)

_AF_INET = 2
_SOCK_DGRAM_CLOEXEC = 2 | os.O_CLOEXEC
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1
_LOOPBACK_UP = struct.pack("16sh14x", b"lo", _IFF_UP)


@lru_cache(maxsize=8)
def begin(
    *, unshared: int, joined: bool = False, announced: bool = False, spare: bool = False
) -> Segment:
    """Signals and the namespaces that the child makes for itself, then waiting.

    Args:
        unshared: CLONE_NEW* flags. Making them here, not in the clone, leaves the parent free: on
            another CPU it makes the cgroup and the rest of the plan meanwhile.
        joined: join another's user namespace first, so that what is made belongs to that.
        announced: report when they are there, for a parent that shows them to somebody.
        spare: nobody knows how long the child will wait: what the host unmounts meanwhile must not
            stay busy here. :func:`leave_host` follows.
    """
    steps = Steps()
    steps.add("die with the supervisor", "prctl", PR_SET_PDEATHSIG, _SIGKILL)
    reset_signals(steps)
    if joined:
        steps.add("join the user namespace", "setns", Slot(slots.USERNS), CLONE_NEWUSER)
    if unshared:
        steps.add("make namespaces", "unshare", unshared)
    if unshared & CLONE_NEWNET:
        _raise_loopback(steps)
    if unshared & CLONE_NEWNS:
        if spare:
            steps.add("follow the host", "mount", None, b"/", None, MS_REC | MS_SLAVE, None)
        else:
            _make_private(steps)
    if announced:
        steps.add("announce the namespaces", "write", Slot(slots.REPORT), NAMESPACES, 1)
    wait(steps)
    return steps.compile("begin")


@lru_cache(maxsize=1)
def leave_host() -> Segment:
    """What a spare child does first when it has become a container's."""
    steps = Steps()
    _make_private(steps)
    return steps.compile("leave the host")


def _make_private(steps: Steps) -> None:
    steps.add("make mounts private", "mount", None, b"/", None, MS_REC | MS_PRIVATE, None)


@lru_cache(maxsize=1)
def checkpoint() -> Segment:
    """Tell the parent that the mounts are there, and wait for its word."""
    steps = Steps()
    steps.add("announce the mounts", "write", Slot(slots.REPORT), MOUNTS, 1)
    wait(steps)
    return steps.compile("checkpoint")


def reset_signals(steps: Steps) -> None:
    """Unblock all signals, and take back what the parent ignores (Python ignores SIGPIPE).

    CLONE_CLEAR_SIGHAND resets handlers only; an ignored signal stays ignored across execve. That
    holds for the C library's own two (32 and 33) and the real-time signals, too, and the libraries'
    interfaces do not tell of the former: whoever started the engine may have ignored any.
    """
    steps.add(
        "unblock signals", "rt_sigprocmask", _SIG_SETMASK, bytes(_SIGSET_BYTES), None, _SIGSET_BYTES
    )
    for number in range(1, _LAST_SIGNAL + 1):
        if number not in (_SIGKILL, _SIGSTOP):
            steps.add("reset signals", "rt_sigaction", number, _DEFAULT_ACTION, None, _SIGSET_BYTES)


def join_cgroups(steps: Steps, joins: int) -> None:
    """Write "0", the caller itself, to every cgroup file in the slots."""
    for index in range(joins):
        steps.add("join the cgroup", "write", Slot(slots.JOIN + index), b"0", 1)


def _raise_loopback(steps: Steps) -> None:
    steps.add(
        "raise the loopback interface",
        "socket",
        _AF_INET,
        _SOCK_DGRAM_CLOEXEC,
        0,
        into=slots.SOCKET,
    )
    steps.add(
        "raise the loopback interface", "ioctl", Slot(slots.SOCKET), _SIOCSIFFLAGS, _LOOPBACK_UP
    )
    steps.add("raise the loopback interface", "close", Slot(slots.SOCKET), into=slots.SOCKET)


def names(hostname: str, domainname: str) -> Segment | None:
    """Set the host's name inside the UTS namespace; None when there is nothing to set."""
    if not hostname and not domainname:
        return None
    steps = Steps()
    for call, value in (("sethostname", hostname), ("setdomainname", domainname)):
        if value:
            raw = value.encode()
            steps.add("set the host name", call, raw, len(raw))
    return steps.compile("names")


@lru_cache(maxsize=32)
def join(*, joins: int, cgroup_namespace: bool) -> Segment:
    """Join the cgroups, before anything of size is charged.

    Args:
        joins: how many slots from ``JOIN`` on hold cgroup files.
        cgroup_namespace: make one, rooted at the groups just joined.
    """
    steps = Steps()
    join_cgroups(steps, joins)
    if cgroup_namespace:
        steps.add("make the cgroup namespace", "unshare", CLONE_NEWCGROUP)
    return steps.compile("join")


@lru_cache(maxsize=1)
def root_inside() -> Segment:
    """Become root of the user namespace whose ids the parent has mapped."""
    steps = Steps()
    become_root(steps)
    return steps.compile("root inside")


def wait(steps: Steps) -> None:
    """Wait for the parent's word."""
    steps.add(WAIT, "ppoll", SlotAddress(slots.POLL_READY), 2, None, None, 0)
    steps.add(WAIT, "read", Slot(slots.READY), SlotAddress(slots.TOKEN), 8)


def become_root(steps: Steps) -> None:
    """Take on the ids that are 0 in the user namespace; until then they are the engine's."""
    steps.add("become root inside", "setresgid", 0, 0, 0)
    steps.add("become root inside", "setresuid", 0, 0, 0)
    steps.add("become root inside", "setgroups", 0, None)


def time_namespace(offsets: dict[str, LinuxTimeOffset]) -> Segment:
    """Make a time namespace, which execve enters, with its clocks set.

    The host's /proc is still there, and so are the engine's ids, to whom an untraceable process'
    files in it belong.
    """
    return _time_namespace(tuple([(k, v.secs, v.nanosecs) for k, v in sorted(offsets.items())]))


@lru_cache(maxsize=8)
def _time_namespace(offsets: tuple[tuple[str, int, int], ...]) -> Segment:
    steps = Steps()
    steps.add("make the time namespace", "unshare", CLONE_NEWTIME)
    if offsets:
        text = "".join(f"{clock} {secs} {nanosecs}\n" for clock, secs, nanosecs in offsets).encode()
        file = steps.add(
            "set the clocks",
            "openat",
            AT_FDCWD,
            b"/proc/self/timens_offsets",
            os.O_WRONLY | os.O_CLOEXEC,
        )
        steps.add("set the clocks", "write", file, text, len(text))
        steps.add("set the clocks", "close", file)
    return steps.compile("time namespace")


@lru_cache(maxsize=2)
def separate() -> Segment:
    """Stop sharing the parent's descriptors and tell it so."""
    steps = Steps()
    steps.add("separate the descriptors", "unshare", CLONE_FILES)
    steps.add("separate the descriptors", "write", Slot(slots.REPORT), b"s", 1)
    steps.add("clear the umask", "umask", 0)
    return steps.compile("separate")
