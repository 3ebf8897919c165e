"""Tap devices: an Ethernet interface whose other side is a descriptor (tuntap.rst)."""

from __future__ import annotations

import fcntl
import os
import struct

from proa.linux.netns import entered

_TUNSETIFF = 0x400454CA
_IFF_TAP = 0x0002
_IFF_NO_PI = 0x1000
_IFF_VNET_HDR = 0x4000
_IFREQ = struct.Struct("<16sH22x")


def open_tap(netns_fd: int, name: str) -> int:
    """Make a tap device in a network namespace and return its descriptor (close-on-exec).

    Frames carry virtio's header, for offloads. The device goes with its last descriptor.

    Args:
        netns_fd: the namespace; -1: the caller's.
        name: of the interface, at most 15 bytes.

    Raises:
        OSError: EBUSY for a name in use, ENOENT without ``/dev/net/tun``.
    """
    with entered(netns_fd):
        # The namespace is that of whoever opens the file (drivers/net/tun.c, tun_chr_open).
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        try:
            flags = _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR
            fcntl.ioctl(fd, _TUNSETIFF, _IFREQ.pack(os.fsencode(name), flags))
        except BaseException:
            os.close(fd)
            raise
    return fd
