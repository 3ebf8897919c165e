"""One entry of a tar archive, as the formats all describe it."""

from __future__ import annotations

REGULAR = b"0"
LINK = b"1"
SYMLINK = b"2"
CHARACTER = b"3"
BLOCK = b"4"
DIRECTORY = b"5"
FIFO = b"6"


class Refusal(ValueError):
    """What an entry may not ask for, as a noun phrase (``a path with '..'``).

    Whoever knows the entry and its archive makes a sentence of it.
    """


class Entry:
    """What a header, with the extended headers before it, says.

    Attributes:
        name: path with the slashes as they are, no NUL.
        kind: one of the constants of this module.
        mode: permission, setuid, setgid and sticky bits.
        uid, gid: 0 to 2**32 - 2.
        size: bytes of data that follow in the archive.
        real_size: bytes of the file; more than ``size`` when it is sparse.
        mtime_ns: nanoseconds since the epoch.
        link: target of a hard or symbolic link.
        major, minor: of a device.
        xattrs: name to value; None for none.
        extents: of a sparse file: offset and length of each piece of data, flat, in order.
    """

    __slots__ = (
        "extents",
        "gid",
        "kind",
        "link",
        "major",
        "minor",
        "mode",
        "mtime_ns",
        "name",
        "real_size",
        "size",
        "uid",
        "xattrs",
    )

    def __init__(
        self,
        name: bytes,
        kind: bytes,
        mode: int = 0o644,
        uid: int = 0,
        gid: int = 0,
        size: int = 0,
        mtime_ns: int = 0,
        link: bytes = b"",
        *,
        major: int = 0,
        minor: int = 0,
        xattrs: dict[str, bytes] | None = None,
    ) -> None:
        """Describe an entry; the file's size is the data's unless changed afterwards."""
        self.name = name
        self.kind = kind
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.size = size
        self.real_size = size
        self.mtime_ns = mtime_ns
        self.link = link
        self.major = major
        self.minor = minor
        self.xattrs = xattrs
        self.extents: list[int] | None = None
