"""A container as ``docker inspect`` and ``docker ps`` show it (Engine API 1.51).

Pure functions from records to JSON-ready documents; nothing is read here. What an image says is
shown merged with what the user said, as Docker does.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from proa.engine.config import ContainerConfig, HealthConfig, MountConfig
from proa.engine.containers.hostconfig import encode_host_config
from proa.engine.containers.networksettings import (
    Attached,
    encode_endpoints,
    encode_network_settings,
    encode_port_list,
)
from proa.engine.healthlog import HealthLog
from proa.engine.model import ContainerRecord, ContainerState
from proa.oci.imageconfig import ContainerDefaults, Healthcheck
from proa.units import NS_PER_S, format_duration_human, format_rfc3339_ns

Document = dict[str, Any]

_HEALTH_WORDS = {
    "none": "",
    "starting": " (health: starting)",
    "healthy": " (healthy)",
    "unhealthy": " (unhealthy)",
}
NEVER = "0001-01-01T00:00:00Z"
"""Go's zero time: how Docker writes "not yet"."""


class ContainerPaths(msgspec.Struct, frozen=True, kw_only=True):
    """Where a container's things are on the host; empty for what it does not have.

    Attributes:
        directory: holds ``upper``, ``work``, ``hosts``, ``hostname``, ``resolv.conf``.
        log: current file of the json-file driver.
        lowers: directories of the image's layers, uppermost first.
        volumes: holds ``<name>/_data`` of each volume.
    """

    directory: str
    log: str = ""
    lowers: tuple[str, ...] = ()
    volumes: str = ""


def inspect_container(
    record: ContainerRecord,
    paths: ContainerPaths,
    defaults: ContainerDefaults | None = None,
    *,
    host_name: str = "",
    sizes: tuple[int, int] | None = None,
    attached: Attached | None = None,
    health: HealthLog | None = None,
) -> Document:
    """Return what ``docker inspect`` shows.

    Args:
        record: the container.
        paths: where its things are.
        defaults: the image's; None when the image is gone.
        host_name: as resolved when it was created; empty: from the record.
        health: what the last checks said; None: there is no health check.
        sizes: bytes of the writable directory and of the whole root, for ``--size``.
        attached: its networks and published ports; None: nothing is known of them.
    """
    config, state = record.config, record.state
    document: Document = {
        "Id": record.id,
        "Created": format_rfc3339_ns(record.created_at_ns),
        "Path": record.path,
        "Args": list(record.args),
        "State": encode_state(state, health),
        "Image": record.image_id,
        "ResolvConfPath": os.path.join(paths.directory, "resolv.conf"),
        "HostnamePath": os.path.join(paths.directory, "hostname"),
        "HostsPath": os.path.join(paths.directory, "hosts"),
        "LogPath": paths.log if config.log.driver == "json-file" else "",
        "Name": f"/{record.name}",
        "RestartCount": state.restart_count,
        "Driver": "overlay2",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": None,
        "HostConfig": encode_host_config(config),
        "GraphDriver": {
            "Name": "overlay2",
            "Data": {
                "ID": record.id,
                "LowerDir": ":".join(paths.lowers),
                "MergedDir": os.path.join(paths.directory, "merged"),
                "UpperDir": os.path.join(paths.directory, "upper"),
                "WorkDir": os.path.join(paths.directory, "work"),
            },
        },
        "Mounts": [encode_mount_point(mount, paths.volumes) for mount in config.mounts],
        "Config": encode_config(record, defaults or _fallback(record), host_name),
        "NetworkSettings": encode_network_settings(config, attached or Attached()),
    }
    if sizes is not None:
        document["SizeRw"], document["SizeRootFs"] = sizes
    return document


def list_entry(
    record: ContainerRecord,
    paths: ContainerPaths,
    *,
    image_labels: Mapping[str, str] | None = None,
    sizes: tuple[int, int] | None = None,
    now_ns: int | None = None,
    attached: Attached | None = None,
) -> Document:
    """Return one entry of ``GET /containers/json``.

    Args:
        record: the container.
        paths: where its things are.
        image_labels: the image's labels, shown under the container's own.
        sizes: bytes of the writable directory and of the whole root, for ``--size``.
        attached: its networks and published ports; None: nothing is known of them.
        now_ns: what "ago" counts from; None for now.
    """
    config = record.config
    document: Document = {
        "Id": record.id,
        "Names": [f"/{record.name}"],
        "Image": config.image,
        "ImageID": record.image_id,
        "Command": " ".join((record.path, *record.args)),
        "Created": record.created_at_ns // NS_PER_S,
        "Ports": encode_port_list((attached or Attached()).ports),
        "Labels": {**(image_labels or {}), **config.labels},
        "State": record.state.status,
        "Status": describe_state(record.state, now_ns=now_ns),
        "HostConfig": {"NetworkMode": config.network_mode},
        "NetworkSettings": {"Networks": encode_endpoints(config, attached or Attached())},
        "Mounts": [encode_mount_point(mount, paths.volumes) for mount in config.mounts],
    }
    if config.annotations:
        document["HostConfig"]["Annotations"] = dict(config.annotations)
    if sizes is not None:
        document["SizeRw"], document["SizeRootFs"] = sizes
    return document


