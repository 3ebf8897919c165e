"""A request to a registry, with everything that may come between asking and getting.

For each request: the scheme that the endpoint speaks is found once; a 401 is answered as
:mod:`.auth` allows; answers that may change by waiting are asked for again as :mod:`.retry` says;
redirects of reads are followed. ``Authorization`` is sent to the endpoint's own origin only: a
redirect or an upload location elsewhere gets none, also when it answers 401.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

import msgspec

from proa.errors import Forbidden, ProaError, Unavailable
from proa.image.registry.answers import error_of
from proa.image.registry.auth import Authenticator, parse_challenges
from proa.image.registry.credentials import ANONYMOUS, Credentials, CredentialStore
from proa.image.registry.hosts import Endpoint, Registries, Tls, is_loopback, load_registries
from proa.image.registry.retry import (
    ATTEMPTS,
    LONGEST_WAIT_S,
    backoff_s,
    is_transient,
    parse_retry_after,
)
from proa.image.registry.transport import (
    Answer,
    Body,
    NotConnected,
    NotTls,
    Transport,
    Untrusted,
    discard,
    is_link_local,
)

_REDIRECTS = 5
_REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})
_CONNECT_ATTEMPTS = 3


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to ask an endpoint for.

    Attributes:
        doing: lower-case words for the error, naming the object.
        target: what follows ``/v2/<prefix>/``, e.g. ``library/debian/tags/list``.
        location: instead of ``target``, a ``Location`` that the endpoint gave; it may be relative
            and it may lead elsewhere.
        scope: space-separated token scopes that the request needs.
        body: makes the body anew for every attempt.
        success: statuses that are handed to the caller; the rest become errors.
        attempts: 1 where repeating could do harm or has to be decided by the caller.
        offline: ask a token server for an identity token too (log in).
    """

    method: str
    doing: str
    target: str = ""
    location: str = ""
    scope: str = ""
    headers: Mapping[str, str] = {}
    body: Callable[[], Body] | None = None
    success: tuple[int, ...] = (200,)
    attempts: int = ATTEMPTS
    offline: bool = False


class _Sent(NamedTuple):
    """What went out and what came back; ``own`` when it went to the endpoint's origin."""

    url: str
    own: bool
    authorization: str | None
    answer: Answer


