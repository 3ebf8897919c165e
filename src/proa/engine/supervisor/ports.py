"""The host ports that a live container holds, and the proxies of those that need one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from proa.engine.supervisor.hibernation import KeptNetwork
from proa.engine.supervisor.loop import Loop
from proa.errors import Conflict
from proa.network import portmap
from proa.network.model import PortMapping
from proa.network.portmap import Reservation, WantedPort
from proa.network.proxy import Proxy

_PATIENCE_S = 0.25

FindTarget = Callable[[PortMapping], tuple[str, int] | None]


class HeldPorts:
    """Holds what is wanted.

    Attributes:
        held: the ports that are published.
        companions: the same ports on ``::1`` where no port was asked for.
    """

    def __init__(self, loop: Loop, recorded: Callable[[], set[int]]) -> None:
        """Hold nothing yet.

        Args:
            recorded: returns the host ports that living containers have by the records.
        """
        self.held: list[Reservation] = []
        self.companions: list[Reservation] = []
        self._loop = loop
        self._recorded = recorded
        self._proxies: dict[int, Proxy] = {}

    @property
    def mappings(self) -> list[PortMapping]:
        """What is published."""
        return [item.mapping for item in self.held]

    def change(self, wanted: Sequence[WantedPort]) -> None:
        """Hold what is wanted and not held, give back what is held and not wanted.

        Raises:
            Conflict: a port is in use; nothing has changed.
            Invalid: an address is not the host's.
        """
        missing = list(wanted)
        kept: list[Reservation] = []
        dropped: list[Reservation] = []
        for reservation in self.held:
            fitting = next((item for item in missing if _fits(item, reservation)), None)
            if fitting is None:
                dropped.append(reservation)
            else:
                missing.remove(fitting)
                kept.append(reservation)
        if not missing and not dropped:
            return
        self.hang_up()
        # A companion may be in the way of a port that is asked for now.
        for companion in self.companions:
            companion.give_up()
        try:
            self.held = kept + self._reserve(missing)
        except BaseException:
            dropped.clear()
            raise
        finally:
            for reservation in dropped:
                reservation.give_up()
            self.companions = portmap.reserve_companions(self.held)

    def serve(self, find_target: FindTarget) -> None:
        """Pass on what connects through the IPv6 loopback address.

        Args:
            find_target: says where a port leads; None: nowhere at the moment.
        """
        for reservation in (*self.held, *self.companions):
            if not portmap.is_proxied(reservation.mapping):
                continue
            fd = reservation.fileno()
            proxy = self._proxies.get(fd)
            target = find_target(reservation.mapping)
            if proxy is not None and proxy.target == target:
                continue
            if proxy is not None:
                proxy.close()
                del self._proxies[fd]
            if target is not None:
                self._proxies[fd] = Proxy(self._loop, reservation.listener, target)

    def adopt(self, kept: KeptNetwork) -> None:
        """Take over what another process held."""
        self.held = [Reservation.adopt(mapping, fd) for fd, mapping in kept.ports]
        self.companions = [Reservation.adopt(mapping, fd) for fd, mapping in kept.companions]

    def hang_up(self) -> None:
        """End the connections that are passed on, and accept none. Idempotent."""
        for proxy in self._proxies.values():
            proxy.close()
        self._proxies.clear()

    def close(self) -> None:
        """Give everything back. Idempotent."""
        self.hang_up()
        for reservation in (*self.held, *self.companions):
            reservation.close()
        self.held, self.companions = [], []

    def _reserve(self, wanted: Sequence[WantedPort]) -> list[Reservation]:
        """Hold ports; what a container that has just ended still holds is waited for.

        Its keeper goes after its end was told; its records went with the end.
        """
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return portmap.reserve(wanted)
            except Conflict:
                taken = self._recorded()
                if any(item.first in taken for item in wanted if item.first):
                    raise
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.005)


def _fits(wanted: WantedPort, held: Reservation) -> bool:
    mapping = held.mapping
    return (
        mapping.protocol == wanted.protocol
        and mapping.host_ip == wanted.host_ip
        and mapping.container_port == wanted.container_port
        and (not wanted.first or wanted.first <= mapping.host_port <= wanted.last)
    )
