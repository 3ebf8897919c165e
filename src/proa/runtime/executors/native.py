"""The native executor: a machine-code loop in a child that shares the parent's memory.

``clone3(CLONE_VM)`` copies no page tables and the child faults nothing in: it starts in the time
the kernel needs for the namespaces alone. It has its own stack, touches only the arena, runs no
Python and ends by execve or exit_group. The code is written to an anonymous mapping which is made
executable (and read-only) afterwards: never writable and executable at once.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Callable

from proa.linux.process import CLONE_VM
from proa.linux.syscalls import MACHINE
from proa.runtime.executors.arena import Arena
from proa.runtime.executors.clone import Child, pack_clone_args
from proa.runtime.plan import STACK_END

NAME = "native"
SEPARATE_MEMORY = False

_PROTOTYPE = ctypes.PYFUNCTYPE(
    ctypes.c_long, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p
)
"""PYFUNCTYPE: the call keeps the interpreter's lock, so no other thread runs Python beside it."""

_BECOME_PROTOTYPE = ctypes.PYFUNCTYPE(
    ctypes.c_long, ctypes.c_void_p, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p
)

BECOME_BYTES = {"x86_64": 17, "aarch64": 20}
"""How far ``become`` begins before the end of the code."""

_address = 0
_code: mmap.mmap | None = None
_become: Callable[[int, int, int, int], int] | None = None
_spawn: Callable[[bytes, int, int, int], int] | None = None


def load() -> None:
    """Make the machine code ready; called by :func:`spawn`, or ahead of time.

    Raises:
        OSError: there is no code for this machine (ENOEXEC), or its policy forbids new executable
            memory (EACCES, EPERM).
    """
    global _address, _become, _code, _spawn
    if _spawn is not None:
        return
    from proa.runtime.executors.machine_code import CODE

    text = CODE.get(MACHINE)
    if text is None:
        import errno

        raise OSError(errno.ENOEXEC, f"no machine code for {MACHINE}")
    code = mmap.mmap(
        -1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_WRITE
    )
    code.write(bytes.fromhex(text))
    address = ctypes.addressof(ctypes.c_char.from_buffer(code))
    libc = ctypes.CDLL(None, use_errno=True)
    protect = mmap.PROT_READ | mmap.PROT_EXEC
    if libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(mmap.PAGESIZE), protect) < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    _flush_instructions(address, len(text) // 2)
    _become = _BECOME_PROTOTYPE(address + len(text) // 2 - BECOME_BYTES[MACHINE])
    _address, _code, _spawn = address, code, _PROTOTYPE(address)


def spawn(arena: Arena, flags: int, cgroup_fd: int = -1) -> Child:
    """Start a child that works through the arena's plan; returns as soon as it exists.

    Args:
        arena: must live until the child has executed or ended.
        flags: CLONE_* (namespaces, CLONE_FILES, CLONE_CLEAR_SIGHAND).
        cgroup_fd: cgroup v2 to be born in, or -1.

    Raises:
        OSError: what clone3 answered, or as :func:`load`.
    """
    if _spawn is None:
        load()
    assert _spawn is not None
    arguments = pack_clone_args(arena, flags | CLONE_VM, cgroup_fd, stack=True)
    pid = _spawn(arguments, len(arguments), arena.address, arena.address + arena.first)
    if pid < 0:
        raise OSError(-pid, os.strerror(-pid))
    return Child(pid, arena.pidfd())


def become(arena: Arena, start: int) -> None:
    """Let this process work through the arena instead of what it was; never returns.

    Python ends without being told: no handler, no buffer, no destructor runs.

    Args:
        arena: has the plan.
        start: offset of its first entry.

    Raises:
        OSError: as :func:`load`.
    """
    load()
    assert _become is not None
    _become(arena.address + STACK_END, 0, arena.address, arena.address + start)


def code_range() -> tuple[int, int]:
    """Start and end address of the machine code's page."""
    load()
    return _address, _address + mmap.PAGESIZE


def _flush_instructions(address: int, size_bytes: int) -> None:
    """Make freshly written code visible to instruction fetch where caches are not coherent."""
    if MACHINE == "x86_64":
        return
    flush = ctypes.CDLL("libgcc_s.so.1").__clear_cache
    flush(ctypes.c_void_p(address), ctypes.c_void_p(address + size_bytes))
