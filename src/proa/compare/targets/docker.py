"""Engines that are driven by Docker's command line: the user's own, as they are installed."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Sequence

from proa.compare.targets.base import (
    IDLE,
    IMAGE,
    CompareError,
    Completed,
    Timed,
    allocated_mb,
    below,
    execute,
    expect,
    time_command,
)

LABEL = "proa.compare"
"""What all instances carry, so that those of an interrupted turn are found."""

NO_NETWORK = ("--network", "none")
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
        self.options: tuple[str, ...] = ("--label", LABEL)
        self.image_mb = math.nan
        self._images: list[str] = []

    def absent(self) -> str:
        """Say whether it is not installed or does not answer."""
        if not shutil.which(self.argv[0]):
            return f"{self.argv[0]} is not installed"
        try:
            done = execute([*self.argv, "info"], 30)
        except CompareError as error:
            return str(error)
        return "" if done.code == 0 else (done.error.strip().splitlines() or ["no answer"])[-1]

    def open(self, archive: str, image: str = IMAGE) -> None:
        """Load the image."""
        self._images.append(image)
        before_mb = allocated_mb(self.storage())
        expect(execute([*self.argv, "load", "-i", archive]))
        if image == IMAGE:
            self.image_mb = allocated_mb(self.storage()) - before_mb

    def storage(self) -> str:
        """As the engine says."""
        field = "{{.Store.GraphRoot}}" if self.name == "podman" else "{{.DockerRootDir}}"
        return expect(execute([*self.argv, "info", "--format", field])).output.strip()

    def run(self, argv: Sequence[str]) -> Completed:
        """``run --rm``."""
        return execute([*self.argv, "run", "--rm", *NO_NETWORK, *self.options, IMAGE, *argv])

    def time_run(self, argv: Sequence[str]) -> Timed:
        """``run --rm``, with the moments of its first output, its end and the engine's events."""
        begin_ns = time.time_ns()
        words = [*self.argv, "run", "--rm", *NO_NETWORK, *self.options, IMAGE, *argv]
        timed = time_command(words)
        return timed._replace(events=self._events(begin_ns, time.time_ns()))

    def _events(self, begin_ns: int, end_ns: int) -> dict[str, float]:
        """First event of each action between two moments, in seconds after the first of them."""
        done = execute(
            [
                *self.argv, "events", "--format", "{{json .}}", "--filter", f"label={LABEL}",
                "--since", _write_time(begin_ns), "--until", _write_time(end_ns),
            ]
        )  # fmt: skip
        found: dict[str, float] = {}
        for line in done.output.splitlines() if done.code == 0 else ():
            try:
                event = json.loads(line)
                action, moment_ns = event["Action"], int(event["timeNano"])
            except (ValueError, KeyError, TypeError):
                continue
            if event.get("Type") == "container":
                found.setdefault(action, (moment_ns - begin_ns) / 1e9)
        return found

    def start(
        self,
        options: Sequence[str] = NO_NETWORK,
        argv: Sequence[str] = IDLE,
        image: str = IMAGE,
    ) -> str:
        """``run -d``."""
        done = expect(execute([*self.argv, "run", "-d", *options, *self.options, image, *argv]))
        return done.output.strip()

    def exec(self, handle: str, argv: Sequence[str]) -> Completed:
        """``exec``."""
        return execute([*self.argv, "exec", handle, *argv])

    def stop(self, handle: str) -> None:
        """``kill``: what a program does with SIGTERM is its own affair."""
        expect(execute([*self.argv, "kill", handle]))
        expect(execute([*self.argv, "wait", handle]))

    def remove(self, handle: str) -> None:
        """``rm -v``."""
        expect(execute([*self.argv, "rm", "-v", handle]))

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
        if not self._images:
            return
        found = execute([*self.argv, "ps", "-aq", "--filter", f"label={LABEL}"]).output.split()
        if found:
            execute([*self.argv, "rm", "-f", *found])
        execute([*self.argv, "rmi", *self._images])
        self._images.clear()


def _write_time(moment_ns: int) -> str:
    return f"{moment_ns // 10**9}.{moment_ns % 10**9:09d}"
