"""Limits and restart policy of ``HostConfig`` and of ``update``, as the engine has them."""

from __future__ import annotations

from typing import Final, Literal, cast

from proa.engine.config import Resources, RestartPolicy, ThrottleDevice
from proa.server.encode.fields import Fields
from proa.server.errors import HttpError, bad_request

_POLICIES: Final = ("no", "always", "unless-stopped", "on-failure")
_UNSUPPORTED: Final = ("CpuRealtimePeriod", "CpuRealtimeRuntime", "KernelMemoryTCP")


def read_resources(fields: Fields) -> Resources:
    """Return the limits of a ``Resources`` object.

    Raises:
        HttpError: a value is wrong, or a limit that this engine does not have is asked for.
    """
    for name in _UNSUPPORTED:
        if fields.integer(name):
            raise HttpError(501, f"{name} is not part of this version: leave it out")
    if fields.objects("BlkioWeightDevice"):
        raise HttpError(501, "BlkioWeightDevice is not part of this version: leave it out")
    weight = fields.integer("BlkioWeight")
    if weight and not 10 <= weight <= 1000:
        raise bad_request("range of blkio weight is from 10 to 1000")
    if fields.integer("NanoCpus") and (fields.integer("CpuQuota") or fields.integer("CpuPeriod")):
        raise bad_request("conflicting options: NanoCpus and CpuPeriod or CpuQuota")
    return Resources(
        memory_bytes=fields.integer("Memory"),
        memory_swap_bytes=fields.integer("MemorySwap"),
        memory_reservation_bytes=fields.integer("MemoryReservation"),
        nano_cpus=fields.integer("NanoCpus"),
        cpu_shares=fields.integer("CpuShares"),
        cpu_period_us=fields.integer("CpuPeriod"),
        cpu_quota_us=fields.integer("CpuQuota"),
        cpuset_cpus=fields.text("CpusetCpus"),
        cpuset_mems=fields.text("CpusetMems"),
        # 0 and null both mean that the client did not say.
        pids_limit=fields.integer("PidsLimit") or None,
        blkio_weight=weight,
        device_read_bps=_throttles(fields, "BlkioDeviceReadBps"),
        device_write_bps=_throttles(fields, "BlkioDeviceWriteBps"),
        device_read_iops=_throttles(fields, "BlkioDeviceReadIOps"),
        device_write_iops=_throttles(fields, "BlkioDeviceWriteIOps"),
        oom_kill_disable=fields.flag("OomKillDisable"),
    )


def read_restart(fields: Fields) -> RestartPolicy | None:
    """Return a ``RestartPolicy``; None when it says nothing.

    Raises:
        HttpError: an unknown policy, or a count where none belongs.
    """
    name, count = fields.text("Name"), fields.integer("MaximumRetryCount")
    if not name:
        return None
    if name not in _POLICIES:
        raise bad_request(f"invalid restart policy: unknown policy '{name}'")
    if count and name != "on-failure":
        raise bad_request(
            f"invalid restart policy: maximum retry count cannot be used with '{name}'"
        )
    if count < 0:
        raise bad_request("invalid restart policy: maximum retry count cannot be negative")
    policy = cast("Literal['no', 'always', 'unless-stopped', 'on-failure']", name)
    return RestartPolicy(name=policy, maximum_retry_count=count)


def _throttles(fields: Fields, name: str) -> tuple[ThrottleDevice, ...]:
    return tuple(
        ThrottleDevice(item.text("Path"), item.integer("Rate")) for item in fields.objects(name)
    )
