"""``/containers/{id}/exec`` and ``/exec``: further commands in running containers."""

from __future__ import annotations

import socket

import msgspec

from proa.engine.config import ExecConfig
from proa.engine.containers.handles import ExecHandle
from proa.errors import CommandNotExecutable, CommandNotFound, ProaError
from proa.server import responses
from proa.server.call import Call
from proa.server.encode.fields import Fields
from proa.server.errors import HttpError, bad_request
from proa.server.execs import Exec, drain
from proa.server.responses import Answer, Hijack
from proa.server.routes.attaching import stream_type
from proa.server.routes.containers import read_size, words_of_missing_command
from proa.server.routing import Route
from proa.server.streams.pump import STDERR, STDOUT, Pump, frame

EXIT_NOT_EXECUTABLE = 126
EXIT_NOT_FOUND = 127


def create(call: Call) -> Answer:
    """``POST /containers/{id}/exec``."""
    fields = Fields(call.json())
    container = call.engine.containers.get(call["id"])
    command = fields.texts("Cmd")
    if not command:
        raise bad_request("No exec command specified")
    if container.status == "paused":
        raise HttpError(409, f"Container {container.id} is paused, unpause it before exec")
    if container.status != "running":
        raise HttpError(409, f"container {container.id} is not running")
    working_dir = fields.text("WorkingDir")
    if working_dir and not working_dir.startswith("/"):
        raise bad_request(f"Cwd must be an absolute path: '{working_dir}'")
    config = ExecConfig(
        command=command,
        env=fields.texts("Env"),
        user=fields.text("User"),
        working_dir=working_dir,
        tty=fields.flag("Tty"),
        open_stdin=fields.flag("AttachStdin"),
        privileged=fields.flag("Privileged"),
    )
    made = call.memory.execs.create(container.id, config, fields.text("DetachKeys"))
    return responses.document({"Id": made.id}, 201)


def start(call: Call) -> Answer:
    """``POST /exec/{id}/start``: the command's streams, or nothing when detached."""
    fields = Fields(call.json(optional=True))
    found = call.memory.execs.get(call["id"])
    container = call.engine.containers.get(found.container_id)
    if container.status == "paused":
        raise HttpError(409, f"Container {container.id} is paused, unpause it before exec")
    found.begin()
    if fields.flag("Detach"):
        return _start_detached(call, found)
    return _start_attached(call, found, fields)


def _start_detached(call: Call, found: Exec) -> Answer:
    try:
        config = msgspec.structs.replace(found.config, detach=True)
        handle = call.engine.containers.open_exec(found.container_id, config)
    except (CommandNotFound, CommandNotExecutable) as error:
        found.finish(_exit_code_of(error))
        raise HttpError(400, words_of_missing_command(error)) from error
    except ProaError:
        found.finish(EXIT_NOT_EXECUTABLE)
        raise
    if handle.stdout_fd >= 0:
        drain(handle.stdout_fd)
    found.run(handle)
    call.memory.execs.leave(found)
    return responses.Response()


def _start_attached(call: Call, found: Exec, fields: Fields) -> Answer:
    multiplexed = not found.config.tty
    refusal = b""
    try:
        handle = call.engine.containers.open_exec(
            found.container_id, found.config, size=_read_size(fields)
        )
    except (CommandNotFound, CommandNotExecutable) as error:
        # Docker says this in the stream: the exit code is the answer to be asked for.
        found.finish(_exit_code_of(error))
        refusal = f"OCI runtime exec failed: {words_of_missing_command(error)}\r\n".encode()
    except ProaError:
        found.finish(EXIT_NOT_EXECUTABLE)
        raise
    else:
        found.run(handle)

    def serve(sock: socket.socket, early: bytes) -> None:
        if found.handle is None:
            sock.sendall(frame(STDOUT, refusal) if multiplexed else refusal)
            return
        pump = Pump(
            sock,
            _outputs(found.handle),
            stdin_fd=found.handle.stdin_fd,
            multiplexed=multiplexed,
            early=early,
            stop_fd=call.memory.stop_fd,
            end_fd=found.handle.fileno(),
            ends_with_outputs=False,
            on_stdin_end=found.handle.close_stdin,
        )
        pump.run()

    return Hijack(
        serve=serve,
        close=lambda: _close(call, found),
        content_type=stream_type(call, multiplexed=multiplexed),
    )


def _close(call: Call, found: Exec) -> None:
    """Let the streams go; the exit code is told when the command has ended."""
    handle = found.handle
    if handle is not None:
        handle.close_streams()
        found.detach()
        if found.running:
            call.memory.execs.leave(found)


def _outputs(handle: ExecHandle) -> dict[int, int]:
    pairs = ((handle.stdout_fd, STDOUT), (handle.stderr_fd, STDERR))
    return {fd: stream for fd, stream in pairs if fd >= 0}


def _read_size(fields: Fields) -> tuple[int, int] | None:
    size = fields.numbers("ConsoleSize")
    return (size[0], size[1]) if len(size) == 2 and all(0 < n <= 65535 for n in size) else None


def _exit_code_of(error: ProaError) -> int:
    return EXIT_NOT_FOUND if isinstance(error, CommandNotFound) else EXIT_NOT_EXECUTABLE


def resize(call: Call) -> Answer:
    """``POST /exec/{id}/resize``."""
    rows, columns = read_size(call)
    found = call.memory.execs.get(call["id"])
    if not found.running or found.handle is None:
        raise HttpError(409, f"exec {found.id} is not running")
    found.handle.resize(rows, columns)
    return responses.Response()


def inspect(call: Call) -> Answer:
    """``GET /exec/{id}/json``."""
    found = call.memory.execs.get(call["id"])
    running = found.running
    config = found.config
    return responses.document(
        {
            "ID": found.id,
            "Running": running,
            "ExitCode": found.exit_code,
            "ProcessConfig": {
                "tty": config.tty,
                "entrypoint": config.command[0],
                "arguments": list(config.command[1:]),
                "privileged": config.privileged,
                "user": config.user,
            },
            "OpenStdin": config.open_stdin,
            "OpenStderr": True,
            "OpenStdout": True,
            "CanRemove": found.exit_code is not None,
            "ContainerID": found.container_id,
            "DetachKeys": found.detach_keys,
            "Pid": found.pid if running else 0,
        }
    )


ROUTES = (
    Route("POST", "/containers/{id}/exec", create),
    Route("POST", "/exec/{id}/start", start),
    Route("POST", "/exec/{id}/resize", resize),
    Route("GET", "/exec/{id}/json", inspect),
)
