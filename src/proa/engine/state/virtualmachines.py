"""The table of full virtual machines. Their files are under ``<root>/vms/<id>``."""

from __future__ import annotations

import builtins
import sqlite3
from typing import TYPE_CHECKING, Any, Final

import msgspec

from proa.engine.names import is_hex_prefix
from proa.engine.state.records import decode, encode
from proa.engine.vmmodel import VmConfig, VmRecord, VmState
from proa.errors import Conflict, Exhausted, Invalid, NotFound

if TYPE_CHECKING:
    from proa.engine.state.database import Database

FIRST_UID: Final = 1879048192
"""The first id behind those that systemd keeps for containers (https://systemd.io/UIDS-GIDS)."""
LAST_UID: Final = FIRST_UID + (1 << 20) - 1

_config = msgspec.json.Decoder(VmConfig)
_state = msgspec.json.Decoder(VmState)
_SELECT = "SELECT id, name, uid, created_at_ns, config, state FROM virtual_machines"


class VirtualMachineTable:
    """Machines by id and name. Every call is one transaction, durable when it returns."""

    def __init__(self, database: Database) -> None:
        """Use the table of an open database."""
        self._database = database

    def insert(self, record: VmRecord) -> VmRecord:
        """Make a machine exist; return it with the user id that was found for it.

        Raises:
            Conflict: the name is in use.
            Exhausted: a million machines exist.
        """
        with self._database.transaction():
            uid = self._find_uid(record.id)
            try:
                self._database.execute(
                    "INSERT INTO virtual_machines VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (
                        record.id,
                        record.name,
                        record.state.status,
                        uid,
                        record.created_at_ns,
                        encode(record.config, f"machine {record.name}"),
                        encode(record.state, f"machine {record.name}"),
                    ),
                )
            except sqlite3.IntegrityError as error:
                raise Conflict(
                    f"the name {record.name} is used by another machine",
                    f"choose another, or `proa vm rm {record.name}`",
                ) from error
        return msgspec.structs.replace(record, uid=uid)

    def get(self, reference: str) -> VmRecord:
        """Return the machine of a full id, a name or an unambiguous id prefix, in that order.

        Raises:
            NotFound: there is no such machine.
            Invalid: the prefix fits several.
        """
        rows = self._database.query(f"{_SELECT} WHERE id = ? OR name = ?", (reference, reference))
        if not rows and is_hex_prefix(reference):
            rows = self._database.query(
                f"{_SELECT} WHERE id >= ? AND id < ? LIMIT 2", (reference, reference + "g")
            )
            if len(rows) > 1:
                raise Invalid(f"the id prefix '{reference}' fits more than one machine")
        if not rows:
            raise NotFound(f"no such machine: {reference}", "`proa vm ls` lists all machines")
        return _record(rows[0])

    def list(self) -> builtins.list[VmRecord]:
        """Return all machines, newest first."""
        rows = self._database.query(f"{_SELECT} ORDER BY created_at_ns DESC")
        return [_record(row) for row in rows]

    def set_state(self, machine_id: str, state: VmState) -> None:
        """Record what became of a machine; one that was removed is not an error."""
        with self._database.transaction():
            self._database.execute(
                "UPDATE virtual_machines SET status = ?, state = ? WHERE id = ?",
                (state.status, encode(state, f"machine {machine_id[:12]}"), machine_id),
            )

    def delete(self, machine_id: str) -> bool:
        """Forget a machine; False when it was not there."""
        with self._database.transaction():
            cursor = self._database.execute(
                "DELETE FROM virtual_machines WHERE id = ?", (machine_id,)
            )
        return cursor.rowcount > 0

    def _find_uid(self, machine_id: str) -> int:
        """A user id that no machine has; neighbours in time do not get neighbouring ones."""
        count = LAST_UID - FIRST_UID + 1
        taken = {row[0] for row in self._database.query("SELECT uid FROM virtual_machines")}
        start = int(machine_id[:8], 16) % count
        for offset in range(min(count, len(taken) + 1)):
            uid = FIRST_UID + (start + offset) % count
            if uid not in taken:
                return uid
        raise Exhausted("no user id is left for another machine", "remove machines")


def _record(row: tuple[Any, ...]) -> VmRecord:
    machine_id, name, uid, created_at_ns, config, state = row
    owner = f"machine {name}"
    return VmRecord(
        id=machine_id,
        name=name,
        uid=uid,
        created_at_ns=created_at_ns,
        config=decode(_config, config, owner),
        state=decode(_state, state, owner),
    )
