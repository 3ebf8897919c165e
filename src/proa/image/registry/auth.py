"""Proving who we are: RFC 7617 Basic and the token protocol of Docker's registry.

A registry answers 401 with a challenge. ``Basic`` is answered with the stored password. ``Bearer``
names a *realm*, a URL that gives out short-lived tokens for a *scope*
(distribution, ``docs/spec/auth/token.md`` and ``oauth.md``).

What may be sent where:

- Credentials are looked up for the endpoint that issued the challenge and for no other. A password
  or identity token goes to that endpoint or to the realm it names, never over plain HTTP except to
  the loopback interface.
- A realm is ``https``. A plain-HTTP registry may name a plain-HTTP realm on its own host, or on the
  loopback interface when it is there itself. File URLs, user information in URLs, and link-local
  hosts (cloud metadata services) are refused.
- Tokens are asked for the repository at hand, whatever scope the challenge proposes: a registry
  cannot make us fetch rights on something else from a token server that it shares.
"""

from __future__ import annotations

import base64
import re
import threading
import time
from collections.abc import Callable
from urllib.parse import urlencode, urlsplit

import msgspec

from proa.errors import Corrupt, Forbidden, Unauthorized, Unavailable
from proa.image.registry.credentials import ANONYMOUS, Credentials
from proa.image.registry.hosts import Endpoint, Tls, is_loopback
from proa.image.registry.retry import is_transient
from proa.image.registry.transport import Transport, is_link_local, read_some

