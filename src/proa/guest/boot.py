"""From the kernel's first process to an agent with a channel: filesystems, modules, the port."""

from __future__ import annotations

import os
import time

from proa.linux import kernelmodule
from proa.linux import mount as api

_MODULES = "/modules"
_PORTS = "/sys/class/virtio-ports"
_PORT_PATIENCE_S = 20.0
_PORT_INTERVAL_S = 0.0005

_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 2, 4, 8
_MS_BIND, _MS_MOVE = 4096, 8192
_PLAIN = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC

_AT_ONCE = ("virtio_mmio", "virtio_pci", "virtio_console", "virtio_blk")
"""Buses and what is needed to be asked anything; the rest is loaded when it is wanted."""

_DRIVERS = {"0x0001": "virtio_net", "0x0004": "virtio_rng", "0x0005": "virtio_balloon"}
"""By virtio device id (virtio 1.2, section 5)."""


def mount_kernel_filesystems() -> None:
    """Make the root one that can be left (pivot_root(2) refuses rootfs), then mount the usual ones.

    Raises:
        OSError: the kernel lacks one.
    """
    os.makedirs("/base", exist_ok=True)
    api.mount("/", "/base", "", _MS_BIND)
    os.chdir("/base")
    api.mount(".", "/", "", _MS_MOVE)
    os.chroot(".")
    os.chdir("/")
    api.mount("proc", "/proc", "proc", _PLAIN)
    api.mount("sysfs", "/sys", "sysfs", _PLAIN)
    # Not nodev, for it has the devices; the container gets a /dev of its own.
    api.mount("devtmpfs", "/dev", "devtmpfs", _MS_NOSUID | _MS_NOEXEC)
    api.mount("cgroup2", "/sys/fs/cgroup", "cgroup2", _PLAIN)
    api.mount("tmpfs", "/run", "tmpfs", _MS_NOSUID | _MS_NODEV)


class Modules:
    """The kernel modules that the initramfs brings; those that are built in need no loading."""

    def __init__(self) -> None:
        with open(f"{_MODULES}/needs", encoding="ascii") as stream:
            lines = [line.split() for line in stream]
        self._needs = {words[0]: words[1:] for words in lines if words}
        self._loaded: set[str] = set()

    def load_buses(self) -> None:
        """Load what finds the channel and the disks.

        Raises:
            OSError: the kernel refuses a module.
        """
        for name in _AT_ONCE:
            self.load(name)

    def load_drivers(self) -> None:
        """Load the drivers of the devices that this guest has."""
        for device in os.listdir("/sys/bus/virtio/devices"):
            with open(f"/sys/bus/virtio/devices/{device}/device", encoding="ascii") as stream:
                driver = _DRIVERS.get(stream.read().strip())
            if driver is not None:
                self.load(driver)

    def load(self, name: str) -> None:
        """Load a module and what it needs. Idempotent.

        Raises:
            OSError: the kernel refuses a module.
        """
        if name in self._loaded or name not in self._needs:
            return
        self._loaded.add(name)
        for needed in self._needs[name]:
            self.load(needed)
        kernelmodule.load_module(f"{_MODULES}/{name}.ko")


def open_port(name: str) -> int:
    """Open the virtio-serial port of that name; the kernel finds it a moment after its driver.

    Raises:
        TimeoutError: there is none.
    """
    deadline = time.monotonic() + _PORT_PATIENCE_S
    while time.monotonic() < deadline:
        try:
            ports = os.listdir(_PORTS)
        except FileNotFoundError:
            ports = []
        for port in ports:
            try:
                with open(f"{_PORTS}/{port}/name", encoding="ascii") as stream:
                    found = stream.read().strip()
            except OSError:
                continue
            if found == name:
                return os.open(f"/dev/{port}", os.O_RDWR | os.O_CLOEXEC)
        time.sleep(_PORT_INTERVAL_S)
    raise TimeoutError(f"no virtio-serial port {name}")
