"""The body of ``POST /containers/create`` as the engine's :class:`ContainerConfig`.

Fields that this engine does not have are ignored where leaving them out changes nothing that a
program could notice (``ConsoleSize``, Windows' limits), and refused where it would.
"""

from __future__ import annotations

import json
from typing import Any, Final, Literal

from proa.engine.config import (
    ContainerConfig,
    DeviceMapping,
    HealthConfig,
    LogConfig,
    RestartPolicy,
    Ulimit,
)
from proa.server.encode.endpoints import check_exposed, read_networks, read_ports
from proa.server.encode.fields import Fields
from proa.server.encode.mounts import read_mounts
from proa.server.encode.resources import read_resources, read_restart
from proa.server.errors import HttpError, bad_request

_RUNTIMES: Final = ("", "proa", "runc", "io.containerd.runc.v2")
"""All mean process isolation: clients that name Docker's own runtime mean "the usual one"."""

_MODES: Final = {
    "PidMode": ("host",),
    "IpcMode": ("none", "private", "shareable", "host"),
    "UTSMode": ("host",),
    "UsernsMode": ("host",),
    "CgroupnsMode": ("host", "private"),
}


def read_container(  # long: one line for each field
    body: dict[str, Any], platform: str = ""
) -> ContainerConfig:
    """Return what a client asks for.

    Args:
        body: of the request.
        platform: the parameter of that name.

    Raises:
        HttpError: a value is wrong, or asks for what this version does not have.
    """
    config = Fields(body)
    host = config.fields("HostConfig")
    _refuse_missing(host)
    network_mode, wishes = read_networks(config, host)
    auto_remove = host.flag("AutoRemove")
    restart = read_restart(host.fields("RestartPolicy")) or RestartPolicy()
    if auto_remove and restart.name != "no":
        raise bad_request("can't create 'AutoRemove' container with restart policy")
    image = config.text("Image")
    if not image:
        raise bad_request("no image specified")
    return ContainerConfig(
        image=image,
        command=config.texts("Cmd"),
        entrypoint=_entrypoint(config),
        env=config.texts("Env"),
        working_dir=_working_dir(config),
        user=config.text("User"),
        hostname=config.text("Hostname"),
        domainname=config.text("Domainname"),
        labels=config.mapping("Labels"),
        annotations=host.mapping("Annotations"),
        tty=config.flag("Tty"),
        open_stdin=config.flag("OpenStdin"),
        stdin_once=config.flag("StdinOnce"),
        stop_signal=config.text("StopSignal"),
        stop_timeout_s=config.integer("StopTimeout") if "StopTimeout" in config else None,
        auto_remove=auto_remove,
        init=host.flag("Init"),
        readonly_rootfs=host.flag("ReadonlyRootfs"),
        mounts=read_mounts(config, host),
        volumes_from=host.texts("VolumesFrom"),
        shm_size_bytes=host.integer("ShmSize"),
        resources=read_resources(host),
        cgroup_parent=host.text("CgroupParent"),
        network_mode=network_mode,
        networks=wishes,
        ports=read_ports(host),
        publish_all=host.flag("PublishAllPorts"),
        expose=check_exposed(config.keys("ExposedPorts")),
        pid_mode=_mode(host, "PidMode"),
        ipc_mode=_mode(host, "IpcMode"),
        uts_mode=_mode(host, "UTSMode"),
        userns_mode=_mode(host, "UsernsMode"),
        cgroupns_mode=_mode(host, "CgroupnsMode"),
        extra_hosts=host.texts("ExtraHosts"),
        dns=host.texts("Dns"),
        dns_search=host.texts("DnsSearch"),
        dns_options=host.texts("DnsOptions"),
        privileged=host.flag("Privileged"),
        cap_add=host.texts("CapAdd"),
        cap_drop=host.texts("CapDrop"),
        group_add=host.texts("GroupAdd"),
        security_options=_security_options(host),
        devices=_devices(host),
        device_cgroup_rules=host.texts("DeviceCgroupRules"),
        sysctls=host.mapping("Sysctls"),
        ulimits=_ulimits(host),
        oom_score_adj=_oom_score(host),
        restart=restart,
        health=_health(config),
        log=_log(host),
        isolation=_isolation(host),
        platform=platform,
    )


