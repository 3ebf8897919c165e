"""``proa port``: which ports of the host lead into a container."""

from __future__ import annotations

from typing import Any, cast

from proa.cli.invocation import Invocation
from proa.cli.parser import Command
from proa.errors import NotFound

COMMAND = Command(
    words="container port",
    usage="CONTAINER [PRIVATE_PORT[/PROTO]]",
    summary="List port mappings or a specific mapping for the container",
    least=1,
    most=2,
)


def execute(call: Invocation) -> int:
    """Print ``80/tcp -> 0.0.0.0:8080`` of each, or the host's side of the port that is asked for.

    Raises:
        NotFound: that port is not published.
    """
    name, *wanted = call.arguments
    document = cast("dict[str, Any]", call.engine.containers.inspect(name))
    ports = document["NetworkSettings"]["Ports"] or {}
    if not wanted:
        for port in sorted(ports, key=_order):
            for binding in ports[port] or ():
                call.io.out(f"{port} -> {_address(binding)}")
        return 0
    port = wanted[0] if "/" in wanted[0] else f"{wanted[0]}/tcp"
    bindings = ports.get(port)
    if not bindings:
        raise NotFound(f"no public port '{port}' published for {name}")
    for binding in bindings:
        call.io.out(_address(binding))
    return 0


def _address(binding: dict[str, str]) -> str:
    host = binding["HostIp"]
    return f"[{host}]:{binding['HostPort']}" if ":" in host else f"{host}:{binding['HostPort']}"


def _order(port: str) -> tuple[int, str]:
    number, _, protocol = port.partition("/")
    return (int(number) if number.isdigit() else 0, protocol)
