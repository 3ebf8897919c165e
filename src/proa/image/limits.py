"""What an archive may ask for. Everything in it was written by a stranger.

The promise (attacks.md): the engine stays below 256 MiB and says clearly why it refuses. Bytes on
disk are bounded by the filesystem: ENOSPC is an error like any other and leaves nothing behind.
"""

from __future__ import annotations

import msgspec

MIB = 1024 * 1024
GIB = 1024 * MIB


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one layer or archive; tests lower them.

    Attributes:
        path_bytes: PATH_MAX less the NUL: no honest layer can hold what no program can name.
        component_bytes: NAME_MAX of every Linux filesystem.
        extended_header_bytes: of one entry; Go's reader, and so Docker, takes no more.
        xattr_bytes: XATTR_SIZE_MAX, the kernel's own bound of one value.
        sparse_extents: of one file; 16 bytes of memory each.
        entries: directory entries, made ones included: what ext4 has inodes for, and a bound on the
            time that a small archive can cost.
        implied_bytes: paths of directories that no entry describes, kept until the layer's parents
            are there to ask.
        ratio: most that compressed data may expand once ``ratio_floor_bytes`` are out; text reaches
            20, deflate's own bound is 1032, zstd's is far above.
        ratio_floor_bytes: below it any ratio is fine: nothing fills a disk with a gigabyte.
        zstd_window_log: 2**n bytes of history are kept in memory for each stream; 26 covers all
            levels but ``--ultra -22`` and ``--long=27``.
        document_bytes: all JSON documents of one archive together.
        members: of one image archive (not of a layer).
    """

    path_bytes: int = 4095
    component_bytes: int = 255
    extended_header_bytes: int = 1 * MIB
    xattr_bytes: int = 65536
    sparse_extents: int = 262_144
    entries: int = 16_000_000
    implied_bytes: int = 16 * MIB
    ratio: int = 200
    ratio_floor_bytes: int = 1 * GIB
    zstd_window_log: int = 26
    document_bytes: int = 32 * MIB
    members: int = 16_384


DEFAULT = Limits()
