"""Logging in to a registry, and searching one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from urllib.parse import urlencode

import msgspec

from proa.errors import NotFound, ProaError, Unauthorized
from proa.image.registry.answers import printable, read_limited
from proa.image.registry.client import Client, Request
from proa.image.registry.credentials import Credentials, CredentialStore
from proa.image.registry.hosts import HUB, Registries
from proa.oci.codec import MAX_DOCUMENT_BYTES, decode_json

_HUB_SEARCH = "https://index.docker.io/v1/search"
_HUB_LIMIT = 100
_CATALOG_PAGE = 1000


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """One repository that a search found, named as it can be pulled."""

    name: str
    description: str = ""
    stars: int = 0
    is_official: bool = False


class _HubResult(msgspec.Struct, frozen=True):
    name: str
    description: str | None = None
    star_count: int = 0
    is_official: bool = False


class _HubResults(msgspec.Struct, frozen=True):
    results: list[_HubResult] = []


class _Catalog(msgspec.Struct, frozen=True):
    repositories: list[str] | None = None


def log_in(
    registry: str,
    username: str,
    password: str,
    *,
    store: CredentialStore,
    registries: Registries | None = None,
    environment: Mapping[str, str] = os.environ,
) -> str:
    """Check credentials with the registry, then store them; nothing is stored when refused.

    Where the registry's token server offers an identity token, that is stored instead of the
    password.

    Args:
        registry: as references spell it (``docker.io``, ``host:port``).
        username, password: what the user typed.
        store: where they go.
        registries: None for the settings files.
        environment: of the user who asks.

    Returns:
        The credential helper that keeps them, or empty for the file.

    Raises:
        Unauthorized: the registry refused them.
        Forbidden: they would have gone over plain HTTP.
    """
    given = Credentials(username=username, password=password)
    token = check(registry, given, registries=registries, environment=environment)
    kept = Credentials(username=username, identity_token=token) if token else given
    return store.save(registry, kept)


def check(
    registry: str,
    credentials: Credentials,
    *,
    registries: Registries | None = None,
    environment: Mapping[str, str] = os.environ,
) -> str:
    """Ask a registry whether it takes these credentials; nothing is stored.

    Returns:
        The identity token that its token server offers instead of the password; empty for none.

    Raises:
        Unauthorized: the registry refused them.
        Forbidden: they would have gone over plain HTTP.
    """
    doing = f"cannot log in to {registry}"
    with Client(registries, credentials, environment=environment) as client:
        endpoint = client.registries.get_endpoints(registry, for_push=True)[0]
        try:
            client.send(endpoint, Request(method="GET", doing=doing, offline=True)).close()
        except Unauthorized as error:
            raise Unauthorized(f"{doing}: the user name or password is wrong") from error
        return client.get_authenticator(endpoint).identity_token


def split_term(term: str) -> tuple[str, str]:
    """Split what is searched for into a registry, empty for the Hub, and a part of a name."""
    first, slash, rest = term.partition("/")
    is_registry = slash and ("." in first or ":" in first or first == "localhost")
    return (first, rest) if is_registry else ("", term)


def search(client: Client, term: str, registry: str = HUB, *, limit: int = 25) -> list[Found]:
    """Find repositories by a part of their name.

    The Hub is asked for its own search. Other registries have none in any standard: their catalog
    is read and filtered, where they show it.

    Raises:
        Unsupported, NotFound, Unauthorized: the registry does not show its catalog.
    """
    if registry == HUB:
        return _search_hub(client, term, limit)
    return _search_catalog(client, registry, term, limit)


def _search_hub(client: Client, term: str, limit: int) -> list[Found]:
    endpoint = client.registries.get_endpoints("index.docker.io", for_push=True)[0]
    query = urlencode({"q": term, "n": min(limit, _HUB_LIMIT)})
    doing = f"cannot search for {term}"
    answer = client.send(
        endpoint, Request(method="GET", location=f"{_HUB_SEARCH}?{query}", doing=doing)
    )
    found = decode_json(read_limited(answer, MAX_DOCUMENT_BYTES, doing), _HubResults, doing)
    return [
        Found(
            name=printable(one.name),
            description=printable(one.description or ""),
            stars=one.star_count,
            is_official=one.is_official,
        )
        for one in found.results[:limit]
    ]


def _search_catalog(client: Client, registry: str, term: str, limit: int) -> list[Found]:
    endpoint = client.registries.get_endpoints(registry, for_push=True)[0]
    doing = f"cannot search {registry}"
    request = Request(
        method="GET",
        target=f"_catalog?n={_CATALOG_PAGE}",
        doing=doing,
        scope="registry:catalog:*",
    )
    try:
        answer = client.send(endpoint, request)
    except NotFound as error:
        raise _no_catalog(registry, error) from error
    catalog = decode_json(read_limited(answer, MAX_DOCUMENT_BYTES, doing), _Catalog, doing)
    names = [name for name in catalog.repositories or () if term in name]
    return [Found(name=f"{registry}/{printable(name)}") for name in names[:limit]]


def _no_catalog(registry: str, error: ProaError) -> NotFound:
    return NotFound(f"{registry} does not show its catalog", error.hint)
