"""Networks in Docker's words (Engine API 1.51), and the two that are words only.

Every Docker host has networks called ``host`` and ``none``: clients list them and look them up by
name. Proa has no record of them (they are modes of a container), so they are described here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

Document = dict[str, Any]

_DRIVERS: Final = {"host": "host", "none": "null"}


def network_list(documents: Iterable[Document]) -> list[Document]:
    """Return ``GET /networks``: as inspected, but nobody says who is connected."""
    return [{**document, "Containers": {}} for document in documents]


def is_builtin(name: str) -> bool:
    """Tell whether a name or id means ``host`` or ``none``."""
    return find_builtin(name) is not None


def find_builtin(reference: str) -> Document | None:
    """Return ``host`` or ``none`` by name, id or first digits of the id; None for all else."""
    for name in _DRIVERS:
        identity = builtin_id(name)
        if reference in (name, identity) or (
            len(reference) >= 12 and identity.startswith(reference)
        ):
            return builtin(name)
    return None


def builtins(filters: Mapping[str, Sequence[str]]) -> list[Document]:
    """Return those of ``host`` and ``none`` that pass the filters of a listing."""
    return [builtin(name) for name in _DRIVERS if _passes(name, filters)]


def builtin_id(name: str) -> str:
    """Return the id of ``host`` or ``none``: the same on every machine."""
    return hashlib.sha256(f"proa network {name}".encode()).hexdigest()


def builtin(name: str) -> Document:
    """Return ``host`` or ``none`` as an inspected network."""
    return {
        "Name": name,
        "Id": builtin_id(name),
        "Created": "1970-01-01T00:00:00Z",
        "Scope": "local",
        "Driver": _DRIVERS[name],
        "EnableIPv4": True,
        "EnableIPv6": False,
        "IPAM": {"Driver": "default", "Options": None, "Config": []},
        "Internal": False,
        "Attachable": False,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": {},
        "Options": {},
        "Labels": {},
    }


def _passes(name: str, filters: Mapping[str, Sequence[str]]) -> bool:
    return all(
        any(_passes_one(name, kind, value) for value in values) for kind, values in filters.items()
    )


def _passes_one(name: str, kind: str, value: str) -> bool:
    match kind:
        case "name":
            return value in name
        case "id":
            return builtin_id(name).startswith(value)
        case "driver":
            return value == _DRIVERS[name]
        case "type":
            return value == "builtin"
        case "scope":
            return value == "local"
    return False
