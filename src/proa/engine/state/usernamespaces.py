"""Ranges of host user ids for containers.

Each container gets 65536 ids of its own, starting at a multiple of 65536 inside the range that
systemd reserves for containers (https://systemd.io/UIDS-GIDS: 524288 to 1879048191), minus what
``/etc/subuid`` and ``/etc/subgid`` give to users. The first candidate is derived from the
container's id, so that ranges are not reused one after the other and what is left of an old
container (a file in a bind mount) hardly ever belongs to the next one; then the next free one.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from proa.errors import Exhausted

if TYPE_CHECKING:
    from proa.engine.state.database import Database

RANGE_SIZE: Final = 65536
FIRST_BASE: Final = 524288
LAST_BASE: Final = 1879048191 + 1 - RANGE_SIZE
_SLOTS: Final = (LAST_BASE - FIRST_BASE) // RANGE_SIZE + 1
# A free slot is near the first candidate unless nearly all are taken.
_PROBES: Final = 8


class UserNamespaceRanges:
    """Finds free ranges; remembers the administrator's files until they change."""

    def __init__(self, files: tuple[str, ...] = ("/etc/subuid", "/etc/subgid")) -> None:
        """Use ``files`` in the format of subuid(5)."""
        self._files = files
        self._stamp: tuple[object, ...] | None = None
        self._reserved: list[tuple[int, int]] = []

    def find_free(self, database: Database, container_id: str) -> int:
        """Return the first id of a free range, inside the caller's write transaction.

        Raises:
            Exhausted: all 28664 ranges are taken.
        """
        self._refresh()
        start = int(container_id[:8], 16) % _SLOTS
        for slot in range(start, start + _PROBES):
            base = FIRST_BASE + slot % _SLOTS * RANGE_SIZE
            if not self._is_reserved(base) and not database.query(
                "SELECT 1 FROM containers WHERE userns_base = ?", (base,)
            ):
                return base
        taken = {row[0] for row in database.query("SELECT userns_base FROM containers")}
        for slot in range(start, start + _SLOTS):
            base = FIRST_BASE + slot % _SLOTS * RANGE_SIZE
            if base not in taken and not self._is_reserved(base):
                return base
        raise Exhausted(
            f"no range of {RANGE_SIZE} user ids is free between {FIRST_BASE} and "
            f"{LAST_BASE + RANGE_SIZE - 1}",
            "remove stopped containers, or entries of /etc/subuid and /etc/subgid",
        )

    def _is_reserved(self, base: int) -> bool:
        return any(first < base + RANGE_SIZE and base < end for first, end in self._reserved)

    def _refresh(self) -> None:
        stamp = tuple(_stamp(path) for path in self._files)
        if stamp != self._stamp:
            self._reserved = [item for path in self._files for item in _read_ranges(path)]
            self._stamp = stamp


def _stamp(path: str) -> tuple[int, int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _read_ranges(path: str) -> list[tuple[int, int]]:
    """Return (first, end) of each well-formed line ``user:first:count``."""
    try:
        with open(path, encoding="utf-8", errors="replace") as lines:
            fields = [line.strip().split(":") for line in lines]
    except OSError:
        return []
    return [
        (int(first), int(first) + int(count))
        for first, count in (parts[1:] for parts in fields if len(parts) == 3)
        if first.isdecimal() and count.isdecimal()
    ]
