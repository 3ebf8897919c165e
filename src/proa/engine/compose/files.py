"""The files that the engine gives every container: /etc/hostname, /etc/hosts, /etc/resolv.conf.

They live in the container's directory and are bound over the image's, writable, as Docker does; the
contents follow Docker's. A container on networks gets the last two again at every start, when its
addresses are known: ``resolv.conf`` names the engine's resolver where there are names to find, and
is a copy of the host's without its loopback servers otherwise.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from proa.engine.config import ContainerConfig
from proa.engine.state import Endpoint
from proa.errors import Invalid, from_os_error
from proa.network import resolvconf
from proa.network.model import Network
from proa.network.resolvconf import ResolvConf

NAMES = ("hostname", "hosts", "resolv.conf")
HOST_GATEWAY = "host-gateway"
"""Docker's word in ``--add-host`` for the host's address as the container sees it."""

_LOCALHOST = (
    b"127.0.0.1\tlocalhost\n"
    b"::1\tlocalhost ip6-localhost ip6-loopback\n"
    b"fe00::0\tip6-localnet\n"
    b"ff00::0\tip6-mcastprefix\n"
    b"ff02::1\tip6-allnodes\n"
    b"ff02::2\tip6-allrouters\n"
)


def host_name(config: ContainerConfig, container_id: str) -> str:
    """Return the host name: what was asked for, the host's with ``--network host``, or the id."""
    if config.hostname:
        return config.hostname
    if config.network_mode == "host" or config.uts_mode == "host":
        return os.uname().nodename
    return container_id[:12]


def save(directory: str, config: ContainerConfig, container_id: str) -> None:
    """Write the files into the container's directory.

    Raises:
        Invalid: ``--add-host`` is not ``name:address``.
        ProaError: the directory cannot be written.
    """
    name = host_name(config, container_id)
    own = [] if config.network_mode == "host" else ["127.0.1.1"]
    contents = ((name + "\n").encode(), _hosts(config, name, own, ""), _resolv_conf(config))
    _write(directory, dict(zip(NAMES, contents, strict=True)), container_id)


def save_network(
    directory: str,
    config: ContainerConfig,
    container_id: str,
    endpoints: Sequence[Endpoint],
    networks: Sequence[Network],
) -> None:
    """Write the files that depend on the container's networks.

    Raises:
        ProaError: the directory cannot be written.
    """
    name = host_name(config, container_id)
    own = [text for item in endpoints for text in (item.address4, item.address6) if text]
    gateways = [item.subnet4 or item.subnet6 for item in networks if not item.internal]
    gateway = next((item.gateway for item in gateways if item is not None), "")
    contents = {
        "hosts": _hosts(config, name, own or ["127.0.1.1"], gateway),
        "resolv.conf": _network_resolv_conf(config, networks),
    }
    _write(directory, contents, container_id)


def borrow_network(directory: str, other: str, container_id: str) -> None:
    """Copy the network's files from another container's directory.

    Raises:
        ProaError: the directory cannot be written.
    """
    _write(directory, {file: _read(f"{other}/{file}") for file in NAMES[1:]}, container_id)


def uses_resolver(config: ContainerConfig, networks: Sequence[Network]) -> bool:
    """Whether the container asks the engine's resolver.

    It does where there are names to find, where the host's servers cannot be reached from another
    namespace, and where an egress policy has to learn what names mean.
    """
    if config.egress is not None or any(network.resolves for network in networks):
        return True
    return not config.dns and not resolvconf.reachable(resolvconf.load_host().servers)


def _write(directory: str, contents: dict[str, bytes], container_id: str) -> None:
    try:
        for file, content in contents.items():
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            fd = os.open(f"{directory}/{file}", flags, 0o644)
            try:
                os.write(fd, content)
            finally:
                os.close(fd)
    except OSError as error:
        raise from_os_error(
            error, f"cannot write the files of container {container_id[:12]} in {directory}"
        ) from error


def _hosts(config: ContainerConfig, name: str, own: Sequence[str], gateway: str) -> bytes:
    if config.network_mode == "host" and not config.extra_hosts:
        return _read("/etc/hosts") or _LOCALHOST
    lines = [_LOCALHOST]
    for entry in config.extra_hosts:
        host, separator, address = entry.partition(":")
        if not (host and separator and address):
            raise Invalid(f"bad value '{entry}' for --add-host", "use NAME:ADDRESS")
        if address == HOST_GATEWAY:
            address = gateway or "127.0.0.1"
        lines.append(f"{address.strip('[]')}\t{host}\n".encode())
    lines += [f"{item}\t{_with_domain(name, config.domainname)}\n".encode() for item in own]
    return b"".join(lines)


def _with_domain(name: str, domain: str) -> str:
    return f"{name}.{domain} {name}" if domain else name


def _resolv_conf(config: ContainerConfig) -> bytes:
    if config.dns or config.dns_search:
        lines = [f"nameserver {server}" for server in config.dns]
        if config.dns_search:
            lines.append("search " + " ".join(config.dns_search))
        return ("\n".join(lines) + "\n").encode()
    return _read("/etc/resolv.conf")


def _network_resolv_conf(config: ContainerConfig, networks: Sequence[Network]) -> bytes:
    host = resolvconf.load_host()
    resolver = uses_resolver(config, networks)
    servers = config.dns or resolvconf.reachable(host.servers)
    options = config.dns_options or host.options
    if resolver and not any(item.startswith("ndots:") for item in options):
        options = (*options, "ndots:0")
    return resolvconf.format_resolv_conf(
        ResolvConf(
            servers=(resolvconf.RESOLVER_ADDRESS,) if resolver else servers,
            search=config.dns_search or host.search,
            options=options,
        )
    )


def _read(path: str) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(fd, 65536)
    finally:
        os.close(fd)
