"""The portable executor: the same loop in Python, in a child with a copied address space.

It works on every machine that CPython and the syscall tables know, and where policy forbids new
executable memory. ``clone3`` is called raw, without libc's fork handlers: the child uses nothing
but ``ctypes`` calls, integers and the arena, and leaves by execve or ``_exit``.
"""

from __future__ import annotations

import ctypes
import gc
import os
import struct
from time import perf_counter_ns

from proa.linux.syscalls import SYS_CLONE3, raw_call
from proa.runtime.executors.arena import Arena
from proa.runtime.executors.clone import Child, pack_clone_args
from proa.runtime.plan import (
    ENTRY,
    ENTRY_BYTES,
    FLAG_SKIP_ON_ERROR,
    FLAG_SKIP_ON_SUCCESS,
    FLAG_TOLERATE_ALL,
    FLAG_ZERO_ONLY,
    KIND_ARENA,
    KIND_SEGMENT,
    KIND_VALUE,
    RESULT_OFFSET,
)

NAME = "portable"
SEPARATE_MEMORY = True

_JUMP = 0xFFFFFFFF
_QWORD = struct.Struct("<Q")
_OUTCOME = struct.Struct("<qQ")

# PyDLL keeps the interpreter's lock: in the child no other thread exists to give it back.
_syscall = ctypes.PyDLL(None, use_errno=True).syscall
_syscall.restype = ctypes.c_long
_long = ctypes.c_long


def load() -> None:
    """Nothing to prepare; the native executor has the same function."""


def spawn(arena: Arena, flags: int, cgroup_fd: int = -1) -> Child:
    """Start a child that works through the arena's plan; as :func:`..native.spawn`.

    Raises:
        OSError: what clone3 answered.
    """
    arguments = ctypes.create_string_buffer(pack_clone_args(arena, flags, cgroup_fd, stack=False))
    size = ctypes.sizeof(arguments) - 1
    pid: int = _syscall(_long(SYS_CLONE3), arguments, _long(size))
    if pid == 0:
        _run(arena)
    if pid < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return Child(pid, arena.pidfd())


def _run(arena: Arena) -> None:
    """The child: work through the entries; never returns."""
    try:
        gc.disable()
        memory, base = arena.memory, arena.address
        entry = segment = arena.first
        while True:
            _QWORD.pack_into(memory, 8, entry)
            fields = ENTRY.unpack_from(memory, entry)
            if fields[0] == _JUMP:
                segment += fields[2]
                entry = segment
                continue
            flags = fields[1]
            shift = 28
            words = []
            for word in fields[2:8]:
                kind = flags >> shift
                shift -= 4
                if kind & KIND_SEGMENT:
                    word += segment
                if kind & (KIND_SEGMENT | KIND_ARENA):
                    word = _QWORD.unpack_from(memory, word)[0] if kind & KIND_VALUE else base + word
                words.append(word)
            result = raw_call(fields[0], *words)
            _OUTCOME.pack_into(memory, entry + RESULT_OFFSET, result, perf_counter_ns())
            if fields[14]:
                struct.pack_into("<q", memory, fields[14], result)
            skip = fields[15] if _decide(result, flags, fields[10:14]) else 0
            entry += ENTRY_BYTES * (1 + skip)
    except _Failed:
        _QWORD.pack_into(memory, 0, entry)
    finally:
        os._exit(125)


class _Failed(Exception):
    pass


def _decide(result: int, flags: int, tolerated: tuple[int, ...]) -> bool:
    """Whether to skip; raises when the plan ends here."""
    if result < 0:
        if not flags & FLAG_TOLERATE_ALL and -result not in tolerated:
            raise _Failed
        return bool(flags & FLAG_SKIP_ON_ERROR)
    if result and flags & FLAG_ZERO_ONLY:
        raise _Failed
    return bool(flags & FLAG_SKIP_ON_SUCCESS)
