"""Which extended attributes of an archive reach the disk, and which of a file reach an archive.

An allowlist: ``trusted.*`` and overlayfs' own are control input of this host's kernel, labels of
security modules belong to the host's policy. What is left are the file capability, POSIX access
control lists, and what users store.
"""

from __future__ import annotations

import errno
import os

from proa.image.layers.entry import Refusal
from proa.image.layers.whiteout import OVERLAY_XATTRS

CAPABILITY = "security.capability"
_ALLOWED = frozenset({CAPABILITY, "system.posix_acl_access", "system.posix_acl_default"})
_MAX_NAME_BYTES = 255  # XATTR_NAME_MAX


def is_portable(name: str) -> bool:
    """Say whether an attribute is part of an image."""
    if name.startswith("user."):
        return not name.startswith(OVERLAY_XATTRS) and "\0" not in name
    return name in _ALLOWED


def write_xattrs(fd: int, xattrs: dict[str, bytes]) -> None:
    """Set those that are portable on an open file, after its owner: chown drops capabilities.

    Raises:
        Refusal: too large for this filesystem, or its name for any.
        OSError: as setxattr(2).
    """
    for name, value in xattrs.items():
        if not is_portable(name):
            continue
        if len(os.fsencode(name)) > _MAX_NAME_BYTES:
            raise Refusal(f"an attribute with a name of {len(os.fsencode(name))} bytes")
        try:
            os.setxattr(fd, name, value)
        except OSError as error:
            # ext4 says ENOSPC when an attribute does not fit the one block that it has for them.
            full = error.errno == errno.ENOSPC and not os.fstatvfs(fd).f_bavail
            if full or error.errno not in (errno.ENOSPC, errno.E2BIG, errno.ERANGE):
                raise
            raise Refusal(
                f"the attribute {name} of {len(value)} bytes, more than this filesystem holds"
            ) from error


def read_xattrs(fd: int) -> dict[str, bytes]:
    """Return those that are portable of an open file, sorted by name."""
    try:
        names = os.listxattr(fd)
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            return {}
        raise
    return {name: os.getxattr(fd, name) for name in sorted(names) if is_portable(name)}
