"""What every target of a comparison can do, and the result of a command on one."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol

IMAGE = "proa-compare:latest"
"""Name of the image on every target; removed with it."""

IDLE = ("sleep", "100000")
TIMEOUT_S = 300.0


class CompareError(Exception):
    """A command of a measurement gave a wrong exit code or output, or did not end."""


class Inapplicable(CompareError):
    """A target has no such thing; not a failure."""


class Completed(NamedTuple):
    """Output and exit code of a command."""

    code: int
    output: str
    error: str


class Timed(NamedTuple):
    """Moments of a command (``time.perf_counter``), and its output.

    Attributes:
        events: seconds from its begin to what the engine says happened (``create``, ``start``).
    """

    begin: float
    first: float
    end: float
    output: str
    events: Mapping[str, float] = MappingProxyType({})


class Target(Protocol):
    """One way to run the same programs. Used by one thread, but for :meth:`run` and ``start``.

    Attributes:
        name: key in reports.
        title: for people.
        startup_s: upper estimate of one start, for what is announced.
        memory_mb: upper estimate of one idle instance.
        image_mb: disk that the image took when it was loaded; NaN where it was not.
    """

    name: str
    title: str
    startup_s: float
    memory_mb: int
    image_mb: float

    def absent(self) -> str:
        """Why this target cannot be measured here; empty if it can."""

    def open(self, archive: str, image: str = IMAGE) -> None:
        """Give it an image, an archive of ``docker save``; runs nothing yet."""

    def run(self, argv: Sequence[str]) -> Completed:
        """Run a program in a fresh instance, as a whole cold command, to its end."""

    def time_run(self, argv: Sequence[str]) -> Timed:
        """As :meth:`run`, and when the first output came and the end."""

    def storage(self) -> str:
        """Directory that holds images and instances, empty if there is none."""

    def start(
        self, options: Sequence[str] = ..., argv: Sequence[str] = ..., image: str = ...
    ) -> str:
        """Start an instance that stays; return its handle once it runs.

        Args:
            options: of ``run``; no network, if not given.
            argv: its program; it idles, if not given.
            image: one that was given with :meth:`open`.

        Raises:
            Inapplicable: the target has nothing that the options ask for.
        """

    def exec(self, handle: str, argv: Sequence[str]) -> Completed:
        """Run a program in a running instance."""

    def stop(self, handle: str) -> None:
        """Stop an instance as a user would who does not wait for it."""

    def remove(self, handle: str) -> None:
        """Remove a stopped instance and its anonymous volumes."""

    def processes(self, handle: str) -> list[int]:
        """Pids on this host that exist for one instance alone."""

    def close(self) -> None:
        """Remove the image and whatever is left of instances. Idempotent."""


def execute(argv: Sequence[str], timeout_s: float = TIMEOUT_S) -> Completed:
    """Run a whole process.

    Raises:
        CompareError: it does not start or does not end.
    """
    try:
        done = subprocess.run(
            list(argv), capture_output=True, text=True, errors="replace", timeout=timeout_s,
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CompareError(f"{argv[0]}: {error}") from error
    return Completed(done.returncode, done.stdout, done.stderr)


def time_command(argv: Sequence[str]) -> Timed:
    """Run a whole process and note when its first output and its end came.

    Raises:
        CompareError: it does not start, does not end or fails.
    """
    begin = time.perf_counter()
    try:
        process = subprocess.Popen(
            list(argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    except OSError as error:
        raise CompareError(f"{argv[0]}: {error}") from error
    with process:
        killer = threading.Timer(TIMEOUT_S, process.kill)
        killer.start()
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            head = process.stdout.read(1)
            first = time.perf_counter()
            rest = process.stdout.read()
            code = process.wait()
            end = time.perf_counter()
            message = process.stderr.read().decode("utf-8", "replace")
        except BaseException:
            process.terminate()
            process.wait(TIMEOUT_S)
            raise
        finally:
            killer.cancel()
    output = (head + rest).decode("utf-8", "replace")
    expect(Completed(code, output, message))
    return Timed(begin, first, end, output)


def expect(completed: Completed, output: str | None = None, code: int = 0) -> Completed:
    """Check what a command gave.

    Raises:
        CompareError: something else.
    """
    if completed.code != code:
        raise CompareError(f"exit code {completed.code}: {completed.error.strip()[-300:]}")
    if output is not None and completed.output != output:
        raise CompareError(f"gave {completed.output[:100]!r} instead of {output!r}")
    return completed


def below(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for one in found:
        try:
            for task in os.listdir(f"/proc/{one}/task"):
                with open(f"/proc/{one}/task/{task}/children") as stream:
                    found += [int(word) for word in stream.read().split()]
        except OSError:
            continue
    return found


def allocated_mb(directory: str) -> float:
    """Disk that a tree takes, in millions of bytes; each inode once, other filesystems left out."""
    if not directory:
        return 0.0
    os.sync()  # what is not written yet has no blocks
    device = os.lstat(directory).st_dev
    seen: set[int] = set()
    blocks = 0
    for path, names, files in os.walk(directory):
        for name in (*names, *files):
            try:
                found = os.lstat(os.path.join(path, name))
            except FileNotFoundError:
                continue
            if found.st_dev == device and found.st_ino not in seen:
                seen.add(found.st_ino)
                blocks += found.st_blocks
        names[:] = [name for name in names if _is_on(device, os.path.join(path, name))]
    return blocks * 512 / 1e6


def _is_on(device: int, path: str) -> bool:
    try:
        return os.lstat(path).st_dev == device
    except FileNotFoundError:
        return False
