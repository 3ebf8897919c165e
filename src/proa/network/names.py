"""Names of what the engine makes on the host, derived from ids so that everything can be found.

Interface names have at most 15 bytes. The engine's mark tells the things of several engines (state
roots) on one host apart; the default root has none.
"""

from __future__ import annotations

import hashlib

_DEFAULT_ROOT = "/var/lib/proa"
DEFAULT_LINK = "proa0"


def engine_mark(root: str) -> str:
    """Return what tells an engine's things from those of others: empty for the default root."""
    if root == _DEFAULT_ROOT:
        return ""
    return hashlib.sha256(root.encode("utf-8", "surrogateescape")).hexdigest()[:6]


def table_name(root: str) -> str:
    """Name of the engine's nf_tables table."""
    mark = engine_mark(root)
    return f"proa_{mark}" if mark else "proa"


def default_link(root: str) -> str:
    """Name of the default network's bridge."""
    mark = engine_mark(root)
    return f"proa-{mark}" if mark else DEFAULT_LINK


def network_link(network_id: str) -> str:
    """Name of a user-defined network's bridge."""
    return f"proa-{network_id[:10]}"


def veth_link(container_id: str, network_id: str) -> str:
    """Name of the host's end of a container's veth."""
    return f"veth{container_id[:7]}{network_id[:4]}"


def shaper_link(container_id: str, network_id: str) -> str:
    """Name of the interface that shapes what a container sends."""
    return f"proa{container_id[:7]}{network_id[:4]}"


def alias(container_id: str) -> str:
    """The label of interfaces on the host that belong to a container."""
    return f"proa:{container_id}"
