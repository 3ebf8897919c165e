"""Supervisors that sleep: an idle container costs a page or two instead of a Python process.

A supervisor with nothing to do turns into a *keeper* (:mod:`proa.runtime.keeper`): it stays the
parent of the container's init, keeps the descriptors and the lock, and wakes the engine when one of
them has something. A worker then takes copies of the descriptors (pidfd_getfd(2)), acts as the
supervisor, and lets go again when nothing has happened for a while; the keeper sleeps on.

What passes from one to the next is in ``containers/<id>/keeper``, written by whoever goes to sleep
before it does. Killing the worker in between loses nothing: the keeper wakes the next one. Killing
the keeper ends the container, as killing a supervisor does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import msgspec

from proa.engine.ipc.connect import socket_name
from proa.engine.layout import Layout
from proa.errors import Corrupt
from proa.fs.atomicfile import save_file
from proa.linux import process
from proa.network import portmap
from proa.network.model import Attachment, PortMapping
from proa.runtime import keeper

IDLE_S = 0.25
LONGEST_IDLE_S = 10.0
"""A container that wakes its supervisor often keeps it awake for longer each time."""

CALM_NS = 60_000_000_000
"""Who slept for so long starts anew."""

_ADDRESS_BYTES = 107
_SIGKILL = 9


class KeptNetwork(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a keeper holds of a container's networks (-1: none).

    Attributes:
        netns: the network namespace.
        watch: tells when somebody deletes rules.
        datagrams, listener: the resolver's sockets.
        denied: packets that the egress policy stopped.
        ports: sockets that hold host ports, and what for.
        companions: the same for ``::1``.
        attachments: the interfaces that are there. Records may have gone on meanwhile.
    """

    netns: int
    watch: int = -1
    datagrams: int = -1
    listener: int = -1
    denied: int = -1
    ports: tuple[tuple[int, PortMapping], ...] = ()
    companions: tuple[tuple[int, PortMapping], ...] = ()
    attachments: tuple[Attachment, ...] = ()

    def holds_the_same(self, other: KeptNetwork) -> bool:
        """Whether the descriptors and ports are the same; what is attached may differ."""
        return self == msgspec.structs.replace(other, attachments=self.attachments)

    @property
    def watched(self) -> tuple[int, ...]:
        """The descriptors that something may arrive on."""
        every = (self.watch, self.datagrams, self.listener, self.denied)
        sockets = (*self.ports, *self.companions)
        served = (fd for fd, mapping in sockets if portmap.is_proxied(mapping))
        return (*(fd for fd in every if fd >= 0), *served)

    @property
    def fds(self) -> tuple[int, ...]:
        """All descriptors that are there."""
        sockets = (*self.ports, *self.companions)
        return (self.netns, *{*self.watched, *(fd for fd, _ in sockets)})

    def copied(self, copy: Callable[[int], int]) -> KeptNetwork:
        """The same with the descriptors that ``copy`` gives for these."""
        return KeptNetwork(
            netns=copy(self.netns),
            watch=copy(self.watch),
            datagrams=copy(self.datagrams),
            listener=copy(self.listener),
            denied=copy(self.denied),
            ports=tuple((copy(fd), mapping) for fd, mapping in self.ports),
            companions=tuple((copy(fd), mapping) for fd, mapping in self.companions),
            attachments=self.attachments,
        )


