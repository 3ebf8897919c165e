"""A unified kernel image: systemd's EFI stub with the kernel, its parameters and its initrd inside.

The firmware starts it like any program; the stub hands what it carries to the kernel.

Sources: "Unified Kernel Image" specification (uapi-group.org); PE format (section table).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from proa.errors import Corrupt

_SECTION = struct.Struct("<8sIIIIIIHHI")
_READ_DATA = 0x40000040
"""IMAGE_SCN_CNT_INITIALIZED_DATA | IMAGE_SCN_MEM_READ."""
_OPTIONAL_AT = 24
_PAGE_BYTES = 4096


def build_uki(stub: bytes, sections: Sequence[tuple[str, bytes]]) -> bytes:
    """Append sections to an EFI stub.

    Args:
        stub: ``linuxx64.efi.stub`` or its like.
        sections: name and content: ``.cmdline``, ``.initrd``, ``.linux`` (last, as kernels want
            room behind them).

    Raises:
        Corrupt: the stub is no PE program, or its header has no room for the sections.
    """
    image = bytearray(stub)
    if image[:2] != b"MZ" or len(image) < 0x40:
        raise Corrupt("the EFI stub is not a PE program")
    (pe,) = struct.unpack_from("<I", image, 0x3C)
    if image[pe : pe + 4] != b"PE\0\0":
        raise Corrupt("the EFI stub is not a PE program")
    (count,) = struct.unpack_from("<H", image, pe + 6)
    (optional_bytes,) = struct.unpack_from("<H", image, pe + 20)
    optional = pe + _OPTIONAL_AT
    section_align, file_align = struct.unpack_from("<II", image, optional + 32)
    (headers_bytes,) = struct.unpack_from("<I", image, optional + 60)
    table = optional + optional_bytes
    if table + (count + len(sections)) * _SECTION.size > headers_bytes:
        raise Corrupt("the header of the EFI stub has no room for more sections")
    align = max(section_align, _PAGE_BYTES)
    end = 0
    for index in range(count):
        fields = _SECTION.unpack_from(image, table + index * _SECTION.size)
        end = max(end, fields[2] + max(fields[1], fields[3]))
    for name, content in sections:
        address = _round_up(end, align)
        raw_bytes = _round_up(len(content), file_align)
        image += bytes(-len(image) % file_align)
        header = _SECTION.pack(
            name.encode(), len(content), address, raw_bytes, len(image), 0, 0, 0, 0, _READ_DATA
        )
        image[table + count * _SECTION.size : table + (count + 1) * _SECTION.size] = header
        image += content.ljust(raw_bytes, b"\0")
        count += 1
        end = address + len(content)
    struct.pack_into("<H", image, pe + 6, count)
    struct.pack_into("<I", image, optional + 56, _round_up(end, align))
    return bytes(image)


def _round_up(value: int, to: int) -> int:
    return -(-value // to) * to
