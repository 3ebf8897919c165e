"""Proa itself, once for each isolation: the command line that users type."""

from __future__ import annotations

import os
import shutil
import sys

from proa.compare.targets.docker import LABEL, DockerLike
from proa.engine.facade import Engine
from proa.errors import ProaError

_TITLES = {"process": "process isolation", "vm": "vm isolation"}

_STARTUP_S = {"kvm": 1.5, "tcg": 8.0}


class Proa(DockerLike):
    """Implements :class:`Target` on the user's own engine."""

    def __init__(self, engine: Engine, roots: tuple[str, str], isolation: str) -> None:
        """Choose the isolation."""
        super().__init__(isolation, _TITLES[isolation], command_line(*roots))
        self.options = ("--label", LABEL, "--isolation", isolation)
        if isolation == "vm":
            self.startup_s = _STARTUP_S[_accelerator(roots[0])]
            self.memory_mb = 350
        else:
            self.startup_s = 0.1
            self.memory_mb = 2
        self._engine = engine

    def storage(self) -> str:
        """The state root."""
        return self._engine.roots[0]

    def absent(self) -> str:
        """Say whether virtual machines cannot be had."""
        if os.geteuid() != 0:
            return "containers can only be run by root in this version"
        if self.name != "vm":
            return ""
        if not shutil.which(f"qemu-system-{os.uname().machine}"):
            return "QEMU is not installed"
        try:
            if not self._engine.vms.kernels():
                return "no kernel for guests: proa vm kernel install"
        except ProaError as error:
            return str(error)
        return ""


def _accelerator(root: str) -> str:
    """What is known without booting a guest; the slow one if nothing is."""
    from proa.vm.accel import find_acceleration
    from proa.vm.kernel import find_kernel

    try:
        found = find_acceleration(root, find_kernel(root))
    except ProaError:
        found = None
    return found.accelerator if found else "tcg"


def command_line(root: str, run: str) -> list[str]:
    """Return the words in front of a verb; empty roots are the user's own."""
    beside = os.path.join(os.path.dirname(sys.executable), "proa")
    program = beside if os.access(beside, os.X_OK) else shutil.which("proa") or beside
    chosen = [
        word
        for flag, path in (("--root", root), ("--run-root", run))
        if path
        for word in (flag, path)
    ]
    return [program, *chosen]