def describe_state(state: ContainerState, *, now_ns: int | None = None) -> str:
    """Return Docker's sentence: ``Up 5 minutes``, ``Exited (0) 3 hours ago``, ``Created``."""
    now = time.time_ns() if now_ns is None else now_ns
    since_start = format_duration_human((now - state.started_at_ns) / NS_PER_S)
    since_end = format_duration_human((now - state.finished_at_ns) / NS_PER_S)
    if state.status == "running":
        return f"Up {since_start}{_HEALTH_WORDS[state.health]}"
    if state.status == "paused":
        return f"Up {since_start} (Paused)"
    if state.status == "restarting":
        return f"Restarting ({state.exit_code}) {since_end} ago"
    if state.status == "removing":
        return "Removal In Progress"
    if state.status == "dead":
        return "Dead"
    if state.status == "created" or not state.finished_at_ns:
        return "Created"
    return f"Exited ({state.exit_code}) {since_end} ago"


def encode_state(state: ContainerState, health: HealthLog | None = None) -> Document:
    """Return ``State``. As with Docker a paused container is running too."""
    document: Document = {
        "Status": state.status,
        "Running": state.status in ("running", "paused", "restarting"),
        "Paused": state.status == "paused",
        "Restarting": state.status == "restarting",
        "OOMKilled": state.oom_killed,
        "Dead": state.status == "dead",
        "Pid": state.init.pid if state.status in ("running", "paused") else 0,
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": _time(state.started_at_ns),
        "FinishedAt": _time(state.finished_at_ns),
    }
    if health is not None:
        document["Health"] = {
            "Status": state.health,
            "FailingStreak": health.failing_streak,
            "Log": [
                {
                    "Start": format_rfc3339_ns(result.began_ns),
                    "End": format_rfc3339_ns(result.ended_ns),
                    "ExitCode": result.exit_code,
                    "Output": result.output,
                }
                for result in health.results
            ],
        }
    return document


def encode_config(
    record: ContainerRecord, defaults: ContainerDefaults, host_name: str = ""
) -> Document:
    """Return ``Config``: the user's words over the image's."""
    config = record.config
    if config.entrypoint is None:
        entrypoint, command = defaults.entrypoint, config.command or defaults.cmd
    else:
        entrypoint, command = config.entrypoint, config.command
    document: Document = {
        "Hostname": config.hostname or host_name or record.id[:12],
        "Domainname": config.domainname,
        "User": config.user or defaults.user,
        "AttachStdin": config.open_stdin,
        "AttachStdout": True,
        "AttachStderr": True,
        "Tty": config.tty,
        "OpenStdin": config.open_stdin,
        "StdinOnce": config.open_stdin and config.stdin_once,
        "Env": merge_environment(defaults.env, config.env),
        "Cmd": list(command) or None,
        "Image": config.image,
        "Volumes": _volumes(config, defaults),
        "WorkingDir": config.working_dir or defaults.working_dir,
        "Entrypoint": list(entrypoint) or None,
        "OnBuild": list(defaults.on_build) or None,
        "Labels": {**defaults.labels, **config.labels},
    }
    if defaults.exposed_ports:
        document["ExposedPorts"] = {port: {} for port in defaults.exposed_ports}
    if config.stop_signal or defaults.stop_signal:
        document["StopSignal"] = config.stop_signal or defaults.stop_signal
    check = encode_healthcheck(config, defaults)
    if check:
        document["Healthcheck"] = check
    if config.stop_timeout_s is not None:
        document["StopTimeout"] = config.stop_timeout_s
    return document


def encode_healthcheck(config: ContainerConfig, defaults: ContainerDefaults) -> Document:
    """Return ``Healthcheck``: the user's words over the image's; empty when there is none."""
    user, image = config.health or HealthConfig(), defaults.healthcheck or Healthcheck()
    fields: Document = {
        "Test": list(user.test or image.test),
        "Interval": user.interval_ns or image.interval,
        "Timeout": user.timeout_ns or image.timeout,
        "StartPeriod": user.start_period_ns or image.start_period,
        "StartInterval": user.start_interval_ns or image.start_interval,
        "Retries": user.retries or image.retries,
    }
    return {name: value for name, value in fields.items() if value} if fields["Test"] else {}


def merge_environment(image: tuple[str, ...], user: tuple[str, ...]) -> list[str]:
    """Return the image's variables with the user's over them; a name alone takes one away."""
    merged: dict[str, str] = {}
    for entry in (*image, *user):
        name, separator, _ = entry.partition("=")
        if separator:
            merged[name] = entry
        else:
            merged.pop(name, None)
    return list(merged.values())


def encode_mount_point(mount: MountConfig, volumes: str) -> Document:
    """Return one element of ``Mounts``.

    Args:
        mount: as configured.
        volumes: directory that holds ``<name>/_data`` of each volume.
    """
    document: Document = {"Type": mount.type}
    if mount.type == "volume":
        document["Name"] = mount.source
        document["Source"] = os.path.join(volumes, mount.source, "_data")
    else:
        document["Source"] = mount.source
    document["Destination"] = mount.target
    if mount.type == "volume":
        document["Driver"] = "local"
    document["Mode"] = "ro" if mount.readonly else ""
    document["RW"] = not mount.readonly
    document["Propagation"] = mount.propagation if mount.type == "bind" else ""
    return document


def _time(time_ns: int) -> str:
    return format_rfc3339_ns(time_ns) if time_ns else NEVER


def _fallback(record: ContainerRecord) -> ContainerDefaults:
    """Return what can be said of an image that is gone: the command that was made from it."""
    return ContainerDefaults(cmd=(record.path, *record.args))


def _volumes(config: ContainerConfig, defaults: ContainerDefaults) -> Document | None:
    targets = [m.target for m in config.mounts if m.type == "volume" and not m.source]
    return {target: {} for target in (*defaults.volumes, *targets)} or None
