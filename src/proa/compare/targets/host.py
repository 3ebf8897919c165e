"""The bare host: the same programs as plain processes, the floor of every figure."""

from __future__ import annotations

import math
import shutil
import signal
import subprocess
from collections.abc import Sequence

from proa.compare.targets.base import (
    IDLE,
    IMAGE,
    Completed,
    Inapplicable,
    Timed,
    execute,
    time_command,
)

_CLEAN = ("env", "-i", "PATH=/usr/bin:/bin")
"""The environment of a container, so that a shell does not search the user's long PATH."""


class Host:
    """Runs busybox's applets of the host. Implements :class:`Target`."""

    name = "host"
    title = "bare host"
    startup_s = 0.05
    memory_mb = 1
    image_mb = math.nan

    def __init__(self) -> None:
        self._idle: dict[str, subprocess.Popen[bytes]] = {}

    def absent(self) -> str:
        """Say whether busybox is missing."""
        return "" if shutil.which("busybox") else "busybox is not installed (busybox-static)"

    def open(self, archive: str, image: str = IMAGE) -> None:
        """Need nothing."""

    def run(self, argv: Sequence[str]) -> Completed:
        """Run an applet."""
        return execute([*_CLEAN, "busybox", *argv])

    def time_run(self, argv: Sequence[str]) -> Timed:
        """Run an applet and note when it spoke and ended."""
        return time_command([*_CLEAN, "busybox", *argv])

    def storage(self) -> str:
        """None: a process takes no disk."""
        return ""

    def start(
        self,
        options: Sequence[str] = (),
        argv: Sequence[str] = IDLE,
        image: str = IMAGE,  # noqa: ARG002 - the host has its own programs
    ) -> str:
        """Start a process.

        Raises:
            Inapplicable: it should have volumes.
        """
        if "-v" in options:
            raise Inapplicable("has no volumes")
        process = subprocess.Popen(["busybox", *argv], stdin=subprocess.DEVNULL)
        self._idle[str(process.pid)] = process
        return str(process.pid)

    def exec(self, handle: str, argv: Sequence[str]) -> Completed:  # noqa: ARG002 - nothing to enter
        """Run one more process: there is nothing to enter."""
        return self.run(argv)

    def stop(self, handle: str) -> None:
        """Kill it."""
        process = self._idle[handle]
        process.send_signal(signal.SIGKILL)
        process.wait()

    def remove(self, handle: str) -> None:
        """Forget it."""
        del self._idle[handle]

    def processes(self, handle: str) -> list[int]:
        """Only itself."""
        return [int(handle)]

    def close(self) -> None:
        """End what still sleeps."""
        for handle in list(self._idle):
            self.stop(handle)
            self.remove(handle)
