"""The table of containers: who exists, under which name, with which user ids."""

from __future__ import annotations

import builtins
import sqlite3
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from proa.engine.names import generate_name, is_hex_prefix, validate_name
from proa.engine.state.records import (
    SELECT_CONTAINERS,
    container_record,
    container_row,
    encode,
)
from proa.engine.state.usernamespaces import UserNamespaceRanges
from proa.errors import Conflict, Internal, Invalid, NotFound

if TYPE_CHECKING:
    from proa.engine.config import ContainerConfig
    from proa.engine.model import ContainerRecord, ContainerState, EventRecord, Status
    from proa.engine.state.database import Database
    from proa.engine.state.events import EventTable

_GENERATED_NAME_ATTEMPTS = 20


class ContainerTable:
    """Containers by id and by name. Every call is one transaction, done when it returns."""

    def __init__(self, database: Database, events: EventTable) -> None:
        """Use the tables of an open database."""
        self._database = database
        self._events = events
        self._ranges = UserNamespaceRanges()

    def insert(
        self,
        record: ContainerRecord,
        events: Iterable[EventRecord] = (),
        *,
        durable: bool = True,
    ) -> ContainerRecord:
        """Make a container exist.

        Args:
            record: an empty ``name`` asks for a generated one; ``userns_base`` 0 asks for a free
                range of 65536 host ids, -1 for none.
            events: appended in the same transaction; those of this container get the attribute
                ``name`` if they lack it.
            durable: see :meth:`Database.transaction`.

        Returns:
            The record as stored, with name and range filled in.

        Raises:
            Conflict: the name or the id is in use.
            Invalid: the name has characters that names can't have.
            Exhausted: no range of host ids is free.
        """
        if record.name:
            validate_name(record.name)
        database = self._database
        with database.transaction(durable=durable):
            if record.userns_base == 0:
                record = msgspec.structs.replace(
                    record, userns_base=self._ranges.find_free(database, record.id)
                )
            record = self._insert_named(record) if record.name else self._insert_unnamed(record)
            for event in events:
                self._events.append_inside(_with_name(event, record))
        return record

    def update_state(
        self,
        container_id: str,
        state: ContainerState,
        events: Iterable[EventRecord] = (),
        *,
        expect: Collection[Status] | None = None,
        durable: bool = True,
    ) -> None:
        """Replace a container's state.

        Args:
            container_id: the full id.
            expect: write only if the stored status is one of these.

        Raises:
            NotFound: the container does not exist (any more).
            Conflict: the stored status is not expected.
        """
        text = encode(state, f"container {container_id}")
        database = self._database
        with database.transaction(durable=durable, spare=True):
            if expect is not None:
                status = self._status(container_id)
                if status not in expect:
                    raise Conflict(f"container {container_id[:12]} is {status}")
            changed = database.execute(
                "UPDATE containers SET status = ?, state = ? WHERE id = ?",
                (state.status, text, container_id),
            ).rowcount
            if not changed:
                raise _no_such_container(container_id)
            self._append(events)

    def set_config(
        self, container_id: str, config: ContainerConfig, events: Iterable[EventRecord] = ()
    ) -> None:
        """Replace a container's configuration (``update``).

        Raises:
            NotFound: the container does not exist.
        """
        text = encode(config, f"container {container_id}")
        database = self._database
        with database.transaction():
            changed = database.execute(
                "UPDATE containers SET config = ? WHERE id = ?", (text, container_id)
            ).rowcount
            if not changed:
                raise _no_such_container(container_id)
            self._append(events)

    def rename(self, container_id: str, name: str, events: Iterable[EventRecord] = ()) -> None:
        """Give a container another name.

        Raises:
            Conflict: the name is in use.
            Invalid: the name has characters that names can't have.
            NotFound: the container does not exist.
        """
        name = validate_name(name)
        database = self._database
        with database.transaction():
            try:
                changed = database.execute(
                    "UPDATE containers SET name = ? WHERE id = ?", (name, container_id)
                ).rowcount
            except sqlite3.IntegrityError as error:
                raise self._name_in_use(name) from error
            if not changed:
                raise _no_such_container(container_id)
            self._append(events)

    def delete(
        self,
        container_id: str,
        events: Iterable[EventRecord] = (),
        *,
        durable: bool = True,
    ) -> bool:
        """Forget a container; False (and no events) when it was not there."""
        database = self._database
        with database.transaction(durable=durable, spare=True):
            changed = database.execute(
                "DELETE FROM containers WHERE id = ?", (container_id,)
            ).rowcount
            if changed:
                self._append(events)
        return bool(changed)

    def find(self, reference: str) -> ContainerRecord | None:
        """Return the container of a full id, a name or an unambiguous id prefix, in that order.

        Raises:
            Invalid: several ids begin with ``reference``.
        """
        reference = reference.removeprefix("/")
        if len(reference) == 64 and is_hex_prefix(reference):
            rows = self._rows("WHERE id = ?", reference)
            if rows:
                return container_record(rows[0])
        rows = self._rows("WHERE name = ?", reference)
        if not rows and is_hex_prefix(reference):
            # "g" follows the hex digits.
            rows = self._rows("WHERE id >= ? AND id < ? LIMIT 2", reference, reference + "g")
        if len(rows) > 1:
            raise Invalid(
                f"the id prefix '{reference}' fits more than one container", "use more digits"
            )
        return container_record(rows[0]) if rows else None

    def get(self, reference: str) -> ContainerRecord:
        """Return what :meth:`find` returns.

        Raises:
            NotFound: there is no such container.
            Invalid: several ids begin with ``reference``.
        """
        record = self.find(reference)
        if record is None:
            raise _no_such_container(reference)
        return record

    def list(self, statuses: Collection[Status] | None = None) -> builtins.list[ContainerRecord]:
        """Return containers, newest first; only those of ``statuses`` if given."""
        if statuses is None:
            rows = self._rows("ORDER BY created_at_ns DESC, id")
        else:
            marks = ", ".join("?" * len(statuses))
            rows = self._rows(
                f"WHERE status IN ({marks}) ORDER BY created_at_ns DESC, id", *statuses
            )
        return [container_record(row) for row in rows]

    def using_image(self, image_id: str) -> builtins.list[str]:
        """Return the ids of the containers of an image."""
        rows = self._database.query(
            "SELECT id FROM containers WHERE image_id = ? ORDER BY id", (image_id,)
        )
        return [row[0] for row in rows]

    def _rows(self, clause: str, *parameters: object) -> builtins.list[tuple[Any, ...]]:
        return self._database.query(f"{SELECT_CONTAINERS} {clause}", parameters)

    def _status(self, container_id: str) -> str:
        rows = self._database.query("SELECT status FROM containers WHERE id = ?", (container_id,))
        if not rows:
            raise _no_such_container(container_id)
        return str(rows[0][0])

    def _append(self, events: Iterable[EventRecord]) -> None:
        for event in events:
            self._events.append_inside(event)

    def _insert_unnamed(self, record: ContainerRecord) -> ContainerRecord:
        for attempt in range(_GENERATED_NAME_ATTEMPTS):
            name = generate_name(attempt)
            if not self._database.query("SELECT 1 FROM containers WHERE name = ?", (name,)):
                return self._insert_named(msgspec.structs.replace(record, name=name))
        raise Conflict("no generated name is free", "choose one with --name")

    def _insert_named(self, record: ContainerRecord) -> ContainerRecord:
        try:
            self._database.execute(
                "INSERT INTO containers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", container_row(record)
            )
        except sqlite3.IntegrityError as error:
            if self._database.query("SELECT 1 FROM containers WHERE id = ?", (record.id,)):
                raise Conflict(f"container {record.id} exists already") from error
            raise self._name_in_use(record.name) from error
        return record

    def _name_in_use(self, name: str) -> Conflict | Internal:
        rows = self._database.query("SELECT id FROM containers WHERE name = ?", (name,))
        if not rows:
            return Internal(f"the record of container {name} breaks a rule of the database")
        return Conflict(
            f"the name '{name}' is in use by container {rows[0][0]}",
            "remove or rename that container, or choose another name",
        )


def _with_name(event: EventRecord, record: ContainerRecord) -> EventRecord:
    if event.actor_id != record.id or "name" in event.attributes:
        return event
    return msgspec.structs.replace(event, attributes={**event.attributes, "name": record.name})


def _no_such_container(reference: str) -> NotFound:
    return NotFound(f"no such container: {reference}", "`proa ps -a` lists all containers")
