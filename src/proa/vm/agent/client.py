"""The engine's end of the channel: requests that wait for their answer, streams in the background.

A thread moves frames; whoever owns the sandbox asks from another. What the guest says is checked by
that thread and never more than a message or a window of a stream is kept of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from proa.errors import Corrupt, ProaError, TimedOut, Unavailable
from proa.oci.files import Transfer
from proa.vm.agent import messages, protocol
from proa.vm.agent.mux import Mux
from proa.vm.agent.protocol import Frame

if TYPE_CHECKING:
    import socket
    import threading

    from proa.oci.isolation import ExitStatus

ANSWER_TIMEOUT_S = 2.0
"""An agent that says nothing for so long hangs, on a host that starts guests in reasonable time."""

_OVERLOAD_SHARE = 0.5
"""Of the time that the guest took to start: on an overloaded host everything takes longer."""

SLOW_TIMEOUT_S = 60.0
"""For what runs programs in the guest: emulated on a busy host, that takes seconds."""

_SLOW = (messages.SetUp, messages.Create, messages.Start, messages.Exec, messages.Finish, Transfer)


class Followed(Protocol):
    """A process as the channel's thread tells it what happens."""

    @property
    def number(self) -> int:
        """Its number on the channel."""

    def connect(self, mux: Mux) -> None:
        """Serve its streams."""

    def disconnect(self) -> None:
        """It did not come to be."""

    def on_exit(self, status: ExitStatus) -> None:
        """It has ended."""

    def ended(self) -> bool:
        """Its owner has been told."""

    def on_lost(self) -> None:
        """Its guest is gone."""


class Pending:
    """A request whose answer is awaited."""

    __slots__ = ("done", "error", "payload")

    def __init__(self, done: threading.Event) -> None:
        self.done = done
        self.payload = b""
        self.error: ProaError | None = None


