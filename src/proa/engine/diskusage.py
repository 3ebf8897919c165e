"""What the engine's things take on disk (``proa system df``), as ``du`` counts it.

Images are measured by :mod:`proa.image.usage`; a container takes what its directory holds (its
writable layer, its log and its few small files), a volume what is in it. The database and the fixed
directories of an empty root belong to nothing and are left out.
"""

from __future__ import annotations

import msgspec

from proa.engine.context import Context
from proa.engine.model import ContainerRecord
from proa.engine.state import VolumeRecord
from proa.errors import from_os_error
from proa.fs.usage import allocated_bytes
from proa.image.usage import ImageUsage, StoreUsage

_ALIVE = ("running", "paused", "restarting")


class ContainerUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What one container takes.

    Attributes:
        writable_bytes: of its writable layer (Docker's ``SizeRw``).
        size_bytes: of its whole directory.
    """

    container: ContainerRecord
    writable_bytes: int
    size_bytes: int

    @property
    def is_active(self) -> bool:
        """Whether it runs: what does not can be removed."""
        return self.container.state.status in _ALIVE


class VolumeUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What one volume takes, and how many containers mount it."""

    volume: VolumeRecord
    size_bytes: int
    containers: int


class KindUsage(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the summary.

    Attributes:
        kind: ``images``, ``containers``, ``volumes`` or ``build_cache``.
        active: how many are in use.
        reclaimable_bytes: what removing all that is not in use would free.
    """

    kind: str
    total: int
    active: int
    size_bytes: int
    reclaimable_bytes: int


class DiskUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What everything takes.

    Attributes:
        image_containers: image id -> how many containers were made from it.
    """

    images: StoreUsage
    image_containers: dict[str, int]
    containers: tuple[ContainerUsage, ...]
    volumes: tuple[VolumeUsage, ...]

    def summarize(self) -> tuple[KindUsage, ...]:
        """Return a line for each kind of thing, in Docker's order."""
        images, containers, volumes = self.images, self.containers, self.volumes
        return (
            KindUsage(
                kind="images",
                total=len(images.images),
                active=sum(one.image.id in self.image_containers for one in images.images),
                size_bytes=images.size_bytes,
                reclaimable_bytes=images.size_bytes - images.in_use_bytes,
            ),
            KindUsage(
                kind="containers",
                total=len(containers),
                active=sum(one.is_active for one in containers),
                size_bytes=sum(one.size_bytes for one in containers),
                reclaimable_bytes=sum(one.size_bytes for one in containers if not one.is_active),
            ),
            KindUsage(
                kind="volumes",
                total=len(volumes),
                active=sum(one.containers > 0 for one in volumes),
                size_bytes=sum(one.size_bytes for one in volumes),
                reclaimable_bytes=sum(one.size_bytes for one in volumes if not one.containers),
            ),
            KindUsage(kind="build_cache", total=0, active=0, size_bytes=0, reclaimable_bytes=0),
        )


def measure(context: Context) -> DiskUsage:
    """Measure everything; reads every directory of the state root.

    Raises:
        ProaError: something cannot be read.
    """
    records = context.state.containers.list()
    made: dict[str, int] = {}
    for record in records:
        made[record.image_id] = made.get(record.image_id, 0) + 1
    images = context.images.usage(lambda: {record.image_id: record.name for record in records})
    try:
        return DiskUsage(
            images=images,
            image_containers=made,
            containers=tuple(_measure_container(context, record) for record in records),
            volumes=tuple(
                _measure_volume(context, volume, records) for volume in context.state.volumes.list()
            ),
        )
    except OSError as error:
        raise from_os_error(error, f"cannot measure {context.layout.root}") from error


def _measure_container(context: Context, record: ContainerRecord) -> ContainerUsage:
    directory = context.layout.container(record.id)
    return ContainerUsage(
        container=record,
        writable_bytes=allocated_bytes(f"{directory}/upper"),
        size_bytes=allocated_bytes(directory),
    )


def _measure_volume(
    context: Context, volume: VolumeRecord, records: list[ContainerRecord]
) -> VolumeUsage:
    users = [
        record
        for record in records
        if any(
            mount.type == "volume" and mount.source == volume.name for mount in record.config.mounts
        )
    ]
    return VolumeUsage(
        volume=volume,
        size_bytes=allocated_bytes(f"{context.layout.volumes}/{volume.name}"),
        containers=len(users),
    )


__all__ = [
    "ContainerUsage",
    "DiskUsage",
    "ImageUsage",
    "KindUsage",
    "StoreUsage",
    "VolumeUsage",
    "measure",
]