class Client:
    """Talks to registries for one operation; a context manager, safe to use from several threads.

    Args:
        registries: None to read the settings files.
        credentials: where the user's credentials are; None for Docker's ``config.json``; a
            :class:`Credentials` is used for every registry that asks.
        environment: of the user who asks; see :mod:`.hosts`, :mod:`.proxies`, :mod:`.credentials`.
    """

    def __init__(
        self,
        registries: Registries | None = None,
        credentials: CredentialStore | Credentials | None = None,
        *,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self.registries = load_registries(environment) if registries is None else registries
        self.stop = threading.Event()
        if credentials is None:
            credentials = CredentialStore(environment=environment)
        self._credentials = credentials
        self._transport = Transport(environment)
        self._lock = threading.Lock()
        self._authenticators: dict[Endpoint, Authenticator] = {}
        self._spoken: dict[Endpoint, str] = {}

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()

    def abort(self) -> None:
        """Give everything up: waits and reads in other threads end at once, with Unavailable."""
        self.stop.set()
        self._transport.abort()

    def send(self, endpoint: Endpoint, request: Request) -> Answer:
        """Send ``request`` until it succeeds, fails for good, or too often.

        The answer's body is on the wire: the caller reads or closes it.

        Raises:
            ProaError: of the kind of the last failure; see :mod:`.answers` and :mod:`.transport`.
        """
        attempt = 0
        while True:
            self._check_wanted(endpoint)
            asked_s = None
            failure: ProaError
            try:
                answer = self._converse(endpoint, request)
            except (Untrusted, NotTls):
                raise
            except Unavailable as error:
                failure = error
                allowed = _CONNECT_ATTEMPTS if isinstance(error, NotConnected) else ATTEMPTS
            else:
                if answer.status in request.success:
                    return answer
                asked_s = parse_retry_after(answer.headers.get("Retry-After"))
                failure = error_of(answer, request.doing, endpoint.registry)
                allowed = ATTEMPTS if is_transient(answer.status) else 1
            attempt += 1
            if attempt >= min(allowed, request.attempts):
                raise failure
            self.pause(backoff_s(attempt - 1) if asked_s is None else asked_s, endpoint)

    def pause(self, wait_s: float, endpoint: Endpoint) -> None:
        """Wait before asking again.

        Raises:
            Unavailable: the endpoint asks for more patience than we have, or ``stop`` was set.
        """
        if wait_s > LONGEST_WAIT_S:
            raise Unavailable(
                f"{endpoint.host} asks to be left alone for {wait_s:.0f} seconds",
                "try again then; logging in may raise the limit",
            )
        self.stop.wait(wait_s)
        self._check_wanted(endpoint)

    def _check_wanted(self, endpoint: Endpoint) -> None:
        if self.stop.is_set():
            raise Unavailable(f"the request to {endpoint.host} was given up")

    def get_authenticator(self, endpoint: Endpoint) -> Authenticator:
        """Return the one that answers this endpoint's challenges."""
        with self._lock:
            found = self._authenticators.get(endpoint)
            if found is None:
                found = self._authenticators[endpoint] = Authenticator(
                    self._transport,
                    endpoint,
                    lambda: self._find_credentials(endpoint),
                    lambda host: self._tls_for(host, endpoint),
                )
            return found

    def _find_credentials(self, endpoint: Endpoint) -> Credentials:
        if isinstance(self._credentials, CredentialStore):
            return self._credentials.find(endpoint.registry)
        # Credentials given for one operation are the registry's, never a mirror's.
        return ANONYMOUS if endpoint.is_mirror else self._credentials

    def _tls_for(self, host: str, endpoint: Endpoint) -> Tls:
        """Return how to verify a host that ``endpoint`` sent us to."""
        if host == endpoint.host:
            return endpoint.tls
        if host in self.registries.registry:
            return self.registries.get_endpoints(host, for_push=True)[0].tls
        same_machine = urlsplit(f"//{host}").hostname == urlsplit(f"//{endpoint.host}").hostname
        return endpoint.tls if same_machine else Tls()

    def _converse(self, endpoint: Endpoint, request: Request) -> Answer:
        """Send once; on a 401 authenticate and send once more; follow redirects of reads."""
        sent = self._open(endpoint, request)
        if sent.answer.status == 401 and sent.own:
            header = self._authenticate(endpoint, request, sent)
            if header:
                discard(sent.answer)
                sent = self._open(endpoint, request, header)
        if sent.answer.status in _REDIRECT_STATUSES and request.method in ("GET", "HEAD"):
            return self._follow(endpoint, request, sent)
        return sent.answer

    def _authenticate(self, endpoint: Endpoint, request: Request, sent: _Sent) -> str | None:
        """Return the header that answers a 401, or None: then the 401 is the answer."""
        challenge = parse_challenges(sent.answer.headers.getlist("WWW-Authenticate"))
        if challenge is None:
            return None
        try:
            return self.get_authenticator(endpoint).answer(
                challenge,
                request.scope,
                urlsplit(sent.url).scheme,
                refused=sent.authorization,
                offline=request.offline,
            )
        except BaseException:
            sent.answer.close()
            raise

    def _open(self, endpoint: Endpoint, request: Request, header: str | None = None) -> _Sent:
        """Send to the endpoint, in the first of its schemes that it speaks."""
        spoken = self._spoken.get(endpoint)
        schemes = (spoken,) if spoken else endpoint.schemes
        for scheme in schemes:
            base = f"{scheme}://{endpoint.host}/v2{endpoint.prefix}/"
            url = urljoin(base, request.location) if request.location else base + request.target
            own = _origin(url) == _origin(base)
            if not own:
                check_redirect(base, url)
            if header is None and own:
                header = self.get_authenticator(endpoint).find_header(request.scope)
            authorization = header if own else None
            try:
                answer = self._send(endpoint, request, url, authorization)
            except (NotTls, NotConnected) as error:
                # The two schemes share a port when one is written, and then refuse together.
                has_port = urlsplit(base).port is not None
                if scheme == schemes[-1] or (isinstance(error, NotConnected) and has_port):
                    raise
                continue
            self._spoken[endpoint] = scheme
            return _Sent(url, own, authorization, answer)
        raise AssertionError("an endpoint has at least one scheme")

    def _follow(self, endpoint: Endpoint, request: Request, sent: _Sent) -> Answer:
        """Follow the redirects of a read; only the endpoint's own origin sees credentials."""
        url, answer = sent.url, sent.answer
        for _ in range(_REDIRECTS):
            target = urljoin(url, answer.headers.get("Location") or "")
            discard(answer)
            check_redirect(url, target)
            own = sent.own and _origin(target) == _origin(sent.url)
            answer = self._send(endpoint, request, target, sent.authorization if own else None)
            if answer.status not in _REDIRECT_STATUSES:
                return answer
            url = target
        answer.close()
        raise Forbidden(f"{endpoint.host} redirects more than {_REDIRECTS} times")

    def _send(
        self, endpoint: Endpoint, request: Request, url: str, authorization: str | None
    ) -> Answer:
        headers = dict(request.headers)
        if authorization:
            headers["Authorization"] = authorization
        return self._transport.send(
            request.method,
            url,
            tls=self._tls_for(urlsplit(url).netloc, endpoint),
            headers=headers,
            body=request.body() if request.body else None,
        )


def check_redirect(source: str, target: str) -> None:
    """Refuse to be sent from ``source`` to ``target`` (absolute URLs).

    HTTPS is never left. Plain HTTP may go on to HTTPS, to the same host, or stay on the loopback
    interface. File URLs, user information and link-local addresses are refused.

    Raises:
        Forbidden: with the reason, naming both hosts.
    """
    try:
        old, new = urlsplit(source), urlsplit(target)
        host = new.hostname or ""
    except ValueError:
        raise Forbidden(
            f"{urlsplit(source).netloc} redirects to something that is no URL"
        ) from None
    reason = ""
    if new.scheme not in ("https", "http") or not host:
        reason = f"a {new.scheme or 'nameless'} URL"
    elif new.username is not None or new.password is not None:
        reason = f"{host} with user information in the URL"
    elif is_link_local(host) and host != old.hostname:
        reason = f"the link-local address {host}"
    elif new.scheme == "http" and not _may_be_plain(old.scheme, old.netloc, new.netloc):
        reason = f"{host} over plain HTTP"
    if reason:
        raise Forbidden(f"{old.netloc} redirects to {reason}, which is refused")


def _may_be_plain(old_scheme: str, old_place: str, new_place: str) -> bool:
    stays = old_place == new_place or (is_loopback(old_place) and is_loopback(new_place))
    return old_scheme == "http" and stays


def _origin(url: str) -> tuple[str, str, int]:
    """Return what browsers call an origin: scheme, host and port, with the default port filled."""
    split = urlsplit(url)
    return (
        split.scheme,
        split.hostname or "",
        split.port or (80 if split.scheme == "http" else 443),
    )
