"""``/containers/{id}/attach``, over a hijacked connection and over a websocket."""

from __future__ import annotations

import socket

from proa.engine.containers.container import Container
from proa.server import responses
from proa.server.call import Call
from proa.server.encode.loglines import encode_line
from proa.server.errors import HttpError, bad_request
from proa.server.responses import Answer, Hijack
from proa.server.routing import Route
from proa.server.streams.pump import STDERR, STDOUT, Pump
from proa.server.streams.session import AttachSession, Wanted
from proa.server.streams.websocket import WebSocketPump, accept_handshake

_JOINABLE = ("running", "restarting")
_MULTIPLEXED_SINCE = (1, 42)


def attach(call: Call) -> Answer:
    """``POST /containers/{id}/attach``."""
    container = _find(call)
    multiplexed = not container.config.tty

    def serve(sock: socket.socket, early: bytes) -> None:
        if call.query.flag("logs"):
            _replay(call, container, sock, multiplexed=multiplexed)
        if session is not None:
            run_session(call, session, _pump(call, session, sock, early, multiplexed=multiplexed))

    session = _open(call, container)
    return Hijack(
        serve=serve,
        close=lambda: _close(call, session),
        content_type=stream_type(call, multiplexed=multiplexed),
    )


def attach_websocket(call: Call) -> Answer:
    """``GET /containers/{id}/attach/ws``."""
    container = _find(call)
    head = accept_handshake(call.headers)

    def serve(sock: socket.socket, early: bytes) -> None:
        if session is not None:
            pump = WebSocketPump(
                sock,
                session_outputs(session),
                stdin_fd=session.stdin_fd,
                early=early,
                stop_fd=call.memory.stop_fd,
                on_stdin_end=session.close_stdin,
            )
            run_session(call, session, pump)

    session = _open(call, container)
    return Hijack(serve=serve, close=lambda: _close(call, session), head=head)


def stream_type(call: Call, *, multiplexed: bool) -> str:
    """Return the content type of a stream; clients before 1.42 know only one."""
    if multiplexed and call.version >= _MULTIPLEXED_SINCE:
        return responses.MULTIPLEXED_STREAM
    return responses.RAW_STREAM


def session_outputs(session: AttachSession) -> dict[int, int]:
    """Return the read ends of a session with their streams."""
    pairs = ((session.stdout_fd, STDOUT), (session.stderr_fd, STDERR))
    return {fd: stream for fd, stream in pairs if fd >= 0}


def run_session(call: Call, session: AttachSession, pump: Pump) -> None:
    """Pump until one side has had enough; follow a container that somebody else starts."""
    if session.handle is not None:
        pump.run()
        return
    with call.memory.events.subscribed(session.container_id) as subscription:

        def look() -> bool:
            """Go on watching until the container has started or vanished."""
            actions = [event.action for event in subscription.take()]
            if "start" in actions and call.memory.waiting.leave(session):
                call.memory.waiting.join(call.engine, [session])
            elif "destroy" in actions and call.memory.waiting.leave(session):
                session.close_theirs()
            return not ("start" in actions or "destroy" in actions)

        pump.watch(subscription.fileno(), look)
        pump.run()


def _find(call: Call) -> Container:
    container = call.engine.containers.get(call["id"])
    if container.status == "paused":
        raise HttpError(
            409, f"container {container.name} is paused, unpause the container before attach"
        )
    return container


def _open(call: Call, container: Container) -> AttachSession | None:
    """Attach now, or wait for the start; None when only the log is asked for."""
    query = call.query
    if not query.flag("stream"):
        return None
    wanted = Wanted(
        stdin=query.flag("stdin") and container.config.open_stdin,
        stdout=query.flag("stdout"),
        stderr=query.flag("stderr") and not container.config.tty,
        detach_keys=query.text("detachKeys"),
    )
    if not (query.flag("stdin") or query.flag("stdout") or query.flag("stderr")):
        raise bad_request("at least one of stdin, stdout and stderr must be attached")
    session = AttachSession(container.id, wanted)
    try:
        if container.status in _JOINABLE:
            session.join(call.engine)
        else:
            call.memory.waiting.enter(session)
    except BaseException:
        session.close()
        raise
    return session


def _close(call: Call, session: AttachSession | None) -> None:
    if session is not None:
        call.memory.waiting.leave(session)
        session.close()


def _pump(
    call: Call, session: AttachSession, sock: socket.socket, early: bytes, *, multiplexed: bool
) -> Pump:
    return Pump(
        sock,
        session_outputs(session),
        stdin_fd=session.stdin_fd,
        multiplexed=multiplexed,
        early=early,
        stop_fd=call.memory.stop_fd,
        end_fd=session.handle.fileno() if session.handle is not None else -1,
        on_stdin_end=session.close_stdin,
    )


def _replay(call: Call, container: Container, sock: socket.socket, *, multiplexed: bool) -> None:
    for line in container.logs(stdout=call.query.flag("stdout"), stderr=call.query.flag("stderr")):
        sock.sendall(encode_line(line, multiplexed=multiplexed))


ROUTES = (
    Route("POST", "/containers/{id}/attach", attach),
    Route("GET", "/containers/{id}/attach/ws", attach_websocket),
)
