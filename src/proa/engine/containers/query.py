"""Looking at containers: lists, filters, inspection. Dead supervisors are noticed first."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from proa.engine.compose.files import host_name
from proa.engine.compose.ports import parse_exposed
from proa.engine.containers import recovery
from proa.engine.containers.filters import ContainerFilter
from proa.engine.containers.inspect import ContainerPaths, inspect_container
from proa.engine.containers.lifecycle import get
from proa.engine.containers.networksettings import Attached
from proa.engine.containers.restore import restart_lost
from proa.engine.context import Context
from proa.engine.healthlog import load_health_log
from proa.engine.model import ContainerRecord
from proa.errors import NotFound
from proa.fs.usage import usage
from proa.image.model import Image

ALIVE = ("running", "paused", "restarting")


class StoredFacts:
    """What filters ask beyond a record, answered from the database and the image store."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def resolve_container(self, reference: str) -> ContainerRecord:
        """Return the container of ``before`` or ``since``.

        Raises:
            NotFound: there is none.
        """
        return self._context.state.containers.get(reference)

    def image_ids(self, reference: str) -> set[str]:
        """Return the ids of ``ancestor`` and of the images on top of it; empty if unknown."""
        try:
            ancestor = self._context.images.get(reference)
        except NotFound:
            return set()
        chain = [layer.chain_id for layer in ancestor.layers]
        return {
            image.id
            for image in self._context.images.list()
            if [layer.chain_id for layer in image.layers[: len(chain)]] == chain
        }

    def labels(self, record: ContainerRecord) -> Mapping[str, str]:
        """Return a container's labels, the image's included."""
        image = find_image(self._context, record)
        inherited = image.config.config.labels if image is not None else {}
        return {**inherited, **record.config.labels}

    def health(self, record: ContainerRecord) -> str:
        """Return the health; containers without a health check, or that do not run, have none."""
        return record.state.health if record.state.status in ALIVE else "none"

    def networks(self, record: ContainerRecord) -> set[str]:
        """Return names and ids of the networks that a container is on, its mode included."""
        tables = self._context.state.networks
        ids = {item.network_id for item in tables.endpoints_of(record.id)}
        return {record.config.network_mode, *ids, *(tables.get(item).name for item in ids)}

    def ports(self, record: ContainerRecord, *, published: bool) -> set[tuple[str, int]]:
        """Return the ports of a container that it publishes, or exposes: protocol and number."""
        config = record.config
        asked: set[tuple[str, int]] = {
            (port.protocol, port.container_port) for port in config.ports
        }
        image = find_image(self._context, record)
        exposed = (*config.expose, *(image.config.config.exposed_ports if image else ()))
        found: set[tuple[str, int]] = {port for text in exposed for port in parse_exposed(text)}
        if published:
            return asked | found if config.publish_all else asked
        return asked | found


def list_containers(
    context: Context,
    *,
    everything: bool = False,
    filters: Mapping[str, Sequence[str]] | None = None,
    last: int = 0,
) -> list[ContainerRecord]:
    """Return containers, newest first.

    Args:
        everything: also those that do not run.
        filters: Docker's filters of ``ps``.
        last: only the newest so many, whatever their state.

    Raises:
        Invalid: an unknown filter or a bad value.
    """
    chosen = ContainerFilter(filters or {}, StoredFacts(context))
    lost = recovery.recover_all(context)
    if lost:
        restart_lost(context, lost)
    records = [record for record in context.state.containers.list() if chosen.matches(record)]
    if last > 0:
        return records[:last]
    if everything or chosen.includes_stopped:
        return records
    return [record for record in records if record.state.status in ALIVE]


def inspect(context: Context, reference: str, *, size: bool = False) -> dict[str, Any]:
    """Return what ``docker inspect`` shows of a container.

    Raises:
        NotFound: no such container.
    """
    record = get(context, reference)
    image = find_image(context, record)
    paths = ContainerPaths(
        directory=context.layout.container(record.id),
        log=context.layout.log(record.id),
        lowers=tuple(
            os.path.join(context.layout.root, lower) for lower in (image.lowers if image else ())
        ),
        volumes=context.layout.volumes,
    )
    sizes = None
    if size:
        own = usage(f"{paths.directory}/upper").size_bytes
        sizes = (own, own + (image.size_bytes if image is not None else 0))
    return inspect_container(
        record,
        paths,
        image.config.config if image is not None else None,
        host_name=host_name(record.config, record.id),
        health=load_health_log(paths.directory) if record.state.health != "none" else None,
        sizes=sizes,
        attached=attached(context, record.id),
    )


def attached(context: Context, container_id: str) -> Attached:
    """Return a container's networks and published ports."""
    tables = context.state.networks
    endpoints = tables.endpoints_of(container_id)
    networks = {item.network_id: tables.get(item.network_id) for item in endpoints}
    ports = [item.mapping for item in tables.ports(container_id)]
    return Attached(endpoints=endpoints, networks=networks, ports=ports)


def find_image(context: Context, record: ContainerRecord) -> Image | None:
    """Return the image of a container; None when it is gone."""
    try:
        return context.images.get(record.image_id)
    except NotFound:
        return None
