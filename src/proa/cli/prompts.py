"""Questions on the user's terminal, which may belong to another process than this one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proa.cli.kinds import BOOL
from proa.cli.parser import Flag

if TYPE_CHECKING:
    from proa.cli.io import IO

FORCE = Flag("force", BOOL, "Do not prompt for confirmation", short="f")


def ask(io: IO, question: str) -> str:
    """Ask on the terminal and return the line without its end.

    Raises:
        KeyboardInterrupt: the user ended the input.
    """
    io.write(io.stderr_fd, question.encode())
    with io.open_stdin() as stream:
        line = stream.raw.readline() if hasattr(stream, "raw") else stream.readline()
    if not line:
        io.err("")
        raise KeyboardInterrupt
    text: str = line.decode("utf-8", "surrogateescape")
    return text.rstrip("\r\n")


def ask_secretly(io: IO, question: str) -> str:
    """As :func:`ask`, without showing what is typed."""
    import termios

    before = termios.tcgetattr(io.stdin_fd)
    quiet = termios.tcgetattr(io.stdin_fd)
    quiet[3] &= ~termios.ECHO
    try:
        # TCSAFLUSH drops what was typed ahead: it was shown.
        termios.tcsetattr(io.stdin_fd, termios.TCSAFLUSH, quiet)
        return ask(io, question)
    finally:
        termios.tcsetattr(io.stdin_fd, termios.TCSAFLUSH, before)
        io.err("")


def confirm(io: IO, warning: str) -> bool:
    """Warn and ask; only ``y`` and ``yes`` agree, the end of the input does not."""
    try:
        answer = ask(io, f"WARNING! {warning}\nAre you sure you want to continue? [y/N] ")
    except KeyboardInterrupt:
        return False
    return answer.strip().lower() in ("y", "yes")
