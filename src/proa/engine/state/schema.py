"""The tables of ``proa.db``, one SQL script per schema version.

Documents (config, state, labels ...) are JSON text, so that SQLite's JSON functions can be used by
later migrations and a human can read them with the ``sqlite3`` shell. Columns beside a document
exist only where a query needs them.

A published script is never edited: a change is a new entry at the end of :data:`MIGRATIONS`.
"""

from __future__ import annotations

_V1 = """
CREATE TABLE containers (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    status TEXT NOT NULL,
    image_id TEXT NOT NULL,
    userns_base INTEGER UNIQUE,
    created_at_ns INTEGER NOT NULL,
    config TEXT NOT NULL,
    process TEXT NOT NULL,
    state TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE image_names (
    reference TEXT PRIMARY KEY,
    target TEXT NOT NULL,
    image_id TEXT NOT NULL,
    updated_at_ns INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE volumes (
    name TEXT PRIMARY KEY,
    driver TEXT NOT NULL,
    created_at_ns INTEGER NOT NULL,
    document TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE events (
    sequence INTEGER PRIMARY KEY,
    time_ns INTEGER NOT NULL,
    type TEXT NOT NULL,
    action TEXT NOT NULL,
    actor_id TEXT NOT NULL,
    attributes TEXT NOT NULL
);
"""

MIGRATIONS: tuple[str, ...] = (_V1,)
"""Script ``MIGRATIONS[n]`` takes a database from version ``n`` to version ``n + 1``."""
