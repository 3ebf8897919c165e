"""Published ports: choosing host ports and holding them.

Packets are led to the container by the firewall's maps; no process forwards them. A socket holds
each host port all the same: so a port in use is noticed before anything starts, and nobody else can
take it afterwards. The socket drops whatever reaches it (a filter says no to everything), so that a
connection in the moment of a firewall flush waits and is led right when the rules are back, instead
of being refused or, worse, accepted by nobody.

The exception is the IPv6 loopback address, which the kernel leads nowhere: sockets on it, and what
reaches those on ``::`` through the loopback interface, are served by :mod:`proa.network.proxy`. A
TCP port on ``0.0.0.0`` gets a companion on ``::1``, so that ``localhost`` means the container in
both families.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable, Sequence

import msgspec

from proa.errors import Conflict, Invalid, ProaError, from_os_error
from proa.linux.netlink.socket import attach_filter
from proa.network.model import PortMapping, Protocol

LOOPBACK6 = "::1"
_LOOPBACK_INDEX = 1
_DROP_ALL = ((0x06, 0, 0, 0),)
_DROP_UNLESS_LOOPBACK = (
    (0x20, 0, 0, 0xFFFFF008),  # SKF_AD_OFF + SKF_AD_IFINDEX
    (0x15, 0, 1, _LOOPBACK_INDEX),
    (0x06, 0, 0, 0xFFFFFFFF),
    (0x06, 0, 0, 0),
)
_BACKLOG = 128
_EPHEMERAL_ATTEMPTS = 20


class WantedPort(msgspec.Struct, frozen=True, kw_only=True):
    """A port to publish.

    Attributes:
        host_ip: ``0.0.0.0``, ``::`` or an address of the host.
        first, last: host ports to choose from, in order; 0: any free one.
    """

    protocol: Protocol
    host_ip: str
    first: int
    last: int
    container_port: int


class Reservation:
    """A host port that is held."""

    __slots__ = ("_socket", "mapping")

    def __init__(self, mapping: PortMapping, holder: socket.socket) -> None:
        self.mapping = mapping
        self._socket = holder

    @classmethod
    def adopt(cls, mapping: PortMapping, fd: int) -> Reservation:
        """Take over a port that another process holds."""
        return cls(mapping, socket.socket(fileno=fd))

    def fileno(self) -> int:
        """The descriptor that holds the port."""
        return self._socket.fileno()

    @property
    def listener(self) -> socket.socket:
        """The socket, for the proxy of a port that needs one."""
        return self._socket

    def close(self) -> None:
        """Close the socket; another process may have a copy. Idempotent."""
        self._socket.close()

    def give_up(self) -> None:
        """Make way for others although another process has a copy of the socket, and close it.

        Who binds the port with SO_REUSEADDR, as servers do and as this module does, gets it; who
        binds it without has to wait for the end of the copy.
        """
        try:
            if self.mapping.protocol == "tcp":
                self._socket.shutdown(socket.SHUT_RDWR)
            else:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                # From now on it takes datagrams of nobody but this.
                self._socket.connect(self._socket.getsockname())
        except OSError:
            # It is in nobody's way.
            pass
        self.close()


def reserve(wanted: Sequence[WantedPort]) -> list[Reservation]:
    """Hold a host port for each.

    Raises:
        Conflict: one is in use; nothing is held then.
        Invalid: an address is not the host's.
    """
    held: list[Reservation] = []
    try:
        for port in wanted:
            held.append(_reserve(port, _partner_port(port, held)))
    except BaseException:
        for reservation in held:
            reservation.close()
        raise
    return held


def is_proxied(mapping: PortMapping) -> bool:
    """Whether connections may reach the socket of a port: through the IPv6 loopback address."""
    return mapping.protocol == "tcp" and mapping.host_ip in (LOOPBACK6, "::")


def reserve_companions(held: Iterable[Reservation]) -> list[Reservation]:
    """Hold the TCP ports of all IPv4 addresses on ``::1`` too, as far as they are free there."""
    ports = {
        (item.mapping.host_ip, item.mapping.host_port): item.mapping
        for item in held
        if item.mapping.protocol == "tcp"
    }
    found = []
    for (host_ip, port), mapping in ports.items():
        if host_ip != "0.0.0.0" or ("::", port) in ports or (LOOPBACK6, port) in ports:
            continue
        try:
            holder = _hold("tcp", LOOPBACK6, port)
        except OSError:
            # In use, or a host without IPv6.
            continue
        found.append(Reservation(msgspec.structs.replace(mapping, host_ip=LOOPBACK6), holder))
    return found


def _partner_port(wanted: WantedPort, held: Iterable[Reservation]) -> int:
    """The port that the same wish got for the other family, so that both families have the same."""
    for reservation in held:
        mapping = reservation.mapping
        if (
            wanted.host_ip == "::"
            and mapping.host_ip == "0.0.0.0"
            and mapping.protocol == wanted.protocol
            and mapping.container_port == wanted.container_port
            and (not wanted.first or wanted.first <= mapping.host_port <= wanted.last)
        ):
            return mapping.host_port
    return 0


def _reserve(wanted: WantedPort, partner: int) -> Reservation:
    if partner:
        candidates: Iterable[int] = (partner,)
    elif wanted.first:
        candidates = range(wanted.first, max(wanted.first, wanted.last) + 1)
    else:
        candidates = (0,)
    failure: OSError | None = None
    for candidate in candidates:
        try:
            holder = _hold(wanted.protocol, wanted.host_ip, candidate)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise _translate(error, wanted, candidate) from error
            failure = error
            continue
        mapping = PortMapping(
            protocol=wanted.protocol,
            host_ip=wanted.host_ip,
            host_port=holder.getsockname()[1],
            container_port=wanted.container_port,
        )
        return Reservation(mapping, holder)
    assert failure is not None
    raise _translate(failure, wanted, wanted.first) from failure


def _hold(protocol: str, host_ip: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host_ip else socket.AF_INET
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    holder = socket.socket(family, kind | socket.SOCK_CLOEXEC)
    try:
        if family == socket.AF_INET6:
            holder.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        served = protocol == "tcp" and host_ip in (LOOPBACK6, "::")
        if host_ip != LOOPBACK6 or not served:
            attach_filter(holder, _DROP_UNLESS_LOOPBACK if served else _DROP_ALL)
        if protocol == "tcp":
            # Connections of an earlier user in TIME_WAIT do not matter; a listener does.
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind((host_ip, port))
            holder.listen(_BACKLOG if served else 1)
        else:
            _bind_datagrams(holder, host_ip, port)
    except BaseException:
        holder.close()
        raise
    return holder


def _bind_datagrams(holder: socket.socket, host_ip: str, port: int) -> None:
    """Bind, also beside a socket that was given up."""
    try:
        holder.bind((host_ip, port))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((host_ip, port))
        # Without the option it keeps others off again.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)


def _translate(error: OSError, wanted: WantedPort, port: int) -> ProaError:
    where = f"{_bracketed(wanted.host_ip)}:{port or 'any'}/{wanted.protocol}"
    if error.errno == errno.EADDRINUSE:
        if wanted.last > wanted.first:
            where = f"{_bracketed(wanted.host_ip)}:{wanted.first}-{wanted.last}/{wanted.protocol}"
        return Conflict(
            f"cannot publish port {wanted.container_port}: {where} is in use on the host",
            "choose another host port, or end what uses it (ss -lntup shows it)",
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return Invalid(
            f"cannot publish port {wanted.container_port}: {wanted.host_ip} is not an address of "
            "this host",
            "`ip addr` lists them",
        )
    reason = os.strerror(error.errno or 0)
    return from_os_error(
        error, f"cannot publish port {wanted.container_port} on {where} ({reason})"
    )


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
