"""``proa inspect``: everything about a container or an image, whichever has the name."""

from __future__ import annotations

from collections.abc import Mapping

from proa.cli.inspecting import FORMAT, show
from proa.cli.invocation import Invocation
from proa.cli.kinds import BOOL, STRING
from proa.cli.parser import EXIT_FAILURE, Command, Flag, UsageError
from proa.errors import NotFound

SIZE = Flag("size", BOOL, "Display total file sizes if the type is container", short="s")
TYPE = Flag("type", STRING, "Only inspect objects of the given type (container, image)")

COMMAND = Command(
    words="inspect",
    usage="[OPTIONS] NAME|ID [NAME|ID...]",
    summary="Return low-level information on containers and images",
    flags=(FORMAT, SIZE, TYPE),
    least=1,
    most=None,
)


def execute(call: Invocation) -> int:
    """Show each object that is there; a container comes before an image of the same name."""
    kind = call[TYPE]
    if kind not in ("", "container", "image"):
        raise UsageError(
            f'unknown type: "{kind}": must be one of "container", "image"', exit_code=EXIT_FAILURE
        )

    def inspect(name: str) -> Mapping[str, object]:
        if kind != "image":
            try:
                return call.engine.containers.inspect(name, size=call[SIZE])
            except NotFound:
                if kind:
                    raise
        try:
            return call.engine.images.inspect(name)
        except NotFound:
            if kind:
                raise
            raise NotFound(
                f"no such object: {name}", "'proa ps -a' and 'proa images' list what is there"
            ) from None

    return show(call, inspect)
