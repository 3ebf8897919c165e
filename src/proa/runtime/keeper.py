"""The keeper: what a process becomes that only has to remain a parent.

A container's init dies with its parent, and it stays a zombie with its exit code until its parent
reaps it or dies; while nothing happens, that is all its supervisor is for. The keeper does it
without Python: the process unmaps everything but a page of machine code, the arena, its thread's
control block and its arguments, and works through a plan that never ends::

    wait until one of the descriptors is readable
    tell the engine (one frame on its socket), wait until the engine hangs up
    and again

If nobody listens on the socket, a command is run that makes somebody listen, and the frame is sent
again. A descriptor stays readable until somebody deals with what it has, so no event is lost,
whoever is killed.

Only with the native executor: a portable keeper would need an interpreter to run it.
"""

from __future__ import annotations

import mmap
import os
import signal
import struct
from collections.abc import Iterable
from typing import NamedTuple

from proa.linux.process import find_thread_block
from proa.runtime.executors import native
from proa.runtime.executors.arena import Arena
from proa.runtime.plan import ENTRY_BYTES, Segment, Slot, Steps, Vector

_POLLIN = 1
_AF_UNIX = 1
_STREAM = 1 | os.O_CLOEXEC
_MSG_WAITALL = 0x100
_P_PIDFD = 3
_WEXITED = 4
_CLONE_VM_VFORK = 0x100 | 0x4000
_EINVAL = 22
_PR_SET_NAME = 15

_SOCKET = 1
_PAUSE = struct.pack("<qq", 0, 10_000_000)
"""Between two rounds: an engine that hangs up at once must not make a keeper spin."""

_LOWEST, _HIGHEST = 0x10000, 0x7FFF_FFFF_F000
_KERNELS = frozenset({"[vdso]", "[vvar]", "[vvar_vclock]"})
_PTHREAD_BYTES = 4096
"""glibc's struct pthread has about 2300; the kernel writes to the rseq area in it."""

_ANSWER_BYTES = 4096


class Watch(NamedTuple):
    """What a keeper waits for and whom it tells.

    Attributes:
        fds: descriptors to wait for, the pidfd of the container's init among them.
        address: the engine's socket, a path of at most 107 bytes.
        frame: what to send.
        command: argv that makes somebody listen, run when nobody does.
        environment: ``NAME=value`` for it.
    """

    fds: tuple[int, ...]
    address: bytes
    frame: bytes
    command: tuple[bytes, ...]
    environment: tuple[bytes, ...]


def become(watch: Watch) -> None:
    """Turn this process into a keeper; never returns.

    All open descriptors stay open and all handlers of signals are dropped.

    Raises:
        OSError: this machine has no machine code for it, or no memory; nothing has happened.
    """
    native.load()
    arena = Arena(shared=False)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            # Handlers are code that is about to be unmapped.
            signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    loop = _compose_loop(watch)
    arena.load((loop,))
    start = arena.end
    forgetting = _compose_forgetting(_kept(arena))
    arena.load((forgetting,))
    _lead(arena, arena.first, loop, arena.first)
    _lead(arena, start, forgetting, arena.first)
    native.become(arena, start)


def available() -> bool:
    """Whether this machine can have keepers."""
    try:
        native.load()
    except OSError:
        return False
    return True


def _compose_loop(watch: Watch) -> Segment:
    """One round; tolerant of every error: a keeper that gave up would take its container along."""
    polled = b"".join([struct.pack("<ihh", fd, _POLLIN, 0) for fd in watch.fds])
    address = struct.pack("<H", _AF_UNIX) + watch.address + b"\0"
    # struct clone_args: flags, four words, exit_signal, and stack to cgroup as zeros.
    vfork = struct.pack("<11Q", _CLONE_VM_VFORK, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, 0)
    steps = Steps()
    add = steps.add
    add("wait for an event", "ppoll", polled, len(watch.fds), None, None, 8, tolerate_all=True)
    add("make a socket", "socket", _AF_UNIX, _STREAM, 0, into=_SOCKET, tolerate_all=True)
    add("find the engine", "connect", Slot(_SOCKET), address, len(address), tolerate_all=True,
        skip=6, skip_on="success")  # fmt: skip
    add("close the socket", "close", Slot(_SOCKET), tolerate_all=True)
    child = add("start the engine", "clone3", vfork, len(vfork), tolerate_all=True)
    # In the child the result is 0, which is no pid: it goes on to execve, the parent past it.
    started = add("tell parent from child", "pidfd_open", child, 0, tolerate=(_EINVAL,),
                  skip=1, skip_on="success")  # fmt: skip
    add("run the command", "execve", watch.command[0], Vector(watch.command),
        Vector(watch.environment))  # fmt: skip
    add("wait for the command", "waitid", _P_PIDFD, started, None, _WEXITED, None,
        tolerate_all=True)  # fmt: skip
    add("close the command's pidfd", "close", started, tolerate_all=True, skip=3, skip_on="success")
    add("tell the engine", "sendto", Slot(_SOCKET), watch.frame, len(watch.frame), 0, None, 0,
        tolerate_all=True)  # fmt: skip
    add("wait for the engine", "recvfrom", Slot(_SOCKET), bytes(_ANSWER_BYTES), _ANSWER_BYTES,
        _MSG_WAITALL, None, None, tolerate_all=True)  # fmt: skip
    add("close the socket", "close", Slot(_SOCKET), tolerate_all=True)
    add("pause", "nanosleep", _PAUSE, None, tolerate_all=True)
    return steps.compile("keep")


def _compose_forgetting(kept: Iterable[tuple[int, int]]) -> Segment:
    """Unmap everything else, mapped or not: whatever Python still maps meanwhile goes along."""
    steps = Steps()
    start = _LOWEST
    for low, high in (*sorted(kept), (_HIGHEST, _HIGHEST)):
        if low > start:
            steps.add("forget", "munmap", start, low - start, tolerate_all=True)
        start = max(start, high)
    # Last: who sees the name sees a keeper that holds nothing any more.
    steps.add("take the name", "prctl", _PR_SET_NAME, b"proa-keeper", 0, 0, 0, tolerate_all=True)
    return steps.compile("forget")


def _kept(arena: Arena) -> list[tuple[int, int]]:
    """The ranges a keeper needs: its plan, the code, thread block, arguments, kernel's pages."""
    page = mmap.PAGESIZE
    block = find_thread_block() & -page
    arguments = int(_read("/proc/self/stat").rpartition(b")")[2].split()[45]) & -page
    kept = [
        (arena.address, arena.address + arena.capacity),
        native.code_range(),
        (block, block + _PTHREAD_BYTES + page),
    ]
    for line in _read("/proc/self/maps").decode().splitlines():
        fields = line.split()
        low, high = (int(part, 16) for part in fields[0].split("-"))
        name = fields[5] if len(fields) > 5 else ""
        if name in _KERNELS:
            kept.append((low, high))
        elif name == "[stack]":
            kept.append((min(arguments, high - page), high))
    return kept


def _lead(arena: Arena, start: int, segment: Segment, target: int) -> None:
    """Let the last entry of the segment at ``start`` lead to ``target`` instead of behind it."""
    place = start + len(segment.steps) * ENTRY_BYTES + 8
    struct.pack_into("<q", arena.memory, place, target - start)


def _read(path: str) -> bytes:
    with open(path, "rb") as stream:
        return stream.read()
