"""One disk joined from parts: a VMDK descriptor with a flat extent for each.

Source: VMware "Virtual Disk Format 5.0", text descriptor; only what QEMU's driver reads.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from proa.errors import Invalid, from_os_error
from proa.vm.qemu.machine import File, Source

SECTOR_BYTES = 512

_HEADER = """# Disk DescriptorFile
version=1
CID=fffffffe
parentCID=ffffffff
createType="twoGbMaxExtentFlat"

# Extent description
"""
_FOOTER = """
# The Disk Data Base
ddb.virtualHWVersion = "4"
ddb.geometry.cylinders = "1"
ddb.geometry.heads = "16"
ddb.geometry.sectors = "63"
ddb.adapterType = "ide"
"""


def write_descriptor(sources: Sequence[Source], paths: Sequence[str]) -> str:
    """Text of a descriptor.

    Args:
        sources: the parts, for their sizes.
        paths: how QEMU opens each of them.

    Raises:
        Invalid: a part is not a multiple of 512 bytes long.
        ProaError: a part cannot be looked at.
    """
    lines = []
    for source, path in zip(sources, paths, strict=True):
        size = _size_bytes(source)
        if size <= 0 or size % SECTOR_BYTES:
            raise Invalid(
                f"disk part {source} has {size} bytes, not a multiple of {SECTOR_BYTES}",
                "pad it",
            )
        lines.append(f'RW {size // SECTOR_BYTES} FLAT "{path}" 0')
    return _HEADER + "\n".join(lines) + "\n" + _FOOTER


def _size_bytes(source: Source) -> int:
    try:
        status = os.stat(source.path if isinstance(source, File) else source.fd)
    except OSError as error:
        raise from_os_error(error, "cannot look at a disk part") from error
    return status.st_size
