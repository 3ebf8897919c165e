"""``proa tag``: give an image one more name."""

from __future__ import annotations

from proa.cli.invocation import Invocation
from proa.cli.parser import Command

COMMAND = Command(
    words="image tag",
    usage="SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
    summary="Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE",
    least=2,
    most=2,
)


def execute(call: Invocation) -> int:
    """Name the image; silent on success."""
    source, target = call.arguments
    call.engine.images.tag(source, target)
    return 0
