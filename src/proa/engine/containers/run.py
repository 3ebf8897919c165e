"""Starting containers: in this process, if it is a worker, or by asking the zygote for one.

A worker that runs ``proa run`` becomes the container's supervisor itself. Everybody else (a Python
program, ``proa start``, the server) sends the request to a worker and waits for its frames.
"""

from __future__ import annotations

import fcntl
import os
import time

from proa import log
from proa.engine.config import ContainerConfig, Pull
from proa.engine.containers.attach import attach
from proa.engine.containers.create import Prepared, prepare, require_root
from proa.engine.containers.lifecycle import ask_if_alive, get
from proa.engine.containers.pending import OnStarted, Pending, RunOutcome
from proa.engine.containers.streams import Streams, duplicate, present
from proa.engine.context import Context
from proa.engine.ipc import connect, host, wire
from proa.engine.model import ContainerRecord
from proa.engine.supervisor.journal import starting_state
from proa.engine.supervisor.sleeping import SleepingSupervisor
from proa.engine.supervisor.streams import Attachment
from proa.engine.supervisor.terminal import ClientTerminal
from proa.errors import Conflict, NotFound, TimedOut
from proa.image.model import Image
from proa.units import parse_signal

_LOCK_TIMEOUT_S = 10.0
_ALIVE = frozenset({"running", "paused", "restarting"})


def run(
    context: Context,
    config: ContainerConfig,
    *,
    name: str = "",
    pull: Pull = "missing",
    streams: Streams | None = None,
    detach: bool = False,
    on_started: OnStarted | None = None,
) -> RunOutcome:
    """Create a container and start it; wait for its end unless ``detach``.

    Raises:
        ProaError: as ``create`` and ``start``.
    """
    worker = host.current
    if worker is not None and worker.peer is not None:
        return run_here(
            worker, context, config, name=name, pull=pull, detach=detach,
            attachment=duplicate(streams or Streams()),
            detach_keys=streams.detach_keys if streams else "", on_started=on_started,
        )  # fmt: skip
    with begin(
        context, config, name=name, pull=pull, streams=streams, detach=detach, on_started=on_started
    ) as pending:
        return pending.finish()


def begin(
    context: Context,
    config: ContainerConfig,
    *,
    name: str = "",
    pull: Pull = "missing",
    streams: Streams | None = None,
    detach: bool = False,
    on_started: OnStarted | None = None,
) -> Pending:
    """Ask a worker to run a new container; its ``finish`` waits."""
    wanted = streams or Streams()
    request = wire.RunRequest(
        config=config,
        name=name,
        pull=pull,
        detach=detach,
        fds=present(wanted),
        detach_keys=wanted.detach_keys,
        job=host.client_pid(),
    )
    return _ask(context, b"R", wire.encode(request), wanted, on_started)


def start(
    context: Context,
    reference: str,
    *,
    streams: Streams | None = None,
    detach: bool | None = None,
) -> int | None:
    """Start a container; with ``streams`` wait for its end and return its exit code.

    A container that already runs is left alone, as with Docker.

    Args:
        reference: the container.
        streams: the caller's descriptors, attached before the first byte.
        detach: return once it runs, None; by default without ``streams``. Those stay attached.

    Raises:
        NotFound: no such container.
        CommandNotFound, CommandNotExecutable: its command cannot run.
    """
    require_root()
    record = get(context, reference)
    if record.state.status in _ALIVE and streams is None:
        return None
    if detach is None:
        detach = streams is None
    wanted = streams or Streams()
    worker = host.current
    if worker is not None and worker.peer is not None and not detach:
        if record.state.status in _ALIVE:
            return attach(context, record.id, streams=wanted, sig_proxy=wanted.sig_proxy)
        return start_here(
            worker, context, record.id, detach=False, attachment=duplicate(wanted),
            detach_keys=wanted.detach_keys, on_started=None,
        )  # fmt: skip
    request = wire.StartRequest(
        id=record.id,
        log=log.target() >= 0,
        detach=detach,
        fds=present(wanted),
        detach_keys=wanted.detach_keys,
        job=host.client_pid(),
    )
    with _ask(context, b"S", wire.encode(request), wanted, None) as pending:
        code = pending.finish().exit_code
    return None if detach else code


def restart(
    context: Context, reference: str, *, timeout_s: float | None = None, signal: str = ""
) -> None:
    """Stop a container and start it again; one that does not run is started.

    A running one stays with its supervisor, so its place on networks, its name and a wish to be
    removed at its end stay too.

    Raises:
        NotFound: no such container.
        CommandNotFound, CommandNotExecutable: its command cannot run.
    """
    request = wire.Restart(number=parse_signal(signal) if signal else 0, timeout_s=timeout_s)
    if not ask_if_alive(context, get(context, reference), request):
        start(context, reference)


