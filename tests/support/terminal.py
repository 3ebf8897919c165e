"""A terminal in front of a command: what a person at a keyboard would see."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self


class Terminal:
    """A process whose stdin, stdout and stderr are one pty, in a session of its own.

    Use as a context manager: leaving kills what still runs and closes the master.

    Attributes:
        screen: everything the process wrote so far, bytes.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        rows: int = 24,
        columns: int = 80,
    ) -> None:
        self.screen = b""
        self._read_up_to = 0
        self._master, slave = pty.openpty()
        self.resize(rows, columns)
        self.process = subprocess.Popen(
            list(argv),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=None if env is None else dict(env),
            start_new_session=True,
            preexec_fn=_take_controlling_terminal,  # noqa: PLW1509 (the child is single-threaded)
        )
        os.close(slave)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._master)

    def resize(self, rows: int, columns: int) -> None:
        """Set the window size; the kernel sends SIGWINCH to the foreground group."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def settings(self) -> list[int | list[bytes | int]]:
        """Return the terminal's termios attributes, to see whether it was left raw."""
        return list(termios.tcgetattr(self._master))

    def type(self, text: str | bytes) -> None:
        """Write keystrokes; ``\\x03`` is Ctrl-C."""
        os.write(self._master, text.encode() if isinstance(text, str) else text)

    def expect(self, pattern: str | bytes, timeout_s: float = 10.0) -> re.Match[bytes]:
        """Read until ``pattern`` (a regular expression) appears after the last match.

        Raises:
            AssertionError: it did not appear in time or the process ended first.
        """
        wanted = re.compile(pattern.encode() if isinstance(pattern, str) else pattern)
        deadline = time.monotonic() + timeout_s
        while True:
            match = wanted.search(self.screen, self._read_up_to)
            if match:
                self._read_up_to = match.end()
                return match
            if not self._read(deadline):
                raise AssertionError(f"{wanted.pattern!r} did not appear in {self.screen!r}")

    def wait(self, timeout_s: float = 10.0) -> int:
        """Read to the end and return the exit code.

        Raises:
            AssertionError: it did not end in time.
        """
        deadline = time.monotonic() + timeout_s
        while self._read(deadline):
            pass
        try:
            return self.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout_s} s: {self.screen!r}") from None

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # EIO: the last descriptor of the other side was closed
            return False
        self.screen += data
        return bool(data)


def _take_controlling_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
