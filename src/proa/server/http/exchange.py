"""One request and its answer on a blocking socket, in the thread that was given to it.

The head has arrived in full before a thread is given (:mod:`proa.server.loop`), so a slow client
costs a thread only while its body is read. h11 judges the grammar in both directions; the bytes are
moved here.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from typing import Final

import h11

from proa import log
from proa.errors import ProaError
from proa.server.call import Call, Query
from proa.server.errors import ClientGone, HttpError, status_of, words_of
from proa.server.http import guard, limits
from proa.server.http.body import RequestBody
from proa.server.http.handover import await_read
from proa.server.http.service import Service
from proa.server.responses import (
    Answer,
    Hijack,
    Response,
    Stream,
    encode_json,
    failure,
)
from proa.server.routing import Match

_RECEIVE_BYTES: Final = 256 * 1024
_HEAD_END: Final = b"\r\n\r\n"
_EMPTY: Final = (204, 304)

RawHeaders = list[tuple[str, str]]


class Exchange:
    """One request."""

    def __init__(self, sock: socket.socket, service: Service) -> None:
        self._sock = sock
        self._service = service
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.HEAD_BYTES)
        self._request: h11.Request | None = None
        self._head_sent = False
        self._close = False
        self._gone = False
        self._refusal = ""
        self.status = 0
        self.hijacked = False

    def serve(self, data: bytes) -> bytes | None:
        """Answer one request.

        Args:
            data: what has arrived, at least the whole head.

        Returns:
            What has arrived of the next request; None when the connection must be closed.
        """
        began_s = time.monotonic()
        try:
            answer = self._answer(data)
            self._respond(answer)
        except ClientGone:
            self._close = self._gone = True
        except (h11.LocalProtocolError, h11.RemoteProtocolError) as error:
            log.warning("server.protocol", error=str(error))
            self._close = True
        self._record(time.monotonic() - began_s)
        if not self._close:
            return self._finish()
        if not self._gone and not self.hijacked:
            self._linger()
        return None

    # What a handler may ask about its client.

    @contextmanager
    def watch(self) -> Iterator[int]:
        """Give a descriptor that is readable once the client hung up or the server stops."""
        with select.epoll() as watcher:
            watcher.register(self._sock.fileno(), select.EPOLLRDHUP)
            watcher.register(self._service.memory.stop_fd, select.EPOLLIN)
            yield watcher.fileno()

    @property
    def wants_upgrade(self) -> bool:
        """It said ``Connection: Upgrade``."""
        return self._header(b"upgrade") != ""

    # Reading.

    def _answer(self, data: bytes) -> Answer:
        try:
            end = data.find(_HEAD_END)
            guard.check_head(data[: end + len(_HEAD_END)] if end >= 0 else data)
            self._http.receive_data(data)
            event = self._http.next_event()
            if not isinstance(event, h11.Request):
                raise HttpError(400, "no request", close=True)
            self._request = event
            guard.check_request(
                event.method.decode("ascii"), event.headers, self._service.local_names
            )
            return self._dispatch(event)
        except h11.RemoteProtocolError as error:
            self._close = True
            # What h11 calls 501 is a framing nobody sends: the client's fault all the same.
            status = error.error_status_hint if error.error_status_hint < 500 else 400
            return failure(status, str(error))
        except HttpError as error:
            self._close = self._close or error.close
            return failure(error.status, error.message)
        except ProaError as error:
            return failure(status_of(error), words_of(error))
        except (ClientGone, h11.LocalProtocolError):
            raise
        except Exception as error:  # noqa: BLE001 - the last border before the client
            return self._fail(error)

    def _dispatch(self, request: h11.Request) -> Answer:
        raw_path, _, raw_query = request.target.partition(b"?")
        if raw_path.startswith((b"http://", b"https://")):
            # The absolute form (RFC 9112, 3.2.2); Host was checked already.
            raw_path = b"/" + raw_path.partition(b"://")[2].partition(b"/")[2]
        method = request.method.decode("ascii")
        match: Match = self._service.router.find(method, raw_path)
        call = Call(
            self._service.engine,
            method=method,
            path=match.path,
            version=match.version,
            variables=match.variables,
            query=Query(raw_query.decode("utf-8", "surrogateescape")),
            headers={k.decode("latin-1"): v.decode("latin-1") for k, v in request.headers},
            body=RequestBody(self._receive_body),
            client=self,
            memory=self._service.memory,
        )
        return match.route.handler(call)

    def _receive_body(self, timeout_s: float) -> bytes | None:
        if self._http.they_are_waiting_for_100_continue:
            self._send(h11.InformationalResponse(status_code=100, headers=[]))
        # Asked first: behind the end of a body h11 would want bytes of the next request.
        while self._http.their_state is h11.SEND_BODY:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                raise HttpError(400, str(error), close=True) from error
            if event is h11.NEED_DATA:
                self._http.receive_data(self._receive(timeout_s))
            elif isinstance(event, h11.Data):
                return bytes(event.data)
            elif not isinstance(event, h11.EndOfMessage):
                raise ClientGone
        return None

    def _receive(self, timeout_s: float) -> bytes:
        self._sock.settimeout(timeout_s)
        try:
            data = self._sock.recv(_RECEIVE_BYTES)
        except TimeoutError:
            raise HttpError(408, "the request body does not arrive", close=True) from None
        except OSError as error:
            raise ClientGone from error
        finally:
            self._sock.settimeout(None)
        if not data:
            raise ClientGone
        return data

    # Writing.

    def _respond(self, answer: Answer) -> None:
        if isinstance(answer, Response):
            self._respond_at_once(answer)
        elif isinstance(answer, Stream):
            self._respond_in_pieces(answer)
        else:
            self._hand_over(answer)

    def _respond_at_once(self, answer: Response) -> None:
        if answer.status >= 400:
            self._refusal = answer.body.decode(errors="replace").strip()
        headers: RawHeaders = [*self._service.headers, *answer.headers]
        if answer.content_type:
            headers.append(("Content-Type", answer.content_type))
        if answer.status not in _EMPTY:
            headers.append(("Content-Length", str(len(answer.body))))
        data = self._encode_head(answer.status, headers)
        if answer.body and not self._is_head_request and answer.status not in _EMPTY:
            data += self._http.send(h11.Data(data=answer.body)) or b""
        self._send_bytes(data + (self._http.send(h11.EndOfMessage()) or b""))

    def _respond_in_pieces(self, answer: Stream) -> None:
        def begin() -> None:
            headers = [*self._service.headers, ("Content-Type", answer.content_type)]
            self._send_bytes(self._encode_head(answer.status, [*headers, *answer.headers]))
            self._head_sent = True

        def write(data: bytes) -> None:
            if not self._head_sent:
                begin()
            if data and not self._is_head_request:
                self._send(h11.Data(data=data))

        if answer.announce:
            begin()
        try:
            answer.produce(write)
        except (ClientGone, h11.LocalProtocolError):
            raise
        except Exception as error:
            failed = self._failure_of(error)
            if not self._head_sent:
                self._respond_at_once(failed)
                return
            if not answer.is_json:
                # Closing before the last chunk is how HTTP says that the body is not whole.
                raise ClientGone from error
            message = str(error)
            write(encode_json({"errorDetail": {"message": message}, "error": message}) + b"\r\n")
        if not self._head_sent:
            begin()
        self._send(h11.EndOfMessage())

    def _hand_over(self, answer: Hijack) -> None:
        try:
            self._stream_raw(answer)
        finally:
            answer.close()

    def _stream_raw(self, answer: Hijack) -> None:
        RequestBody(self._receive_body).drain()
        early = self._http.trailing_data[0]
        self._close = True
        self.hijacked = True
        self.status = 101 if answer.head or self.wants_upgrade else 200
        self._send_bytes(answer.head or self._encode_upgrade(answer))
        await_read(self._sock)
        self._service.memory.metrics.count_hijack()
        try:
            answer.serve(self._sock, early)
        except (OSError, ProaError) as error:
            log.info("server.stream_ended", error=str(error))

    def _encode_upgrade(self, answer: Hijack) -> bytes:
        """Return the head before raw bytes: h11 has no word for Docker's 200 without framing."""
        lines = ["HTTP/1.1 200 OK"]
        if self.wants_upgrade:
            lines = ["HTTP/1.1 101 UPGRADED", "Connection: Upgrade"]
            lines.append(f"Upgrade: {self._header(b'upgrade')}")
        lines += [f"{name}: {value}" for name, value in self._service.headers]
        lines.append(f"Content-Type: {answer.content_type}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def _encode_head(self, status: int, headers: RawHeaders) -> bytes:
        self.status = status
        headers = [*headers, ("Date", formatdate(usegmt=True))]
        if self._close or self._service.stopping:
            headers = [*headers, ("Connection", "close")]
        head = h11.Response(status_code=status, headers=headers, reason=_REASONS.get(status, b""))
        return self._http.send(head) or b""

    def _send(self, event: h11.Event) -> None:
        self._send_bytes(self._http.send(event) or b"")

    def _send_bytes(self, data: bytes) -> None:
        try:
            self._sock.sendall(data)
        except OSError as error:
            raise ClientGone from error

    # The end.

    def _finish(self) -> bytes | None:
        if self._service.stopping:
            return None
        try:
            if not RequestBody(self._receive_body).drain():
                return None
            if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                return None
            return self._http.trailing_data[0]
        except (ClientGone, h11.ProtocolError):
            return None

    def _linger(self) -> None:
        """Let a client that is still sending read the refusal: a reset would take it away."""
        deadline_s = time.monotonic() + limits.LINGER_S
        left = limits.LINGER_BYTES
        try:
            self._sock.shutdown(socket.SHUT_WR)
            while left > 0 and (timeout_s := deadline_s - time.monotonic()) > 0:
                self._sock.settimeout(timeout_s)
                data = self._sock.recv(_RECEIVE_BYTES)
                if not data:
                    return
                left -= len(data)
        except OSError:
            return

    def _failure_of(self, error: Exception) -> Response:
        if isinstance(error, HttpError):
            self._close = self._close or error.close
            return failure(error.status, error.message)
        if isinstance(error, ProaError):
            return failure(status_of(error), words_of(error))
        return self._fail(error)

    def _fail(self, error: Exception) -> Response:
        import traceback

        trace = "".join(traceback.format_exception(error)[-4:])
        log.warning("server.failed", error=f"{type(error).__name__}: {error}", trace=trace)
        return failure(500, f"internal error: {type(error).__name__}: {error}")

    def _record(self, elapsed_s: float) -> None:
        request = self._request
        method = request.method.decode("ascii") if request is not None else "-"
        self._service.memory.metrics.count_request(method, self.status, elapsed_s)
        log.info(
            "server.request",
            method=method,
            target=request.target.decode("latin-1") if request is not None else "-",
            status=self.status,
            ms=round(elapsed_s * 1000, 1),
            **({"error": self._refusal} if self._refusal else {}),
        )

    @property
    def _is_head_request(self) -> bool:
        return self._request is not None and self._request.method == b"HEAD"

    def _header(self, name: bytes) -> str:
        if self._request is None:
            return ""
        return next((v.decode("latin-1") for k, v in self._request.headers if k == name), "")


_REASONS: Final = {
    200: b"OK",
    201: b"Created",
    204: b"No Content",
    304: b"Not Modified",
    400: b"Bad Request",
    401: b"Unauthorized",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    406: b"Not Acceptable",
    408: b"Request Timeout",
    409: b"Conflict",
    413: b"Request Entity Too Large",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    501: b"Not Implemented",
    503: b"Service Unavailable",
}
