"""A thin client of QEMU's monitor protocol, synchronous, over one connected socket.

A request is a JSON object on a line; the answer to it and events come back the same way. The other
side is treated as hostile (its guest may have taken it over): lines are bounded, types are checked,
a silent peer runs into the timeout.

Source: ``docs/interop/qmp-spec.rst``.
"""

from __future__ import annotations

import json
import os
import select
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from proa.errors import Corrupt, ProaError, TimedOut, Unavailable, from_os_error

LINE_MAX = 1 << 20
EVENTS_MAX = 1000
"""Older events are forgotten beyond that."""

_CHUNK = 65536


class QmpError(ProaError):
    """QEMU refused a command.

    Attributes:
        class_name: QAPI's error class (``GenericError``, ``CommandNotFound`` ...).
    """

    kind = "unavailable"

    def __init__(self, command: str, class_name: str, description: str) -> None:
        super().__init__(f"QEMU refused {command}: {description}")
        self.class_name = class_name


class Qmp:
    """One monitor connection; owns its socket.

    Attributes:
        events: events received and not yet taken, oldest first; the owner removes what it has seen.
    """

    def __init__(self, sock: socket.socket, timeout_s: float = 30.0) -> None:
        """Take over our end of the socket; the greeting is awaited with the first command."""
        sock.setblocking(False)
        self._socket = sock
        self._timeout_s = timeout_s
        self._buffer = bytearray()
        self._ready = False
        self._id = 0
        self.events: list[Mapping[str, Any]] = []

    def fileno(self) -> int:
        """For poll(2): readable means that :meth:`receive_events` has something to do."""
        return self._socket.fileno()

    def execute(
        self,
        command: str,
        arguments: Mapping[str, object] | None = None,
        *,
        timeout_s: float | None = None,
        fds: Sequence[int] = (),
    ) -> Any:
        """Send one command and return its ``return`` value.

        Args:
            fds: sent along (``getfd``, ``add-fd``).

        Raises:
            QmpError: QEMU refused it.
            TimedOut: no answer in time.
            Unavailable: QEMU is gone.
            Corrupt: what came is not the protocol.
        """
        deadline = time.monotonic() + (self._timeout_s if timeout_s is None else timeout_s)
        if not self._ready:
            self._greet(deadline)
        return self._call(command, arguments, deadline, fds)

    def receive_events(self) -> list[Mapping[str, Any]]:
        """Read what is there without waiting; return all events not yet taken and forget them.

        Raises:
            Unavailable: QEMU is gone and no event is left.
            Corrupt: what came is not the protocol.
        """
        if not self._ready:
            self._greet(time.monotonic() + self._timeout_s)
        try:
            while (message := self._try_next()) is not None:
                self._keep_event(message)
        except Unavailable:
            if not self.events:
                raise
        events, self.events = self.events, []
        return events

    def wait_event(
        self, wanted: Callable[[Mapping[str, Any]], bool], timeout_s: float
    ) -> Mapping[str, Any]:
        """Wait for an event that ``wanted`` accepts; others stay in ``events``.

        Raises:
            TimedOut, Unavailable, Corrupt: as ``execute``.
        """
        deadline = time.monotonic() + timeout_s
        if not self._ready:
            self._greet(deadline)
        while True:
            for index, event in enumerate(self.events):
                if wanted(event):
                    return self.events.pop(index)
            self._keep_event(self._next(deadline, "an event"))

    def close(self) -> None:
        """Close the connection. Idempotent."""
        self._socket.close()

    def _greet(self, deadline: float) -> None:
        greeting = self._next(deadline, "QEMU's greeting")
        if "QMP" not in greeting:
            raise Corrupt("QEMU's monitor did not greet as one")
        self._ready = True
        self._call("qmp_capabilities", None, deadline, ())

    def _call(
        self,
        command: str,
        arguments: Mapping[str, object] | None,
        deadline: float,
        fds: Sequence[int],
    ) -> Any:
        self._id += 1
        request: dict[str, object] = {"execute": command, "id": self._id}
        if arguments:
            request["arguments"] = arguments
        self._send(json.dumps(request).encode() + b"\n", fds, deadline)
        while True:
            message = self._next(deadline, f"the answer to {command}")
            if message.get("id") != self._id:
                # An event, or the late answer to a command that ran into its timeout.
                self._keep_event(message)
            elif "return" in message:
                return message["return"]
            else:
                error = message.get("error")
                error = error if isinstance(error, dict) else {}
                raise QmpError(
                    command, str(error.get("class", "")), str(error.get("desc", "no reason"))[:500]
                )

    def _keep_event(self, message: Mapping[str, Any]) -> None:
        if isinstance(message.get("event"), str):
            self.events.append(message)
            del self.events[:-EVENTS_MAX]

    def _send(self, data: bytes, fds: Sequence[int], deadline: float) -> None:
        view = memoryview(data)
        while view:
            try:
                if fds:
                    sent = socket.send_fds(self._socket, [view], list(fds))
                    fds = ()
                else:
                    sent = self._socket.send(view)
                view = view[sent:]
            except BlockingIOError:
                self._wait(select.POLLOUT, deadline, "QEMU to take a command")
            except OSError as error:
                raise from_os_error(error, "cannot speak to QEMU's monitor") from error

    def _next(self, deadline: float, what: str) -> Mapping[str, Any]:
        while True:
            message = self._try_next()
            if message is not None:
                return message
            self._wait(select.POLLIN, deadline, what)

    def _try_next(self) -> Mapping[str, Any] | None:
        """One message of what is there; None when a whole one is not."""
        while (end := self._buffer.find(b"\n")) < 0:
            try:
                data = self._socket.recv(_CHUNK)
            except BlockingIOError:
                return None
            except OSError as error:
                raise Unavailable(
                    f"QEMU's monitor is gone: {os.strerror(error.errno or 0)}"
                ) from error
            if not data:
                raise Unavailable("QEMU's monitor is gone")
            self._buffer += data
            if len(self._buffer) > LINE_MAX and b"\n" not in self._buffer:
                raise Corrupt(f"QEMU's monitor sent a line of more than {LINE_MAX} bytes")
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        try:
            message = json.loads(line)
        except ValueError as error:
            raise Corrupt("QEMU's monitor sent a line that is not JSON") from error
        if not isinstance(message, dict):
            raise Corrupt("QEMU's monitor sent a line that is not an object")
        return message

    def _wait(self, events: int, deadline: float, what: str) -> None:
        poll = select.poll()
        poll.register(self._socket, events)
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise TimedOut(f"waited in vain for {what}")
