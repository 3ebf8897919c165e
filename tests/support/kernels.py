"""A guest kernel for tests: Debian's cloud kernel, fetched once and kept like the images."""

from __future__ import annotations

import os
import shutil

from proa.vm.kernel import Kernel, get_kernel, list_kernels
from proa.vm.kernel.install import install_kernel
from proa.vm.kernel.store import kernels_directory
from tests.support.images import cache_directory


def cached_root() -> str:
    """A state root that has the kernel and nothing else (needs apt and its mirror)."""
    root = f"{cache_directory()}/kernels"
    if not list_kernels(root):
        install_kernel(root)
    return root


def ensure_kernel(root: str) -> Kernel:
    """Put the kernel into a state root; files are linked, not copied."""
    source = kernels_directory(cached_root())
    target = kernels_directory(root)
    if not os.path.exists(target):
        os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
        try:
            shutil.copytree(source, target, copy_function=os.link, symlinks=True)
        except OSError:
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(source, target, symlinks=True)
    return get_kernel(root)
