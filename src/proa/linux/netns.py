"""Network namespaces: being in one for a moment, to make sockets that stay in it.

A socket belongs to the network namespace that its maker was in; using it later needs no further
switch. So whoever works on a container's network opens its sockets here and goes home at once.

Sources: network_namespaces(7), setns(2), socket(7).
"""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from proa.linux.namespaces import CLONE_NEWNET, setns

_unshare = ctypes.CDLL(None, use_errno=True).unshare
_unshare.argtypes = (ctypes.c_int,)


@contextmanager
def entered(netns_fd: int) -> Iterator[None]:
    """Be in a network namespace; only this thread is.

    Args:
        netns_fd: descriptor of the namespace; below 0 changes nothing.

    Raises:
        OSError: EPERM without CAP_SYS_ADMIN over it.
    """
    if netns_fd < 0:
        yield
        return
    home = open_own()
    try:
        setns(netns_fd, CLONE_NEWNET)
        try:
            yield
        finally:
            setns(home, CLONE_NEWNET)
    finally:
        os.close(home)


def make() -> int:
    """Make a network namespace, owned by this user namespace, loopback down; return a descriptor.

    It lives as long as a descriptor, a process or a socket is in it.

    Raises:
        OSError: EPERM, ENOSPC (user.max_net_namespaces).
    """
    home = open_own()
    try:
        if _unshare(CLONE_NEWNET) < 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))
        try:
            return open_own()
        finally:
            setns(home, CLONE_NEWNET)
    finally:
        os.close(home)


def open_own() -> int:
    """Descriptor of this thread's network namespace (close-on-exec)."""
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def open_socket(netns_fd: int, family: int, kind: int, protocol: int = 0) -> socket.socket:
    """Make a socket in a namespace (close-on-exec); -1 is the caller's own.

    Raises:
        OSError: the namespace cannot be joined, or there is no such socket.
    """
    with entered(netns_fd):
        return socket.socket(family, kind | socket.SOCK_CLOEXEC, protocol)


def write_sysctl(netns_fd: int, name: str, value: str) -> None:
    """Write a parameter below ``/proc/sys/net`` as the namespace sees it.

    Args:
        name: a path, ``ipv6/conf/eth0/accept_ra``.

    Raises:
        OSError: no such parameter, or no right to write it.
    """
    with entered(netns_fd):
        fd = os.open(f"/proc/sys/net/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, value.encode())
        finally:
            os.close(fd)
