"""Which proxy a URL goes through: ``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY``, ``NO_PROXY``.

``NO_PROXY`` is read as Go programs read it (golang.org/x/net/http/httpproxy), because that is what
users of container engines have written down: names match themselves and their subdomains, ``.name``
only subdomains, addresses and CIDR blocks match literal addresses, ``:port`` narrows an entry and
``*`` means everything. The loopback interface is never proxied.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from proa.errors import Invalid
from proa.image.registry.hosts import is_loopback


def find_proxy(scheme: str, host: str, port: int, environment: Mapping[str, str]) -> str | None:
    """Return the proxy's URL for a connection to ``host:port``, or None to connect directly.

    Raises:
        Invalid: the proxy is of a kind that cannot be used (only ``http`` and ``https`` can).
    """
    bare = host.strip("[]").lower()
    if is_loopback(f"[{bare}]" if ":" in bare else bare):
        return None
    proxy = ""
    for name in (f"{scheme}_proxy", "all_proxy"):
        # The lower-case spelling wins. HTTP_PROXY in upper case is client-controlled under CGI.
        proxy = environment.get(name, "")
        if not proxy and not (name == "http_proxy" and "REQUEST_METHOD" in environment):
            proxy = environment.get(name.upper(), "")
        if proxy:
            break
    if not proxy or _is_excluded(bare, port, environment):
        return None
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    if not proxy.startswith(("http://", "https://")):
        kind = proxy.partition("://")[0]
        raise Invalid(
            f"a {kind} proxy is set and cannot be used for registries",
            "set HTTPS_PROXY to an http:// or https:// proxy, or name the registry in NO_PROXY",
        )
    return proxy


def _is_excluded(host: str, port: int, environment: Mapping[str, str]) -> bool:
    entries = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    return any(_matches(entry.strip().lower(), host, port) for entry in entries.split(",") if entry)


def _matches(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    name, colon, digits = entry.rpartition(":")
    if colon and digits.isdigit() and (":" not in name or name.endswith("]")):
        if int(digits) != port:
            return False
        entry = name
    entry = entry.strip("[]")
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        pass
    if not entry:
        return False
    domain = entry.removeprefix("*").removeprefix(".")
    return host.endswith("." + domain) or (host == domain and not entry.startswith((".", "*.")))
