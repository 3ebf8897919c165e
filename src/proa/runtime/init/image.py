"""The init of ``--init`` as a file: machine code in the smallest ELF that the kernel takes.

Some 400 bytes that depend on nothing: no libc, no loader, no file of the host. Sources: elf(5),
``linux/elf.h``; the code is in ``x86_64.s`` and ``aarch64.s``.
"""

from __future__ import annotations

import struct

from proa.errors import Unsupported
from proa.linux.syscalls import MACHINE
from proa.runtime.init.program import CODE

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_MACHINES = {"x86_64": 62, "aarch64": 183}
_BASE = 0x400000
_EXECUTABLE = 2
_LOAD = 1
_READ_EXECUTE = 5
_PAGE_BYTES = 0x10000  # the largest that aarch64 has


def build_init(machine: str = MACHINE) -> bytes:
    """Return the program for a machine, as uname(2) names it.

    Raises:
        Unsupported: there is none for it.
    """
    if machine not in CODE:
        raise Unsupported(
            f"there is no init for {machine}", "leave out --init, or bring one in the image"
        )
    code = bytes.fromhex(CODE[machine])
    start = _HEADER.size + _SEGMENT.size
    size = start + len(code)
    header = _HEADER.pack(
        b"\x7fELF\x02\x01\x01".ljust(16, b"\0"), _EXECUTABLE, _MACHINES[machine], 1,
        _BASE + start, _HEADER.size, 0, 0, _HEADER.size, _SEGMENT.size, 1, 0, 0, 0,
    )  # fmt: skip
    segment = _SEGMENT.pack(_LOAD, _READ_EXECUTE, 0, _BASE, _BASE, size, size, _PAGE_BYTES)
    return header + segment + code
