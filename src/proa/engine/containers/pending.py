"""A container that somebody else supervises: the caller's side of a request to a worker."""

from __future__ import annotations

import socket
from collections.abc import Callable

import msgspec

from proa.engine.ipc import wire
from proa.errors import Unavailable

OnStarted = Callable[[wire.Started], None]


class RunOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """How ``run`` went.

    Attributes:
        exit_code: the container's; 0 when detached.
    """

    id: str
    exit_code: int
    warnings: tuple[str, ...] = ()


class Pending:
    """A request that a worker has accepted; use as a context manager.

    Leaving it early hangs up: the container goes on without this client.
    """

    def __init__(self, peer: socket.socket, on_started: OnStarted | None = None) -> None:
        self._peer = peer
        self._on_started = on_started
        self._started = wire.Started(id="")

    def __enter__(self) -> Pending:
        return self

    def __exit__(self, *exc: object) -> None:
        self._peer.close()

    def finish(self) -> RunOutcome:
        """Wait for the end of a foreground container, or for the start of a detached one.

        Raises:
            Unavailable: the supervisor was killed.
            ProaError: what it answered.
        """
        while True:
            try:
                kind, payload, _ = wire.receive(self._peer)
            except OSError:
                kind, payload = b"", b""
            match kind:
                case b"I":
                    self._started = wire.decode_started(payload)
                    if self._on_started is not None:
                        self._on_started(self._started)
                case b"X":
                    started = self._started
                    return RunOutcome(
                        id=started.id, exit_code=int(payload), warnings=started.warnings
                    )
                case b"E":
                    raise wire.error_of(wire.decode_failure(payload))
                case _:
                    which = self._started.id[:12] or "(new)"
                    raise Unavailable(f"the supervisor of container {which} was killed")
