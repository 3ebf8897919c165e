"""``proa push``: bring an image to its registry."""

from __future__ import annotations

from typing import Literal, cast

from proa.cli.image.platforms import CHOSEN
from proa.cli.image.trust import DISABLE_CONTENT_TRUST
from proa.cli.invocation import Invocation
from proa.cli.kinds import BOOL, STRING
from proa.cli.parser import EXIT_FAILURE, Command, Flag, UsageError
from proa.cli.progress import PROGRESS, progress_style, progress_to

ALL_TAGS = Flag("all-tags", BOOL, "Push all tags of an image to the repository", short="a")
COMPRESSION = Flag("compression", STRING, 'Compression of the layers there ("gzip", "zstd")')
QUIET = Flag("quiet", BOOL, "Suppress verbose output", short="q")

COMMAND = Command(
    words="image push",
    usage="[OPTIONS] NAME[:TAG]",
    summary="Upload an image to a registry",
    flags=(ALL_TAGS, COMPRESSION, DISABLE_CONTENT_TRUST, CHOSEN, PROGRESS, QUIET),
    least=1,
    most=1,
    details=(
        "Only what the registry lacks is sent; layers that another of its repositories has are "
        "mounted from there. With '--compression' the layers are packed anew, so that the image "
        "there has another digest than the one here. A name with several platforms goes with all "
        "of them when all are here; otherwise the one that was pulled last goes."
    ),
)


def execute(call: Invocation) -> int:
    """Push, and say what is there now."""
    compression = _compression(call[COMPRESSION])
    style = progress_style(call[PROGRESS])
    with progress_to(call.io, quiet=call[QUIET], style=style) as progress:
        pushed = call.engine.images.push(
            call.arguments[0],
            platform=call[CHOSEN],
            compression=compression,
            all_tags=call[ALL_TAGS],
            progress=progress,
        )
    for one in pushed:
        if call[QUIET]:
            call.io.out(one.reference)
        else:
            tag = one.reference.rpartition(":")[2]
            call.io.out(f"{tag}: digest: {one.digest} size: {one.size_bytes}")
    return 0


def _compression(word: str) -> Literal["", "gzip", "zstd"]:
    if word in ("", "gzip", "zstd"):
        return cast('Literal["", "gzip", "zstd"]', word)
    raise UsageError(
        f'invalid compression: \'{word}\': must be "gzip" or "zstd"', exit_code=EXIT_FAILURE
    )
