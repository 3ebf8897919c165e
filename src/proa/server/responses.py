"""What a handler returns: a finished body, a stream, or the connection itself.

A handler that returns a :class:`Stream` has answered nothing yet: the head goes out with the first
piece, so an error before it is an ordinary error. After it the connection is closed in the middle,
which a client notices; JSON streams say the error in a last line instead, as Docker does.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

JSON: Final = "application/json"
TAR: Final = "application/x-tar"
TEXT: Final = "text/plain; charset=utf-8"
RAW_STREAM: Final = "application/vnd.docker.raw-stream"
MULTIPLEXED_STREAM: Final = "application/vnd.docker.multiplexed-stream"

Headers = tuple[tuple[str, str], ...]
Write = Callable[[bytes], None]

_encoder = msgspec.json.Encoder()


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """A finished answer."""

    status: int = 200
    body: bytes = b""
    content_type: str = ""
    headers: Headers = ()


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that is written while it is made, in chunks.

    Attributes:
        produce: writes all of it; its end is the end of the answer. Runs in the request's thread.
            ``write`` raises :class:`~proa.server.errors.ClientGone` when nobody reads any more.
        is_json: an error after the first piece becomes a last line of JSON.
        announce: send the head before the first piece is there (``logs -f`` of a silent container).
    """

    produce: Callable[[Write], None]
    content_type: str
    status: int = 200
    headers: Headers = ()
    is_json: bool = False
    announce: bool = False


class Hijack(msgspec.Struct, frozen=True, kw_only=True):
    """Take the connection over: after the head it carries bytes of the handler in both directions.

    Attributes:
        serve: gets the blocking socket and what the client has sent already. The socket is closed
            when it returns.
        close: gives back what the handler opened; called in any case, also when the client was gone
            before :attr:`serve`.
        content_type: of the head; for clients that asked for an upgrade and for those that did not.
        head: a whole head instead of Docker's (a websocket's).
    """

    serve: Callable[[socket.socket, bytes], None]
    close: Callable[[], None]
    content_type: str = RAW_STREAM
    head: bytes = b""


Answer = Response | Stream | Hijack


def encode_json(document: object) -> bytes:
    """Return compact JSON."""
    return _encoder.encode(document)


def document(content: object, status: int = 200, headers: Headers = ()) -> Response:
    """Answer with JSON."""
    body = encode_json(content) + b"\n"
    return Response(status=status, body=body, content_type=JSON, headers=headers)


def empty(status: int = 204) -> Response:
    """Answer with a status alone."""
    return Response(status=status)


def text(content: str, status: int = 200, headers: Headers = ()) -> Response:
    """Answer with plain text."""
    return Response(status=status, body=content.encode(), content_type=TEXT, headers=headers)


def failure(status: int, message: str) -> Response:
    """Answer with Docker's error document."""
    if status < 400:
        return Response(status=status)
    return document({"message": message}, status)


def tar(pieces: Iterable[bytes], headers: Headers = ()) -> Stream:
    """Answer with a tar as it is made."""
    return pieces_of(pieces, TAR, headers)


def pieces_of(pieces: Iterable[bytes], content_type: str, headers: Headers = ()) -> Stream:
    """Answer with bytes as they come; the iterable is closed at the end, whatever ends it."""

    def produce(write: Write) -> None:
        try:
            for piece in pieces:
                write(piece)
        finally:
            close = getattr(pieces, "close", None)
            if close is not None:
                close()

    return Stream(produce=produce, content_type=content_type, headers=headers)


def json_lines(
    produce: Callable[[Callable[[Mapping[str, Any]], None]], None], *, announce: bool = False
) -> Stream:
    """Answer with documents as they come (progress of a pull, events), one a line.

    Args:
        produce: gets ``emit(document)``; an error that it raises after the first document is told
            in a last one, before that it is an ordinary error.
        announce: send the head at once.
    """

    def write_documents(write: Write) -> None:
        produce(lambda content: write(encode_json(content) + b"\r\n"))

    return Stream(produce=write_documents, content_type=JSON, is_json=True, announce=announce)
