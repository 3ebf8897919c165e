"""The image of a container that is about to be made: pulled where the user can see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from proa.cli.runflags import table as t
from proa.errors import NotFound

if TYPE_CHECKING:
    from proa.cli.invocation import Invocation
    from proa.engine.config import ContainerConfig, Pull

T = TypeVar("T")


def with_image(call: Invocation, config: ContainerConfig, policy: Pull, act: Callable[[], T]) -> T:
    """Do what needs the image and must not pull it itself; pull it before if the policy asks.

    An image that is here already costs nothing: only when ``act`` misses it is it looked for.

    Args:
        call: the command, for its streams and ``--quiet``.
        config: what the container is to be.
        policy: of ``--pull``.
        act: makes the container; raises NotFound without having made anything.
    """
    if policy == "always" or (policy == "missing" and config.platform):
        _ensure(call, config, policy)
        return act()
    try:
        return act()
    except NotFound:
        if policy == "never" or _is_here(call, config.image):
            raise
    call.io.err(f"Unable to find image '{config.image}' locally")
    _ensure(call, config, policy)
    return act()


def _ensure(call: Invocation, config: ContainerConfig, policy: Pull) -> None:
    from proa.cli.progress import progress_to

    with progress_to(call.io, quiet=call[t.QUIET]) as progress:
        call.engine.containers.ensure_image(config, pull=policy, progress=progress)


def _is_here(call: Invocation, name: str) -> bool:
    try:
        call.engine.images.get(name)
    except NotFound:
        return False
    return True
