"""``engine.system``: about the engine and the machine it runs on."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from proa import __version__
from proa.cgroups.hierarchy import load_hierarchy
from proa.engine.context import Context
from proa.errors import ProaError
from proa.oci.platform import host_platform
from proa.runtime.security import userns

if TYPE_CHECKING:
    from proa.engine.containers.restore import Restored
    from proa.engine.diskusage import DiskUsage
    from proa.engine.emulation import Emulator
    from proa.engine.pruning import SystemPruned

    EmulatorList = list[Emulator]

Architectures = list[str]

_ENGINE_API = "1.51"


class System:
    """Facts about one engine."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def version(self) -> dict[str, object]:
        """Return versions, in Docker's words."""
        host = host_platform()
        return {
            "Version": __version__,
            "ApiVersion": _ENGINE_API,
            "Os": host.os,
            "Arch": host.architecture,
            "KernelVersion": platform.release(),
            "PythonVersion": platform.python_version(),
        }

    def recover(self) -> Restored:
        """Set right what a crash or a reboot left; start what its restart policy wants running."""
        from proa.engine.containers.restore import restore

        return restore(self._context)

    def df(self) -> DiskUsage:
        """Return what images, containers and volumes take on disk, as ``du`` counts it."""
        from proa.engine import diskusage

        return diskusage.measure(self._context)

    def prune(
        self,
        *,
        every: bool = False,
        volumes: bool = False,
        filters: Mapping[str, Sequence[str]] | None = None,
    ) -> SystemPruned:
        """Remove stopped containers, unused networks and images, and all garbage.

        Args:
            every: all images that no container uses, not only those without a tag.
            volumes: anonymous volumes that no container uses, too.
            filters: ``until``, ``label`` and ``label!``.

        Raises:
            Invalid: an unknown filter; nothing was removed.
            Unsupported: ``until`` together with volumes.
            Unavailable: another command makes images right now; containers are gone already.
        """
        from proa.engine.pruning import prune_system

        return prune_system(
            self._context, every=every, volumes=volumes, filters=dict(filters or {})
        )

    def list_emulators(self) -> EmulatorList:
        """Return how programs of other architectures run here, one entry an architecture."""
        from proa.engine import emulation

        return emulation.list_emulators()

    def install_emulators(self, architectures: Sequence[str] = ()) -> EmulatorList:
        """Register installed emulators with the host's kernel; see :mod:`proa.engine.emulation`.

        Args:
            architectures: ``arm64`` ...; empty: all that an emulator is installed for.

        Returns:
            Those that were registered now.

        Raises:
            Invalid, NotFound, Forbidden, Unavailable: see the function.
        """
        from proa.engine import emulation

        self._context.layout.ensure()
        return emulation.install(self._context.layout.run, architectures)

    def remove_emulators(self, architectures: Sequence[str] = ()) -> Architectures:
        """Take away what :meth:`install_emulators` made; return those architectures."""
        from proa.engine import emulation

        return emulation.remove(self._context.layout.run, architectures)

    def info(self) -> dict[str, object]:
        """Return what ``docker info`` shows, and what this host lacks."""
        self._context.layout.ensure()
        records = self._context.state.containers.list()
        statuses = [record.state.status for record in records]
        reason = userns.probe(self._context.layout.root)
        uname = os.uname()
        host = host_platform()
        return {
            "Containers": len(records),
            "ContainersRunning": statuses.count("running"),
            "ContainersPaused": statuses.count("paused"),
            "ContainersStopped": len(records)
            - statuses.count("running")
            - statuses.count("paused"),
            "Images": len(self._context.images.list()),
            "Driver": "overlay2",
            "LoggingDriver": "json-file",
            "CgroupDriver": "cgroupfs",
            "CgroupVersion": "2" if load_hierarchy().mode == "v2" else "1",
            "KernelVersion": uname.release,
            "OperatingSystem": _operating_system(),
            "OSType": host.os,
            "Architecture": uname.machine,
            "NCPU": os.cpu_count() or 1,
            "MemTotal": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            "DockerRootDir": self._context.layout.root,
            "RunDirectory": self._context.layout.run,
            "Name": uname.nodename,
            "ServerVersion": __version__,
            "Isolation": ["process", "vm"],
            "VirtualMachines": _virtual_machines(self._context.layout.root),
            "SecurityOptions": _security_options(reason),
            "Warnings": _warnings(reason),
        }


def _virtual_machines(root: str) -> dict[str, str]:
    """What virtual machines run on, as far as it is known without booting one."""
    from proa.vm.accel import find_acceleration
    from proa.vm.kernel import find_kernel

    try:
        kernel = find_kernel(root)
        found = find_acceleration(root, kernel)
    except ProaError as error:
        return {"Accelerator": "none", "Reason": str(error)}
    facts = {"Kernel": kernel.release if kernel is not None else "none installed"}
    if found is None:
        return facts | {
            "Accelerator": "unknown",
            "Reason": "KVM is probed by the first machine that starts",
        }
    return facts | {"Accelerator": found.accelerator, "Reason": found.reason}


def _operating_system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "Linux"


def _security_options(reason: str | None) -> list[str]:
    options = ["name=seccomp,profile=builtin", "name=no-new-privileges", "name=cgroupns"]
    if reason is None:
        options.append("name=userns")
    return options


def _warnings(reason: str | None) -> list[str]:
    warnings = []
    if reason is not None:
        warnings.append(f"containers share the host's user namespace: {reason}")
    if not os.path.isdir("/sys/kernel/security/apparmor"):
        warnings.append("AppArmor is not enabled on this host: containers run without a profile")
    return warnings
