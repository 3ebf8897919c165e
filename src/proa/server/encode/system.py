"""The engine and its machine in Docker's words (Engine API 1.51): info and disk usage."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any, Final

from proa.engine.image_inspect import image_entry
from proa.units import format_rfc3339_ns

if TYPE_CHECKING:
    from proa.engine.diskusage import DiskUsage

Document = dict[str, Any]

_INDEX: Final = "https://index.docker.io/v1/"
_LIMITS: Final = {
    "MemoryLimit": "memory",
    "SwapLimit": "memory",
    "CpuCfsPeriod": "cpu",
    "CpuCfsQuota": "cpu",
    "CPUShares": "cpu",
    "CPUSet": "cpuset",
    "PidsLimit": "pids",
}


def info(facts: Document, *, identity: str, now_ns: int, descriptors: int) -> Document:
    """Return ``GET /info``.

    Args:
        facts: ``engine.system.info()``.
        identity: of this engine, the same at every start.
        now_ns: the time.
        descriptors: how many this server has open.
    """
    controllers = facts.get("Controllers")
    document: Document = {
        "ID": identity,
        **{key: facts[key] for key in _SHARED_FACTS if key in facts},
        "DriverStatus": [["Backing Filesystem", "overlayfs"], ["userxattr", "true"]],
        "Plugins": {
            "Volume": ["local"],
            "Network": ["bridge", "host", "macvlan", "null"],
            "Authorization": None,
            "Log": ["json-file", "none"],
        },
        **{
            key: controllers is None or controller in controllers
            for key, controller in _LIMITS.items()
        },
        "IPv4Forwarding": True,
        "OomKillDisable": False,
        "Debug": False,
        "NFd": descriptors,
        "NGoroutines": 0,
        "SystemTime": format_rfc3339_ns(now_ns),
        "NEventsListener": 0,
        "OSVersion": _os_version(),
        "IndexServerAddress": _INDEX,
        "RegistryConfig": _registries(),
        "GenericResources": None,
        "HttpProxy": "",
        "HttpsProxy": "",
        "NoProxy": "",
        "Labels": [],
        "ExperimentalBuild": False,
        "Runtimes": {"proa": {"path": "proa-runtime"}, "runc": {"path": "proa-runtime"}},
        "DefaultRuntime": "proa",
        "Swarm": _swarm(),
        "LiveRestoreEnabled": True,
        "Isolation": "",
        "InitBinary": "proa-init",
        "ContainerdCommit": {"ID": ""},
        "RuncCommit": {"ID": ""},
        "InitCommit": {"ID": ""},
        "CDISpecDirs": [],
    }
    return document


_SHARED_FACTS: Final = (
    "Containers", "ContainersRunning", "ContainersPaused", "ContainersStopped", "Images", "Driver",
    "LoggingDriver", "CgroupDriver", "CgroupVersion", "KernelVersion", "OperatingSystem", "OSType",
    "Architecture", "NCPU", "MemTotal", "DockerRootDir", "Name", "ServerVersion",
    "SecurityOptions", "Warnings",
)  # fmt: skip
"""What the library says in Docker's words; it says more, in words of its own."""


def disk_usage(found: DiskUsage, containers: list[Document], volumes: list[Document]) -> Document:
    """Return ``GET /system/df``.

    Args:
        found: what was measured.
        containers: entries of the list of containers, with their sizes.
        volumes: volumes as inspected, in the order of ``found.volumes``.
    """
    return {
        "LayersSize": found.images.size_bytes,
        "Images": [
            {
                **image_entry(
                    one.image,
                    containers=found.image_containers.get(one.image.id, 0),
                    shared_bytes=one.shared_bytes,
                ),
                "Size": one.size_bytes,
            }
            for one in found.images.images
        ],
        "Containers": containers,
        "Volumes": volumes,
        "BuildCache": [],
    }


def container_sizes(found: DiskUsage) -> dict[str, Document]:
    """Return, by container id, the sizes that the list of containers shows with ``size``."""
    images = {str(one.image.id): one.size_bytes for one in found.images.images}
    return {
        one.container.id: {
            "SizeRw": one.writable_bytes,
            "SizeRootFs": one.writable_bytes + images.get(one.container.image_id, 0),
        }
        for one in found.containers
    }


def _registries() -> Document:
    return {
        "IndexConfigs": {
            "docker.io": {"Name": "docker.io", "Mirrors": [], "Secure": True, "Official": True}
        },
        "InsecureRegistryCIDRs": ["127.0.0.0/8", "::1/128"],
        "Mirrors": [],
    }


def _swarm() -> Document:
    return {
        "NodeID": "",
        "NodeAddr": "",
        "LocalNodeState": "inactive",
        "ControlAvailable": False,
        "Error": "",
        "RemoteManagers": None,
    }


def _os_version() -> str:
    try:
        return platform.freedesktop_os_release().get("VERSION_ID", "")
    except OSError:
        return ""