class Kept(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a keeper holds, as numbers in its descriptor table (-1: none), and remembers.

    Attributes:
        keeper, init: pids.
        pending: beginnings of log lines, by stream.
        idle_s: how long the last supervisor waited before it slept.
        since_ns: when it went to sleep, nanoseconds since the epoch.
    """

    keeper: int
    init: int
    lock: int
    control: int
    init_pidfd: int
    stdin: int = -1
    stdout: int = -1
    stderr: int = -1
    console: int = -1
    devpts: int = -1
    network: KeptNetwork | None = None
    restart_count: int = 0
    pending: dict[str, bytes] = {}
    idle_s: float = IDLE_S
    since_ns: int = 0

    @property
    def fds(self) -> tuple[int, ...]:
        """All descriptors that are there."""
        every = (
            self.lock, self.control, self.init_pidfd, self.stdin, self.stdout, self.stderr,
            self.console, self.devpts,
        )  # fmt: skip
        network = self.network.fds if self.network is not None else ()
        return (*(fd for fd in every if fd >= 0), *network)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Kept)


def available(layout: Layout) -> bool:
    """Whether supervisors can sleep on this machine, below this directory."""
    return keeper.available() and len(os.fsencode(_address(layout))) <= _ADDRESS_BYTES


def save(directory: str, kept: Kept) -> None:
    """Write what the next supervisor needs; not durable: keepers do not outlive the boot."""
    save_file(f"{directory}/keeper", _encoder.encode(kept), durable=False)


def load(directory: str) -> Kept:
    """Read what the last supervisor left.

    Raises:
        OSError: it never slept.
        Corrupt: the file is damaged.
    """
    with open(f"{directory}/keeper", "rb") as stream:
        try:
            return _decoder.decode(stream.read())
        except msgspec.DecodeError as error:
            raise Corrupt(f"{directory}/keeper is damaged: {error}") from error


def become(layout: Layout, container_id: str, kept: Kept) -> None:
    """Turn this process into the keeper; never returns.

    Raises:
        OSError: this machine cannot; nothing has happened.
    """
    network = kept.network.watched if kept.network is not None else ()
    watched = (kept.init_pidfd, kept.control, kept.stdout, kept.stderr, *network)
    payload = container_id.encode()
    watch = keeper.Watch(
        fds=tuple(fd for fd in watched if fd >= 0),
        address=os.fsencode(_address(layout)),
        frame=b"H" + len(payload).to_bytes(4, "big") + payload,
        command=tuple(os.fsencode(word) for word in _command(layout, container_id)),
        environment=(b"PATH=" + os.fsencode(os.defpath), b"LC_ALL=C.UTF-8"),
    )
    kept_fds = {0, 1, 2, *kept.fds}
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in kept_fds:
            try:
                os.close(int(name))
            except OSError:
                # The listing's own descriptor.
                continue
    keeper.become(watch)


class Sleeper:
    """A keeper that this process acts for."""

    def __init__(self, pid: int) -> None:
        """Find it.

        Raises:
            OSError: it is gone.
        """
        self.pid = pid
        self._pidfd = process.pidfd_open(pid)

    def copy(self, kept: Kept) -> Kept:
        """Return the same with this process' own copies of the descriptors.

        Raises:
            OSError: the keeper is gone.
        """
        names = ("lock", "control", "init_pidfd", "stdin", "stdout", "stderr", "console", "devpts")
        copies = {name: self._copy(getattr(kept, name)) for name in names}
        network = kept.network.copied(self._copy) if kept.network is not None else None
        return msgspec.structs.replace(kept, network=network, **copies)

    def _copy(self, fd: int) -> int:
        return process.pidfd_getfd(self._pidfd, fd) if fd >= 0 else -1

    def end(self) -> None:
        """The container has ended: its keeper is not needed any more."""
        try:
            process.pidfd_send_signal(self._pidfd, _SIGKILL)
        except OSError:
            pass
        self.close()

    def close(self) -> None:
        """Let go of it. Idempotent."""
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1


def _address(layout: Layout) -> str:
    return os.path.join(layout.run, socket_name(layout.root))


def _command(layout: Layout, container_id: str) -> tuple[str, ...]:
    """Wake a worker whatever has become of the zygote that the keeper knew."""
    code = (
        f"import sys; sys.path[:] = {[p for p in sys.path if os.path.isabs(p)]!r}; "
        "from proa.engine.ipc.wake import wake; "
        f"wake({layout.root!r}, {layout.run!r}, {container_id!r})"
    )
    return (sys.executable, "-I", "-S", "-c", code)
