"""A container's configuration as Docker's ``HostConfig`` (Engine API 1.51, definitions)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proa.engine.config import (
    ContainerConfig,
    DeviceMapping,
    MountConfig,
    PortConfig,
    Resources,
    ThrottleDevice,
)

Document = dict[str, Any]

DEFAULT_SHM_BYTES = 64 * 1024 * 1024


def encode_host_config(config: ContainerConfig) -> Document:
    """Return the whole ``HostConfig``; what Proa does not have keeps Docker's default."""
    return {
        "Binds": [_bind(mount) for mount in config.mounts if _is_bind(mount)] or None,
        "ContainerIDFile": "",
        "LogConfig": {"Type": config.log.driver, "Config": dict(config.log.options)},
        "NetworkMode": config.network_mode,
        "PortBindings": _port_bindings(config.ports),
        "RestartPolicy": {
            "Name": config.restart.name,
            "MaximumRetryCount": config.restart.maximum_retry_count,
        },
        "AutoRemove": config.auto_remove,
        "VolumeDriver": "",
        "VolumesFrom": _list(config.volumes_from),
        "ConsoleSize": [0, 0],
        "Annotations": dict(config.annotations) or None,
        "CapAdd": _list(config.cap_add),
        "CapDrop": _list(config.cap_drop),
        "CgroupnsMode": config.cgroupns_mode or "private",
        "Dns": list(config.dns),
        "DnsOptions": list(config.dns_options),
        "DnsSearch": list(config.dns_search),
        "ExtraHosts": _list(config.extra_hosts),
        "GroupAdd": _list(config.group_add),
        "IpcMode": config.ipc_mode or "private",
        "Cgroup": "",
        "Links": None,
        "OomScoreAdj": config.oom_score_adj,
        "PidMode": config.pid_mode,
        "Privileged": config.privileged,
        "PublishAllPorts": config.publish_all,
        "ReadonlyRootfs": config.readonly_rootfs,
        "SecurityOpt": _list(config.security_options),
        "Tmpfs": {m.target: ",".join(m.tmpfs_options) for m in config.mounts if _is_tmpfs(m)},
        "UTSMode": config.uts_mode,
        "UsernsMode": config.userns_mode,
        "ShmSize": config.shm_size_bytes or DEFAULT_SHM_BYTES,
        "Sysctls": dict(config.sysctls),
        "Runtime": "proa" if config.isolation == "process" else f"proa-{config.isolation}",
        "Isolation": config.isolation,
        **_resources(config.resources),
        "CgroupParent": config.cgroup_parent,
        "Devices": [_device(device) for device in config.devices],
        "DeviceCgroupRules": _list(config.device_cgroup_rules),
        "DeviceRequests": None,
        "Ulimits": [
            {"Name": ulimit.name, "Hard": ulimit.hard, "Soft": ulimit.soft}
            for ulimit in config.ulimits
        ],
        "Init": config.init,
        "Mounts": [_mount(m) for m in config.mounts if not (_is_bind(m) or _is_tmpfs(m))],
        "MaskedPaths": [] if config.privileged else None,
        "ReadonlyPaths": [] if config.privileged else None,
    }


def _port_bindings(ports: Sequence[PortConfig]) -> Document:
    found: Document = {}
    for port in ports:
        text = str(port.host_port or "")
        if port.host_port_last:
            text += f"-{port.host_port_last}"
        found.setdefault(f"{port.container_port}/{port.protocol}", []).append(
            {"HostIp": port.host_ip, "HostPort": text}
        )
    return found


def _resources(resources: Resources) -> Document:
    return {
        "CpuShares": resources.cpu_shares,
        "Memory": resources.memory_bytes,
        "NanoCpus": resources.nano_cpus,
        "BlkioWeight": resources.blkio_weight,
        "BlkioWeightDevice": [],
        "BlkioDeviceReadBps": _throttles(resources.device_read_bps),
        "BlkioDeviceWriteBps": _throttles(resources.device_write_bps),
        "BlkioDeviceReadIOps": _throttles(resources.device_read_iops),
        "BlkioDeviceWriteIOps": _throttles(resources.device_write_iops),
        "CpuPeriod": resources.cpu_period_us,
        "CpuQuota": resources.cpu_quota_us,
        "CpuRealtimePeriod": 0,
        "CpuRealtimeRuntime": 0,
        "CpusetCpus": resources.cpuset_cpus,
        "CpusetMems": resources.cpuset_mems,
        "MemoryReservation": resources.memory_reservation_bytes,
        "MemorySwap": resources.memory_swap_bytes or 2 * resources.memory_bytes,
        "MemorySwappiness": None,
        "OomKillDisable": resources.oom_kill_disable,
        "PidsLimit": resources.pids_limit,
        "CpuCount": 0,
        "CpuPercent": 0,
        "IOMaximumIOps": 0,
        "IOMaximumBandwidth": 0,
    }


def _throttles(devices: Sequence[ThrottleDevice]) -> list[Document]:
    return [{"Path": device.path, "Rate": device.rate} for device in devices]


def _device(device: DeviceMapping) -> Document:
    return {
        "PathOnHost": device.host_path,
        "PathInContainer": device.container_path,
        "CgroupPermissions": device.permissions,
    }


def _is_bind(mount: MountConfig) -> bool:
    """Tell whether ``-v`` can say it: Docker shows that form for what came from there."""
    if mount.type == "bind":
        return mount.create_source
    return bool(
        mount.type == "volume"
        and mount.source
        and not (mount.volume_nocopy or mount.volume_subpath)
    )


def _is_tmpfs(mount: MountConfig) -> bool:
    return mount.type == "tmpfs" and bool(mount.tmpfs_options)


def _bind(mount: MountConfig) -> str:
    words = ["ro"] if mount.readonly else []
    if mount.propagation != "rprivate":
        words.append(mount.propagation)
    return ":".join([mount.source, mount.target, *([",".join(words)] if words else [])])


def _mount(mount: MountConfig) -> Document:
    document: Document = {"Type": mount.type, "Source": mount.source, "Target": mount.target}
    if mount.readonly:
        document["ReadOnly"] = True
    if mount.type == "bind":
        document["BindOptions"] = {"Propagation": mount.propagation}
    elif mount.type == "volume" and (mount.volume_nocopy or mount.volume_subpath):
        document["VolumeOptions"] = {
            "NoCopy": mount.volume_nocopy,
            "Subpath": mount.volume_subpath,
        }
    elif mount.type == "tmpfs":
        document["TmpfsOptions"] = {
            "SizeBytes": mount.tmpfs_size_bytes,
            "Mode": mount.tmpfs_mode,
        }
    return document


def _list(values: Sequence[str]) -> list[str] | None:
    """Return what Docker writes for a list that was not given: ``null``."""
    return list(values) or None
