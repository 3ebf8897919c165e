"""Extended headers: the records of POSIX pax (pax(1), "pax Extended Header")."""

from __future__ import annotations

from collections.abc import Iterator

from proa.errors import Corrupt
from proa.image.layers.entry import Entry
from proa.image.limits import Limits

XATTR_PREFIX = b"SCHILY.xattr."
SPARSE_PREFIX = b"GNU.sparse."

# Seconds that every filesystem and utimensat(2) can take; what lies outside is clamped, as the
# kernel does with what a filesystem cannot store.
_MTIME_RANGE_S = 1 << 34
_MAX_LENGTH_DIGITS = 10
_NANOSECOND_DIGITS = 9


def parse_records(data: bytes, what: str) -> Iterator[tuple[bytes, bytes]]:
    """Yield key and value of each ``<length> <key>=<value>\\n``.

    Raises:
        Corrupt: a length that does not fit, or no key.
    """
    position, end = 0, len(data)
    while position < end:
        space = data.find(b" ", position, position + _MAX_LENGTH_DIGITS + 1)
        digits = data[position:space] if space > 0 else b""
        length = int(digits) if digits.isdigit() else 0
        last = position + length - 1
        equals = data.find(b"=", space + 1, max(last, 0)) if length else -1
        if equals <= space + 1 or last >= end or data[last] != 0x0A:
            raise Corrupt(f"{what} has a malformed extended header")
        yield data[space + 1 : equals], data[equals + 1 : last]
        position = last + 1


class Extended:
    """The records that apply to the next entry."""

    __slots__ = ("_limits", "_what", "records", "sparse_pairs", "xattrs")

    def __init__(self, what: str, limits: Limits) -> None:
        """Hold nothing; ``what`` names the archive in messages."""
        self._what = what
        self._limits = limits
        self.records: dict[bytes, bytes] = {}
        self.xattrs: dict[str, bytes] = {}
        self.sparse_pairs: list[int] = []

    def add(self, data: bytes) -> None:
        """Take the records of one header; a later record replaces an earlier one.

        Raises:
            Corrupt: malformed, or an attribute longer than the kernel's limit.
        """
        for key, value in parse_records(data, self._what):
            if key.startswith(XATTR_PREFIX):
                if len(value) > self._limits.xattr_bytes:
                    raise Corrupt(
                        f"{self._what} has an extended attribute of {len(value)} bytes,"
                        f" more than {self._limits.xattr_bytes}"
                    )
                self.xattrs[key[len(XATTR_PREFIX) :].decode("utf-8", "surrogateescape")] = value
            elif key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
                # Format 0.0 repeats the two keys, one pair for each piece of data.
                self.sparse_pairs.append(parse_number(value, self._what))
            else:
                self.records[key] = value

    def apply(self, entry: Entry) -> None:
        """Override what the header says; an empty value means the header's (pax(1)).

        Raises:
            Corrupt: a malformed number.
        """
        for key, value in self.records.items():
            if not value:
                continue
            if key == b"path":
                entry.name = value
            elif key == b"linkpath":
                entry.link = value
            elif key == b"size":
                entry.size = entry.real_size = parse_number(value, self._what)
            elif key == b"uid":
                entry.uid = parse_number(value, self._what)
            elif key == b"gid":
                entry.gid = parse_number(value, self._what)
            elif key == b"mtime":
                entry.mtime_ns = parse_time_ns(value, self._what)
        if self.xattrs:
            entry.xattrs = self.xattrs


def parse_number(value: bytes, what: str) -> int:
    """Read a decimal number of at most 63 bits.

    Raises:
        Corrupt: it is none.
    """
    if not value.isdigit() or len(value) > 19 or int(value) >= 1 << 63:
        raise Corrupt(f"{what} has the malformed number {value[:40]!r} in an extended header")
    return int(value)


def parse_time_ns(value: bytes, what: str) -> int:
    """Read seconds with an optional fraction and sign; digits below a nanosecond are dropped.

    Raises:
        Corrupt: it is none.
    """
    negative = value.startswith(b"-")
    whole, _, fraction = value[negative:].partition(b".")
    if not whole.isdigit() or (fraction and not fraction.isdigit()) or len(whole) > 19:
        raise Corrupt(f"{what} has the malformed time {value[:40]!r}")
    padded = fraction[:_NANOSECOND_DIGITS].ljust(_NANOSECOND_DIGITS, b"0")
    time_ns = int(whole) * 1_000_000_000 + int(padded)
    return clamp_time_ns(-time_ns if negative else time_ns)


def clamp_time_ns(time_ns: int) -> int:
    """Keep a time within what utimensat(2) takes everywhere."""
    limit = _MTIME_RANGE_S * 1_000_000_000
    return max(-limit, min(limit, time_ns))
