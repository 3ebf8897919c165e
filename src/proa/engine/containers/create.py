"""Making a container exist: image, name, directory, record.

The directory is made first and locked, the record last; a crash in between leaves a directory with
a free lock and no record, which recovery removes.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Sequence

import msgspec

from proa.engine import attachments, berths, volumes
from proa.engine.compose import files
from proa.engine.compose.devices import compose_devices
from proa.engine.compose.mounts import validate_mounts
from proa.engine.compose.ports import wanted_ports
from proa.engine.compose.process import resolve_command
from proa.engine.compose.resources import compose_resources
from proa.engine.compose.sharing import find_ids_owner, resolve_modes
from proa.engine.config import ContainerConfig, EndpointConfig, Pull
from proa.engine.containerevents import container_event
from proa.engine.containers.platform import check_platform
from proa.engine.context import Context
from proa.engine.ipc import host
from proa.engine.logs.drivers import validate_log_config
from proa.engine.model import ContainerRecord, ContainerState
from proa.engine.names import generate_id
from proa.errors import Forbidden, NotFound, ProaError, Unavailable
from proa.fs import tree
from proa.image.model import Image, Progress, silent
from proa.network.egress import parse_egress
from proa.network.model import Network
from proa.oci.platform import matches, parse_platform
from proa.runtime.security import userns


class Created(msgspec.Struct, frozen=True):
    """A new container.

    Attributes:
        warnings: what was asked for and this machine cannot do.
    """

    id: str
    warnings: tuple[str, ...] = ()


class Prepared(msgspec.Struct, frozen=True):
    """A new container whose directory is still locked by this process (``lock``)."""

    record: ContainerRecord
    image: Image
    lock: int
    warnings: tuple[str, ...]


def create(
    context: Context, config: ContainerConfig, *, name: str = "", pull: Pull = "missing"
) -> Created:
    """Make a container and leave it.

    Raises:
        NotFound: no such image.
        Conflict: the name is in use.
        Invalid, Unsupported: what the configuration asks for cannot be.
    """
    prepared = prepare(context, config, name=name, pull=pull)
    os.close(prepared.lock)
    return Created(prepared.record.id, prepared.warnings)


def prepare(
    context: Context,
    config: ContainerConfig,
    *,
    name: str = "",
    pull: Pull = "missing",
    state: ContainerState | None = None,
) -> Prepared:
    """Make a container and keep its directory locked, for whoever starts it at once.

    Args:
        context: the engine.
        config: what is asked for.
        name: empty: a generated one.
        pull: whether to look for the image in a registry.
        state: to begin with; None: created.
    """
    require_root()
    image = find_image(context, config, pull)
    config = resolve_modes(context, config)
    userns_base, remarks = _choose_user_namespace(context, config)
    warnings = check_platform(image, config, own_userns=userns_base >= 0)
    arguments = resolve_command(config, image.config.config)
    validate_mounts(config)
    compose_devices(config)
    config = volumes.resolve(context, config, image)
    compose_resources(config.resources)
    validate_log_config(config.log)
    config = attachments.normalize(context, config)
    places = attachments.resolve(context, config)
    wanted_ports(config, ())
    if config.egress is not None:
        parse_egress(config.egress)
    container_id = generate_id()
    directory = context.layout.container(container_id)
    durable = not config.auto_remove
    lock = _take_directory(context, directory)
    new = ContainerRecord(
        id=container_id,
        name=name,
        image_id=image.id,
        created_at_ns=time.time_ns(),
        config=config,
        state=state or ContainerState(),
        userns_base=userns_base,
        path=arguments[0],
        args=arguments[1:],
    )
    try:
        _copy_root_attributes(context, image, directory)
        files.save(directory, config, container_id)
        record = _insert(context, new, places, durable=durable)
    except BaseException:
        _forget(context, container_id)
        tree.remove_tree(directory)
        os.close(lock)
        raise
    return Prepared(record, image, lock, (*warnings, *remarks, *attachments.remarks(config)))


def _take_directory(context: Context, directory: str) -> int:
    """Make and lock the container's directory; a worker has one ready."""
    berth = host.current.take_berth() if host.current is not None else None
    if berth is not None:
        return berths.occupy(berth, directory)
    return berths.make_directory(context.layout, directory)