class AgentClient:
    """Talks to one guest's agent.

    Args:
        peer: a connected stream socket; taken over.
        subject: the container in the words of messages.
        on_query: answers DNS messages of the guest; None: they are dropped.
    """

    def __init__(
        self,
        peer: socket.socket,
        subject: str,
        on_query: Callable[[Mux, bytes, Callable[[bytes], None]], None] | None = None,
    ) -> None:
        import threading

        self._peer = peer
        self._subject = subject
        self._on_query = on_query
        self._events = threading.Event
        self._hello = Pending(threading.Event())
        self._pending: dict[int, Pending] = {}
        self._last_request = 0
        self._lost: ProaError | None = None
        self._patience_s = ANSWER_TIMEOUT_S
        self._processes: dict[int, Followed] = {}
        self.mux = Mux(peer.fileno(), protocol.FROM_GUEST, self._on_frame)
        self._thread = threading.Thread(target=self._run, name="proa-vm-channel", daemon=True)
        self._thread.start()

    # -- asking ------------------------------------------------------------------------------------

    def await_hello(self, timeout_s: float) -> messages.Hello:
        """Wait until the guest is ready.

        Raises:
            Unavailable: it ended before.
            TimedOut: it is not ready in time.
            Corrupt: it speaks another version.
        """
        begin_s = time.monotonic()
        payload = self._await(self._hello, timeout_s, "to start")
        took_s = time.monotonic() - begin_s
        self._patience_s = max(ANSWER_TIMEOUT_S, took_s * _OVERLOAD_SHARE)
        hello = messages.decode_hello(payload)
        if hello.version != protocol.VERSION:
            raise Corrupt(f"the guest of {self._subject} speaks version {hello.version}")
        return hello

    def request(self, message: messages.Request, timeout_s: float | None = None) -> bytes:
        """Ask, and wait for the answer.

        Raises:
            Unavailable: the guest has ended.
            TimedOut: its agent does not answer.
            ProaError: what the agent says went wrong.
        """
        return self.await_answer(self.post(message), message, timeout_s)

    def start(self, process: Followed, message: messages.Request) -> bytes:
        """Ask for a process, serve its streams, and wait until it runs.

        It is asked of an agent that answers at once only: starting may take long.

        Raises:
            ProaError: as :meth:`request`; the process' streams are closed.
        """
        try:
            ping = messages.Ping()
            self.await_answer(self.post(ping), ping)
            return self.await_answer(self.post(message, process), message)
        except BaseException:
            self._forget(process)
            raise

    def post(self, message: messages.Request, process: Followed | None = None) -> Pending:
        """Ask without waiting; see :meth:`await_answer`.

        Args:
            process: one that the message asks for: its streams are served from the moment that the
                message is on its way, for the guest knows them only then.
        """
        pending = Pending(self._events())
        payload = messages.encode(message)

        def send() -> None:
            if self._lost is not None:
                self._settle(pending, error=self._lost)
                if process is not None:
                    process.on_lost()
                return
            self._last_request += 1
            if not isinstance(message, messages.Signal):
                self._pending[self._last_request] = pending
            self.mux.send(protocol.REQUEST, self._last_request, payload)
            if process is not None:
                self._processes[process.number] = process
                process.connect(self.mux)

        self._post(send)
        return pending

    def await_answer(
        self, pending: Pending, message: messages.Request, timeout_s: float | None = None
    ) -> bytes:
        """Wait for the answer to what was posted; errors as :meth:`request`."""
        if timeout_s is None:
            timeout_s = SLOW_TIMEOUT_S if isinstance(message, _SLOW) else self._patience_s
        return self._await(pending, timeout_s, "to answer")

    def _forget(self, process: Followed) -> None:
        """A process did not come to be."""

        def disconnect() -> None:
            self._processes.pop(process.number, None)
            process.disconnect()

        self._post(disconnect)

    def close(self) -> None:
        """End the channel and the thread. Idempotent."""
        import socket

        try:
            self._peer.shutdown(socket.SHUT_RDWR)
        except OSError:
            # It is broken already.
            pass
        self._thread.join()
        self.mux.close()
        self._peer.close()

    def _post(self, action: Callable[[], None]) -> None:
        if self._thread.is_alive():
            self.mux.post(action)
        else:
            action()

    def _await(self, pending: Pending, timeout_s: float, doing: str) -> bytes:
        if not pending.done.wait(timeout_s):
            raise TimedOut(
                f"the guest of {self._subject} takes more than {timeout_s:.2g} s {doing}",
                "its agent hangs, or the host is overloaded; stop the container to be rid of it",
            )
        if pending.error is not None:
            raise pending.error
        return pending.payload

    # -- the thread --------------------------------------------------------------------------------

    def _run(self) -> None:
        reason: ProaError
        try:
            while True:
                self.mux.run()
        except EOFError:
            reason = Unavailable(f"the virtual machine of {self._subject} has ended")
        except ProaError as error:
            reason = error
        except Exception as error:  # noqa: BLE001 - the owner has to know that nobody listens
            reason = Unavailable(f"the channel to the guest of {self._subject} failed: {error!r}")
        self._lose(reason)

    def _lose(self, reason: ProaError) -> None:
        import socket

        self._lost = reason
        try:
            # Whoever still sends shall notice: a guest that breaks the rules is not listened to.
            self._peer.shutdown(socket.SHUT_RDWR)
        except OSError:
            # It is broken already.
            pass
        for pending in (self._hello, *self._pending.values()):
            self._settle(pending, error=reason)
        self._pending.clear()
        for process in list(self._processes.values()):
            process.on_lost()
        self._processes.clear()
        # What was posted meanwhile finds out by itself.
        self.mux.run_posted()

    def _settle(
        self, pending: Pending, payload: bytes = b"", error: ProaError | None = None
    ) -> None:
        if not pending.done.is_set():
            pending.payload, pending.error = payload, error
            pending.done.set()

    def _on_frame(self, frame: Frame) -> None:
        if frame.kind == protocol.HELLO:
            self._settle(self._hello, frame.payload)
        elif frame.kind == protocol.EXIT:
            process = self._processes.get(frame.stream)
            if process is not None:
                process.on_exit(messages.decode_exit(frame.payload))
            self._processes = {
                number: item for number, item in self._processes.items() if not item.ended()
            }
        elif frame.kind == protocol.QUERY:
            self._answer_query(frame)
        else:
            pending = self._pending.pop(frame.stream, None)
            if pending is None:
                # Answered twice, or never asked: a confused agent, and harmless.
                return
            if frame.kind == protocol.REPLY:
                self._settle(pending, frame.payload)
            else:
                self._settle(pending, error=messages.error_of(frame.payload))

    def _answer_query(self, frame: Frame) -> None:
        if self._on_query is not None:
            self._on_query(
                self.mux,
                frame.payload,
                lambda data: self.mux.send(protocol.ANSWER, frame.stream, data),
            )
