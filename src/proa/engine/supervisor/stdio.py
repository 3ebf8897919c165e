"""The container's stdin, stdout and stderr as one thing: pipes, or a terminal."""

from __future__ import annotations

import os
from collections.abc import Callable

from proa.engine.supervisor.detachkeys import parse_detach_keys
from proa.engine.supervisor.hibernation import Kept
from proa.engine.supervisor.loop import Loop
from proa.engine.supervisor.streams import Attachment, Input, Output, Recorder, Sink
from proa.oci.isolation import Stdio

NO_STDIO = Stdio(-1, -1, -1)


class ContainerStdio:
    """Both ends' owner for one run of a container.

    Call order: :meth:`make_pipes` (or none of it for a terminal), start the process,
    :meth:`connect_pipes` or :meth:`connect_terminal`, then attach and detach at will.
    """

    def __init__(self, loop: Loop, recorder: Recorder, on_change: Callable[[], None]) -> None:
        """Prepare.

        Args:
            loop: where all descriptors wait.
            recorder: gets all output.
            on_change: called when a reader took what waited for it, or went away.
        """
        self._loop = loop
        self._recorder = recorder
        self._on_change = on_change
        self._outputs: list[Output] = []
        self._input: Input | None = None
        self._is_terminal = False

    @staticmethod
    def make_pipes(*, open_stdin: bool) -> tuple[Stdio, Stdio]:
        """Return our ends and the container's; without ``open_stdin`` it reads /dev/null."""
        if open_stdin:
            their_in, our_in = os.pipe2(os.O_CLOEXEC)
        else:
            their_in, our_in = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC), -1
        our_out, their_out = os.pipe2(os.O_CLOEXEC)
        our_err, their_err = os.pipe2(os.O_CLOEXEC)
        return Stdio(our_in, our_out, our_err), Stdio(their_in, their_out, their_err)

    def connect_pipes(self, ours: Stdio, *, once: bool) -> None:
        """Serve our ends; with ``once`` the first reader's end of file is the container's."""
        self._outputs = [
            Output(self._loop, ours.stdout, "stdout", self._recorder),
            Output(self._loop, ours.stderr, "stderr", self._recorder),
        ]
        if ours.stdin >= 0:
            self._input = Input(self._loop, ours.stdin, once=once)

    def connect_terminal(self, console: int, *, open_stdin: bool) -> None:
        """Serve a pty's master side, which stays its owner's: one stream for both outputs."""
        self._is_terminal = True
        self._outputs = [Output(self._loop, os.dup(console), "stdout", self._recorder)]
        if open_stdin:
            self._input = Input(self._loop, os.dup(console), once=False)

    def resume(self, kept: Kept, *, terminal: bool, once: bool) -> None:
        """Go on with our ends as another process had them; ``once`` as in :meth:`connect_pipes`."""
        self._is_terminal = terminal
        self._outputs = [Output(self._loop, kept.stdout, "stdout", self._recorder)]
        if not terminal:
            self._outputs.append(Output(self._loop, kept.stderr, "stderr", self._recorder))
        if kept.stdin >= 0:
            self._input = Input(self._loop, kept.stdin, once=once and not terminal)

    @property
    def fds(self) -> tuple[int, int, int]:
        """Our ends of stdin, stdout and stderr; -1 for what is closed or never was."""
        ends = [output.fd for output in self._outputs]
        stdin = self._input.fd if self._input is not None else -1
        return stdin, ends[0] if ends else -1, ends[1] if len(ends) > 1 else -1

    def attach(
        self,
        attachment: Attachment,
        *,
        leader: bool = False,
        detach_keys: str = "",
        on_detach: Callable[[], None] | None = None,
    ) -> list[Sink]:
        """Take a client's descriptors over; returns what :meth:`detach` wants.

        Args:
            attachment: a terminal has no stderr of its own: that descriptor is closed.
            leader: the container belongs to this client as a command to its pipeline.
            detach_keys: looked for in what comes from the client's terminal.
            on_detach: called when they came.

        Raises:
            Invalid: the keys cannot be; the descriptors are closed.
        """
        try:
            keys = parse_detach_keys(detach_keys) if self._is_terminal else b""
        except BaseException:
            attachment.close()
            raise
        sinks = []
        for at, fd in enumerate((attachment.stdout, attachment.stderr)):
            if fd < 0:
                continue
            if at >= len(self._outputs):
                os.close(fd)
                continue
            sinks.append(Sink(self._loop, fd, self.review))
            self._outputs[at].attach(sinks[-1], leader=leader)
        if attachment.stdin >= 0:
            if self._input is not None:
                self._input.attach(attachment.stdin, keys, on_detach, job=attachment.job)
            else:
                os.close(attachment.stdin)
        return sinks

    def detach(self, sinks: list[Sink]) -> None:
        """Let a client go."""
        for output in self._outputs:
            for sink in sinks:
                output.detach(sink)

    def abandon(self) -> None:
        """Let every client go; the container writes on into the record."""
        for output in self._outputs:
            output.abandon_readers()
        if self._input is not None:
            self._input.detach()

    def review(self) -> None:
        """Look again at who is slow and who is gone."""
        for output in self._outputs:
            output.review()
        self._on_change()

    @property
    def settled(self) -> bool:
        """Every reader that is still there has everything."""
        return all(output.settled for output in self._outputs)

    def drain(self) -> None:
        """The container's processes have ended: pass on what they left in the pipes."""
        for output in self._outputs:
            output.drain()
        if self._input is not None:
            self._input.close()

    def close(self) -> None:
        """Close everything. Idempotent."""
        for output in self._outputs:
            output.close()
        if self._input is not None:
            self._input.close()
