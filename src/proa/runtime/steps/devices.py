"""/dev: the standard devices, links and the container's own devices.

In a user namespace mknod(2) of a device is refused, so the host's nodes are bound; without one they
are made. All names are entered through the descriptor of the tmpfs just made for /dev.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from functools import lru_cache

from proa.linux import mount as api
from proa.linux.syscalls import AT_EMPTY_PATH, AT_FDCWD
from proa.oci.spec import LinuxDevice
from proa.runtime import slots
from proa.runtime.plan import Argument, Segment, Slot, Steps
from proa.runtime.steps import target
from proa.runtime.steps.root import SCAFFOLD

STANDARD = (
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
)

_LINKS = (
    (b"/proc/self/fd", b"fd"),
    (b"/proc/self/fd/0", b"stdin"),
    (b"/proc/self/fd/1", b"stdout"),
    (b"/proc/self/fd/2", b"stderr"),
    (b"pts/ptmx", b"ptmx"),
)

_TIOCSPTLCK = 0x40045431
_TIOCGPTPEER = 0x5441

_O_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_CLONE = api.OPEN_TREE_CLONE | api.OPEN_TREE_CLOEXEC


@lru_cache(maxsize=2)
def standard(*, bind: bool) -> Segment:
    """The devices and links that every container has.

    Args:
        bind: show the host's nodes instead of making new ones.
    """
    steps = Steps()
    dev = Slot(slots.DEV)
    for word, major, minor in STANDARD:
        name = f"make /dev/{word}"
        if not bind:
            node = stat.S_IFCHR | 0o666
            steps.add(name, "mknodat", dev, word.encode(), node, os.makedev(major, minor))
            continue
        steps.add(name, "mknodat", dev, word.encode(), stat.S_IFREG | 0o666, 0)
        tree = steps.add(name, "open_tree", AT_FDCWD, f"/dev/{word}".encode(), _CLONE)
        place = steps.add(name, "openat", dev, word.encode(), _O_PATH)
        target.move(steps, name, tree, place)
        steps.add(name, "close", tree)
        steps.add(name, "close", place)
    for text, link in _LINKS:
        steps.add(f"make /dev/{link.decode()}", "symlinkat", text, dev, link)
    return steps.compile("devices")


def bound(devices: Sequence[LinuxDevice]) -> Segment:
    """More devices: nodes that the parent has made, each bound to its place."""
    steps = Steps()
    name = "show the devices"
    # Attached, because only then can parts of it be cloned (before Linux 6.15).
    flags = api.MOVE_MOUNT_F_EMPTY_PATH
    steps.add(name, "move_mount", Slot(slots.DEVICES), b"", AT_FDCWD, SCAFFOLD, flags)
    for index, device in enumerate(devices):
        name = f"make {device.path}"
        tree = steps.add(name, "open_tree", Slot(slots.DEVICES), str(index).encode(), _CLONE)
        target.attach(steps, name, tree, device.path, directory=False)
    return steps.compile("more devices")


def made(device: LinuxDevice) -> Segment:
    """One more device, as a node of its own."""
    name = f"make {device.path}"
    kind = stat.S_IFBLK if device.type == "b" else stat.S_IFCHR
    if device.type == "p":
        kind = stat.S_IFIFO
    mode = 0o666 if device.file_mode is None else device.file_mode & 0o7777
    parent, _, base = device.path.rpartition("/")
    raw = os.fsencode(base)
    steps = Steps()
    folder: Argument = target.make_directories(steps, name, parent)
    steps.add(name, "mknodat", folder, raw, kind | mode, os.makedev(device.major, device.minor))
    node = steps.add(name, "openat", folder, raw, _O_PATH)
    steps.add(name, "fchownat", node, b"", device.uid or 0, device.gid or 0, AT_EMPTY_PATH)
    return steps.compile(f"device {device.path}")


@lru_cache(maxsize=1)
def slave() -> Segment:
    """The pty's other side, opened through the master: no path is looked up."""
    steps = Steps()
    _open_slave(steps)
    return steps.compile("terminal")


def _open_slave(steps: Steps) -> None:
    name = "open the terminal"
    flags = os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC
    steps.add(name, "ioctl", Slot(slots.MASTER), _TIOCSPTLCK, bytes(4))
    steps.add(name, "ioctl", Slot(slots.MASTER), _TIOCGPTPEER, flags, into=slots.TERMINAL)


@lru_cache(maxsize=1)
def console() -> Segment:
    """The pty's other side, and /dev/console bound to it."""
    steps = Steps()
    _open_slave(steps)
    name = "make /dev/console"
    dev = Slot(slots.DEV)
    steps.add(name, "mknodat", dev, b"console", stat.S_IFREG | 0o600, 0)
    tree = steps.add(name, "open_tree", Slot(slots.TERMINAL), b"", _CLONE | AT_EMPTY_PATH)
    place = steps.add(name, "openat", dev, b"console", _O_PATH)
    target.move(steps, name, tree, place)
    return steps.compile("console")
