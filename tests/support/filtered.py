"""A child process under a seccomp filter that makes system calls and tells the answers.

The child holds no capability when it calls, so that nothing happens to the machine if a filter
under test lets through what it should refuse.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
from collections.abc import Callable, Sequence

from proa.linux import seccomp
from proa.linux.process import PR_SET_NO_NEW_PRIVS, prctl

NOBODY = 65534

Call = tuple[int, Sequence[int]]
"""Number and arguments."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def native(number: int, args: Sequence[int]) -> int:
    """Make a call through libc's syscall(2), all registers 64 bits; return -errno for an error."""
    words = [ctypes.c_ulong(value) for value in args]
    pid = os.getpid()
    result: int = _libc.syscall(ctypes.c_ulong(number), *words)
    if os.getpid() != pid:
        # A clone that should have been refused.
        os._exit(0)
    return -ctypes.get_errno() if result == -1 else result


def int80() -> Callable[[int, Sequence[int]], int]:
    """Return a function that enters the kernel as i386 code does, with up to three arguments."""
    # push rbx; mov eax, edi; mov ebx, esi; mov ecx, edx; xor edx, edx; int 0x80; cdqe; pop rbx; ret
    code = bytes.fromhex("53 89f8 89f3 89d1 31d2 cd80 4898 5b c3")
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    enter = ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_uint, ctypes.c_uint, ctypes.c_uint)(address)

    def call(number: int, args: Sequence[int]) -> int:
        first, second = (*args, 0, 0)[:2]
        result: int = enter(number, first, second)
        return result

    call.__dict__["page"] = page
    return call


def answers(
    program: bytes,
    calls: Sequence[Call],
    *,
    flags: int = 0,
    enter: Callable[[], Callable[[int, Sequence[int]], int]] | None = None,
) -> list[int] | int:
    """Make calls under a filter in a child.

    Args:
        program: the filter.
        calls: what to call.
        flags: ``FILTER_FLAG_*`` for loading.
        enter: makes the function that enters the kernel; libc's syscall(2) by default.

    Returns:
        The answers, -errno for errors; or the negative number of the signal that killed the child.
    """
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            call = native if enter is None else enter()
            if os.geteuid() == 0:
                os.setgroups([])
                os.setresgid(NOBODY, NOBODY, NOBODY)
                os.setresuid(NOBODY, NOBODY, NOBODY)
            prctl(PR_SET_NO_NEW_PRIVS, 1)
            seccomp.set_mode_filter(program, flags)
            results = [call(number, args) for number, args in calls]
            with open(write_end, "w", closefd=False) as pipe:
                json.dump(results, pipe)
            os._exit(0)
        finally:
            os._exit(1)
    os.close(write_end)
    with open(read_end, "rb") as pipe_read:
        text = pipe_read.read()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code < 0:
        return code
    assert code == 0, "the child failed; its message is on stderr"
    found: list[int] = json.loads(text)
    return found
