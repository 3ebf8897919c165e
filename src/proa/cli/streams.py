"""Which of the user's descriptors a container is attached to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proa.cli.parser import EXIT_FAILURE, UsageError

if TYPE_CHECKING:
    from proa.cli.io import IO
    from proa.engine.facade import Streams


def attach(
    io: IO,
    *,
    names: tuple[str, ...] = (),
    stdin: bool,
    tty: bool,
    detach_keys: str = "",
    sig_proxy: bool = True,
) -> Streams:
    """Choose the descriptors.

    Args:
        io: has the descriptors.
        names: ``stdin``, ``stdout``, ``stderr`` as in ``-a``; empty: both outputs, and the input if
            the container has one.
        stdin: the container keeps its standard input open.
        tty: the container has a terminal.
        detach_keys: keys that leave the container running; empty: the default ones.
        sig_proxy: hand the user's signals on.

    Raises:
        UsageError: the container wants a terminal's input and there is no terminal.
    """
    from proa.engine.facade import Streams

    wants_stdin = "stdin" in names or (stdin and not names)
    if wants_stdin and tty and not io.is_terminal(io.stdin_fd):
        raise UsageError("the input device is not a TTY", exit_code=EXIT_FAILURE)
    return Streams(
        stdin_fd=io.stdin_fd if wants_stdin else -1,
        stdout_fd=io.stdout_fd if not names or "stdout" in names else -1,
        stderr_fd=io.stderr_fd if not names or "stderr" in names else -1,
        detach_keys=detach_keys,
        sig_proxy=sig_proxy,
    )
