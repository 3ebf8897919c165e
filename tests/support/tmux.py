"""A person's terminal that remembers what is on its screen: a tmux of the test's own."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

_POLL_S = 0.02


class Tmux:
    """One window in which a shell runs; use as a context manager."""

    def __init__(self, env: Mapping[str, str], *, columns: int = 100, rows: int = 30) -> None:
        self._socket = f"proa-test-{os.getpid()}"
        self._env = {**env, "PS1": "ready> ", "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
        self._env.pop("TMUX", None)
        size = ("-x", str(columns), "-y", str(rows))
        self._tmux("new-session", "-d", *size, "bash", "--norc", "--noprofile")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # The server ends with its last window; it is no child of this process.
        pid = int(self._tmux("display-message", "-p", "#{pid}"))
        pidfd = os.pidfd_open(pid)
        self._tmux("kill-server")
        _await_end(pidfd)

    def type(self, *keys: str) -> None:
        """Press keys by tmux's names (``Enter``, ``C-c``); other words are typed as they are."""
        self._tmux("send-keys", *keys)

    def run(self, argv: Sequence[str]) -> None:
        """Type a command line and press Enter."""
        import shlex

        self._tmux("send-keys", "-l", shlex.join(argv))
        self._tmux("send-keys", "Enter")

    def wipe(self) -> None:
        """Empty the screen, so that what is expected next is new."""
        self._tmux("send-keys", "-R")
        self._tmux("clear-history")

    def resize(self, columns: int, rows: int) -> None:
        """Change the window's size."""
        self._tmux("resize-window", "-x", str(columns), "-y", str(rows))

    def screen(self, *, colours: bool = False) -> str:
        """What is seen; with ``colours`` the escape sequences that paint it, too."""
        return self._tmux("capture-pane", "-p", *(["-e"] if colours else []))

    def expect(self, pattern: str, *, colours: bool = False, timeout_s: float = 15.0) -> str:
        """Wait until the screen shows ``pattern``; return the screen.

        Raises:
            AssertionError: it did not in time.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            screen = self.screen(colours=colours)
            if re.search(pattern, screen, re.MULTILINE):
                return screen
            assert time.monotonic() < deadline, f"no {pattern!r} in\n{screen}"
            time.sleep(_POLL_S)  # nobody tells that a program has painted

    def _tmux(self, *words: str) -> str:
        return subprocess.run(
            ["tmux", "-L", self._socket, "-f", "/dev/null", *words], env=self._env, check=True,
            stdout=subprocess.PIPE, text=True,
        ).stdout  # fmt: skip


def _await_end(pidfd: int) -> None:
    import select

    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    assert poll.poll(10_000), "tmux does not end"
    os.close(pidfd)
