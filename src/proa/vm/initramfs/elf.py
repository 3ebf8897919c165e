"""What the initramfs needs to know of ELF files (elf(5), 64 bits, little-endian): program
interpreter, shared object name, the ``.modinfo`` of kernel modules; and making them smaller.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from proa.errors import Corrupt

_MAGIC = b"\x7fELF\x02\x01"
_PROGRAM = struct.Struct("<IIQQQQQQ")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_DYNAMIC = struct.Struct("<QQ")
_PT_DYNAMIC = 2
_PT_INTERP = 3
_DT_STRTAB = 5
_DT_SONAME = 14
_PT_LOAD = 1
_SIGNATURE = b"~Module signature appended~\n"
_SIGNATURE_HEADER_BYTES = 12


class _Segment(NamedTuple):
    kind: int
    offset: int
    address: int
    file_bytes: int


class _Section(NamedTuple):
    name: str
    header: int
    offset: int
    size: int


def find_interpreter(data: bytes) -> str:
    """Return the path of the program's dynamic loader; empty for a static one.

    Raises:
        Corrupt: not an ELF file of this kind.
    """
    for segment in _segments(data):
        if segment.kind == _PT_INTERP:
            return _text(data, segment.offset)
    return ""


def find_soname(data: bytes) -> str:
    """Return the name that others need this shared object by; empty if it has none.

    Raises:
        Corrupt: not an ELF file of this kind.
    """
    segments = _segments(data)
    dynamic = next((item for item in segments if item.kind == _PT_DYNAMIC), None)
    if dynamic is None:
        return ""
    values: dict[int, int] = {}
    try:
        for offset in range(dynamic.offset, dynamic.offset + dynamic.file_bytes, _DYNAMIC.size):
            tag, value = _DYNAMIC.unpack_from(data, offset)
            values.setdefault(tag, value)
    except (struct.error, OverflowError) as error:
        raise Corrupt("an ELF file ends inside its dynamic section") from error
    if _DT_SONAME not in values or _DT_STRTAB not in values:
        return ""
    table = values[_DT_STRTAB]
    for segment in segments:
        if segment.kind == _PT_LOAD and 0 <= table - segment.address < segment.file_bytes:
            return _text(data, table - segment.address + segment.offset + values[_DT_SONAME])
    return ""


def strip(data: bytes) -> bytes:
    """Return an executable or shared object without what is only for linkers and debuggers.

    Everything behind the last segment goes, and the section headers with it.

    Raises:
        Corrupt: not an ELF file of this kind.
    """
    end = max((item.offset + item.file_bytes for item in _segments(data)), default=len(data))
    kept = bytearray(data[:end])
    struct.pack_into("<Q", kept, 0x28, 0)
    struct.pack_into("<HH", kept, 0x3C, 0, 0)
    return bytes(kept)


def parse_modinfo(data: bytes) -> dict[str, list[str]]:
    """Return what a kernel module says of itself: ``depends``, ``alias``, ``softdep`` ...

    Raises:
        Corrupt: not a kernel module.
    """
    for section in _sections(data):
        if section.name == ".modinfo":
            found: dict[str, list[str]] = {}
            for entry in data[section.offset : section.offset + section.size].split(b"\0"):
                name, equals, value = entry.decode("utf-8", "replace").partition("=")
                if equals:
                    found.setdefault(name, []).append(value)
            return found
    raise Corrupt("a kernel module has no .modinfo section")


def strip_module(data: bytes) -> bytes:
    """Return a kernel module without its signature and type information.

    Verifying and parsing them takes the guest a good part of the time that loading takes; the
    kernel in the guest is our own and what it loads comes from its own package.
    """
    if data.endswith(_SIGNATURE):
        at = len(data) - len(_SIGNATURE)
        (size,) = struct.unpack_from(">I", data, at - 4)
        data = data[: at - _SIGNATURE_HEADER_BYTES - size]
    kept = bytearray(data)
    for section in _sections(data):
        if section.name == ".BTF":
            struct.pack_into("<Q", kept, section.header + 0x20, 0)
    return bytes(kept)


def _segments(data: bytes) -> list[_Segment]:
    _check(data)
    try:
        (start,) = struct.unpack_from("<Q", data, 0x20)
        size, count = struct.unpack_from("<HH", data, 0x36)
        segments = []
        for index in range(count):
            kind, _, offset, address, _, file_bytes, _, _ = _PROGRAM.unpack_from(
                data, start + index * size
            )
            segments.append(_Segment(kind, offset, address, file_bytes))
    except (struct.error, OverflowError) as error:
        raise Corrupt("an ELF file ends inside its program headers") from error
    return segments


def _sections(data: bytes) -> list[_Section]:
    _check(data)
    try:
        (start,) = struct.unpack_from("<Q", data, 0x28)
        size, count, names_index = struct.unpack_from("<HHH", data, 0x3A)
        headers = [_SECTION.unpack_from(data, start + index * size) for index in range(count)]
        names = headers[names_index][4] if count else 0
        return [
            _Section(_text(data, names + header[0]), start + index * size, header[4], header[5])
            for index, header in enumerate(headers)
        ]
    except (struct.error, IndexError, OverflowError) as error:
        raise Corrupt("an ELF file ends inside its section headers") from error


def _check(data: bytes) -> None:
    if data[: len(_MAGIC)] != _MAGIC:
        raise Corrupt("not a 64-bit little-endian ELF file")


def _text(data: bytes, offset: int) -> str:
    end = data.find(b"\0", offset)
    if end < 0:
        raise Corrupt("an ELF file ends inside a name")
    return data[offset:end].decode("utf-8", "replace")
