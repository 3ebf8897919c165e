"""The table of image names; implements :class:`proa.image.references.References`."""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING

from proa.image.references import ImageRecord

if TYPE_CHECKING:
    from proa.engine.state.database import Database

_SELECT = "SELECT reference, target, image_id, updated_at_ns, index_digest FROM image_names"


class ImageNameTable:
    """Names of images. Every call is one transaction, durable when it returns."""

    def __init__(self, database: Database) -> None:
        """Use the table of an open database."""
        self._database = database

    def find(self, reference: str) -> ImageRecord | None:
        """Return the record of exactly this normalized name."""
        rows = self._database.query(f"{_SELECT} WHERE reference = ?", (reference,))
        return _record(*rows[0]) if rows else None

    def list(self) -> builtins.list[ImageRecord]:
        """Return all names, oldest move first."""
        rows = self._database.query(f"{_SELECT} ORDER BY updated_at_ns, reference")
        return [_record(*row) for row in rows]

    def put(self, record: ImageRecord) -> ImageRecord | None:
        """Create or move a name; return what it pointed at before."""
        with self._database.transaction():
            before = self.find(record.reference)
            self._database.execute(
                "INSERT OR REPLACE INTO image_names VALUES (?, ?, ?, ?, ?)",
                (
                    record.reference,
                    record.target,
                    record.image_id,
                    record.updated_at_ns,
                    record.index,
                ),
            )
        return before

    def remove(self, reference: str) -> bool:
        """Forget a name; False when it was not there."""
        with self._database.transaction(spare=True):
            cursor = self._database.execute(
                "DELETE FROM image_names WHERE reference = ?", (reference,)
            )
        return cursor.rowcount > 0


def _record(
    reference: str, target: str, image_id: str, updated_at_ns: int, index: str
) -> ImageRecord:
    return ImageRecord(
        reference=reference,
        target=target,
        image_id=image_id,
        updated_at_ns=updated_at_ns,
        index=index,
    )
