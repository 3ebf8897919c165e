"""``proa cp``: files between a container and the host."""

from __future__ import annotations

import os
from collections.abc import Iterator

from proa.cli.invocation import Invocation
from proa.cli.io import IO
from proa.cli.kinds import BOOL
from proa.cli.parser import EXIT_FAILURE, Command, Flag, UsageError

ARCHIVE = Flag("archive", BOOL, "Archive mode (copy all uid/gid information)", short="a")
FOLLOW = Flag("follow-link", BOOL, "Always follow symbol link in SRC_PATH", short="L")
QUIET = Flag("quiet", BOOL, "Suppress progress output during copy", short="q")

COMMAND = Command(
    words="container cp",
    usage="[OPTIONS] [CONTAINER:]SRC|- [CONTAINER:]DEST|-",
    summary="Copy files/folders between a container and the local filesystem",
    flags=(ARCHIVE, FOLLOW, QUIET),
    least=2,
    most=2,
    details=(
        "One of the two is in a container. Use '-' as the source to read a tar archive from stdin "
        "and extract it to a directory in a container, and '-' as the destination to stream a tar "
        "archive to stdout. The container may be stopped. Without --archive, copies on the host "
        "belong to you and lose setuid bits."
    ),
)

_CHUNK_BYTES = 1024 * 1024


def execute(call: Invocation) -> int:
    """Copy in the direction that the words say."""
    source, target = call.arguments
    (from_name, from_path), (to_name, to_path) = _split(source), _split(target)
    if from_name and to_name:
        raise UsageError("copying between containers is not supported", exit_code=EXIT_FAILURE)
    if not (from_name or to_name):
        raise UsageError("must specify at least one container source", exit_code=EXIT_FAILURE)
    if from_name:
        _copy_from(call, from_name, from_path, target)
    else:
        _copy_to(call, source, to_name, to_path)
    return 0


def _copy_from(call: Invocation, name: str, path: str, target: str) -> None:
    containers, io = call.engine.containers, call.io
    if target == "-":
        for piece in containers.get_archive(name, path, follow_link=call[FOLLOW]):
            io.write(io.stdout_fd, piece)
        return
    containers.copy_from(
        name, path, _absolute(io, target), follow_link=call[FOLLOW], archive=call[ARCHIVE]
    )


def _copy_to(call: Invocation, source: str, name: str, path: str) -> None:
    containers, io = call.engine.containers, call.io
    if source == "-":
        containers.put_archive(name, path, _read(io.stdin_fd), keep_owner=True)
        return
    containers.copy_to(
        name, _absolute(io, source), path, follow_link=call[FOLLOW], archive=call[ARCHIVE]
    )


def _split(word: str) -> tuple[str, str]:
    """Split ``CONTAINER:PATH``; a word that begins like a path has no container in it."""
    if word.startswith(("/", ".")):
        return "", word
    name, colon, path = word.partition(":")
    if not colon or not name or "/" in name:
        return "", word
    return name, path or "/"


def _absolute(io: IO, path: str) -> str:
    """Keep what the end of the path says (``dir/``, ``dir/.``)."""
    return os.path.join(io.cwd, path)


def _read(fd: int) -> Iterator[bytes]:
    while piece := os.read(fd, _CHUNK_BYTES):
        yield piece
