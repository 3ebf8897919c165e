"""``proa load``: take in the images of an archive."""

from __future__ import annotations

from proa.cli.invocation import Invocation
from proa.cli.kinds import BOOL, STRING
from proa.cli.parser import EXIT_FAILURE, Command, Flag, UsageError
from proa.cli.progress import progress_to
from proa.cli.render import familiar

INPUT = Flag("input", STRING, "Read from a tar archive or a folder, instead of STDIN", short="i")
PLATFORM = Flag("platform", STRING, "Load only the given platform variant, os/arch[/variant]")
QUIET = Flag("quiet", BOOL, "Suppress the load output", short="q")

COMMAND = Command(
    words="image load",
    usage="[OPTIONS]",
    summary="Load an image from a tar archive or STDIN",
    flags=(INPUT, PLATFORM, QUIET),
    details=(
        "Reads Docker archives (docker save) and OCI image layouts, as a tar, plain or compressed, "
        "or as a folder."
    ),
)


def execute(call: Invocation) -> int:
    """Load the images and print their names."""
    io = call.io
    path = call[INPUT]
    if not path and io.is_terminal(io.stdin_fd):
        raise UsageError(
            "requested load from stdin, but stdin is empty: name an archive with '--input'",
            exit_code=EXIT_FAILURE,
        )
    with progress_to(io, quiet=call[QUIET]) as progress:
        images = call.engine.images.load(
            io.path(path) if path else io.stdin_fd, platform=call[PLATFORM], progress=progress
        )
    for image in images:
        if image.references:
            for reference in image.references:
                io.out(f"Loaded image: {familiar(reference)}")
        else:
            io.out(f"Loaded image ID: {image.id}")
    return 0
