"""The network part of a container's body: ports, networks, wishes for the place on them."""

from __future__ import annotations

import ipaddress
from typing import Literal, cast

from proa.engine.config import EndpointConfig, PortConfig
from proa.server.encode.fields import Fields
from proa.server.errors import HttpError, bad_request

_DEFAULT = ("", "default", "bridge")
Protocol = Literal["tcp", "udp"]


def read_ports(host: Fields) -> tuple[PortConfig, ...]:
    """Return ``PortBindings``.

    Raises:
        HttpError: no such port, address or protocol.
    """
    found = []
    for name, bindings in host.lists("PortBindings"):
        number, protocol = _split_port(name)
        for binding in bindings or [Fields({})]:
            first, last = _read_host_port(binding.text("HostPort"))
            found.append(
                PortConfig(
                    container_port=number,
                    protocol=protocol,
                    host_ip=_address(binding.text("HostIp")),
                    host_port=first,
                    host_port_last=last,
                )
            )
    return tuple(found)


def read_networks(config: Fields, host: Fields) -> tuple[str, tuple[EndpointConfig, ...]]:
    """Return the network mode and the wishes: for its network first, then for further ones.

    Args:
        config: the body.
        host: its ``HostConfig``.
    """
    mode = host.text("NetworkMode") or "default"
    first = EndpointConfig()
    others: list[EndpointConfig] = []
    for name, fields in config.fields("NetworkingConfig").items("EndpointsConfig"):
        if name == mode or (name in _DEFAULT and mode in _DEFAULT):
            first = read_endpoint("", fields)
        elif mode in _DEFAULT and "NetworkMode" not in host and not others:
            # Clients that only name the network there mean it as the first one.
            mode, first = name, read_endpoint("", fields)
        else:
            others.append(read_endpoint(name, fields))
    mac = config.text("MacAddress")
    if mac and not first.mac:
        first = EndpointConfig(
            address4=first.address4, address6=first.address6, mac=mac, aliases=first.aliases,
            gateway_priority=first.gateway_priority,
        )  # fmt: skip
    wishes = (first, *others)
    return mode, () if wishes == (EndpointConfig(),) else wishes


def read_endpoint(network: str, fields: Fields) -> EndpointConfig:
    """Return one ``EndpointSettings`` as a wish.

    Raises:
        HttpError: links, or addresses that are none.
    """
    if fields.texts("Links"):
        raise HttpError(
            501, "links are not part of this version: containers of one network find each other"
        )
    ipam = fields.fields("IPAMConfig")
    return EndpointConfig(
        network=network,
        address4=_address(ipam.text("IPv4Address")),
        address6=_address(ipam.text("IPv6Address")),
        mac=fields.text("MacAddress").lower(),
        aliases=fields.texts("Aliases"),
        gateway_priority=fields.integer("GwPriority"),
    )


def check_exposed(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return ``ExposedPorts`` in full: ``80`` is ``80/tcp``.

    Raises:
        HttpError: one of them is no port.
    """
    return tuple(f"{number}/{protocol}" for number, protocol in map(_split_port, names))


def _split_port(text: str) -> tuple[int, Protocol]:
    number, _, protocol = text.partition("/")
    protocol = protocol.lower() or "tcp"
    if protocol == "sctp":
        raise HttpError(501, "SCTP ports are not part of this version: use tcp or udp")
    if protocol not in ("tcp", "udp") or not _is_port(number):
        raise bad_request(f"invalid port specification: '{text}'")
    return int(number), cast("Protocol", protocol)


def _read_host_port(text: str) -> tuple[int, int]:
    if text in ("", "0"):
        return 0, 0
    first, dash, last = text.partition("-")
    if not _is_port(first) or (dash and not _is_port(last)):
        raise bad_request(f"invalid port specification: '{text}'")
    return int(first), int(last) if dash and last != first else 0


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 1 <= int(text) <= 65535


def _address(text: str) -> str:
    if not text:
        return ""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise bad_request(f"invalid IP address: {text}") from None
