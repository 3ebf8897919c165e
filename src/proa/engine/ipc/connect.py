"""Reaching the zygote: connect, or start one and connect.

Start protocol: whoever finds no listening socket takes the lock file beside it, looks again, starts
the zygote in a session of its own and waits for its ready byte. A killed starter releases the lock;
a killed zygote leaves a socket nobody listens on, which the next starter replaces.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import sys
import time

from proa.engine.ipc import wire
from proa.engine.layout import Layout, SocketPath
from proa.errors import TimedOut, Unavailable, from_os_error

START_TIMEOUT_S = 30.0
IDLE_S = 300.0
_ATTEMPTS = 20
_PROGRAM = "proa.cli.zygote"
"""The program that a zygote runs; named, not imported: it stands above the engine."""


def socket_name(root: str) -> str:
    """Name of the zygote's socket for callers that see the world as this process does.

    A container is built in the namespaces of its supervisor, so a caller in another mount, network,
    pid or user namespace needs a zygote of its own; so does another state root, and another version
    of the code.
    """
    links = [os.readlink("/proc/self/ns/" + name) for name in ("mnt", "net", "pid", "user")]
    inodes = [int(link.split("[")[1][:-1]) & 0xFFFFFFFF for link in links]
    code = os.stat(__file__)
    place = 0
    for byte in os.fsencode(root):
        place = (place * 31 + byte) & 0xFFFFFFFF
    numbers = (*inodes, place, code.st_ino, code.st_mtime_ns & 0xFFFFFFFF, sys.hexversion >> 16)
    return "z-" + "-".join([f"{number:x}" for number in numbers])


def connect(layout: Layout) -> socket.socket:
    """Return a connection to a worker, starting the zygote when there is none.

    Raises:
        Unavailable: the zygote does not come up; the message has its last words.
        ProaError: the engine's directories cannot be used.
    """
    peer = _connect_existing(layout)
    if peer is not None:
        return peer
    layout.ensure()
    for _ in range(_ATTEMPTS):
        _start(layout)
        peer = _connect_existing(layout)
        if peer is not None:
            return peer
    raise Unavailable(
        f"the zygote under {layout.run} does not stay up", f"look at {_log_path(layout)}"
    )


def request(
    layout: Layout, kind: bytes, payload: bytes, fds: tuple[int, ...] = ()
) -> socket.socket:
    """Send a request to a worker and return the connection once a worker has accepted it.

    A connection that ends before the worker's ``A`` was not acted upon, so it is tried again (the
    zygote was just leaving, or was killed).

    Raises:
        Unavailable: no worker accepts.
    """
    for _ in range(_ATTEMPTS):
        peer = connect(layout)
        try:
            wire.send(peer, kind, payload, fds)
            if wire.receive(peer)[0] == b"A":
                return peer
        except OSError:
            pass
        peer.close()
    raise Unavailable(f"no worker of the zygote under {layout.run} accepts", "try again")


def _connect_existing(layout: Layout) -> socket.socket | None:
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with SocketPath(os.path.join(layout.run, socket_name(layout.root))) as path:
            peer.connect(path)
    except (FileNotFoundError, ConnectionRefusedError, ConnectionResetError):
        peer.close()
        return None
    except OSError as error:
        peer.close()
        raise from_os_error(error, f"cannot reach the zygote under {layout.run}") from error
    return peer


def _log_path(layout: Layout) -> str:
    return os.path.join(layout.run, "zygote.log")


def _start(layout: Layout) -> None:
    lock = os.open(
        os.path.join(layout.run, socket_name(layout.root) + ".lock"),
        os.O_RDWR | os.O_CREAT | os.O_CLOEXEC,
        0o600,
    )
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        peer = _connect_existing(layout)
        if peer is not None:
            # Closing it costs that worker its life; the zygote forks another.
            peer.close()
            return
        _spawn(layout)
    finally:
        os.close(lock)


def _spawn(layout: Layout) -> None:
    """Start the zygote and wait until it listens.

    The interpreter is this one in isolated mode; the package is found where this one was found, and
    nowhere else.
    """
    where = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(__file__))))
    idle_s = float(os.environ.get("PROA_ZYGOTE_IDLE_S") or IDLE_S)
    ready_r, ready_w = os.pipe2(os.O_CLOEXEC)
    paths = [where, *(p for p in sys.path if p and os.path.isabs(p) and p != where)]
    code = (
        f"import sys; sys.path[:] = {paths!r}; "
        f"from {_PROGRAM} import main; "
        f"main(3, {layout.root!r}, {layout.run!r}, {idle_s!r})"
    )
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"}
    log = os.open(_log_path(layout), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    program = _open_interpreter()
    try:
        # posix_spawn, not fork: the caller may be a library's host with threads.
        pid = os.posix_spawn(
            sys.executable if program < 0 else f"/proc/self/fd/{program}",
            [sys.executable, "-I", "-S", "-c", code],
            environment,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, fd, at) for at, fd in enumerate((null, null, log, ready_w))
            ],
            setsigmask=(),
        )
        os.close(ready_w)
        ready_w = -1
        # The spawned process forks the zygote and ends, so that nobody has to reap the zygote.
        os.waitpid(pid, 0)
        _await_ready(layout, ready_r)
    finally:
        for fd in (ready_r, ready_w, log, null, program):
            if fd >= 0:
                os.close(fd)


def _open_interpreter() -> int:
    """The interpreter on a read-only mount of its own; -1 where that is not to be had.

    A container's process is the zygote's program until its execve, by /proc/PID/exe too. What is
    opened through that link is on this mount, so it cannot be written to, by root neither
    (CVE-2019-5736).
    """
    from proa.linux import mount
    from proa.linux.syscalls import AT_EMPTY_PATH

    fd = -1
    try:
        fd = mount.clone_path(os.path.realpath(sys.executable))
        attributes = mount.pack_mount_attr(mount.MOUNT_ATTR_RDONLY)
        mount.mount_setattr(fd, AT_EMPTY_PATH, attributes)
    except OSError:
        if fd >= 0:
            os.close(fd)
        return -1  # no root, hence no containers either
    return fd


def _await_ready(layout: Layout, ready_r: int) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    poll = select.poll()
    poll.register(ready_r, select.POLLIN)
    if not poll.poll((deadline - time.monotonic()) * 1000):
        raise TimedOut(
            f"the zygote under {layout.run} does not answer within {START_TIMEOUT_S:.0f} s"
        )
    if os.read(ready_r, 1):
        return
    try:
        with open(_log_path(layout), encoding="utf-8", errors="replace") as stream:
            last = stream.read()[-2000:].strip().splitlines()[-1:]
    except OSError:
        last = []
    raise Unavailable(
        f"the zygote did not start: {last[0] if last else 'it ended without a word'}",
        f"see {_log_path(layout)}",
    )
