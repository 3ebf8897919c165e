"""Where a registry's repositories are served, and on which terms: ``registries.toml``.

One table per registry, named as references spell it::

    [registry."docker.io"]
    mirrors = ["mirror.lan", "https://cache.lan/hub"]

    [registry."mirror.lan"]
    ca = "/etc/proa/mirror.pem"

The engine-wide file is ``/etc/proa/registries.toml``; a user's own is
``$XDG_CONFIG_HOME/proa/registries.toml``, whose table for a registry replaces the engine-wide table
of that registry. ``PROA_REGISTRIES`` names the one file to read instead of both. Certificates in
``/etc/docker/certs.d/<registry>/`` are honoured where no table says otherwise.

HTTPS is the only scheme unless the registry is on the loopback interface or its table says
``insecure`` or ``plain-http``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

import msgspec

from proa.errors import Invalid, from_os_error

HUB = "docker.io"
_HUB_LOCATION = "registry-1.docker.io"

# DNS name, IPv4 or bracketed IPv6, with an optional port: what may stand as the host of a URL that
# is built here. Anything else (userinfo, path, white space) would change what the URL means.
_HOST = re.compile(
    r"(?:(?:[A-Za-z0-9](?:[A-Za-z0-9_-]*[A-Za-z0-9])?)(?:\.[A-Za-z0-9](?:[A-Za-z0-9_-]*[A-Za-z0-9])?)*"
    r"|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?"
)
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._-]+)*")
_LOOPBACK = re.compile(r"(?:localhost|127(?:\.[0-9]{1,3}){3}|\[::1\])(?::[0-9]{1,5})?")
_ENGINE_WIDE = "/etc/proa/registries.toml"
_CERTIFICATE_DIRECTORIES = ("/etc/proa/certs.d", "/etc/docker/certs.d")


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """How a server is verified and how the client identifies itself; empty: the system's CAs."""

    verify: bool = True
    ca_files: tuple[str, ...] = ()
    client_certificate: str = ""
    client_key: str = ""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One place that serves repositories.

    Attributes:
        host: ``name[:port]`` of its URLs.
        registry: the domain whose credentials are used here: the registry itself, or for a mirror
            the mirror's own host.
        schemes: in the order in which they are tried; the first that the server speaks is kept.
        prefix: what stands before every repository name (``/hub`` or empty).
        is_mirror: reads only; a failure is answered by asking the next endpoint.
    """

    host: str
    registry: str
    schemes: tuple[str, ...] = ("https",)
    prefix: str = ""
    tls: Tls = Tls()
    is_mirror: bool = False


class RegistryTable(
    msgspec.Struct, frozen=True, kw_only=True, rename="kebab", forbid_unknown_fields=True
):
    """One ``[registry."..."]`` of the file; ``docs/reference/registries-toml.md`` has the prose."""

    mirrors: tuple[str, ...] = ()
    location: str = ""
    insecure: bool = False
    plain_http: bool = False
    ca: str = ""
    client_cert: str = ""
    client_key: str = ""


class Registries(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of all registries; a registry without a table has the defaults."""

    registry: dict[str, RegistryTable] = {}

    def get_endpoints(self, domain: str, *, for_push: bool = False) -> tuple[Endpoint, ...]:
        """Return where to ask for repositories of ``domain``: mirrors first, the registry last.

        Args:
            domain: as references spell it (``docker.io``, ``registry.lan:5000``).
            for_push: leave the mirrors out.

        Raises:
            Invalid: a location or mirror in the settings is not a host.
        """
        table = self.registry.get(domain, RegistryTable())
        location = table.location or (_HUB_LOCATION if domain == HUB else domain)
        upstream = self._endpoint(location, domain, table)
        if for_push:
            return (upstream,)
        mirrors = (self._mirror(mirror) for mirror in table.mirrors)
        return (*mirrors, upstream)

    def _mirror(self, mirror: str) -> Endpoint:
        host = _split_location(mirror)[1]
        endpoint = self._endpoint(mirror, host, self.registry.get(host, RegistryTable()))
        return msgspec.structs.replace(endpoint, is_mirror=True)

    def _endpoint(self, location: str, registry: str, table: RegistryTable) -> Endpoint:
        scheme, host, prefix = _split_location(location)
        if table.plain_http or scheme == "http":
            schemes: tuple[str, ...] = ("http",)
        elif scheme == "https" or not (table.insecure or is_loopback(host)):
            schemes = ("https",)
        else:
            schemes = ("https", "http")
        if table.ca or table.client_cert:
            tls = Tls(
                verify=not table.insecure,
                ca_files=(table.ca,) if table.ca else (),
                client_certificate=table.client_cert,
                client_key=table.client_key or table.client_cert,
            )
        else:
            tls = _find_certificates(registry, verify=not table.insecure)
        return Endpoint(host=host, registry=registry, schemes=schemes, prefix=prefix, tls=tls)


