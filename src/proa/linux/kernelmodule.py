"""Loading kernel modules (finit_module(2))."""

from __future__ import annotations

import os

from proa.linux.syscalls import call, number


def load_module(path: str) -> None:
    """Load the module in a file; one that is loaded already is not an error.

    Raises:
        OSError: what the kernel answered.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        call(number("finit_module"), fd, b"", 0)
    except FileExistsError:
        pass
    finally:
        os.close(fd)
