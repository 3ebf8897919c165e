"""Engines that can start guests without making kernel and initramfs anew."""

from __future__ import annotations

import os
import shutil

from tests.support import kernels
from tests.support.engines import Proa
from tests.support.images import BUSYBOX as BUSYBOX
from tests.support.images import ensure_busybox

REQUIRES = ("root", "overlay", "busybox", "qemu-system-x86_64", "mkfs.erofs")


def prepare(proa: Proa) -> None:
    """Give an engine a guest kernel, what earlier tests made for it, and ``busybox:latest``."""
    kernels.ensure_kernel(proa.root)
    source, target = f"{kernels.cached_root()}/vm", f"{proa.root}/vm"
    for name in ("initramfs", "acceleration.json"):
        if os.path.exists(f"{source}/{name}") and not os.path.exists(f"{target}/{name}"):
            if os.path.isdir(f"{source}/{name}"):
                shutil.copytree(f"{source}/{name}", f"{target}/{name}", copy_function=os.link)
            else:
                shutil.copy(f"{source}/{name}", f"{target}/{name}")
    ensure_busybox(proa)


def run_vm(proa: Proa, *words: str, network: str = "none") -> str:
    """Run a container in a guest in the background; return its id."""
    flags = ("run", "-d", "--isolation", "vm", "--network", network)
    return proa.ok(*flags, *words)
