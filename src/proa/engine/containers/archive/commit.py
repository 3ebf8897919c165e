"""An image of a container: its image, one more layer, its configuration (``proa commit``)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec

from proa.engine.containerevents import container_event
from proa.engine.containers import lifecycle
from proa.engine.containers.archive.changes import made_places
from proa.engine.containers.archive.roots import open_upper
from proa.engine.containers.inspect import merge_environment
from proa.engine.containers.query import find_image
from proa.engine.context import Context
from proa.engine.model import ContainerRecord
from proa.errors import Conflict, NotFound
from proa.image.changes import apply_changes
from proa.image.commit import CommitOptions
from proa.image.commit import commit as commit_image
from proa.image.model import Image
from proa.oci.imageconfig import ContainerDefaults


def commit(
    context: Context,
    reference: str,
    name: str = "",
    *,
    author: str = "",
    message: str = "",
    changes: Sequence[str] = (),
    pause: bool = True,
) -> Image:
    """Make an image of a container's files and configuration.

    Args:
        reference: the container, running or not.
        name: of the image; empty: nameless.
        author, message: of the image's history.
        changes: Dockerfile lines on top of the configuration: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL,
            USER, VOLUME, WORKDIR, STOPSIGNAL.
        pause: freeze a running container meanwhile.

    Raises:
        NotFound: no such container, or its image is gone.
        Invalid: a malformed name or change.
        Conflict: a file changed while it was read (only without ``pause``).
    """
    record = lifecycle.get(context, reference)
    parent = find_image(context, record)
    if parent is None:
        raise NotFound(f"the image of container {record.name} is gone")
    defaults = apply_changes(_defaults(record, parent.config.config), changes)
    options = CommitOptions(
        defaults=defaults,
        author=author,
        comment=message,
        created_by=" ".join((record.path, *record.args)),
        omit=made_places(context, record, parent),
    )
    with _frozen(context, record, wanted=pause), open_upper(context, record) as changed:
        image = context.images.make(
            lambda: commit_image(context.images.content, parent, changed, options), name
        )
    context.state.events.append(container_event(record, "commit", {"imageID": image.id}))
    return image


def _defaults(record: ContainerRecord, image: ContainerDefaults) -> ContainerDefaults:
    """The image's defaults with what the user said of this container over them."""
    config = record.config
    if config.entrypoint is None:
        entrypoint, command = image.entrypoint, config.command or image.cmd
    else:
        entrypoint, command = config.entrypoint, config.command
    return msgspec.structs.replace(
        image,
        user=config.user or image.user,
        env=tuple(merge_environment(image.env, config.env)),
        entrypoint=entrypoint,
        cmd=command,
        working_dir=config.working_dir or image.working_dir,
        labels={**image.labels, **config.labels},
        stop_signal=config.stop_signal or image.stop_signal,
    )


@contextmanager
def _frozen(context: Context, record: ContainerRecord, *, wanted: bool) -> Iterator[None]:
    if not wanted or record.state.status != "running":
        yield
        return
    try:
        lifecycle.pause(context, record.id)
    except Conflict:
        # It has ended, or somebody else has frozen it, since we looked.
        yield
        return
    try:
        yield
    finally:
        try:
            lifecycle.unpause(context, record.id)
        except Conflict:
            pass
