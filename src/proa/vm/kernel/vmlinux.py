"""The uncompressed kernel inside a bzImage.

qboot enters an ELF kernel at its PVH entry at once; a bzImage makes the guest unpack itself, which
costs a second under emulation.

Sources: ``Documentation/arch/x86/boot.rst`` (setup header), ``Documentation/arch/x86/pvh.rst``,
``xen/include/public/elfnote.h`` (XEN_ELFNOTE_PHYS32_ENTRY).
"""

from __future__ import annotations

import bz2
import lzma
import re
import struct
import sys
import zlib
from typing import Any

from proa.errors import Corrupt, Unsupported
from proa.vm.kernel import lz4

LIMIT_BYTES = 512 << 20
"""No kernel unpacks to more."""

_SETUP_SECTORS = 0x1F1
_HEADER_MAGIC = 0x202
_VERSION_POINTER = 0x20E
_PAYLOAD = 0x248
_RELEASE = re.compile(rb"[0-9]+\.[0-9]+[A-Za-z0-9.+~_-]*")
_BANNER = re.compile(rb"Linux version ([0-9]+\.[0-9]+[A-Za-z0-9.+~_-]*) ")


def extract_vmlinux(image: bytes) -> bytes:
    """Return the ELF kernel of an x86 kernel image (which may be one already).

    Raises:
        Corrupt: it is not a kernel image.
        Unsupported: it is packed with something unknown.
    """
    if image.startswith(b"\x7fELF"):
        return image
    if image[_HEADER_MAGIC : _HEADER_MAGIC + 4] != b"HdrS":
        raise Corrupt("not an x86 kernel image")
    sectors = image[_SETUP_SECTORS] or 4
    offset, length = struct.unpack_from("<II", image, _PAYLOAD)
    start = (sectors + 1) * 512 + offset
    payload = image[start : start + length]
    try:
        kernel = _unpack(payload)
    except (zlib.error, lzma.LZMAError, ValueError, EOFError, OSError) as error:
        raise Corrupt(f"the payload of the kernel image cannot be unpacked: {error}") from error
    if not kernel.startswith(b"\x7fELF"):
        raise Corrupt("the payload of the kernel image is no ELF file")
    return kernel


def has_pvh_entry(vmlinux: bytes) -> bool:
    """Whether a kernel says where a PVH loader enters it (Debian's kernels do)."""
    # The note: name size 4, description size 4 or 8, type 18, name "Xen".
    return any(struct.pack("<III", 4, size, 18) + b"Xen\0" in vmlinux for size in (4, 8))


def find_release(image: bytes) -> str:
    """Return the release (``uname -r``) that an image says it is; empty when it does not."""
    if image[_HEADER_MAGIC : _HEADER_MAGIC + 4] == b"HdrS":
        start = struct.unpack_from("<H", image, _VERSION_POINTER)[0] + 0x200
        match = _RELEASE.match(image, start)
    else:
        match = _BANNER.search(image)
        return match.group(1).decode() if match else ""
    return match.group().decode() if match else ""


def _unpack(payload: bytes) -> bytes:
    if payload.startswith(lz4.MAGIC):
        # The build appends the unpacked size.
        return lz4.decompress_legacy(payload[:-4], LIMIT_BYTES)
    if payload.startswith(b"\x28\xb5\x2f\xfd"):
        return bytes(_zstd_module().ZstdDecompressor().decompress(payload, LIMIT_BYTES))
    if payload.startswith(b"\x1f\x8b"):
        return zlib.decompressobj(31).decompress(payload, LIMIT_BYTES)
    if payload.startswith(b"\xfd7zXZ\0"):
        return lzma.LZMADecompressor().decompress(payload, LIMIT_BYTES)
    if payload.startswith(b"BZh"):
        return bz2.BZ2Decompressor().decompress(payload, LIMIT_BYTES)
    if payload.startswith(b"\x7fELF"):
        return payload
    raise Unsupported(f"the kernel image is packed with something unknown ({payload[:6].hex()})")


def _zstd_module() -> Any:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd
