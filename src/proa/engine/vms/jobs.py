"""Snapshots of a running machine: memory, devices and disks at one moment, in its first disk.

QEMU does them as jobs that stop the guest for as long as they take; their end comes as an event.

Source: QAPI reference, ``snapshot-save``, ``snapshot-load``, ``snapshot-delete``, ``query-jobs``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from proa.engine.vms.protocol import Answer
from proa.errors import Conflict
from proa.vm.qemu.qmp import Qmp

OnEnd = Callable[[Answer], None]


class SnapshotJobs:
    """The jobs of one machine, one at a time."""

    def __init__(self, qmp: Qmp, disks: int) -> None:
        self._qmp = qmp
        self._disks = [f"disk{index}" for index in range(disks)]
        self._number = 0
        self._job = ""
        self._on_end: OnEnd | None = None

    def start(self, command: str, name: str, on_end: OnEnd) -> None:
        """Begin a job; ``on_end`` gets the answer.

        Raises:
            Conflict: another one is under way, or the machine has no disk to keep it in.
            ProaError: QEMU refused it.
        """
        if self._on_end is not None:
            raise Conflict("another snapshot of this machine is under way")
        if not self._disks:
            raise Conflict("a machine without a disk has nowhere to keep a snapshot")
        self._number += 1
        job = f"snapshot{self._number}"
        arguments: dict[str, object] = {"job-id": job, "tag": name, "devices": self._disks}
        if command != "snapshot-delete":
            arguments["vmstate"] = self._disks[0]
        self._qmp.execute(command, arguments)
        self._job, self._on_end = job, on_end

    def list(self) -> tuple[str, ...]:
        """Names of the snapshots."""
        names: dict[str, None] = {}
        for node in self._qmp.execute("query-named-block-nodes"):
            for snapshot in node.get("image", {}).get("snapshots", ()):
                names[str(snapshot.get("name"))] = None
        return tuple(names)

    def advance(self, change: Mapping[str, Any]) -> None:
        """Look at a change of a job's state."""
        if change.get("id") != self._job or change.get("status") != "concluded":
            return
        error = ""
        for job in self._qmp.execute("query-jobs"):
            if job.get("id") == self._job:
                error = str(job.get("error", ""))
        self._qmp.execute("job-dismiss", {"id": self._job})
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end(Answer(kind="unavailable", message=error[:500]) if error else Answer())
