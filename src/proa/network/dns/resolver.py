"""What a container's questions are answered with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from proa.network.dns import wire
from proa.network.dns.forward import Exchange
from proa.network.dns.poller import Poller

_MAX_EXCHANGES = 128
"""Questions on their way at once; a container cannot use up the supervisor's descriptors."""


class Names(Protocol):
    """What the engine's records say at this moment."""

    def addresses(self, name: str) -> Sequence[str]:
        """Addresses of a container on the asker's networks, by name, alias or short id."""

    def name(self, address: str) -> str:
        """Name of the container with an address on the asker's networks; empty: none."""

    def owns(self, address: str) -> bool:
        """Whether an address belongs to the asker's networks at all."""

    def servers(self) -> Sequence[str]:
        """Servers for all other names; empty where the asker may not look further."""

    def may_ask(self, name: str) -> bool:
        """Whether the asker may look up a name outside."""

    def admit(self, name: str, addresses: Sequence[str], ttl_s: int) -> None:
        """Servers answered with these addresses; an egress policy lets them pass from now on."""


class Resolver:
    """Answers questions; see :class:`Names`."""

    def __init__(self, poller: Poller, source: Names) -> None:
        self._poller = poller
        self._source = source
        self._exchanges: set[Exchange] = set()

    def ask(self, data: bytes, reply: Callable[[bytes], None], *, stream: bool) -> None:
        """Answer one message, now or later.

        Args:
            data: as received.
            reply: called at most once with the answer.
            stream: it came over TCP: no limit but 64 KiB, and asked over TCP too.
        """
        try:
            question = wire.parse_question(data)
        except wire.MalformedError:
            answer = wire.refuse_malformed(data)
            if answer:
                reply(answer)
            return
        room = 65535 if stream else question.room_bytes
        local = self._answer_locally(question)
        if local is not None:
            reply(wire.truncate(local, room))
            return
        servers = self._source.servers() if self._source.may_ask(question.name) else ()
        if not servers:
            reply(wire.answer_failure(question, wire.NXDOMAIN))
            return
        if len(self._exchanges) >= _MAX_EXCHANGES:
            reply(wire.answer_failure(question, wire.SERVFAIL))
            return
        self._forward(data, question, servers, reply, stream=stream)

    def close(self) -> None:
        """Give up all that is on its way. Idempotent."""
        for exchange in self._exchanges:
            exchange.cancel()
        self._exchanges.clear()

    def _answer_locally(self, question: wire.Question) -> bytes | None:
        address = wire.reverse_address(question.name)
        if address:
            name = self._source.name(address) if question.kind == wire.PTR else ""
            if name:
                return wire.answer_name(question, name)
            if self._source.owns(address):
                return wire.answer_failure(question, wire.NXDOMAIN)
            return None
        found = self._source.addresses(question.name)
        return wire.answer_addresses(question, found) if found else None

    def _forward(
        self,
        data: bytes,
        question: wire.Question,
        servers: Iterable[str],
        reply: Callable[[bytes], None],
        *,
        stream: bool,
    ) -> None:
        def done(answer: bytes | None) -> None:
            self._exchanges.discard(exchange)
            if answer is None:
                reply(wire.answer_failure(question, wire.SERVFAIL))
                return
            if question.kind in (wire.A, wire.AAAA):
                addresses, ttl_s = wire.addresses_in(answer)
                self._source.admit(question.name, addresses, ttl_s)
            reply(answer)

        exchange = Exchange(self._poller, data, list(servers), done, stream=stream)
        self._exchanges.add(exchange)
        exchange.start()