def _refuse_missing(host: Fields) -> None:
    if host.objects("DeviceRequests"):
        raise HttpError(501, "device requests (GPUs) are not part of this version")
    if host.texts("Links"):
        raise HttpError(
            501, "links are not part of this version: containers of one network find each other"
        )
    if host.text("VolumeDriver") not in ("", "local"):
        raise HttpError(501, "volume drivers are not part of this version")
    if host.mapping("StorageOpt"):
        raise HttpError(501, "storage options are not part of this version")


def _entrypoint(config: Fields) -> tuple[str, ...] | None:
    """Return None for the image's; Docker's client writes "none at all" as one empty word."""
    words = config.texts("Entrypoint")
    if words == ("",):
        return ()
    return words or None


def _working_dir(config: Fields) -> str:
    path = config.text("WorkingDir")
    if path and not path.startswith("/"):
        raise bad_request(
            f"the working directory '{path}' is invalid, it needs to be an absolute path"
        )
    return path


def _mode(host: Fields, name: str) -> str:
    mode = host.text(name)
    kind, _, container = mode.partition(":")
    joins = name in ("PidMode", "IpcMode") and kind == "container" and bool(container)
    if mode and mode not in _MODES[name] and not joins:
        raise bad_request(f"invalid {name}: '{mode}'")
    return mode


def _security_options(host: Fields) -> tuple[str, ...]:
    """Return the words with ``=``; a profile is checked to be JSON where it is said."""
    words = []
    for text in host.texts("SecurityOpt"):
        name, sign, value = text.partition("=")
        if not sign and ":" in name:
            name, sign, value = name.partition(":")
        if name == "seccomp" and value not in ("unconfined", "builtin"):
            try:
                json.loads(value)
            except ValueError:
                raise bad_request("the seccomp profile is not JSON") from None
        words.append(f"{name}={value}" if sign else name)
    return tuple(words)


def _devices(host: Fields) -> tuple[DeviceMapping, ...]:
    return tuple(
        DeviceMapping(
            host_path=item.text("PathOnHost"),
            container_path=item.text("PathInContainer") or item.text("PathOnHost"),
            permissions=item.text("CgroupPermissions") or "rwm",
        )
        for item in host.objects("Devices")
    )


def _ulimits(host: Fields) -> tuple[Ulimit, ...]:
    return tuple(
        Ulimit(name=item.text("Name"), soft=item.integer("Soft"), hard=item.integer("Hard"))
        for item in host.objects("Ulimits")
    )


def _oom_score(host: Fields) -> int:
    score = host.integer("OomScoreAdj")
    if not -1000 <= score <= 1000:
        raise bad_request(f"invalid oom score adj: {score}: must be between -1000 and 1000")
    return score


def _health(config: Fields) -> HealthConfig | None:
    if "Healthcheck" not in config:
        return None
    check = config.fields("Healthcheck")
    for name in ("Interval", "Timeout", "StartPeriod", "StartInterval"):
        duration_ns = check.integer(name)
        if duration_ns < 0 or 0 < duration_ns < 1_000_000:
            raise bad_request(f"{name} in Healthcheck cannot be less than 1ms")
    if check.integer("Retries") < 0:
        raise bad_request("Retries in Healthcheck cannot be negative")
    return HealthConfig(
        test=check.texts("Test"),
        interval_ns=check.integer("Interval"),
        timeout_ns=check.integer("Timeout"),
        start_period_ns=check.integer("StartPeriod"),
        start_interval_ns=check.integer("StartInterval"),
        retries=check.integer("Retries"),
    )


def _log(host: Fields) -> LogConfig:
    fields = host.fields("LogConfig")
    return LogConfig(driver=fields.text("Type") or "json-file", options=fields.mapping("Config"))


def _isolation(host: Fields) -> Literal["process", "vm"]:
    word, runtime = host.text("Isolation").lower(), host.text("Runtime")
    if word not in ("", "default", "process", "vm"):
        raise bad_request(f"invalid isolation '{word}': use process or vm")
    if runtime == "proa-vm":
        if word == "process":
            raise bad_request("conflicting options: the runtime proa-vm and process isolation")
        return "vm"
    if runtime not in _RUNTIMES:
        raise bad_request(f"unknown or invalid runtime name: {runtime}")
    return "vm" if word == "vm" else "process"
