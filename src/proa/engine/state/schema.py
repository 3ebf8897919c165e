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

# The triggers release a container's addresses and ports in the transaction that records its end.
_NETWORKS = """
CREATE TABLE networks (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    created_at_ns INTEGER NOT NULL,
    document TEXT NOT NULL,
    last4 TEXT NOT NULL,
    last6 TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE endpoints (
    network_id TEXT NOT NULL,
    container_id TEXT NOT NULL,
    position INTEGER NOT NULL,
    address4 TEXT,
    address6 TEXT,
    settings TEXT NOT NULL,
    PRIMARY KEY (container_id, network_id)
) WITHOUT ROWID;

CREATE UNIQUE INDEX endpoints_address4 ON endpoints (network_id, address4);

CREATE UNIQUE INDEX endpoints_address6 ON endpoints (network_id, address6);

CREATE TABLE aliases (
    network_id TEXT NOT NULL,
    name TEXT NOT NULL,
    container_id TEXT NOT NULL,
    PRIMARY KEY (network_id, name, container_id)
) WITHOUT ROWID;

CREATE TABLE published_ports (
    container_id TEXT NOT NULL,
    protocol TEXT NOT NULL,
    host_ip TEXT NOT NULL,
    host_port INTEGER NOT NULL,
    container_port INTEGER NOT NULL,
    PRIMARY KEY (container_id, protocol, host_ip, host_port)
) WITHOUT ROWID;

CREATE TRIGGER containers_removed AFTER DELETE ON containers BEGIN
    DELETE FROM endpoints WHERE container_id = OLD.id;
    DELETE FROM published_ports WHERE container_id = OLD.id;
END;

CREATE TRIGGER containers_ended AFTER UPDATE OF status ON containers
WHEN NEW.status IN ('created', 'exited', 'dead') BEGIN
    UPDATE endpoints SET address4 = NULL, address6 = NULL WHERE container_id = NEW.id;
    DELETE FROM published_ports WHERE container_id = NEW.id;
END;

CREATE TRIGGER endpoints_removed AFTER DELETE ON endpoints BEGIN
    DELETE FROM aliases WHERE network_id = OLD.network_id AND container_id = OLD.container_id;
END;
"""

_VIRTUAL_MACHINES = """
CREATE TABLE virtual_machines (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    status TEXT NOT NULL,
    uid INTEGER NOT NULL UNIQUE,
    created_at_ns INTEGER NOT NULL,
    config TEXT NOT NULL,
    state TEXT NOT NULL
) WITHOUT ROWID;
"""

_INDEXES = """
ALTER TABLE image_names ADD COLUMN index_digest TEXT NOT NULL DEFAULT '';
"""

MIGRATIONS: tuple[str, ...] = (_V1, _NETWORKS, _VIRTUAL_MACHINES, _INDEXES)
"""Script ``MIGRATIONS[n]`` takes a database from version ``n`` to version ``n + 1``."""
