"""One HTTP request over a pooled connection: TLS, proxies, and peers that nobody may be sent to.

No retries, no redirects, no credentials: those are decisions of :mod:`.client`. Answers are
streamed and never decoded, so that a blob's bytes are what its digest was made of.

A registry chooses the hosts of redirects and token realms, so a hostile one could aim us at
services that trust whoever can reach them, cloud metadata above all. Those live on link-local
addresses: no connection to one is used unless the user wrote that address himself. The check is on
the connected peer, which DNS tricks cannot change afterwards.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
import weakref
from collections.abc import Iterable, Mapping
from typing import IO, Any

import urllib3
import urllib3.connection
import urllib3.exceptions

from proa import __version__
from proa.errors import Forbidden, Invalid, Unavailable
from proa.image.registry.hosts import Tls
from proa.image.registry.proxies import find_proxy

CONNECT_TIMEOUT_S = 10.0
# Between two packets, not for the whole answer: a blob may take hours, silence may not.
READ_TIMEOUT_S = 60.0
_KEPT_PER_HOST = 8
_CHEAP_BYTES = 64 << 10
USER_AGENT = f"proa/{__version__}"

Body = bytes | IO[bytes] | Iterable[bytes] | None
Answer = urllib3.BaseHTTPResponse


class NotTls(Unavailable):
    """The server does not speak TLS; with settings that allow it, plain HTTP may be tried."""


class NotConnected(Unavailable):
    """Nobody listens there, or the name means nothing: asking again soon rarely helps."""


class Untrusted(Unavailable):
    """The server's certificate is not one that we trust: asking again never helps."""


