"""The body of one request, read from the connection when somebody wants it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from proa.server.errors import HttpError
from proa.server.http import limits

Receive = Callable[[float], bytes | None]
"""Return the next piece within so many seconds; None at the end of the body."""


class RequestBody:
    """Pieces of a body in their order; each is given out once."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._ended = False

    def read_all(self, limit_bytes: int) -> bytes:
        """Return the whole body.

        Raises:
            HttpError: 413, it is longer; 408, it takes too long.
        """
        deadline = time.monotonic() + limits.SMALL_BODY_TIMEOUT_S
        whole = bytearray()
        while (piece := self._next(max(deadline - time.monotonic(), 0.01))) is not None:
            whole += piece
            if len(whole) > limit_bytes:
                raise HttpError(
                    413, f"the request body is larger than {limit_bytes} bytes", close=True
                )
        return bytes(whole)

    def pieces(self) -> Iterator[bytes]:
        """Yield the body as it comes.

        Raises:
            HttpError: 408, the client has stopped in the middle.
        """
        while (piece := self._next(limits.BODY_TIMEOUT_S)) is not None:
            if piece:
                yield piece

    def drain(self) -> bool:
        """Pass over what is left; False when that is too much or nothing more comes."""
        left = limits.DRAIN_BYTES
        try:
            while (piece := self._next(limits.HEAD_TIMEOUT_S)) is not None:
                left -= len(piece)
                if left < 0:
                    return False
        except HttpError:
            return False
        return True

    def _next(self, timeout_s: float) -> bytes | None:
        if self._ended:
            return None
        piece = self._receive(timeout_s)
        if piece is None:
            self._ended = True
        return piece
