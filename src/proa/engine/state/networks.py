"""The tables of networks, and of the places (endpoints) that containers have on them.

An endpoint exists from the container's creation, or ``network connect``, until its removal; it has
addresses while the container is alive. Triggers of the database take the addresses and published
ports away in the very transaction that records the container's end, whoever records it: an address
is never handed out twice, and never lost.
"""

# Table and column names below are constants of this file; values are always parameters.
# ruff: noqa: S608

from __future__ import annotations

import builtins
import sqlite3
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from proa.engine.config import EndpointConfig
from proa.engine.state.records import decode, encode
from proa.errors import Conflict, Invalid, NotFound
from proa.network import ipam
from proa.network.model import Network, PortMapping, Subnet

if TYPE_CHECKING:
    from proa.engine.state.database import Database

_network = msgspec.json.Decoder(Network)
_endpoint = msgspec.json.Decoder(EndpointConfig)
_ENDPOINT_COLUMNS = (
    "e.network_id, e.container_id, e.position, e.address4, e.address6, e.settings, c.name"
)
_ENDPOINTS = (
    f"SELECT {_ENDPOINT_COLUMNS} FROM endpoints e JOIN containers c ON c.id = e.container_id"
)


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A container's place on a network.

    Attributes:
        position: order of the container's networks; the interface is ``eth<position>``.
        address4, address6: empty while the container does not run.
        config: what the user asked for.
    """

    network_id: str
    container_id: str
    container_name: str
    position: int
    address4: str
    address6: str
    config: EndpointConfig


class PublishedPort(msgspec.Struct, frozen=True):
    """A host port that leads to a running container."""

    container_id: str
    mapping: PortMapping


class NetworkTable:
    """Networks, endpoints and published ports. Every call is one transaction."""

    def __init__(self, database: Database) -> None:
        """Use the tables of an open database."""
        self._database = database

    # -- networks --------------------------------------------------------------------------------

    def insert(self, network: Network) -> None:
        """Make a network exist.

        Raises:
            Conflict: the name is in use.
        """
        with self._database.transaction():
            try:
                self._database.execute(
                    "INSERT INTO networks VALUES (?, ?, ?, ?, '', '')",
                    (
                        network.id,
                        network.name,
                        network.created_at_ns,
                        encode(network, f"network {network.name}"),
                    ),
                )
            except sqlite3.IntegrityError as error:
                raise Conflict(f"network {network.name} exists already") from error

    def find(self, reference: str) -> Network | None:
        """Return a network by name, id or unambiguous prefix of its id.

        Raises:
            Invalid: the prefix fits several.
        """
        rows = self._database.query(
            "SELECT document FROM networks WHERE name = ? OR id = ?", (reference, reference)
        )
        if not rows and len(reference) < 64 and _is_hex(reference):
            rows = self._database.query(
                "SELECT document FROM networks WHERE id >= ? AND id < ?",
                (reference, reference + "g"),
            )
            if len(rows) > 1:
                raise Invalid(f"the id {reference} fits {len(rows)} networks", "give more digits")
        return decode(_network, rows[0][0], f"network {reference}") if rows else None

    def get(self, reference: str) -> Network:
        """Return a network by name, id or prefix of its id.

        Raises:
            NotFound: there is none.
        """
        found = self.find(reference)
        if found is None:
            raise NotFound(f"no such network: {reference}", "`proa network ls` lists all networks")
        return found

    def list(self) -> builtins.list[Network]:
        """Return all networks, oldest first."""
        rows = self._database.query("SELECT document FROM networks ORDER BY created_at_ns, id")
        return [decode(_network, row[0], "a network") for row in rows]

    def delete(self, network_id: str) -> bool:
        """Forget a network that no running container is on; False when it was not there.

        Raises:
            Conflict: one is.
        """
        with self._database.transaction(spare=True):
            active = [
                item for item in self.endpoints_on(network_id) if item.address4 or item.address6
            ]
            if active:
                names = ", ".join(sorted(item.container_name for item in active)[:5])
                raise Conflict(
                    f"network {self.get(network_id).name} has running containers: {names}",
                    "stop them, or disconnect them with `proa network disconnect`",
                )
            self._database.execute("DELETE FROM endpoints WHERE network_id = ?", (network_id,))
            cursor = self._database.execute("DELETE FROM networks WHERE id = ?", (network_id,))
        return cursor.rowcount > 0

    # -- endpoints -------------------------------------------------------------------------------

    def connect(
        self, network_id: str, container_id: str, config: EndpointConfig, *, durable: bool = True
    ) -> Endpoint:
        """Give a container a place on a network, without addresses yet.

        Raises:
            Conflict: it has one already.
        """
        with self._database.transaction(durable=durable):
            rows = self._database.query(
                "SELECT max(position) FROM endpoints WHERE container_id = ?", (container_id,)
            )
            position = 0 if rows[0][0] is None else rows[0][0] + 1
            try:
                self._database.execute(
                    "INSERT INTO endpoints VALUES (?, ?, ?, NULL, NULL, ?)",
                    (network_id, container_id, position, encode(config, "an endpoint")),
                )
            except sqlite3.IntegrityError as error:
                raise Conflict(
                    f"container {container_id[:12]} is on network {config.network} already"
                ) from error
            for alias in config.aliases:
                self._database.execute(
                    "INSERT OR IGNORE INTO aliases VALUES (?, ?, ?)",
                    (network_id, alias.lower(), container_id),
                )
            return next(
                item for item in self.endpoints_of(container_id) if item.network_id == network_id
            )

    def disconnect(self, network_id: str, container_id: str) -> bool:
        """Take a container's place away; False when it had none."""
        with self._database.transaction(spare=True):
            cursor = self._database.execute(
                "DELETE FROM endpoints WHERE network_id = ? AND container_id = ?",
                (network_id, container_id),
            )
        return cursor.rowcount > 0

    def endpoints_of(self, container_id: str) -> builtins.list[Endpoint]:
        """Return a container's endpoints in their order."""
        rows = self._database.query(
            f"{_ENDPOINTS} WHERE e.container_id = ? ORDER BY e.position", (container_id,)
        )
        return [_record(row) for row in rows]

    def all_endpoints(self) -> builtins.list[Endpoint]:
        """Return every endpoint, those of one container in their order."""
        rows = self._database.query(f"{_ENDPOINTS} ORDER BY e.container_id, e.position")
        return [_record(row) for row in rows]

    def endpoints_on(self, network_id: str) -> builtins.list[Endpoint]:
        """Return a network's endpoints by container name."""
        rows = self._database.query(
            f"{_ENDPOINTS} WHERE e.network_id = ? ORDER BY c.name", (network_id,)
        )
        return [_record(row) for row in rows]

    def is_shared(self, container_id: str) -> bool:
        """Whether a living container may be in this one's network (``--network container:``).

        The text is searched, not parsed: this is asked at the end of every container. One that
        shares something else is taken for one that shares the network.
        """
        rows = self._database.query(
            "SELECT 1 FROM containers WHERE status IN ('running', 'paused', 'restarting') "
            "AND instr(config, ?) LIMIT 1",
            (f"container:{container_id}",),
        )
        return bool(rows)

    def allocate(self, container_id: str, *, durable: bool = True) -> builtins.list[Endpoint]:
        """Give a container's endpoints the addresses that they lack; return all of them.

        Raises:
            Conflict: a wanted address is in use.
            Exhausted: a network has none left.
        """
        with self._database.transaction(durable=durable):
            for endpoint in self.endpoints_of(container_id):
                if endpoint.address4 or endpoint.address6:
                    continue
                rows = self._database.query(
                    "SELECT document, last4, last6 FROM networks WHERE id = ?",
                    (endpoint.network_id,),
                )
                network = decode(_network, rows[0][0], f"network {endpoint.network_id}")
                for column, subnet, wanted, last in (
                    ("4", network.subnet4, endpoint.config.address4, rows[0][1]),
                    ("6", network.subnet6, endpoint.config.address6, rows[0][2]),
                ):
                    self._allocate(endpoint, column, subnet, wanted, last)
            return self.endpoints_of(container_id)

    def _allocate(
        self, endpoint: Endpoint, family: str, subnet: Subnet | None, wanted: str, last: str
    ) -> None:
        if subnet is None:
            if wanted:
                raise Invalid(
                    f"network {endpoint.config.network} has no IPv{family} subnet for {wanted}"
                )
            return
        column = f"address{family}"
        rows = self._database.query(
            f"SELECT {column} FROM endpoints WHERE network_id = ? AND {column} IS NOT NULL",
            (endpoint.network_id,),
        )
        chosen = ipam.choose_address(subnet, {row[0] for row in rows}, last, wanted)
        self._database.execute(
            f"UPDATE endpoints SET {column} = ? WHERE network_id = ? AND container_id = ?",
            (chosen, endpoint.network_id, endpoint.container_id),
        )
        if not wanted:
            self._database.execute(
                f"UPDATE networks SET last{family} = ? WHERE id = ?", (chosen, endpoint.network_id)
            )

    def resolve(self, network_ids: Sequence[str], name: str) -> builtins.list[tuple[str, str, str]]:
        """Find running containers by name, alias or short id.

        Args:
            network_ids: networks that the asking container is on.
            name: lower case.

        Returns:
            Network id and both addresses of each.
        """
        marks = ",".join("?" * len(network_ids))
        return self._database.query(
            "SELECT e.network_id, coalesce(e.address4, ''), coalesce(e.address6, '') "
            "FROM endpoints e JOIN containers c ON c.id = e.container_id "
            f"WHERE e.network_id IN ({marks}) "
            "AND (e.address4 IS NOT NULL OR e.address6 IS NOT NULL) "
            "AND (lower(c.name) = ? OR substr(c.id, 1, 12) = ? OR EXISTS (SELECT 1 FROM aliases a "
            "WHERE a.network_id = e.network_id AND a.container_id = e.container_id "
            "AND a.name = ?))",
            (*network_ids, name, name, name),
        )

    def resolve_address(self, network_ids: Sequence[str], address: str) -> tuple[str, str] | None:
        """Return container and network name of an address."""
        marks = ",".join("?" * len(network_ids))
        rows = self._database.query(
            "SELECT c.name, n.name FROM endpoints e JOIN containers c ON c.id = e.container_id "
            f"JOIN networks n ON n.id = e.network_id WHERE e.network_id IN ({marks}) "
            "AND (e.address4 = ? OR e.address6 = ?)",
            (*network_ids, address, address),
        )
        return (rows[0][0], rows[0][1]) if rows else None

    # -- published ports -------------------------------------------------------------------------

    def publish(
        self, container_id: str, mappings: Sequence[PortMapping], *, durable: bool = True
    ) -> None:
        """Record the host ports that lead to a container, in place of those recorded before."""
        with self._database.transaction(durable=durable):
            self._database.execute(
                "DELETE FROM published_ports WHERE container_id = ?", (container_id,)
            )
            for item in mappings:
                self._database.execute(
                    "INSERT INTO published_ports VALUES (?, ?, ?, ?, ?)",
                    (container_id, item.protocol, item.host_ip, item.host_port,
                     item.container_port),
                )  # fmt: skip

    def ports(self, container_id: str = "") -> builtins.list[PublishedPort]:
        """Return the published ports of one container, or of all."""
        where = "WHERE container_id = ? " if container_id else ""
        rows = self._database.query(
            "SELECT container_id, protocol, host_ip, host_port, container_port "
            f"FROM published_ports {where}ORDER BY container_port, protocol, host_ip, host_port",
            (container_id,) if container_id else (),
        )
        return [
            PublishedPort(
                owner,
                PortMapping(
                    protocol=protocol, host_ip=host_ip, host_port=host_port,
                    container_port=container_port,
                ),
            )
            for owner, protocol, host_ip, host_port, container_port in rows
        ]  # fmt: skip


def _is_hex(text: str) -> bool:
    return bool(text) and all(digit in "0123456789abcdef" for digit in text)


def _record(row: tuple[Any, ...]) -> Endpoint:
    network_id, container_id, position, address4, address6, settings, name = row
    return Endpoint(
        network_id=network_id,
        container_id=container_id,
        container_name=name,
        position=position,
        address4=address4 or "",
        address6=address6 or "",
        config=decode(_endpoint, settings, f"an endpoint of container {name}"),
    )
