"""Signal dispositions of the test process that Python's own interface does not reach."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager

from proa.linux.syscalls import call, number

_SIG_IGN = 1
_SIGSET_BYTES = 8
_ACTION_BYTES = 32


@contextmanager
def ignored(signal: int) -> Iterator[None]:
    """Ignore a signal in the block; also those the C library keeps to itself (32 and 33)."""
    before = bytes(_ACTION_BYTES)
    ignore = struct.pack("<QQQQ", _SIG_IGN, 0, 0, 0)
    call(number("rt_sigaction"), signal, ignore, before, _SIGSET_BYTES)
    try:
        yield
    finally:
        call(number("rt_sigaction"), signal, before, None, _SIGSET_BYTES)
