"""Engines that are driven by Docker's command line: the user's own, as they are installed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence

from proa.compare.targets.base import (
    IDLE,
    IMAGE,
    CompareError,
    Completed,
    Timed,
    below,
    execute,
    expect,
    time_command,
)

NETWORK = ("--network", "none")
"""What a network costs is measured apart."""


class DockerLike:
    """Implements :class:`Target` with the words that Docker, Podman and Proa share."""

    startup_s = 1.0
    memory_mb = 15

    def __init__(self, name: str, title: str, argv: Sequence[str] = ()) -> None:
        """Name it.

        Args:
            name: key in reports.
            title: for people.
            argv: its command line; the name, if empty.
        """
        self.name = name
        self.title = title
        self.argv = list(argv) or [name]
        self.options: tuple[str, ...] = NETWORK
        self._handles: set[str] = set()
        self._is_open = False

    def absent(self) -> str:
        """Say whether it is not installed or does not answer."""
        if not shutil.which(self.argv[0]):
            return f"{self.argv[0]} is not installed"
        try:
            done = execute([*self.argv, "info"], 30)
        except CompareError as error:
            return str(error)
        return "" if done.code == 0 else (done.error.strip().splitlines() or ["no answer"])[-1]

    def open(self, archive: str) -> None:
        """Load the image."""
        expect(execute([*self.argv, "load", "-i", archive]))
        self._is_open = True

    def run(self, argv: Sequence[str]) -> Completed:
        """``run --rm``."""
        return execute([*self.argv, "run", "--rm", *self.options, IMAGE, *argv])

    def time_run(self, argv: Sequence[str]) -> Timed:
        """``run --rm``, with the moments of its first output and its end."""
        return time_command([*self.argv, "run", "--rm", *self.options, IMAGE, *argv])

    def start(self) -> str:
        """``run -d``."""
        done = expect(execute([*self.argv, "run", "-d", *self.options, IMAGE, *IDLE]))
        handle = done.output.strip()
        self._handles.add(handle)
        return handle

    def exec(self, handle: str, argv: Sequence[str]) -> Completed:
        """``exec``."""
        return execute([*self.argv, "exec", handle, *argv])

    def stop(self, handle: str) -> None:
        """``kill``: what a program does with SIGTERM is its own affair."""
        expect(execute([*self.argv, "kill", handle]))
        expect(execute([*self.argv, "wait", handle]))

    def remove(self, handle: str) -> None:
        """``rm``."""
        expect(execute([*self.argv, "rm", handle]))
        self._handles.discard(handle)

    def processes(self, handle: str) -> list[int]:
        """The instance's init, all below it, and what watches it alone."""
        done = expect(execute([*self.argv, "inspect", handle]))
        init = int(json.loads(done.output)[0]["State"]["Pid"])
        if init <= 0:
            return []
        return [*self._watchers(init), *below(init)]

    def _watchers(self, init: int) -> list[int]:
        """The shim or monitor that is the init's parent."""
        with open(f"/proc/{init}/stat") as stream:
            parent = int(stream.read().rpartition(")")[2].split()[1])
        return [parent] if parent > 1 else []

    def close(self) -> None:
        """Remove instances and image."""
        if not self._is_open:
            return
        self._is_open = False
        for handle in list(self._handles):
            execute([*self.argv, "rm", "-f", handle])
        self._handles.clear()
        execute([*self.argv, "rmi", IMAGE])
