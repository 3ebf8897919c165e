"""The plain data between the engine and the network: what is asked for, and what was made.

The engine decides (which network, which address, which host port) and records; this package builds.
A :class:`SandboxRequest` together with the descriptor of a container's network namespace becomes a
:class:`proa.network.sandbox.NetworkSandbox`.

Addresses are texts as :mod:`ipaddress` prints them, rates are bytes a second, 0 for no limit.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Protocol = Literal["tcp", "udp"]
PROTOCOL_NUMBERS: dict[str, int] = {"tcp": 6, "udp": 17}


class Subnet(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One range of a network.

    Attributes:
        subnet: ``172.30.0.0/16`` or ``fd00:1::/64``.
        gateway: the host's address in it.
        ip_range: part of it that addresses are handed out from; empty: all.
        reserved: addresses that are never handed out (``--aux-address``).
    """

    subnet: str
    gateway: str
    ip_range: str = ""
    reserved: tuple[str, ...] = ()

    @property
    def prefix(self) -> int:
        """Length of the network part."""
        return int(self.subnet.rpartition("/")[2])


class Network(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A network.

    Attributes:
        id: 64 lower-case hex digits.
        driver: ``bridge`` or ``macvlan``.
        link: the bridge on the host, or the parent interface of macvlan.
        subnet4, subnet6: None for a family that it does not have.
        internal: nothing but the network itself can be reached.
        isolated: other networks cannot reach it except through published ports.
        talks: its containers reach each other directly.
        masquerade: outgoing connections get the host's address.
        resolves: containers find each other by name (all but the default network).
        mode: macvlan's: ``bridge``, ``private``, ``vepa``, ``passthru``.
    """

    id: str
    name: str
    driver: str
    link: str
    subnet4: Subnet | None = None
    subnet6: Subnet | None = None
    internal: bool = False
    isolated: bool = True
    talks: bool = True
    masquerade: bool = True
    resolves: bool = True
    mtu: int = 0
    mode: str = "bridge"
    labels: dict[str, str] = {}
    options: dict[str, str] = {}
    created_at_ns: int = 0


class Attachment(msgspec.Struct, frozen=True, kw_only=True):
    """A container on a network, with everything decided.

    Attributes:
        interface: name inside, ``eth0``.
        address4, address6: empty for a family that the network does not have.
        mac: ``02:42:ac:1e:00:02``.
        gateway4, gateway6: the container's default route of the family leads through this network.
    """

    network: Network
    interface: str
    address4: str = ""
    address6: str = ""
    mac: str = ""
    gateway4: bool = False
    gateway6: bool = False


class PortMapping(msgspec.Struct, frozen=True, kw_only=True):
    """A published port with a host port decided.

    Attributes:
        host_ip: ``0.0.0.0``, ``::`` or one address of the host.
    """

    protocol: Protocol
    host_ip: str
    host_port: int
    container_port: int


class Rates(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Bandwidth of a container, bytes a second: towards it and from it. 0: no limit."""

    in_bytes: int = 0
    out_bytes: int = 0


class EgressPolicy(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a container may connect to beyond its own networks; nothing else.

    Attributes:
        networks: ``192.0.2.0/24``, single addresses included.
        domains: names; a leading dot also means all names below. What the engine's resolver answers
            for them may be reached.
    """

    networks: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()


class SandboxRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The network of one container, for its start.

    Attributes:
        container_id: 64 hex digits.
        ports: to publish on the host; they lead to the first attachment that has an address of the
            family and is not internal.
        egress: None: no restriction.
    """

    container_id: str
    attachments: tuple[Attachment, ...]
    ports: tuple[PortMapping, ...] = ()
    rates: Rates = Rates()
    egress: EgressPolicy | None = None