def _forget(context: Context, container_id: str) -> None:
    """Delete the record, if an interrupt came when it was there already."""
    try:
        if context.state.containers.find(container_id) is not None:
            context.state.containers.delete(container_id, [])
    except ProaError:
        return  # the error that is on its way to the user matters more


def _insert(
    context: Context,
    new: ContainerRecord,
    places: Sequence[tuple[Network, EndpointConfig]],
    *,
    durable: bool,
) -> ContainerRecord:
    """Record the container and its places on networks, all or nothing."""
    event = container_event(new, "create")
    with context.state.transaction(durable=durable):
        record = context.state.containers.insert(new, [event], durable=durable)
        for network, wish in places:
            context.state.networks.connect(network.id, record.id, wish, durable=durable)
    return record


def require_root() -> None:
    """Containers need real root for now.

    Raises:
        Forbidden: this process is not root.
    """
    if os.geteuid() != 0:
        raise Forbidden(
            "containers can only be run by root in this version", "use sudo, or a root shell"
        )


def find_image(
    context: Context, config: ContainerConfig, pull: Pull, progress: Progress = silent
) -> Image:
    """Return the image, unpacked.

    Args:
        context: the engine.
        config: says which, and for which platform.
        pull: when to ask the registry.
        progress: told the bytes of each layer that is pulled.

    Raises:
        NotFound: it is not in the store; the hint says how to get it there.
    """
    image = None if pull == "always" else _find_here(context, config, pull)
    if image is None:
        return _pull(context, config, progress)
    if not _suits(image, config):
        other = context.images.find_for(config.image, parse_platform(config.platform))
        if other is None and pull == "missing":
            return _pull_other(context, config, image, progress)
        image = other or image
    context.images.ensure_unpacked(image)
    return image


def _find_here(context: Context, config: ContainerConfig, pull: Pull) -> Image | None:
    try:
        return context.images.get(config.image, names=False)
    except NotFound:
        if pull == "never":
            raise
        return None


def _suits(image: Image, config: ContainerConfig) -> bool:
    return not config.platform or matches(parse_platform(config.platform), image.config.platform)


def _pull_other(
    context: Context, config: ContainerConfig, here: Image, progress: Progress
) -> Image:
    """Pull an image that is here for another platform; that it is explains a failure."""
    try:
        return _pull(context, config, progress)
    except ProaError as error:
        error.message = (
            f"image {config.image} is here for {here.config.platform}, "
            f"not for {config.platform}: {error.message}"
        )
        raise


def _pull(context: Context, config: ContainerConfig, progress: Progress) -> Image:
    """Get the image from its registry; the client is loaded only now."""
    from proa.engine.imageevents import tell_of_name
    from proa.image.pull import pull
    from proa.image.registry.client import Client

    context.layout.ensure()
    try:
        with Client() as client:
            image = pull(
                context.images,
                client,
                config.image,
                platform=config.platform,
                progress=progress,
            )
        tell_of_name(context, "pull", image, config.image)
        return image
    except Unavailable as error:
        raise Unavailable(
            f"image {config.image} cannot be pulled: {error.message}",
            f"{error.hint}; or make one: proa image bootstrap debian:bookworm".lstrip("; "),
        ) from error


def _choose_user_namespace(
    context: Context, config: ContainerConfig
) -> tuple[int, tuple[str, ...]]:
    """Return 0 for a range of its own, -1 for the host's namespace, and what to say about it."""
    if config.userns_mode == "host" or config.privileged:
        return -1, ()
    owner = find_ids_owner(context, config)
    if owner is not None and owner.userns_base < 0:
        return -1, (f"the container is in the host's user namespace, as {owner.name} is",)
    reason = userns.probe(context.layout.root)
    if reason is None:
        return 0, ()
    return -1, (f"the container shares the host's user namespace: {reason}",)


def _copy_root_attributes(context: Context, image: Image, directory: str) -> None:
    """Give the writable directory the owner and mode of the image's root, which it stands for."""
    if not image.lowers:
        return
    info = os.stat(f"{context.layout.root}/{image.lowers[0]}")
    upper = f"{directory}/upper"
    if (info.st_uid, info.st_gid) != (0, 0):
        os.chown(upper, info.st_uid, info.st_gid)
    if stat.S_IMODE(info.st_mode) != berths.UPPER_MODE:
        os.chmod(upper, stat.S_IMODE(info.st_mode))
