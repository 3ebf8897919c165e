"""Changing a container after its creation: limits, restart policy, labels, mounts, network.

A running container is changed by its supervisor, the kernel first and the record last: what the
kernel refuses is not recorded. A stopped one is only recorded.
"""

from __future__ import annotations

import msgspec

from proa.engine import volumes
from proa.engine.attachments import check_controls
from proa.engine.compose.changes import updated
from proa.engine.compose.mounts import validate_mounts
from proa.engine.config import ContainerUpdate
from proa.engine.containerevents import container_event
from proa.engine.containers.lifecycle import ask_if_alive, get
from proa.engine.containers.query import find_image
from proa.engine.context import Context
from proa.engine.ipc import wire
from proa.engine.model import ContainerRecord
from proa.errors import NotFound, Unsupported


def update(context: Context, reference: str, changes: ContainerUpdate) -> None:
    """Change a container; see :class:`~proa.engine.config.ContainerUpdate`.

    Raises:
        NotFound: no such container.
        Invalid: the new limits contradict each other, or a network cannot keep them.
        Conflict: a restart policy for a container that is removed at its end, or two mounts at
            one place.
    """
    record = get(context, reference)
    if changes.mount_add:
        changes = _make_volumes(context, record, changes)
    config = updated(record.config, changes)
    for endpoint in context.state.networks.endpoints_of(record.id):
        check_controls(context.state.networks.get(endpoint.network_id), config)
    if ask_if_alive(context, record, wire.Update(changes=changes)):
        return
    event = container_event(record, "update")
    context.state.containers.set_config(record.id, config, [event])


def _make_volumes(
    context: Context, record: ContainerRecord, changes: ContainerUpdate
) -> ContainerUpdate:
    """Check new mounts as at a creation; their volumes are made and filled."""
    for mount in changes.mount_add:
        if mount.type == "tmpfs":
            raise Unsupported(
                f"a tmpfs cannot be added at {mount.target}", "add a bind mount or a volume"
            )
    updated(record.config, changes)  # nothing is made for what is refused
    validate_mounts(msgspec.structs.replace(record.config, mounts=changes.mount_add))
    image = find_image(context, record)
    if image is None:
        raise NotFound(f"the image of container {record.id[:12]} is gone")
    made = [volumes.materialize(context, mount, image) for mount in changes.mount_add]
    return msgspec.structs.replace(changes, mount_add=tuple(made))
