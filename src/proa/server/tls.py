"""TLS in front of the plain server: one thread a connection, with a socket pair behind it.

The rest of the server then sees ordinary sockets, whose descriptors it can hand to supervisors and
whose two directions end separately. TCP is the exception among the clients; the copy costs nothing
that matters there.
"""

from __future__ import annotations

import select
import socket
import ssl
import threading

from proa import log

HANDSHAKE_TIMEOUT_S = 10.0
_CHUNK_BYTES = 64 * 1024


def terminate(raw: socket.socket, context: ssl.SSLContext) -> socket.socket:
    """Return the plain end of a TLS connection; ``raw`` is taken over.

    The handshake is done in the connection's own thread: a client that dawdles delays nobody.
    """
    ours, theirs = socket.socketpair()
    threading.Thread(target=_relay, args=(raw, context, ours), name="proa-tls", daemon=True).start()
    return theirs


def _relay(raw: socket.socket, context: ssl.SSLContext, plain: socket.socket) -> None:
    with raw, plain:
        raw.settimeout(HANDSHAKE_TIMEOUT_S)
        try:
            secure = context.wrap_socket(raw, server_side=True)
        except (OSError, ssl.SSLError) as error:
            log.warning("server.tls_refused", error=str(error))
            return
        with secure:
            try:
                _Relay(secure, plain).run()
            except (OSError, ssl.SSLError) as error:
                log.debug("server.tls_ended", error=str(error))


class _Relay:
    """Bytes between two non-blocking sockets until both directions have ended."""

    def __init__(self, secure: ssl.SSLSocket, plain: socket.socket) -> None:
        secure.setblocking(False)
        plain.setblocking(False)
        self._secure = secure
        self._plain = plain
        self._to_plain = b""
        self._to_secure = b""
        self._client_open = True
        self._server_open = True

    def run(self) -> None:
        """Relay; ends when the server's side has ended, or the client is gone."""
        while self._server_open or self._to_secure:
            moved = self._from_client() | self._from_server() | self._flush()
            if not moved:
                self._wait()
        # The close_notify says to the client that this was all.
        self._secure.setblocking(True)
        self._secure.settimeout(HANDSHAKE_TIMEOUT_S)
        self._secure.unwrap()

    def _from_client(self) -> bool:
        if not self._client_open or self._to_plain:
            return False
        try:
            self._to_plain = self._secure.recv(_CHUNK_BYTES)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        if not self._to_plain:
            self._client_open = False
            self._plain.shutdown(socket.SHUT_WR)
        return True

    def _from_server(self) -> bool:
        if not self._server_open or self._to_secure:
            return False
        try:
            self._to_secure = self._plain.recv(_CHUNK_BYTES)
        except BlockingIOError:
            return False
        if not self._to_secure:
            self._server_open = False
        return True

    def _flush(self) -> bool:
        moved = False
        if self._to_plain:
            try:
                self._to_plain = self._to_plain[self._plain.send(self._to_plain) :]
                moved = True
            except BlockingIOError:
                pass
        if self._to_secure:
            try:
                self._to_secure = self._to_secure[self._secure.send(self._to_secure) :]
                moved = True
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                pass
        return moved

    def _wait(self) -> None:
        poll = select.poll()
        secure = select.POLLIN if self._client_open and not self._to_plain else 0
        plain = select.POLLIN if self._server_open and not self._to_secure else 0
        secure |= select.POLLOUT if self._to_secure else 0
        plain |= select.POLLOUT if self._to_plain else 0
        poll.register(self._secure, secure)
        poll.register(self._plain, plain)
        poll.poll()
