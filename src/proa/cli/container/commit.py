"""``proa commit``: an image of a container."""

from __future__ import annotations

from proa.cli.invocation import Invocation
from proa.cli.kinds import BOOL, LIST, STRING
from proa.cli.parser import Command, Flag

AUTHOR = Flag("author", STRING, 'Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")', "a")
CHANGE = Flag("change", LIST, "Apply Dockerfile instruction to the created image", short="c")
MESSAGE = Flag("message", STRING, "Commit message", short="m")
PAUSE = Flag("pause", BOOL, "Pause container during commit", short="p", default=True)

COMMAND = Command(
    words="container commit",
    usage="[OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
    summary="Create a new image from a container's changes",
    flags=(AUTHOR, CHANGE, MESSAGE, PAUSE),
    least=1,
    most=2,
    details="What the container has in volumes is not part of the image.",
)


def execute(call: Invocation) -> int:
    """Make the image and print its id."""
    name, *reference = call.arguments
    changes = call[CHANGE]
    image = call.engine.containers.commit(
        name,
        reference[0] if reference else "",
        author=call[AUTHOR],
        message=call[MESSAGE],
        changes=changes,
        pause=call[PAUSE],
    )
    call.io.out(image.id)
    return 0
