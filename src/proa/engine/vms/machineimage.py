"""The disk of ``proa machine``: a small Debian with this very engine in it.

Made once for each version of the package: mmdebstrap makes the system (verified by apt), pip brings
the dependencies for its Python, the package is copied beside them, and the image becomes a disk
that boots with UEFI. The engine serves Docker's API on a unix socket in there; ssh leads to it.
"""

from __future__ import annotations

import importlib.metadata
import os
import shlex
import shutil
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from proa.errors import Unavailable
from proa.fs.atomicfile import load_file
from proa.vm.kernel.install import run

if TYPE_CHECKING:
    from proa.engine.context import Context

SUITE = "bookworm"
PYTHON_VERSION = "3.11"
SOCKET = "/run/proa/docker.sock"
"""Of the engine, in the guest."""

DISK_BYTES = 20 << 30
_IMAGE = "proa-machine:building"
_PACKAGES = (
    "systemd-sysv", "udev", "dbus", "openssh-server", "python3", "iproute2", "ca-certificates",
    "busybox-static", "uidmap",
)  # fmt: skip
_SERVICE = """[Unit]
Description=Proa engine
After=network.target

[Service]
ExecStart=/usr/local/bin/proa serve
Restart=on-failure
Delegate=yes
KillMode=process

[Install]
WantedBy=multi-user.target
"""
_NETWORK = """[Match]
Name=en* eth*

[Network]
DHCP=ipv4
"""
_LAUNCHER = """#!/usr/bin/python3 -IS
import sys

sys.path += ["/opt/proa"]
"""


def build_machine_disk(
    context: Context, path: str, public_key: str, progress: Callable[[str], None]
) -> None:
    """Write the disk.

    Args:
        context: the engine whose image store and kernels are used.
        path: of the disk.
        public_key: may log in as root.

    Raises:
        Unavailable: mmdebstrap, pip or a mirror is missing.
        ProaError: any other kind; nothing is at ``path`` that was not before.
    """
    from proa.engine.vms.todisk import convert_image

    directory = f"{os.path.dirname(path)}/.build"
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(directory, mode=0o700)
    try:
        progress("collecting the engine")
        tree = f"{directory}/files"
        _write_files(tree, public_key)
        progress("making a Debian for the machine")
        archive = f"{directory}/root.tar"
        run(_debian(archive, tree), "cannot make a Debian for the machine")
        context.images.import_rootfs(archive, _IMAGE)
        os.unlink(archive)
        try:
            convert_image(context, _IMAGE, path, size_bytes=DISK_BYTES, progress=progress)
        finally:
            context.images.remove(_IMAGE)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _debian(archive: str, tree: str) -> list[str]:
    hook = (
        f'cp -a {shlex.quote(tree)}/. "$1"/ && echo proa-machine > "$1/etc/hostname" && '
        'chroot "$1" systemctl enable proa.service systemd-networkd.service ssh.service && '
        'rm -rf "$1"/var/lib/apt/lists/* "$1"/usr/share/locale/* && '
        'printf "nameserver 10.0.2.3\\n" > "$1/etc/resolv.conf"'
    )
    return [
        "mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(_PACKAGES)}",
        f"--customize-hook={hook}", "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-exclude=/usr/share/man/*", SUITE, archive,
    ]  # fmt: skip


def _write_files(tree: str, public_key: str) -> None:
    package = os.path.dirname(os.path.abspath(str(sys.modules["proa"].__file__)))
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(package, f"{tree}/opt/proa/proa", ignore=ignored)
    _install_dependencies(f"{tree}/opt/proa")
    # The thin client is a script beside the package, installed or in a checkout.
    client = f"{_LAUNCHER}from proa.cli.client import main\n\nmain()\n"
    for name, text, mode in (
        ("usr/local/bin/proa", client, 0o755),
        ("etc/systemd/system/proa.service", _SERVICE, 0o644),
        ("etc/systemd/network/80-dhcp.network", _NETWORK, 0o644),
        ("root/.ssh/authorized_keys", public_key, 0o600),
    ):
        place = f"{tree}/{name}"
        os.makedirs(os.path.dirname(place), mode=0o755, exist_ok=True)
        with open(place, "w", encoding="utf-8") as stream:
            stream.write(text)
        os.chmod(place, mode)
    os.chmod(f"{tree}/root/.ssh", 0o700)


def _install_dependencies(target: str) -> None:
    try:
        listed = importlib.metadata.requires("proa") or []
    except importlib.metadata.PackageNotFoundError as error:
        raise Unavailable("proa is not installed as a package", "use pip install") from error
    wanted = [line for line in listed if "extra ==" not in line]
    run(
        [
            sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
            "--target", target, "--only-binary=:all:", "--python-version", PYTHON_VERSION,
            "--platform", "manylinux2014_x86_64", "--platform", "manylinux_2_28_x86_64", *wanted,
        ],
        "cannot fetch the engine's dependencies",
    )  # fmt: skip


def version_key() -> str:
    """What the disk depends on: another key is another disk."""
    import hashlib

    package = os.path.dirname(os.path.abspath(str(sys.modules["proa"].__file__)))
    digest = hashlib.sha256()
    for parent, directories, names in os.walk(package):
        directories.sort()
        for name in sorted(names):
            if name.endswith(".py"):
                digest.update(load_file(f"{parent}/{name}"))
    return digest.hexdigest()[:16]
