"""What a container is doing, told by the kernel and its files."""

from __future__ import annotations

import os
from typing import Literal

from proa.cgroups.cgroup import Cgroup
from proa.errors import NotFound
from proa.oci.spec import Spec
from proa.oci.state import State, Status
from proa.runtime import groups
from proa.runtime.bundle.store import Record, Store, is_alive

Condition = Literal["creating", "created", "running", "paused", "stopped"]


def read_condition(store: Store, record: Record, spec: Spec) -> Condition:
    """The container's status; ``paused`` is runc's addition to the specification."""
    if not is_alive(record):
        return "stopped"
    if not record.parked:
        return "creating"
    if os.path.exists(store.fifo(record.id)):
        return "created"
    cgroup = find_cgroup(spec)
    if cgroup is None:
        return "running"
    with cgroup:
        return "paused" if cgroup.frozen() else "running"


def find_cgroup(spec: Spec) -> Cgroup | None:
    """The container's group; None when there is none (any more)."""
    assert spec.linux is not None
    try:
        return groups.manager().open(spec.linux.cgroups_path)
    except NotFound:
        return None


def describe(record: Record, spec: Spec, status: Status) -> State:
    """The state document for hooks."""
    return State(
        id=record.id,
        status=status,
        pid=record.pid if status != "stopped" else 0,
        bundle=record.bundle,
        annotations=spec.annotations,
    )
