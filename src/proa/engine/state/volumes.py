"""The table of named volumes. Their data is under ``<root>/volumes/<name>/_data``."""

from __future__ import annotations

import builtins
import sqlite3
from typing import TYPE_CHECKING, Any

import msgspec

from proa.engine.state.records import decode, encode
from proa.errors import Conflict, NotFound

if TYPE_CHECKING:
    from proa.engine.state.database import Database


class VolumeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One volume.

    Attributes:
        driver: ``local``.
        options: the driver's options (``type``, ``o``, ``device`` of the local driver).
        anonymous: made for a container without a name; removed with it (``rm -v``, ``--rm``).
    """

    name: str
    created_at_ns: int
    driver: str = "local"
    labels: dict[str, str] = {}
    options: dict[str, str] = {}
    anonymous: bool = False


class _Document(msgspec.Struct, omit_defaults=True):
    labels: dict[str, str] = {}
    options: dict[str, str] = {}
    anonymous: bool = False


_document = msgspec.json.Decoder(_Document)
_SELECT = "SELECT name, driver, created_at_ns, document FROM volumes"


class VolumeTable:
    """Volumes by name. Every call is one transaction, durable when it returns."""

    def __init__(self, database: Database) -> None:
        """Use the table of an open database."""
        self._database = database

    def insert(self, record: VolumeRecord) -> None:
        """Make a volume exist.

        Raises:
            Conflict: the name is in use.
        """
        document = _Document(record.labels, record.options, record.anonymous)
        with self._database.transaction():
            try:
                self._database.execute(
                    "INSERT INTO volumes VALUES (?, ?, ?, ?)",
                    (
                        record.name,
                        record.driver,
                        record.created_at_ns,
                        encode(document, f"volume {record.name}"),
                    ),
                )
            except sqlite3.IntegrityError as error:
                raise Conflict(f"volume {record.name} exists already") from error

    def find(self, name: str) -> VolumeRecord | None:
        """Return the volume of exactly this name."""
        rows = self._database.query(f"{_SELECT} WHERE name = ?", (name,))
        return _record(rows[0]) if rows else None

    def get(self, name: str) -> VolumeRecord:
        """Return the volume of exactly this name.

        Raises:
            NotFound: there is no such volume.
        """
        record = self.find(name)
        if record is None:
            raise NotFound(f"no such volume: {name}", "`proa volume ls` lists all volumes")
        return record

    def list(self) -> builtins.list[VolumeRecord]:
        """Return all volumes by name."""
        return [_record(row) for row in self._database.query(f"{_SELECT} ORDER BY name")]

    def delete(self, name: str) -> bool:
        """Forget a volume; False when it was not there."""
        with self._database.transaction(spare=True):
            cursor = self._database.execute("DELETE FROM volumes WHERE name = ?", (name,))
        return cursor.rowcount > 0


def _record(row: tuple[Any, ...]) -> VolumeRecord:
    name, driver, created_at_ns, text = row
    document = decode(_document, text, f"volume {name}")
    return VolumeRecord(
        name=name,
        created_at_ns=created_at_ns,
        driver=driver,
        labels=document.labels,
        options=document.options,
        anonymous=document.anonymous,
    )
