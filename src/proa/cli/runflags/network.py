"""The grammar of the network's flags: ``-p``, ``--network``, rates and egress.

Every reader takes the text of one flag and raises ValueError with a reason in Docker's words.
"""

from __future__ import annotations

import ipaddress
from typing import Literal

from proa.cli.kinds import read_size
from proa.engine.config import EndpointConfig, PortConfig

Protocol = Literal["tcp", "udp"]

_BITS = {"kbit": 1000, "mbit": 1000**2, "gbit": 1000**3, "bit": 1}
_SMALLEST_RATE_BYTES = 1000


def read_publish(text: str) -> tuple[PortConfig, ...]:
    """Read ``[[ip:][hostPort]:]containerPort[/protocol]``; ports may be ranges.

    A host range for one container port is a choice; ranges of the same length go pairwise.

    Raises:
        ValueError: no such form, or SCTP.
    """
    ports, slash, protocol = text.partition("/")
    chosen = _protocol(protocol if slash else "tcp", text)
    host_ip, host, container = _split_publish(ports, text)
    first, last = _range(container, text)
    if not host:
        return tuple(
            PortConfig(container_port=number, protocol=chosen, host_ip=host_ip)
            for number in range(first, last + 1)
        )
    host_first, host_last = _range(host, text)
    if first == last:
        return (
            PortConfig(
                container_port=first, protocol=chosen, host_ip=host_ip, host_port=host_first,
                host_port_last=host_last if host_last > host_first else 0,
            ),
        )  # fmt: skip
    if host_last - host_first != last - first:
        raise ValueError(f"invalid ranges specified for container and host Ports: {text}")
    return tuple(
        PortConfig(
            container_port=first + step, protocol=chosen, host_ip=host_ip,
            host_port=host_first + step,
        )
        for step in range(last - first + 1)
    )  # fmt: skip


def _split_publish(ports: str, text: str) -> tuple[str, str, str]:
    """Return host address, host port and container port."""
    host_ip = ""
    if ports.startswith("["):
        host_ip, bracket, ports = ports[1:].partition("]:")
        if not bracket:
            raise ValueError(f"invalid hostPort: {text}")
    words = ports.split(":")
    if host_ip:
        words.insert(0, host_ip)
    if len(words) > 3 or (host_ip and len(words) < 3):
        raise ValueError(f"invalid publish form: {text}")
    if len(words) == 3:
        host_ip = words[0]
        if host_ip and not is_address(host_ip):
            raise ValueError(f"invalid IP address: {host_ip}")
    host = words[-2] if len(words) > 1 else ""
    if not words[-1]:
        raise ValueError(f"no port specified: {text}")
    return host_ip, host, words[-1]


def _protocol(word: str, text: str) -> Protocol:
    lower = word.lower()
    if lower == "sctp":
        raise ValueError("SCTP ports cannot be published: use tcp or udp")
    if lower == "udp":
        return "udp"
    if lower == "tcp":
        return "tcp"
    raise ValueError(f"invalid proto: {word} in {text}")


def _range(text: str, whole: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    if not (first.isascii() and first.isdecimal()) or (dash and not last.isdecimal()):
        raise ValueError(f"invalid port: {whole}")
    low, high = int(first), int(last) if dash else int(first)
    if not 1 <= low <= high <= 65535:
        raise ValueError(f"invalid port: {whole}: ports are 1 to 65535")
    return low, high


def read_network(text: str) -> EndpointConfig:
    """Read ``web`` or ``name=web,ip=...,ip6=...,mac-address=...,alias=...,gw-priority=...``.

    Raises:
        ValueError: an unknown field, or none with the name.
    """
    if "=" not in text:
        return EndpointConfig(network=text)
    found = EndpointConfig()
    values: dict[str, str] = {}
    aliases: list[str] = []
    for field in text.split(","):
        key, equals, value = field.partition("=")
        if key == "alias" and value:
            aliases.append(value)
        elif key in ("name", "ip", "ip6", "mac-address", "gw-priority") and equals and value:
            values[key] = value
        else:
            raise ValueError(f"invalid field {field}")
    if "name" not in values:
        raise ValueError("network name/id is not specified")
    priority = values.get("gw-priority", "0")
    if not priority.removeprefix("-").isdecimal():
        raise ValueError(f"invalid gw-priority: {priority}")
    return EndpointConfig(
        network=values["name"],
        address4=read_address4(values["ip"]) if "ip" in values else found.address4,
        address6=read_address6(values["ip6"]) if "ip6" in values else found.address6,
        mac=read_mac(values["mac-address"]) if "mac-address" in values else found.mac,
        aliases=tuple(aliases),
        gateway_priority=int(priority),
    )


def read_address4(text: str) -> str:
    """Read an IPv4 address.

    Raises:
        ValueError: it is none.
    """
    if not is_address(text) or ":" in text:
        raise ValueError(f"invalid IPv4 address: {text}")
    return text


def read_address6(text: str) -> str:
    """Read an IPv6 address.

    Raises:
        ValueError: it is none.
    """
    if not is_address(text) or ":" not in text:
        raise ValueError(f"invalid IPv6 address: {text}")
    return str(ipaddress.ip_address(text))


def read_mac(text: str) -> str:
    """Read a hardware address that a station may have; return it with colons, lower case.

    Raises:
        ValueError: it is none, or a group's.
    """
    digits = text.lower().replace("-", ":").split(":")
    if len(digits) != 6 or not all(
        len(pair) == 2 and all(digit in "0123456789abcdef" for digit in pair) for pair in digits
    ):
        raise ValueError(f"{text} is not a valid mac address")
    if int(digits[0], 16) & 1 or not any(int(pair, 16) for pair in digits):
        raise ValueError(f"{text} is not the address of one station")
    return ":".join(digits)


def read_rate(text: str) -> int:
    """Read a rate: ``10mbit`` (decimal bits a second) or ``2m`` (binary bytes a second).

    Raises:
        ValueError: it is none, or below 1000 bytes a second; 0 lifts a limit.
    """
    lower = text.lower()
    for unit, factor in _BITS.items():
        if lower.endswith(unit) and lower.removesuffix(unit).replace(".", "", 1).isdecimal():
            rate = int(float(lower.removesuffix(unit)) * factor / 8)
            break
    else:
        rate = read_size(text)
    if rate and rate < _SMALLEST_RATE_BYTES:
        raise ValueError(f"the rate {text} is below {_SMALLEST_RATE_BYTES} bytes a second")
    return rate


def read_egress(text: str) -> tuple[str, ...]:
    """Read ``none`` or ``allow=ADDRESS|CIDR|DOMAIN,...``.

    Raises:
        ValueError: neither of them.
    """
    if text == "none":
        return ()
    if not text.startswith("allow="):
        raise ValueError("use none or allow=ADDRESS|CIDR|DOMAIN,...")
    words = tuple(word for word in text.removeprefix("allow=").split(",") if word)
    if not words:
        raise ValueError("nothing is allowed by it: use none")
    return words


def read_new_egress(text: str) -> tuple[str, ...]:
    """Read what :func:`read_egress` reads, or ``any``, which lifts a policy.

    Raises:
        ValueError: none of them.
    """
    return ("any",) if text == "any" else read_egress(text)


def is_address(text: str) -> bool:
    """Whether text is an IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
