"""A Debian with its own init system, made with mmdebstrap and kept like the other images."""

from __future__ import annotations

import subprocess

from tests.support.images import cached

NAME = "debian-init:test"
PASSWORD = "proa"

_PACKAGES = "systemd-sysv,udev,dbus,login,passwd,iproute2"


def archive() -> str:
    """Return the path of a root file system as tar: root logs in with :data:`PASSWORD`."""

    def make(path: str) -> None:
        subprocess.run(
            [
                "mmdebstrap", "--quiet", "--variant=minbase", f"--include={_PACKAGES}",
                f"--customize-hook=echo root:{PASSWORD} | chroot \"$1\" chpasswd",
                "--customize-hook=echo guest > \"$1/etc/hostname\"",
                "--customize-hook=rm -rf \"$1\"/var/lib/apt/lists/* \"$1\"/usr/share/locale/*",
                "--dpkgopt=path-exclude=/usr/share/doc/*",
                "--dpkgopt=path-exclude=/usr/share/man/*",
                "bookworm", path,
            ],
            check=True, timeout=300,
        )  # fmt: skip

    return cached("debian-bookworm-init.tar", make)
