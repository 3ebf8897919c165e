"""Which extended attributes of an archive reach the disk, and which of a file reach an archive.

An allowlist: ``trusted.*`` and overlayfs' own are control input of this host's kernel, labels of
security modules belong to the host's policy. What is left are the file capability, POSIX access
control lists, and what users store.
"""

from __future__ import annotations

import errno
import os

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
        OSError: as setxattr(2); a name that is too long is ERANGE.
    """
    for name, value in xattrs.items():
        if not is_portable(name):
            continue
        if len(os.fsencode(name)) > _MAX_NAME_BYTES:
            raise OSError(errno.ERANGE, os.strerror(errno.ERANGE), name[:80])
        try:
            os.setxattr(fd, name, value)
        except OSError as error:
            # ext4 says ENOSPC when an attribute does not fit the one block that it has for them.
            if error.errno == errno.ENOSPC and os.fstatvfs(fd).f_bavail:
                raise OSError(errno.E2BIG, os.strerror(errno.E2BIG), name) from error
            raise


def read_xattrs(fd: int) -> dict[str, bytes]:
    """Return those that are portable of an open file, sorted by name."""
    try:
        names = os.listxattr(fd)
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            return {}
        raise
    return {name: os.getxattr(fd, name) for name in sorted(names) if is_portable(name)}
