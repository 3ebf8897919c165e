"""``proa save``: write images to an archive."""

from __future__ import annotations

from typing import cast

from proa.cli.image.platforms import CHOSEN
from proa.cli.invocation import Invocation
from proa.cli.kinds import STRING
from proa.cli.parser import EXIT_FAILURE, Command, Flag, UsageError
from proa.image.model import ArchiveFormat
from proa.oci.mediatype import Compression

COMPRESSION = Flag("compression", STRING, "Compress the archive (none, gzip, zstd)", "", "none")
FORMAT = Flag(
    "format",
    STRING,
    "Form of the archive (docker-archive, oci-archive, oci-dir)",
    "",
    "docker-archive",
)
OUTPUT = Flag("output", STRING, "Write to a file, instead of STDOUT", short="o")

COMMAND = Command(
    words="image save",
    usage="[OPTIONS] IMAGE [IMAGE...]",
    summary="Save one or more images to a tar archive (streamed to STDOUT by default)",
    flags=(COMPRESSION, FORMAT, OUTPUT, CHOSEN),
    least=1,
    most=None,
)

_COMPRESSIONS = ("none", "gzip", "zstd")
_FORMATS: dict[str, ArchiveFormat] = {
    "docker-archive": "docker",
    "oci-archive": "oci",
    "oci-dir": "oci",
}


def execute(call: Invocation) -> int:
    """Write the archive; nothing is left at ``--output`` when it fails."""
    io = call.io
    word, compression, output = call[FORMAT], call[COMPRESSION], call[OUTPUT]
    if word not in _FORMATS:
        raise UsageError(f"unknown format '{word}': use {', '.join(_FORMATS)}")
    if compression not in _COMPRESSIONS:
        raise UsageError(f"unknown compression '{compression}': use {', '.join(_COMPRESSIONS)}")
    if word == "oci-dir" and not output:
        raise UsageError("the format oci-dir needs a folder: name it with '--output'")
    if not output and io.is_terminal(io.stdout_fd):
        raise UsageError(
            "cowardly refusing to save to a terminal. Use the -o flag or redirect",
            exit_code=EXIT_FAILURE,
        )
    destination: str | int = io.stdout_fd
    if output:
        destination = io.path(output)
        if word == "oci-dir":
            destination = destination.rstrip("/") + "/"
    call.engine.images.save(
        call.arguments,
        destination,
        platform=call[CHOSEN],
        format=_FORMATS[word],
        compression=cast("Compression", compression),
    )
    return 0
