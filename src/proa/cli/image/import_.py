"""``proa import``: make an image of the tar of a root filesystem."""

from __future__ import annotations

from proa.cli.invocation import Invocation
from proa.cli.kinds import LIST, STRING
from proa.cli.parser import EXIT_FAILURE, Command, Flag, UsageError

CHANGE = Flag("change", LIST, "Apply Dockerfile instruction to the created image", short="c")
MESSAGE = Flag("message", STRING, "Set commit message for imported image", short="m")
PLATFORM = Flag("platform", STRING, "Platform that the files are made for, os/arch[/variant]")

COMMAND = Command(
    words="image import",
    usage="[OPTIONS] FILE|- [REPOSITORY[:TAG]]",
    summary="Import the contents from a tarball to create a filesystem image",
    flags=(CHANGE, MESSAGE, PLATFORM),
    least=1,
    most=2,
    details="The archive may be plain or compressed; '-' reads it from standard input.",
)


def execute(call: Invocation) -> int:
    """Import the archive and print the id of the image."""
    source, *names = call.arguments
    if "://" in source:
        raise UsageError(
            f"'{source}' is an address: download it first, or pipe it into 'proa import -'",
            exit_code=EXIT_FAILURE,
        )
    changes: tuple[str, ...] = call[CHANGE]
    image = call.engine.images.import_(
        call.io.stdin_fd if source == "-" else call.io.path(source),
        names[0] if names else "",
        changes=changes,
        message=call[MESSAGE],
        platform=call[PLATFORM],
    )
    call.io.out(str(image.id))
    return 0
