"""``proa image inspect``: everything about images as JSON."""

from __future__ import annotations

from proa.cli.image.platforms import CHOSEN
from proa.cli.inspecting import FORMAT, show
from proa.cli.invocation import Invocation
from proa.cli.parser import Command

COMMAND = Command(
    words="image inspect",
    usage="[OPTIONS] IMAGE [IMAGE...]",
    summary="Display detailed information on one or more images",
    flags=(FORMAT, CHOSEN),
    least=1,
    most=None,
)


def execute(call: Invocation) -> int:
    """Show each image that is there; complain about the others."""
    platform = call[CHOSEN]
    return show(call, lambda name: call.engine.images.inspect(name, platform=platform))
