"""The world around one command: its descriptors, its environment, its directory.

A command may run in a warm worker on behalf of another process, so nothing below ``proa.cli``
touches ``sys.stdout``, ``os.environ`` or the working directory of the process it runs in.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import BinaryIO

_COLUMNS_WITHOUT_TERMINAL = 80


class IO:
    """Three descriptors, an environment and a directory; it owns none of them.

    Writing is unbuffered: a line that a command printed is out before the next step begins.

    Attributes:
        stdin_fd, stdout_fd, stderr_fd: the streams of the user.
        env: the environment of the user.
        cwd: absolute directory that relative paths of the user are meant against.
    """

    __slots__ = ("cwd", "env", "stderr_fd", "stdin_fd", "stdout_fd")

    def __init__(
        self,
        *,
        stdin_fd: int = 0,
        stdout_fd: int = 1,
        stderr_fd: int = 2,
        env: Mapping[str, str] | None = None,
        cwd: str = "",
    ) -> None:
        self.stdin_fd = stdin_fd
        self.stdout_fd = stdout_fd
        self.stderr_fd = stderr_fd
        self.env = os.environ if env is None else env
        self.cwd = cwd or os.getcwd()

    @classmethod
    def standard(cls) -> IO:
        """The streams, environment and directory of this process, which may just have changed.

        A worker takes on the environment of its client: the time zone is read anew.
        """
        time.tzset()
        return cls()

    def out(self, text: str) -> None:
        """Write a line to standard output."""
        self.write(self.stdout_fd, f"{text}\n".encode(errors="surrogateescape"))

    def err(self, text: str) -> None:
        """Write a line to standard error."""
        self.write(self.stderr_fd, f"{text}\n".encode(errors="surrogateescape"))

    def write(self, fd: int, data: bytes) -> None:
        """Write all of ``data``, also to a pipe that somebody made non-blocking.

        Raises:
            BrokenPipeError: nobody reads any more.
            OSError: any other failure of write(2).
        """
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(fd, view) :]
            except BlockingIOError:
                import select

                poll = select.poll()
                poll.register(fd, select.POLLOUT)
                poll.poll()

    def open_stdin(self) -> BinaryIO:
        """Standard input as a binary stream; closing it leaves the descriptor open."""
        return os.fdopen(self.stdin_fd, "rb", closefd=False)

    def open_stdout(self) -> BinaryIO:
        """Standard output as a binary stream; closing it flushes and leaves it open."""
        return os.fdopen(self.stdout_fd, "wb", closefd=False)

    def is_terminal(self, fd: int) -> bool:
        """Whether ``fd`` is a terminal; a closed descriptor is none."""
        return os.isatty(fd)

    def columns(self) -> int:
        """Width of the user's terminal, 80 without one."""
        for fd in (self.stdout_fd, self.stderr_fd):
            try:
                columns = os.get_terminal_size(fd).columns
            except OSError:
                continue
            if columns > 0:
                return columns
        return _COLUMNS_WITHOUT_TERMINAL

    def path(self, name: str) -> str:
        """The absolute form of a path of the user."""
        return os.path.join(self.cwd, name)
