"""Driver options of ``network create``: Docker's names, and short ones.

An option of Docker's that is not known here is refused: some close what would be open without them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from proa.errors import Conflict, Invalid, Unsupported, from_os_error
from proa.linux.netlink import link
from proa.linux.netlink.socket import Netlink
from proa.network import ipam

BINDING = "com.docker.network.bridge.host_binding_ipv4"
"""Host address of published ports that name none."""

_DOCKERS = "com.docker.network."
_NAME = "com.docker.network.bridge.name"
_TALKS = "com.docker.network.bridge.enable_icc"
_MASQUERADE = "com.docker.network.bridge.enable_ip_masquerade"
_MTU = ("com.docker.network.driver.mtu", "mtu")
_KNOWN = (BINDING, _NAME, _TALKS, _MASQUERADE, _MTU[0])
_LINK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}")


def check_options(options: Mapping[str, str]) -> None:
    """Refuse options that would have no effect.

    Raises:
        Unsupported: one of Docker's that is not known.
        Invalid: a value is wrong.
    """
    for name in options:
        if name.startswith(_DOCKERS) and name not in _KNOWN:
            raise Unsupported(
                f"the network option {name} is not known", f"known are {', '.join(_KNOWN)}"
            )
    if BINDING in options and ":" in str(ipam.parse_address(options[BINDING], "host binding")):
        raise Invalid(f"the host binding {options[BINDING]} is no IPv4 address")


def read_mtu(options: Mapping[str, str]) -> int:
    """Return the size of packets; 0: the kernel's.

    Raises:
        Invalid: it is none.
    """
    text = next((options[key] for key in _MTU if key in options), "0")
    if not text.isdecimal() or (int(text) and not 68 <= int(text) <= 65535):
        raise Invalid(f"invalid mtu '{text}'", "use 68 to 65535")
    return int(text)


def is_isolated(options: Mapping[str, str]) -> bool:
    """Whether other networks are kept out (``isolate``).

    Raises:
        Invalid: the value is neither true nor false.
    """
    return _read_switch(options, "isolate")


def talks(options: Mapping[str, str]) -> bool:
    """Whether containers on the network reach each other.

    Raises:
        Invalid: the value is neither true nor false.
    """
    return _read_switch(options, _TALKS)


def masquerades(options: Mapping[str, str]) -> bool:
    """Whether outgoing connections get the host's address.

    Raises:
        Invalid: the value is neither true nor false.
    """
    return _read_switch(options, _MASQUERADE)


def choose_link(options: Mapping[str, str], default: str) -> str:
    """Return the name of the bridge, which must be free.

    Raises:
        Invalid: no interface can have the name.
        Conflict: an interface has it.
    """
    name = options.get(_NAME, "")
    if not name:
        return default
    if not _LINK_NAME.fullmatch(name):
        raise Invalid(
            f"invalid bridge name '{name}'", "use up to 15 letters, digits, '_', '.', '-'"
        )
    try:
        with Netlink() as nl:
            found = link.find(nl, name)
    except OSError as error:
        raise from_os_error(error, f"cannot look for the interface {name}") from error
    if found is not None:
        raise Conflict(f"there is an interface {name} on this host", "choose another name")
    return name


def _read_switch(options: Mapping[str, str], name: str) -> bool:
    word = options.get(name, "true").lower()
    if word not in ("true", "false", "1", "0"):
        raise Invalid(f"invalid value '{word}' of the option {name}", "use true or false")
    return word in ("true", "1")
