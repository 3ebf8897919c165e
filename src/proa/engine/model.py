"""What the engine knows about a container: the records that live in ``proa.db``.

A container is a :class:`ContainerRecord`. Its ``config`` never changes while it runs; its ``state``
is written by exactly one process at a time: the engine before a supervisor exists and after it has
ended, the supervisor in between.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from proa.engine.config import ContainerConfig

Health = Literal["none", "starting", "healthy", "unhealthy"]
Status = Literal["created", "running", "paused", "restarting", "removing", "exited", "dead"]


class ProcessIdentity(msgspec.Struct, frozen=True):
    """A process that can be told from a later one with the same pid.

    Attributes:
        pid: as the host sees it; 0 for none.
        start_ticks: field 22 of /proc/PID/stat, clock ticks since boot.
        boot_id: /proc/sys/kernel/random/boot_id when it was seen.
    """

    pid: int = 0
    start_ticks: int = 0
    boot_id: str = ""


class ContainerState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Docker's ``State`` plus who supervises; times in nanoseconds since the epoch, 0 for never."""

    status: Status = "created"
    init: ProcessIdentity = ProcessIdentity()
    supervisor: ProcessIdentity = ProcessIdentity()
    exit_code: int = 0
    error: str = ""
    oom_killed: bool = False
    started_at_ns: int = 0
    finished_at_ns: int = 0
    restart_count: int = 0
    stopped_by_user: bool = False
    health: Health = "none"


class ContainerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One container.

    Attributes:
        id: 64 lower-case hex digits.
        name: without the leading slash.
        image_id: digest of the image config, ``sha256:...``.
        userns_base: first host id of its 65536 ids; -1 with ``--userns=host``.
        path, args: the process as resolved from image and config (Docker's ``Path`` and ``Args``).
    """

    id: str
    name: str
    image_id: str
    created_at_ns: int
    config: ContainerConfig
    state: ContainerState
    userns_base: int = -1
    path: str = ""
    args: tuple[str, ...] = ()


class EventRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One event, in Docker's words: ``type`` is container, image ..., ``action`` create ..."""

    sequence: int
    time_ns: int
    type: str
    action: str
    actor_id: str
    attributes: dict[str, str] = {}
