"""Bringing ``proa.db`` to the schema of this release.

The version is SQLite's ``user_version``. All missing steps run in the write transaction that the
caller opened: a crash leaves the old version, complete. A database of a newer release is refused
untouched, because an older program would misread it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from proa.engine.state.schema import MIGRATIONS
from proa.errors import Unsupported


def read_version(connection: sqlite3.Connection) -> int:
    """Return the schema version of an open database; 0 for an empty one."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def migrate(connection: sqlite3.Connection, path: str, scripts: Sequence[str] = MIGRATIONS) -> int:
    """Run the missing migrations inside the caller's transaction.

    Args:
        connection: in a write transaction (two processes may open a new database at once).
        path: the database's file, for messages.
        scripts: all migrations, oldest first.

    Returns:
        The version that the database had before.

    Raises:
        Unsupported: the database was written by a newer release.
    """
    before = read_version(connection)
    if before > len(scripts):
        raise Unsupported(
            f"{path} has schema version {before}, this proa knows up to {len(scripts)}",
            "a newer proa wrote it: upgrade this one, or use another --root",
        )
    for version in range(before, len(scripts)):
        # executescript() would commit the caller's transaction first.
        for statement in _split(scripts[version]):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {version + 1}")
    return before


def _split(script: str) -> list[str]:
    statements: list[str] = []
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            statements.append(pending.strip())
            pending = ""
    if pending.strip():
        statements.append(pending.strip())
    return statements
