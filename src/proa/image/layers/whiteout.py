"""Whiteouts: how a layer says that something of its parents is gone.

In an archive (OCI image spec, "Whiteouts") an empty file ``.wh.<name>`` hides ``<name>`` and
``.wh..wh..opq`` hides everything that a directory had below. On disk, overlayfs takes a character
device 0:0 and the xattr ``user.overlay.opaque`` (kernel, "overlayfs", ``userxattr``). Neither form
may pass through as itself: an archive's 0:0 device or overlay xattr would be control input, and a
file named ``.wh.x`` cannot be expressed in a layer at all.
"""

from __future__ import annotations

import os
import stat
from typing import Literal

PREFIX = b".wh."
OPAQUE_MARKER = b".wh..wh..opq"
_AUFS_PREFIX = b".wh..wh."

DEVICE = 0  # makedev(0, 0)
OPAQUE_XATTR = "user.overlay.opaque"
OPAQUE_VALUE = b"y"
OVERLAY_XATTRS = ("user.overlay.", "trusted.overlay.")

Kind = Literal["plain", "whiteout", "opaque", "aufs", "invalid"]


def classify(name: bytes) -> tuple[Kind, bytes]:
    """Say what the last component of an archive's path means.

    Returns:
        ``plain``; ``whiteout`` with the hidden name; ``opaque``; ``aufs`` for the bookkeeping of
        that filesystem, which is to be skipped; ``invalid`` for a whiteout of nothing.
    """
    if not name.startswith(PREFIX):
        return "plain", name
    if name == OPAQUE_MARKER:
        return "opaque", b""
    if name.startswith(_AUFS_PREFIX):
        return "aufs", b""
    hidden = name[len(PREFIX) :]
    if hidden in (b"", b".", b".."):
        return "invalid", b""
    return "whiteout", hidden


def is_whiteout(mode: int, rdev: int) -> bool:
    """Say whether a file with this ``st_mode`` and ``st_rdev`` is a whiteout on disk."""
    return stat.S_ISCHR(mode) and rdev == DEVICE


def is_opaque(directory: int) -> bool:
    """Say whether a layer's directory (any descriptor, also O_PATH) hides what is below it."""
    try:
        return os.getxattr(f"/proc/self/fd/{directory}", OPAQUE_XATTR) == OPAQUE_VALUE
    except OSError:
        # No such attribute, or a filesystem without any.
        return False
