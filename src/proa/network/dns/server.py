"""The resolver's sockets in a container's namespace.

It listens on 127.0.0.11 at a port of the kernel's choice, and rules in the namespace lead port 53
of that address there: port 53 itself stays free for a name server in the container.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from typing import Protocol

from proa.linux.netlink import nftables
from proa.linux.netlink import nftexpressions as nft
from proa.linux.netlink.nftables import Batch
from proa.linux.netlink.socket import NETLINK_NETFILTER, Netlink
from proa.linux.netns import open_socket
from proa.network.dns.poller import Poller, Timer
from proa.network.model import PROTOCOL_NUMBERS
from proa.network.resolvconf import RESOLVER_ADDRESS

_TABLE = "proa_dns"
_PORT = 53
_MAX_CONNECTIONS = 32
_IDLE_S = 5.0
_BACKLOG = 16
_LARGEST_BYTES = 65535
_BATCH = 32


class Ask(Protocol):
    """Answers one message, now or later; :meth:`proa.network.dns.resolver.Resolver.ask`."""

    def __call__(self, data: bytes, reply: Callable[[bytes], None], *, stream: bool) -> None:
        """Call ``reply`` at most once."""


class DnsServer:
    """Serves one container."""

    def __init__(
        self, poller: Poller, ask: Ask, datagrams: socket.socket, listener: socket.socket
    ) -> None:
        """Serve on sockets, which are taken over."""
        self._poller = poller
        self._ask = ask
        self._connections: set[_Connection] = set()
        self._datagrams = datagrams
        self._listener = listener
        poller.add(self._datagrams.fileno(), select.EPOLLIN, self._on_datagram)
        poller.add(self._listener.fileno(), select.EPOLLIN, self._on_connection)

    @classmethod
    def open(cls, poller: Poller, netns_fd: int, ask: Ask) -> DnsServer:
        """Listen in a namespace.

        Raises:
            OSError: the namespace is gone, or the kernel has no nf_tables.
        """
        datagrams = open_socket(netns_fd, socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        listener = open_socket(netns_fd, socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            datagrams.bind((RESOLVER_ADDRESS, 0))
            listener.bind((RESOLVER_ADDRESS, 0))
            listener.listen(_BACKLOG)
            _lead_there(
                netns_fd,
                {
                    "udp": datagrams.getsockname()[1],
                    "tcp": listener.getsockname()[1],
                },
            )
        except BaseException:
            datagrams.close()
            listener.close()
            raise
        return cls(poller, ask, datagrams, listener)

    @classmethod
    def adopt(cls, poller: Poller, ask: Ask, datagrams: int, listener: int) -> DnsServer:
        """Serve on sockets that another process opened, by their descriptors."""
        return cls(poller, ask, socket.socket(fileno=datagrams), socket.socket(fileno=listener))

    @property
    def fds(self) -> tuple[int, int]:
        """Descriptors of the sockets: datagrams, listener."""
        return self._datagrams.fileno(), self._listener.fileno()

    def close(self) -> None:
        """Stop. The rules go with the namespace."""
        for connection in list(self._connections):
            connection.close()
        for item in (self._datagrams, self._listener):
            self._poller.remove(item.fileno())
            item.close()

    def _on_datagram(self, _events: int) -> None:
        for _ in range(_BATCH):
            try:
                data, sender = self._datagrams.recvfrom(_LARGEST_BYTES)
            except OSError:
                return
            self._ask(data, self._make_reply(sender), stream=False)

    def _make_reply(self, sender: tuple[str, int]) -> Callable[[bytes], None]:
        def reply(answer: bytes) -> None:
            try:
                self._datagrams.sendto(answer, sender)
            except OSError:
                # The asker is gone, or its buffer is full: it will ask again.
                return

        return reply

    def _on_connection(self, _events: int) -> None:
        try:
            peer, _ = self._listener.accept()
        except OSError:
            return
        if len(self._connections) >= _MAX_CONNECTIONS:
            peer.close()
            return
        peer.setblocking(False)
        self._connections.add(_Connection(self._poller, peer, self._ask, self._connections))


class _Connection:
    """One client over TCP: two bytes of length before every message (RFC 1035, 4.2.2)."""

    def __init__(
        self, poller: Poller, peer: socket.socket, ask: Ask, owners: set[_Connection]
    ) -> None:
        self._poller = poller
        self._peer = peer
        self._ask = ask
        self._owners = owners
        self._data = b""
        self._open = True
        self._timer: Timer = poller.call_later(_IDLE_S, self.close)
        poller.add(peer.fileno(), select.EPOLLIN, self._on_readable)

    def close(self) -> None:
        """Hang up. Idempotent."""
        if self._open:
            self._open = False
            self._timer.cancel()
            self._poller.remove(self._peer.fileno())
            self._peer.close()
            self._owners.discard(self)

    def _on_readable(self, _events: int) -> None:
        try:
            data = self._peer.recv(_LARGEST_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        self._data += data
        while self._open and len(self._data) >= 2:
            length = int.from_bytes(self._data[:2], "big")
            if len(self._data) < 2 + length:
                return
            message, self._data = self._data[2 : 2 + length], self._data[2 + length :]
            self._ask(message, self._send, stream=True)

    def _send(self, answer: bytes) -> None:
        if not self._open:
            return
        try:
            sent = self._peer.send(len(answer).to_bytes(2, "big") + answer)
        except OSError:
            sent = -1
        # An answer fits a fresh socket's buffer; who does not read is hung up on.
        if sent != len(answer) + 2:
            self.close()


def _lead_there(netns_fd: int, ports: dict[str, int]) -> None:
    """Lead port 53 of the resolver's address to where it listens."""
    with Netlink(NETLINK_NETFILTER, netns_fd) as nl:
        try:
            _compose_rules(ports, anew=False).commit(nl)
        except FileExistsError:
            # An earlier resolver's, for sockets that are closed.
            _compose_rules(ports, anew=True).commit(nl)


def _compose_rules(ports: dict[str, int], *, anew: bool) -> Batch:
    """The table in the container's namespace.

    Closing a socket waits 5 to 15 ms for what its batches deleted (the kernel frees that after a
    grace period), so the usual batch, in a new namespace, deletes nothing.
    """
    address = socket.inet_aton(RESOLVER_ADDRESS)
    batch = Batch(_TABLE, nftables.FAMILY_IPV4)
    if anew:
        batch.delete_table()
    batch.add_table(exclusive=True)
    batch.add_base_chain("output", "nat", nftables.HOOK_OUTPUT, nftables.PRIORITY_DSTNAT)
    for protocol, port in ports.items():
        batch.add_rule(
            "output",
            nft.destination(nft.NFPROTO_IPV4) + nft.compare(address),
            nft.meta(nft.META_L4PROTO) + nft.compare(bytes((PROTOCOL_NUMBERS[protocol],))),
            nft.destination_port() + nft.compare(_PORT.to_bytes(2, "big")),
            nft.dnat_to(nft.NFPROTO_IPV4, address, port),
        )
    return batch
