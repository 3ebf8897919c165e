"""The list of containers as ``GET /containers/json`` shows it, with few questions to the database.

One container's entry needs its networks, ports and image; asking for them container by container
would cost more than everything else.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from proa.engine.containers import query
from proa.engine.containers.inspect import ContainerPaths, list_entry
from proa.engine.containers.networksettings import Attached
from proa.engine.context import Context
from proa.engine.model import ContainerRecord
from proa.engine.state import Endpoint
from proa.errors import NotFound
from proa.fs.usage import usage
from proa.image.model import Image
from proa.network.model import Network, PortMapping


def list_summaries(
    context: Context,
    *,
    everything: bool = False,
    filters: Mapping[str, Sequence[str]] | None = None,
    last: int = 0,
    size: bool = False,
) -> list[dict[str, Any]]:
    """Return entries, newest first.

    Args:
        everything, filters, last: as for :func:`proa.engine.containers.query.list_containers`.
        size: also ``SizeRw`` and ``SizeRootFs``: every file of every container is looked at.

    Raises:
        Invalid: an unknown filter or a bad value.
    """
    records = query.list_containers(context, everything=everything, filters=filters, last=last)
    images = _Images(context)
    attached = _attached(context, records)
    return [_entry(context, record, images, attached, size=size) for record in records]


class _Images:
    """Images by id, each read once; None for one that is gone."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._known: dict[str, Image | None] = {}

    def find(self, image_id: str) -> Image | None:
        if image_id not in self._known:
            try:
                self._known[image_id] = self._context.images.get(image_id, names=False)
            except NotFound:
                self._known[image_id] = None
        return self._known[image_id]


def _entry(
    context: Context,
    record: ContainerRecord,
    images: _Images,
    attached: Mapping[str, Attached],
    *,
    size: bool,
) -> dict[str, Any]:
    directory = context.layout.container(record.id)
    image = images.find(record.image_id)
    sizes = None
    if size:
        own = usage(f"{directory}/upper").size_bytes
        sizes = (own, own + (image.size_bytes if image is not None else 0))
    return list_entry(
        record,
        ContainerPaths(directory=directory, volumes=context.layout.volumes),
        image_labels=image.config.config.labels if image is not None else None,
        sizes=sizes,
        attached=attached.get(record.id),
    )


def _attached(context: Context, records: Sequence[ContainerRecord]) -> dict[str, Attached]:
    """Return networks and ports by container, from two questions for all."""
    if not records:
        return {}
    networks: dict[str, Network] = {item.id: item for item in context.state.networks.list()}
    endpoints: defaultdict[str, list[Endpoint]] = defaultdict(list)
    for endpoint in context.state.networks.all_endpoints():
        endpoints[endpoint.container_id].append(endpoint)
    ports: defaultdict[str, list[PortMapping]] = defaultdict(list)
    for port in context.state.networks.ports():
        ports[port.container_id].append(port.mapping)
    return {
        record.id: Attached(
            endpoints=endpoints[record.id], networks=networks, ports=ports[record.id]
        )
        for record in records
    }
