"""A command in a running container, for programs: its output as it comes, and its exit code.

The supervisor starts the command; its pipes lead straight here. So nothing is buffered on the way,
a slow reader holds the command back as a pipe would, and the exit code comes on the connection that
asked for the command, whatever becomes of its output.
"""

from __future__ import annotations

import os
import select
from collections.abc import Iterator

import msgspec

from proa.engine.config import ExecConfig
from proa.engine.containers.exec import prepare_process, start_process
from proa.engine.context import Context
from proa.engine.ipc import wire
from proa.engine.supervisor.stdio import ContainerStdio
from proa.errors import Conflict, Unavailable
from proa.oci.spec import Process

_CHUNK_BYTES = 65536


class Output(msgspec.Struct, frozen=True):
    """A piece of output: ``stdout`` or ``stderr``, and the bytes as they came."""

    stream: str
    data: bytes


class ExecResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a finished command said.

    Attributes:
        exit_code: 0 to 255; 128 + n when signal n ended it.
    """

    exit_code: int
    stdout: bytes
    stderr: bytes


class Execution:
    """A running command; iterate over its output, or ask for its :meth:`result`.

    A context manager: leaving it closes the command's pipes. The command itself runs on until it
    ends or writes to a pipe that nobody reads.
    """

    def __init__(self, context: Context, ref: str, config: ExecConfig) -> None:
        """Start the command.

        Raises:
            NotFound: no such container, user or group.
            Conflict: it is not running, or paused.
            CommandNotFound, CommandNotExecutable: the command cannot run.
        """
        self._input = -1
        self._outputs: dict[int, str] = {}
        self._code: int | None = None
        process, self._peer = prepare_process(context, ref, config)
        try:
            self._start(process, config)
        except BaseException:
            self.close()
            raise

    @property
    def exit_code(self) -> int | None:
        """The exit code; None while it runs, or before anybody has waited."""
        return self._code

    def write(self, data: bytes) -> None:
        """Write to its standard input, all of it.

        Raises:
            Conflict: it has none (``stdin=False``), or that was closed.
            BrokenPipeError: the command does not read any more.
        """
        if self._input < 0:
            raise Conflict("the command has no standard input", "start it with stdin=True")
        view = memoryview(data)
        while view:
            view = view[os.write(self._input, view) :]

    def close_stdin(self) -> None:
        """End its standard input. Idempotent."""
        if self._input >= 0 and self._input not in self._outputs:
            os.close(self._input)
        self._input = -1

    def __iter__(self) -> Iterator[Output]:
        """Yield output until both streams have ended; :meth:`wait` then has the exit code."""
        poll = select.poll()
        for fd in self._outputs:
            poll.register(fd, select.POLLIN)
        while self._outputs:
            for fd, _ in poll.poll():
                try:
                    data = os.read(fd, _CHUNK_BYTES)
                except OSError:
                    data = b""  # the terminal's last process has closed it
                if data:
                    yield Output(self._outputs[fd], data)
                else:
                    poll.unregister(fd)
                    del self._outputs[fd]
                    os.close(fd)

    def wait(self) -> int:
        """Wait for its end, passing over output that nobody took; return the exit code.

        Raises:
            Unavailable: the container's supervisor died.
        """
        if self._code is None:
            for _ in self:
                pass
            kind, payload, _ = wire.receive(self._peer)
            if kind != b"X":
                raise Unavailable("the container's supervisor ended before the command did")
            self._code = int(payload)
            self.close()
        return self._code

    def result(self, stdin: bytes = b"") -> ExecResult:
        """Write ``stdin``, collect all output, wait for the end.

        Input and output are served side by side, so neither can block the other.
        """
        if stdin:
            import threading

            feeder = threading.Thread(target=self._feed, args=(stdin,), daemon=True)
            feeder.start()
        else:
            self.close_stdin()
        collected = {"stdout": bytearray(), "stderr": bytearray()}
        for output in self:
            collected[output.stream] += output.data
        return ExecResult(
            exit_code=self.wait(),
            stdout=bytes(collected["stdout"]),
            stderr=bytes(collected["stderr"]),
        )

    def close(self) -> None:
        """Close its pipes and the connection. Idempotent."""
        self.close_stdin()
        for fd in self._outputs:
            os.close(fd)
        self._outputs.clear()
        self._peer.close()

    def __enter__(self) -> Execution:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _feed(self, data: bytes) -> None:
        try:
            self.write(data)
        except OSError:
            pass
        self.close_stdin()

    def _start(self, process: Process, config: ExecConfig) -> None:
        if config.tty:
            console = start_process(self._peer, process, ())
            self._outputs = {console: "stdout"}
            self._input = console if config.open_stdin else -1
            return
        ours, theirs = ContainerStdio.make_pipes(open_stdin=config.open_stdin)
        self._input = ours.stdin
        self._outputs = {ours.stdout: "stdout", ours.stderr: "stderr"}
        try:
            start_process(self._peer, process, (theirs.stdin, theirs.stdout, theirs.stderr))
        finally:
            for fd in (theirs.stdin, theirs.stdout, theirs.stderr):
                os.close(fd)
