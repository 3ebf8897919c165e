"""The sockets that the server listens on.

A unix socket is 0660 and lies in a directory that only its owner and the group may enter; TCP is
only offered with TLS and a certificate from every client (architecture, section 6). systemd may
hand sockets over (``LISTEN_FDS``, sd_listen_fds(3)); their modes are its unit's business, but a TCP
socket needs TLS here too.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import msgspec

from proa.engine.layout import SocketPath
from proa.errors import Conflict, Invalid, NotFound, from_os_error

if TYPE_CHECKING:
    import ssl

SOCKET_NAME: Final = "docker.sock"
_BACKLOG: Final = 1024
_FIRST_FD: Final = 3
_TLS_PORT: Final = 2376


class TlsFiles(msgspec.Struct, frozen=True, kw_only=True):
    """``--tlscacert``, ``--tlscert``, ``--tlskey``: paths, empty when not given."""

    authority: str = ""
    certificate: str = ""
    key: str = ""

    @property
    def complete(self) -> bool:
        """All three are there."""
        return bool(self.authority and self.certificate and self.key)


class Listener(msgspec.Struct, frozen=True):
    """A listening socket and how to speak on it.

    Attributes:
        sock: non-blocking.
        tls: None for unix sockets.
        path: to remove at the end; empty when the socket was handed over.
        names: by which clients may call this address.
    """

    sock: socket.socket
    tls: ssl.SSLContext | None = None
    path: str = ""
    names: tuple[str, ...] = ()


def open_listener(host: str, tls: TlsFiles, group: str = "") -> Listener:
    """Listen on one ``--host``.

    Args:
        host: ``unix:///path`` or ``tcp://address[:port]``.
        tls: files for TCP.
        group: name or number of the unix socket's group; empty: the user's own.

    Raises:
        Invalid: it is no such address, or TCP without TLS.
        Conflict: somebody listens there already.
        ProaError: the address cannot be used.
    """
    parts = urlsplit(host)
    if parts.scheme == "unix":
        return _listen_unix(parts.netloc + parts.path, group)
    if parts.scheme != "tcp":
        raise Invalid(f"cannot listen on '{host}'", "use unix:///path or tcp://address:port")
    context = make_tls(tls)
    try:
        address, port = parts.hostname or "127.0.0.1", parts.port or _TLS_PORT
    except ValueError as error:
        raise Invalid(f"cannot listen on '{host}': {error}") from None
    try:
        family = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0][0]
        sock = socket.create_server((address, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise from_os_error(error, f"cannot listen on {host}") from error
    sock.setblocking(False)
    return Listener(sock, tls=context, names=(address.lower(),))


def take_over(environment: Mapping[str, str], tls: TlsFiles) -> list[Listener]:
    """Return the sockets that systemd handed over; none when it did not.

    Raises:
        Invalid: one of them is no listening stream socket, or TCP without TLS.
    """
    if environment.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = environment.get("LISTEN_FDS", "")
    found = []
    for fd in range(_FIRST_FD, _FIRST_FD + (int(count) if count.isdigit() else 0)):
        os.set_inheritable(fd, False)
        try:
            sock = socket.socket(fileno=fd)
            listening = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        except OSError as error:
            raise from_os_error(error, f"descriptor {fd} of LISTEN_FDS is no socket") from error
        if sock.type != socket.SOCK_STREAM or not listening:
            raise Invalid(f"descriptor {fd} of LISTEN_FDS does not listen")
        sock.setblocking(False)
        is_local = sock.family == socket.AF_UNIX
        found.append(Listener(sock, tls=None if is_local else make_tls(tls)))
    return found


def make_tls(files: TlsFiles) -> ssl.SSLContext:
    """Return the context of a server that asks every client for a certificate.

    Raises:
        Invalid: a file is missing or cannot be used.
    """
    import ssl

    if not files.complete:
        raise Invalid(
            "TCP is only offered with TLS client certificates",
            "give --tlscacert, --tlscert and --tlskey, or listen on a unix socket",
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    # HTTP/2 is not spoken here.
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_verify_locations(files.authority)
        context.load_cert_chain(files.certificate, files.key)
    except (OSError, ssl.SSLError) as error:
        raise Invalid(f"the TLS files cannot be used: {error}") from error
    return context


def _listen_unix(path: str, group: str) -> Listener:
    path = os.path.abspath(path)
    gid = find_group(group) if group else -1
    directory = os.path.dirname(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _ensure_directory(directory, gid)
        _remove_stale(path)
        with SocketPath(path) as name:
            # Made closed and opened afterwards: nobody connects in between.
            mask = os.umask(0o177)
            try:
                sock.bind(name)
            finally:
                os.umask(mask)
        if gid >= 0:
            os.chown(path, -1, gid)
        os.chmod(path, 0o660)
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise from_os_error(error, f"cannot listen on {path}") from error
    except BaseException:
        sock.close()
        raise
    sock.setblocking(False)
    return Listener(sock, path=path)


def _ensure_directory(directory: str, gid: int) -> None:
    """Make the socket's directory 0700, or 0710 for a group; one that exists stays as it is."""
    try:
        os.makedirs(os.path.dirname(directory), exist_ok=True)
        os.mkdir(directory, 0o700)
    except FileExistsError:
        return
    if gid >= 0:
        os.chown(directory, -1, gid)
        os.chmod(directory, 0o710)


def _remove_stale(path: str) -> None:
    """Remove a socket that nobody listens on.

    Raises:
        Conflict: somebody does, or it is no socket.
    """
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise Conflict(f"{path} exists and is no socket", "choose another --host")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, SocketPath(path) as name:
        try:
            probe.connect(name)
        except ConnectionRefusedError:
            os.unlink(path)
            return
    raise Conflict(f"somebody listens on {path} already", "stop that server, or use --host")


def find_group(group: str) -> int:
    """Return a group's number.

    Raises:
        NotFound: there is none of that name.
    """
    if group.isdigit():
        return int(group)
    import grp

    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise NotFound(f"no such group: {group}", "make it with groupadd") from None
