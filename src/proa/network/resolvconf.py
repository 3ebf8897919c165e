"""resolv.conf(5): reading the host's, writing a container's."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

import msgspec

RESOLVER_ADDRESS = "127.0.0.11"
"""Where containers find the engine's resolver, as with Docker."""

_MAX_SERVERS = 8


class ResolvConf(msgspec.Struct, frozen=True, kw_only=True):
    """What such a file says."""

    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


def parse_resolv_conf(text: str) -> ResolvConf:
    """Read a file; what is not understood is left out, as resolvers do."""
    servers: list[str] = []
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    for line in text.splitlines():
        words = line.split("#", 1)[0].split(";", 1)[0].split()
        match words:
            case ["nameserver", address, *_] if _is_address(address):
                servers.append(address)
            case ["domain" | "search", *names]:
                search = tuple(names)
            case ["options", *found]:
                options = (*options, *found)
    return ResolvConf(servers=tuple(servers[:_MAX_SERVERS]), search=search, options=options)


def load_host() -> ResolvConf:
    """Read the host's file; empty where there is none."""
    try:
        with open("/etc/resolv.conf", encoding="utf-8", errors="replace") as file:
            return parse_resolv_conf(file.read(65536))
    except OSError:
        return ResolvConf()


def format_resolv_conf(conf: ResolvConf) -> bytes:
    """Write a file."""
    lines = [f"nameserver {server}" for server in conf.servers]
    if conf.search:
        lines.append("search " + " ".join(conf.search))
    if conf.options:
        lines.append("options " + " ".join(conf.options))
    return ("\n".join(lines) + "\n").encode() if lines else b""


def reachable(servers: Sequence[str]) -> tuple[str, ...]:
    """The servers that mean the same in another network namespace: not those on loopback."""
    return tuple(
        server
        for server in servers
        if not ipaddress.ip_address(server.partition("%")[0]).is_loopback and "%" not in server
    )


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True