def is_link_local(address: str) -> bool:
    """Tell whether a literal IPv4 or IPv6 address is link-local; names are not."""
    try:
        parsed = ipaddress.ip_address(address.strip("[]").partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return bool((mapped or parsed).is_link_local)


def _pool_classes(live: weakref.WeakSet[socket.socket]) -> dict[str, type[Any]]:
    """Return urllib3's pools with connections that are checked, and remembered in ``live``."""

    def welcome(connection: urllib3.connection.HTTPConnection) -> None:
        connected = connection.sock
        if connected is None:
            return
        live.add(connected)
        # Through a proxy the peer is the proxy, which the user chose.
        if connection.proxy is None:
            _check_peer(connected, connection.host)

    class PlainConnection(urllib3.connection.HTTPConnection):
        def connect(self) -> None:
            super().connect()
            welcome(self)

    class TlsConnection(urllib3.connection.HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            # An unverified server is one that the user's settings allow: urllib3 would write a
            # warning to standard error for each connection.
            self.is_verified = True
            welcome(self)

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls = PlainConnection

    class TlsPool(urllib3.HTTPSConnectionPool):
        ConnectionCls = TlsConnection

    return {"http": PlainPool, "https": TlsPool}


def _check_peer(connected: socket.socket, host: str) -> None:
    """Refuse a link-local peer that hides behind a name."""
    peer = str(connected.getpeername()[0])
    if is_link_local(peer) and not is_link_local(host):
        connected.close()
        raise Forbidden(f"{host} resolves to the link-local address {peer}, which is never asked")


class Transport:
    """Connections to any number of hosts, kept open and reused. Safe to use from several threads.

    Args:
        environment: of the user who asks: proxies, and OpenSSL's ``SSL_CERT_FILE``.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._managers: dict[tuple[str | None, Tls], urllib3.PoolManager] = {}
        self._lock = threading.Lock()
        self._live: weakref.WeakSet[socket.socket] = weakref.WeakSet()

    def send(
        self,
        method: str,
        url: str,
        *,
        tls: Tls,
        headers: Mapping[str, str],
        body: Body = None,
    ) -> Answer:
        """Send one request; the answer's body is still on the wire and must be read or closed.

        Raises:
            NotTls: an https URL whose server speaks something else.
        NotConnected, Untrusted: see there.
            Unavailable: no connection, or it broke before the answer's head was read.
            Forbidden: the host turned out to be link-local.
        """
        target = urllib3.util.parse_url(url)
        proxy = find_proxy(
            target.scheme or "https", target.host or "", _port(target), self._environment
        )
        manager = self._manager(proxy, tls)
        try:
            return manager.request(
                method,
                url,
                body=body,
                headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers},
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
        except urllib3.exceptions.HTTPError as error:
            raise _translate(error, target) from error

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            for manager in self._managers.values():
                manager.clear()
            self._managers.clear()

    def abort(self) -> None:
        """Cut every connection: whoever reads from one in another thread fails at once."""
        for connected in list(self._live):
            try:
                # Of the plain socket: TLS would want to say good-bye first.
                socket.socket.shutdown(connected, socket.SHUT_RDWR)
            except OSError:
                continue

    def _manager(self, proxy: str | None, tls: Tls) -> urllib3.PoolManager:
        with self._lock:
            found = self._managers.get((proxy, tls))
            if found is None:
                found = self._managers[proxy, tls] = self._make_manager(proxy, tls)
            return found

    def _make_manager(self, proxy: str | None, tls: Tls) -> urllib3.PoolManager:
        options: dict[str, Any] = {
            "num_pools": 32,
            "maxsize": _KEPT_PER_HOST,
            "timeout": urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S),
            "ssl_context": _make_context(tls, self._environment),
        }
        if proxy:
            secret = urllib3.util.parse_url(proxy).auth
            headers = urllib3.make_headers(proxy_basic_auth=secret) if secret else None
            manager: urllib3.PoolManager = urllib3.ProxyManager(
                proxy, proxy_headers=headers, **options
            )
        else:
            manager = urllib3.PoolManager(**options)
        manager.pool_classes_by_scheme = _pool_classes(self._live)
        return manager


def read_some(answer: Answer, limit_bytes: int) -> bytes:
    """Read at most ``limit_bytes`` of an answer's body; empty at its end.

    Raises:
        Unavailable: the connection broke or stood still.
    """
    try:
        return answer.read(limit_bytes)
    except urllib3.exceptions.HTTPError as error:
        raise _translate(error, urllib3.util.parse_url(answer.url or "")) from error


def discard(answer: Answer) -> None:
    """Be done with an answer that says nothing of interest.

    Its connection serves the next request, unless so much is left of it that a new one is cheaper.
    """
    try:
        answer.read(_CHEAP_BYTES)
    except urllib3.exceptions.HTTPError:
        pass
    answer.close()


def _make_context(tls: Tls, environment: Mapping[str, str]) -> ssl.SSLContext:
    try:
        # What OpenSSL would read from the environment of this process, from the user's.
        file, directory = environment.get("SSL_CERT_FILE"), environment.get("SSL_CERT_DIR")
        context = ssl.create_default_context(cafile=file or None, capath=directory or None)
        for path in tls.ca_files:
            context.load_verify_locations(path)
        if tls.client_certificate:
            context.load_cert_chain(tls.client_certificate, tls.client_key or None)
    except (OSError, ssl.SSLError) as error:
        files = ", ".join((*tls.ca_files, tls.client_certificate)).strip(", ")
        raise Invalid(f"cannot use the certificates {files}: {error}") from error
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _port(target: urllib3.util.Url) -> int:
    return target.port or (80 if target.scheme == "http" else 443)


def _translate(error: urllib3.exceptions.HTTPError, target: urllib3.util.Url) -> Unavailable:
    """Say which host failed and how; the URL itself may hold a signature and is left out."""
    place = target.netloc or "the registry"
    reason = _innermost(error)
    if isinstance(reason, ssl.SSLCertVerificationError):
        return Untrusted(
            f"the certificate of {place} is not trusted: {reason.verify_message}",
            f'set ca = "/path/ca.pem" for [registry."{place}"] in registries.toml',
        )
    if isinstance(reason, ssl.SSLError | ConnectionResetError) and target.scheme == "https":
        return NotTls(f"{place} did not complete a TLS handshake: {_words(reason)}")
    if isinstance(error, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ProxyError):
        return NotConnected(
            f"cannot reach {place}: {_words(reason)}", "check the name and the network"
        )
    if isinstance(error, urllib3.exceptions.TimeoutError):
        return Unavailable(f"{place} did not answer in time")
    if isinstance(error, urllib3.exceptions.IncompleteRead):
        return Unavailable(f"the connection to {place} was cut in the middle of an answer")
    return Unavailable(f"the connection to {place} broke: {_words(reason)}")


def _innermost(error: BaseException) -> BaseException:
    """Return what urllib3 wrapped: it keeps it as ``reason``, as an argument, or as the cause."""
    for inner in (getattr(error, "reason", None), *reversed(error.args), error.__cause__):
        if isinstance(inner, BaseException) and inner is not error:
            return _innermost(inner)
    return error


def _words(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error).strip().lower() or type(error).__name__
