"""Changing a container after its creation: limits, restart policy, labels (``proa update``).

A running container is changed by its supervisor, the kernel first and the record last: what the
kernel refuses is not recorded. A stopped one is only recorded.
"""

from __future__ import annotations

import time

from proa.engine.attachments import check_controls
from proa.engine.compose.changes import updated
from proa.engine.config import ContainerUpdate
from proa.engine.containers.lifecycle import ask_if_alive, get
from proa.engine.context import Context
from proa.engine.ipc import wire
from proa.engine.model import EventRecord


def update(context: Context, reference: str, changes: ContainerUpdate) -> None:
    """Change a container; see :class:`~proa.engine.config.ContainerUpdate`.

    Raises:
        NotFound: no such container.
        Invalid: the new limits contradict each other, or a network cannot keep them.
        Conflict: a restart policy for a container that is removed at its end.
    """
    record = get(context, reference)
    config = updated(record.config, changes)
    for endpoint in context.state.networks.endpoints_of(record.id):
        check_controls(context.state.networks.get(endpoint.network_id), config)
    if ask_if_alive(context, record, wire.Update(changes=changes)):
        return
    event = EventRecord(
        sequence=0, time_ns=time.time_ns(), type="container", action="update", actor_id=record.id,
        attributes={"image": record.config.image, "name": record.name},
    )  # fmt: skip
    context.state.containers.set_config(record.id, config, [event])
