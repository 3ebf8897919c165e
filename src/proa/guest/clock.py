"""What a guest must not share with another that started from the same image of its memory."""

from __future__ import annotations

import fcntl
import os
import time

_RNDRESEEDCRNG = 0x5207
_NS = 1_000_000_000


def set_clock(time_ns: int) -> None:
    """Set the wall clock to the host's, nanoseconds since the epoch."""
    time.clock_settime_ns(time.CLOCK_REALTIME, time_ns)


def add_entropy(seed: bytes) -> None:
    """Mix the host's random bytes in and derive new keys from now on (random(4))."""
    fd = os.open("/dev/urandom", os.O_RDWR | os.O_CLOEXEC)
    try:
        os.write(fd, seed)
        fcntl.ioctl(fd, _RNDRESEEDCRNG)
    finally:
        os.close(fd)