def run_here(
    worker: host.Host,
    context: Context,
    config: ContainerConfig,
    *,
    name: str,
    pull: Pull,
    detach: bool,
    attachment: Attachment,
    detach_keys: str = "",
    on_started: OnStarted | None,
) -> RunOutcome:
    """Create a container and supervise it in this worker; ``attachment`` is taken over."""
    try:
        prepared = prepare(context, config, name=name, pull=pull, state=starting_state())
    except BaseException:
        attachment.close()
        raise
    code, warnings = _supervise(
        worker,
        context,
        prepared,
        detach=detach,
        attachment=attachment,
        detach_keys=detach_keys,
        on_started=on_started,
    )
    return RunOutcome(id=prepared.record.id, exit_code=code, warnings=warnings)


def start_here(
    worker: host.Host,
    context: Context,
    container_id: str,
    *,
    detach: bool,
    attachment: Attachment,
    detach_keys: str = "",
    on_started: OnStarted | None,
) -> int:
    """Supervise an existing container in this worker; ``attachment`` is taken over."""
    try:
        record, lock = _take(context, container_id)
        if lock < 0:
            attachment.close()
            return 0
        try:
            image = _image_of(context, record)
        except BaseException:
            os.close(lock)
            raise
    except BaseException:
        attachment.close()
        raise
    code, _ = _supervise(
        worker, context, Prepared(record, image, lock, ()),
        detach=detach, attachment=attachment, detach_keys=detach_keys, on_started=on_started,
    )  # fmt: skip
    return code


def _supervise(
    worker: host.Host,
    context: Context,
    prepared: Prepared,
    *,
    detach: bool,
    attachment: Attachment,
    detach_keys: str = "",
    on_started: OnStarted | None,
) -> tuple[int, tuple[str, ...]]:
    supervisor = SleepingSupervisor(context, prepared.record, prepared.image, prepared.lock)
    wants_terminal = prepared.record.config.tty and not detach
    terminal = ClientTerminal.find(attachment.stdin) if wants_terminal else None
    try:
        warnings = (
            *prepared.warnings,
            *supervisor.launch(attachment, detach_keys, leads=not detach),
        )
        if on_started is not None:
            on_started(wire.Started(id=prepared.record.id, warnings=warnings))
        if detach:
            worker.defer(supervisor.run_detached)
            code = 0
        else:
            if worker.peer is not None:
                host.release_input(worker.peer)
                supervisor.serve_client(worker.peer, terminal)
            ended = supervisor.run()
            if ended is None:
                worker.defer(supervisor.run_detached)
            else:
                worker.settle()
            code = supervisor.client_code if ended is None else ended
    finally:
        if terminal is not None:
            terminal.restore()
    worker.defer(supervisor.tear_down)
    return code, warnings


def _take(context: Context, container_id: str) -> tuple[ContainerRecord, int]:
    """Lock a container's directory for its supervisor; (record, -1) if it runs already.

    A supervisor that is just leaving, or another that is just starting, holds the lock for
    milliseconds: the end of either is waited for.
    """
    deadline = time.monotonic() + _LOCK_TIMEOUT_S
    try:
        lock = os.open(
            context.layout.container(container_id), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        )
    except FileNotFoundError as error:
        raise NotFound(f"no such container: {container_id[:12]}", "it was just removed") from error
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            record = context.state.containers.get(container_id)
            if record.state.status in _ALIVE:
                os.close(lock)
                return record, -1
            if time.monotonic() > deadline:
                os.close(lock)
                raise TimedOut(
                    f"container {container_id[:12]} is being worked on for over "
                    f"{_LOCK_TIMEOUT_S:.0f} s",
                    "try again, or look for its supervisor with ps",
                ) from None
            time.sleep(0.002)
            continue
        record = context.state.containers.get(container_id)
        if record.state.status in ("removing", "dead"):
            os.close(lock)
            raise Conflict(f"container {container_id[:12]} is being removed")
        return record, lock


def _image_of(context: Context, record: ContainerRecord) -> Image:
    image = context.images.get(record.image_id)
    context.images.ensure_unpacked(image)
    return image


def _ask(
    context: Context,
    kind: bytes,
    payload: bytes,
    streams: Streams,
    on_started: OnStarted | None,
) -> Pending:
    roles = (streams.stdin_fd, streams.stdout_fd, streams.stderr_fd)
    fds = tuple(fd for fd in roles if fd >= 0)
    if kind == b"S" and log.target() >= 0:
        fds = (*fds, log.target())
    return Pending(connect.request(context.layout, kind, payload, fds), on_started)
