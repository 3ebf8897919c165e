"""One repository of one registry, with the mirrors that may answer for it."""

from __future__ import annotations

import threading
from urllib.parse import quote

from proa.errors import ProaError
from proa.image.registry.client import Client, Request
from proa.image.registry.hosts import Endpoint
from proa.image.registry.transport import Answer
from proa.oci.reference import Reference


class Repository:
    """Sends requests about one repository to whoever serves it.

    Args:
        client: shared by all repositories of an operation.
        reference: names the repository; its tag and digest are not looked at.
        push: ask for the right to write from the start; mirrors are left out.
        sources: further repositories of the registry that must be readable (to mount blobs from).
    """

    def __init__(
        self,
        client: Client,
        reference: Reference,
        *,
        push: bool = False,
        sources: tuple[str, ...] = (),
    ) -> None:
        self.client = client
        self.domain = reference.domain
        self.name = reference.path
        self.endpoints = client.registries.get_endpoints(reference.domain, for_push=push)
        actions = "pull,push" if push else "pull"
        scopes = [f"repository:{self.name}:{actions}"]
        scopes += [f"repository:{source}:pull" for source in sources]
        self.scope = " ".join(scopes)
        self._lock = threading.Lock()
        self._silent: set[Endpoint] = set()

    def __str__(self) -> str:
        return f"{self.domain}/{self.name}"

    def read(self, request: Request) -> Answer:
        """Ask the mirrors in turn and the registry last; return the first success.

        ``request.target`` is relative to the repository. A mirror that fails in any way is passed
        over, and asked no more in this operation when it does not answer at all.

        Raises:
            ProaError: the registry's own failure.
        """
        for endpoint in self.endpoints[:-1]:
            if endpoint in self._silent:
                continue
            try:
                return self._send(endpoint, request, attempts=min(2, request.attempts))
            except ProaError as error:
                if error.kind == "unavailable":
                    with self._lock:
                        self._silent.add(endpoint)
        return self.ask(request)

    def ask(self, request: Request) -> Answer:
        """Ask the registry itself, never a mirror."""
        return self._send(self.endpoints[-1], request, attempts=request.attempts)

    def _send(self, endpoint: Endpoint, request: Request, attempts: int) -> Answer:
        target = f"{self.name}/{request.target}" if request.target else ""
        filled = Request(
            method=request.method,
            doing=request.doing,
            target=target,
            location=request.location,
            scope=request.scope or self.scope,
            headers=request.headers,
            body=request.body,
            success=request.success,
            attempts=attempts,
        )
        return self.client.send(endpoint, filled)


def escape(text: str) -> str:
    """Return a tag, digest or query value as it may stand in a URL."""
    return quote(text, safe=":")
