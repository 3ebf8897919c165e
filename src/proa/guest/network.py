"""The guest's network is its container's: interfaces as the host says, the loopback one always."""

from __future__ import annotations

import fcntl
import os
import struct
from typing import TYPE_CHECKING

from proa.errors import Invalid, NotFound, from_os_error
from proa.vm.agent.messages import Interface

if TYPE_CHECKING:
    from proa.linux.netlink.socket import Netlink

_SIOCSIFFLAGS = 0x8914
_IFF_UP_RUNNING = 0x41
_IFREQ = struct.Struct("<16sH22x")


def raise_loopback() -> None:
    """Raise ``lo`` without loading what talks netlink (netdevice(7)).

    Raises:
        OSError: what the kernel answered.
    """
    import _socket

    peer = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM, 0)
    try:
        fcntl.ioctl(peer.fileno(), _SIOCSIFFLAGS, _IFREQ.pack(b"lo", _IFF_UP_RUNNING))
    finally:
        peer.close()


def read_counters() -> tuple[int, int]:
    """Bytes received and sent by all interfaces but the loopback one (proc_pid_net(5))."""
    received = sent = 0
    with open("/proc/net/dev", encoding="ascii") as stream:
        for line in stream.readlines()[2:]:
            name, _, counters = line.partition(":")
            fields = counters.split()
            if name.strip() != "lo":
                received += int(fields[0])
                sent += int(fields[8])
    return received, sent


def write_sysctls(values: dict[str, str]) -> None:
    """Set what the container asks for of its network.

    Raises:
        Invalid: there is no such setting, or not this value of it.
    """
    for name, value in values.items():
        path = "/proc/sys/" + name.replace(".", "/")
        try:
            with open(path, "w", encoding="ascii") as stream:
                stream.write(value)
        except (OSError, UnicodeEncodeError) as error:
            raise Invalid(f"cannot set the sysctl {name} to {value} in the guest") from error


def configure(interfaces: tuple[Interface, ...]) -> None:
    """Name the cards, give them addresses and routes, raise them.

    Raises:
        NotFound: the guest has no such card.
        ProaError: the kernel refuses something.
    """
    if not interfaces:
        return
    from proa.linux.netlink.socket import Netlink

    try:
        with Netlink() as nl:
            for interface in interfaces:
                _configure(nl, interface)
    except OSError as error:
        raise from_os_error(error, "cannot configure the container's network") from error


def _configure(nl: Netlink, interface: Interface) -> None:
    from proa.linux.netlink import address, link, route

    wanted = interface.mac.lower()
    for name in os.listdir("/sys/class/net"):
        with open(f"/sys/class/net/{name}/address", encoding="ascii") as stream:
            if stream.read().strip() == wanted:
                break
    else:
        raise NotFound(f"the guest has no network card {interface.mac}")
    found = link.find(nl, name)
    assert found is not None
    if name != interface.name:
        link.rename(nl, found.ifindex, interface.name)
    ipv6 = any(":" in text for text, _ in interface.addresses)
    _write_sysctl(f"ipv6/conf/{interface.name}/accept_ra", "0")
    _write_sysctl(f"ipv6/conf/{interface.name}/disable_ipv6", "0" if ipv6 else "1")
    for text, prefix in interface.addresses:
        address.add(nl, found.ifindex, text, prefix)
    link.set_up(nl, found.ifindex)
    for gateway in interface.gateways:
        route.add(nl, index=found.ifindex, gateway=gateway)


def _write_sysctl(name: str, value: str) -> None:
    try:
        with open(f"/proc/sys/net/{name}", "w", encoding="ascii") as stream:
            stream.write(value)
    except FileNotFoundError:
        # The kernel has no IPv6.
        return