_TOKEN_SIZE_LIMIT = 256 << 10
# token.md: a token without ``expires_in`` is good for 60 seconds.
_DEFAULT_LIFETIME_S = 60
# Renew before the clocks of both sides could disagree about the end.
_MARGIN_S = 10
_CLIENT_ID = "proa"
_PARAMETER = re.compile(r'([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_CHALLENGE = re.compile(r"\s*(Bearer|Basic)\b", re.IGNORECASE)


class Challenge(msgspec.Struct, frozen=True, kw_only=True):
    """What a registry wants to see: ``scheme`` is ``basic`` or ``bearer``."""

    scheme: str
    realm: str = ""
    service: str = ""


class _TokenAnswer(msgspec.Struct, frozen=True, kw_only=True):
    token: str = ""
    access_token: str = ""
    refresh_token: str = ""
    expires_in: float = _DEFAULT_LIFETIME_S


def parse_challenges(headers: list[str]) -> Challenge | None:
    """Return the strongest challenge of the ``WWW-Authenticate`` headers, or None.

    Bearer wins over Basic: it sends the password to fewer requests.
    """
    found: Challenge | None = None
    for header in headers:
        match = _CHALLENGE.match(header)
        if not match:
            continue
        scheme = match[1].lower()
        parameters = {
            name.lower(): re.sub(r"\\(.)", r"\1", quoted) or bare
            for name, quoted, bare in _PARAMETER.findall(header[match.end() :])
        }
        challenge = Challenge(
            scheme=scheme,
            realm=parameters.get("realm", ""),
            service=parameters.get("service", ""),
        )
        if found is None or scheme == "bearer":
            found = challenge
    return found


def check_realm(realm: str, endpoint: Endpoint, scheme: str) -> None:
    """Refuse a realm that a registry may not send us to (see the module's docstring).

    Args:
        realm: the URL from the challenge.
        endpoint: who challenged.
        scheme: the scheme over which the endpoint was reached.

    Raises:
        Forbidden: with the reason.
    """
    try:
        target = urlsplit(realm)
        host, netloc = target.hostname or "", target.netloc
    except ValueError:
        raise Forbidden(f"{endpoint.host} names a token server that is not a URL") from None
    reason = ""
    if target.scheme not in ("https", "http") or not host:
        reason = "is not an https URL"
    elif target.username is not None or target.password is not None:
        reason = "carries user information"
    elif is_link_local(host):
        reason = "is on a link-local address"
    elif target.scheme == "http":
        both_local = is_loopback(netloc) and is_loopback(endpoint.host)
        if scheme != "http" or not (netloc == endpoint.host or both_local):
            reason = "is not reached over HTTPS"
    if reason:
        raise Forbidden(f"the token server that {endpoint.host} names {reason}, which is refused")


class Authenticator:
    """Makes ``Authorization`` headers for one endpoint; tokens are kept until they expire.

    Args:
        transport: how token servers are asked.
        endpoint: the only one that this authenticator's answers are for.
        credentials: gives what the user has for ``endpoint.registry``; called once, at the first
            challenge: an open registry costs no run of a credential helper.
        tls_for: the TLS settings of a token server's ``host[:port]``.
    """

    def __init__(
        self,
        transport: Transport,
        endpoint: Endpoint,
        credentials: Callable[[], Credentials],
        tls_for: Callable[[str], Tls],
    ) -> None:
        self._transport = transport
        self._endpoint = endpoint
        self._get_credentials = credentials
        self._tls_for = tls_for
        self._credentials = ANONYMOUS
        self._challenge: Challenge | None = None
        self._scheme = ""
        self._tokens: dict[str, tuple[str, float]] = {}
        self._lock = threading.Lock()
        #: a refresh token that the token server offered (only after ``offline=True``)
        self.identity_token = ""

    def find_header(self, scope: str) -> str | None:
        """Return the header's value as far as it is known without asking anybody anew.

        Before the first challenge nothing is known; afterwards an expired or missing token is
        fetched here, so that one 401 per endpoint is all that authentication costs.
        """
        with self._lock:
            return self._make(scope) if self._challenge else None

    def answer(
        self, challenge: Challenge, scope: str, scheme: str, *, refused: str | None, offline: bool
    ) -> str | None:
        """Return the header that answers a 401, or None when there is nothing better to send.

        Args:
            challenge: what the endpoint said.
            scope: space-separated ``repository:NAME:ACTIONS``, empty for the base endpoint.
            scheme: over which the endpoint was reached.
            refused: the header that the 401 was for; its token is forgotten.
            offline: ask for an identity token as well (log in).

        Raises:
            Forbidden: the realm is refused, or credentials would go over plain HTTP.
            Unauthorized: the token server refused the credentials.
            Unavailable: the token server cannot be reached.
        """
        with self._lock:
            if self._challenge is None:
                self._credentials = self._get_credentials()
            self._challenge, self._scheme = challenge, scheme
            kept = self._tokens.get(scope)
            if kept and refused == f"Bearer {kept[0]}":
                del self._tokens[scope]
            made = self._make(scope, offline=offline)
            return None if made == refused else made

    def _make(self, scope: str, *, offline: bool = False) -> str | None:
        challenge = self._challenge
        assert challenge is not None
        mine = self._credentials
        if challenge.scheme == "basic":
            if not mine.username:
                return None
            self._check_channel(self._scheme, self._endpoint.host)
            return _basic(mine)
        if mine.registry_token:
            self._check_channel(self._scheme, self._endpoint.host)
            return f"Bearer {mine.registry_token}"
        kept = self._tokens.get(scope)
        if kept is None or kept[1] <= time.monotonic():
            kept = self._tokens[scope] = self._fetch(challenge, scope, offline=offline)
        return f"Bearer {kept[0]}"

    def _fetch(self, challenge: Challenge, scope: str, *, offline: bool) -> tuple[str, float]:
        """Ask the realm for a token; return it with the monotonic time at which to renew it."""
        check_realm(challenge.realm, self._endpoint, self._scheme)
        mine = self._credentials
        fields = [("service", challenge.service)] if challenge.service else []
        fields += [("scope", one) for one in scope.split()]
        headers = {"Accept": "application/json"}
        if mine:
            target = urlsplit(challenge.realm)
            self._check_channel(target.scheme, target.netloc)
        if mine.identity_token:
            # oauth.md: one ``scope`` field, space-separated.
            form = {
                "grant_type": "refresh_token",
                "refresh_token": mine.identity_token,
                "client_id": _CLIENT_ID,
                "service": challenge.service,
                "scope": scope,
            }
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            answer = self._ask("POST", challenge.realm, headers, urlencode(form).encode())
        else:
            if mine.username:
                headers["Authorization"] = _basic(mine)
                fields.append(("account", mine.username))
            if offline:
                fields += [("client_id", _CLIENT_ID), ("offline_token", "true")]
            joint = "&" if urlsplit(challenge.realm).query else "?"
            url = challenge.realm + (joint + urlencode(fields) if fields else "")
            answer = self._ask("GET", url, headers, None)
        token = answer.token or answer.access_token
        if not token or not token.isascii() or not token.isprintable():
            raise Corrupt(f"the token server of {self._endpoint.host} answered without a token")
        self.identity_token = answer.refresh_token
        lifetime_s = max(answer.expires_in, _DEFAULT_LIFETIME_S)
        return token, time.monotonic() + lifetime_s - _MARGIN_S

    def _ask(
        self, method: str, url: str, headers: dict[str, str], body: bytes | None
    ) -> _TokenAnswer:
        place = urlsplit(url).netloc
        answer = self._transport.send(
            method, url, tls=self._tls_for(place), headers=headers, body=body
        )
        try:
            if answer.status in (400, 401, 403):
                raise Unauthorized(
                    f"the token server {place} refused access for {self._endpoint.registry}",
                    f"log in: proa login {self._endpoint.registry}",
                )
            if answer.status != 200:
                words = "is busy" if is_transient(answer.status) else "failed"
                raise Unavailable(f"the token server {place} {words} (status {answer.status})")
            text = read_some(answer, _TOKEN_SIZE_LIMIT + 1)
        finally:
            answer.close()
        try:
            if len(text) > _TOKEN_SIZE_LIMIT:
                raise ValueError("too large")
            return msgspec.json.decode(text, type=_TokenAnswer)
        except ValueError:
            raise Corrupt(f"the token server {place} gave an answer that is no token") from None

    def _check_channel(self, scheme: str, host: str) -> None:
        if scheme != "https" and not is_loopback(host):
            raise Forbidden(
                f"credentials for {self._endpoint.registry} are not sent to {host} over plain HTTP",
                f"serve {host} over HTTPS, or forget them: proa logout {self._endpoint.registry}",
            )


def _basic(credentials: Credentials) -> str:
    pair = f"{credentials.username}:{credentials.password}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"