def is_loopback(host: str) -> bool:
    """Tell whether ``name[:port]`` can only mean this machine: no packet leaves it."""
    return _LOOPBACK.fullmatch(host.lower()) is not None


def load_registries(environment: Mapping[str, str] = os.environ) -> Registries:
    """Read the settings files that the module's docstring names; missing ones are skipped.

    Args:
        environment: of the user who asks; a warm worker's own is somebody else's.

    Raises:
        Invalid: a file is not TOML or has a key or a value that does not belong there.
    """
    merged: dict[str, RegistryTable] = {}
    for path in _paths(environment):
        try:
            with open(path, "rb") as file:
                text = file.read()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise from_os_error(error, f"cannot read the registry settings {path}") from error
        merged.update(parse_registries(text, path).registry)
    return Registries(registry=merged)


def parse_registries(text: bytes, path: str) -> Registries:
    """Decode and check one settings file; ``path`` is for the message."""
    import msgspec.toml

    try:
        parsed = msgspec.toml.decode(text, type=Registries)
        for domain in parsed.registry:
            if not _HOST.fullmatch(domain):
                raise Invalid(f"{domain!r} is not a registry's name")
            parsed.get_endpoints(domain)
    except (msgspec.DecodeError, ValueError, Invalid) as error:
        reason = error.message if isinstance(error, Invalid) else str(error)
        raise Invalid(
            f"registry settings {path} are wrong: {reason}",
            'see docs/reference/registries-toml.md; quote names: [registry."host:port"]',
        ) from error
    return parsed


def home(environment: Mapping[str, str]) -> str:
    """Return the user's home directory."""
    return environment.get("HOME") or os.path.expanduser("~")


def _paths(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the settings files, lowest priority first."""
    only = environment.get("PROA_REGISTRIES")
    if only:
        return (only,)
    settings = environment.get("XDG_CONFIG_HOME") or f"{home(environment)}/.config"
    return (_ENGINE_WIDE, f"{settings}/proa/registries.toml")


def _split_location(location: str) -> tuple[str, str, str]:
    """Split ``[scheme://]host[:port][/prefix]``; the scheme is empty where none is written."""
    scheme, found, rest = location.partition("://")
    if not found:
        scheme, rest = "", location
    host, slash, prefix = rest.rstrip("/").partition("/")
    valid = _HOST.fullmatch(host) and _PREFIX.fullmatch(slash + prefix)
    if scheme not in ("", "http", "https") or not valid or ".." in prefix.split("/"):
        raise Invalid(
            f"{location!r} is not a registry's location", "write [https://]host[:port][/prefix]"
        )
    return scheme, host, slash + prefix


def _find_certificates(registry: str, *, verify: bool) -> Tls:
    """Look into Docker's certificate directory: ``*.crt`` are CAs, ``*.cert`` the client's."""
    for parent in _CERTIFICATE_DIRECTORIES:
        directory = os.path.join(parent, registry)
        try:
            names = sorted(os.listdir(directory))
        except OSError:
            continue
        paths = [os.path.join(directory, name) for name in names]
        certificate = next((path for path in paths if path.endswith(".cert")), "")
        return Tls(
            verify=verify,
            ca_files=tuple(path for path in paths if path.endswith(".crt")),
            client_certificate=certificate,
            client_key=certificate.removesuffix(".cert") + ".key" if certificate else "",
        )
    return Tls(verify=verify)
