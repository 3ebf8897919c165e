"""The files that the engine gives every container: /etc/hostname, /etc/hosts, /etc/resolv.conf.

They live in the container's directory and are bound over the image's, writable, as Docker does; the
contents follow Docker's (``resolv.conf`` is a copy of the host's without its loopback servers where
the container has a network of its own).
"""

from __future__ import annotations

import os

from proa.engine.config import ContainerConfig
from proa.errors import Invalid, from_os_error

NAMES = ("hostname", "hosts", "resolv.conf")

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
    contents = (
        (name + "\n").encode(),
        _hosts(config, name),
        _resolv_conf(config),
    )
    try:
        for file, content in zip(NAMES, contents, strict=True):
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            fd = os.open(f"{directory}/{file}", flags, 0o644)
            try:
                os.write(fd, content)
            finally:
                os.close(fd)
    except OSError as error:
        raise from_os_error(
            error, f"cannot write the files of container {container_id[:12]}"
        ) from error


def _hosts(config: ContainerConfig, name: str) -> bytes:
    if config.network_mode == "host" and not config.extra_hosts:
        return _read("/etc/hosts") or _LOCALHOST
    lines = [_LOCALHOST]
    for entry in config.extra_hosts:
        host, separator, address = entry.partition(":")
        if not (host and separator and address):
            raise Invalid(f"bad value '{entry}' for --add-host", "use NAME:ADDRESS")
        lines.append(f"{address.strip('[]')}\t{host}\n".encode())
    if config.network_mode != "host":
        lines.append(f"127.0.1.1\t{_with_domain(name, config.domainname)}\n".encode())
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


def _read(path: str) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(fd, 65536)
    finally:
        os.close(fd)
