"""seccomp(2): constants of the ABI, and loading a filter into the calling thread.

Sources: ``linux/seccomp.h``, ``linux/audit.h``, seccomp(2).
"""

from __future__ import annotations

import ctypes
import struct

from proa.linux.syscalls import call, number

# Return values of a filter; the upper 16 bits are the action, the lower 16 its datum.
RET_KILL_PROCESS = 0x80000000
RET_KILL_THREAD = 0x00000000
RET_TRAP = 0x00030000
RET_ERRNO = 0x00050000
RET_USER_NOTIF = 0x7FC00000
RET_TRACE = 0x7FF00000
RET_LOG = 0x7FFC0000
RET_ALLOW = 0x7FFF0000
RET_DATA = 0x0000FFFF

SET_MODE_FILTER = 1

FILTER_FLAG_TSYNC = 1 << 0
FILTER_FLAG_LOG = 1 << 1
FILTER_FLAG_SPEC_ALLOW = 1 << 2
FILTER_FLAG_NEW_LISTENER = 1 << 3
FILTER_FLAG_TSYNC_ESRCH = 1 << 4
FILTER_FLAG_WAIT_KILLABLE_RECV = 1 << 5

AUDIT_ARCH_X86_64 = 0xC000003E
AUDIT_ARCH_I386 = 0x40000003
AUDIT_ARCH_AARCH64 = 0xC00000B7
AUDIT_ARCH_ARM = 0x40000028

X32_SYSCALL_BIT = 0x40000000
"""Marks x32 calls, which the kernel reports as AUDIT_ARCH_X86_64."""

# Offsets in struct seccomp_data: int nr; u32 arch; u64 instruction_pointer; u64 args[6].
DATA_NR = 0
DATA_ARCH = 4
DATA_ARGS = 16
DATA_BYTES = 64


def pack_fprog(program_bytes: int, address: int) -> bytes:
    """Return ``struct sock_fprog`` for a packed program of that size in bytes at that address."""
    return struct.pack("@HP", program_bytes // 8, address)


def set_mode_filter(program: bytes, flags: int = 0) -> int:
    """Load a filter into the calling thread; it can never be removed.

    Args:
        program: packed array of ``struct sock_filter``.
        flags: ``FILTER_FLAG_*``.

    Returns:
        The listener's descriptor (close-on-exec) with ``FILTER_FLAG_NEW_LISTENER``, else 0.

    Raises:
        OSError: EACCES without no_new_privs and CAP_SYS_ADMIN, EINVAL for a program or flag that
            this kernel does not take.
    """
    instructions = ctypes.create_string_buffer(program, len(program))
    fprog = pack_fprog(len(program), ctypes.addressof(instructions))
    return call(number("seccomp"), SET_MODE_FILTER, flags, fprog)
