"""What a user asks for: the container's configuration, as data.

The command line, the HTTP API and the Python API all fill a :class:`ContainerConfig`; it is stored
with the container and never changed by running it. Names follow Docker's ``Config`` and
``HostConfig`` (Engine API 1.51) in snake case; units are in the names. ``None`` and empty mean "the
image's or the engine's default".
"""

from __future__ import annotations

from typing import Literal

import msgspec

Pull = Literal["missing", "always", "never"]
IsolationName = Literal["process", "vm"]


class MountConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One ``-v``, ``--mount`` or ``--tmpfs``.

    Attributes:
        type: ``bind`` (source is an absolute host path), ``volume`` (source is a volume name, empty
            for anonymous) or ``tmpfs``.
        target: absolute path inside the container.
        propagation: ``private|rprivate|slave|rslave|shared|rshared``.
        create_source: make a missing bind source as a directory (``-v`` does, ``--mount`` refuses).
    """

    type: Literal["bind", "volume", "tmpfs"]
    target: str
    source: str = ""
    readonly: bool = False
    propagation: str = "rprivate"
    create_source: bool = False
    recursive: bool = True
    tmpfs_size_bytes: int = 0
    tmpfs_mode: int = 0o1777
    tmpfs_options: tuple[str, ...] = ()
    volume_nocopy: bool = False
    volume_subpath: str = ""


class ThrottleDevice(msgspec.Struct, frozen=True):
    """A limit of one block device: its host path and bytes or operations a second."""

    path: str
    rate: int


class Resources(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Limits; 0 means "not limited" except where said.

    Attributes:
        memory_swap_bytes: memory plus swap, -1 unlimited, 0 twice the memory (Docker's rule).
        nano_cpus: CPUs in units of 1e-9 (``--cpus 1.5`` is 1500000000).
        pids_limit: None for the engine's default, -1 for unlimited.
    """

    memory_bytes: int = 0
    memory_swap_bytes: int = 0
    memory_reservation_bytes: int = 0
    nano_cpus: int = 0
    cpu_shares: int = 0
    cpu_period_us: int = 0
    cpu_quota_us: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    pids_limit: int | None = None
    blkio_weight: int = 0
    device_read_bps: tuple[ThrottleDevice, ...] = ()
    device_write_bps: tuple[ThrottleDevice, ...] = ()
    device_read_iops: tuple[ThrottleDevice, ...] = ()
    device_write_iops: tuple[ThrottleDevice, ...] = ()
    oom_kill_disable: bool = False


class RestartPolicy(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``--restart``: ``no``, ``always``, ``unless-stopped``, ``on-failure`` (with a count)."""

    name: Literal["no", "always", "unless-stopped", "on-failure"] = "no"
    maximum_retry_count: int = 0


class LogConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``--log-driver`` and ``--log-opt``. Drivers: ``json-file``, ``none``."""

    driver: str = "json-file"
    options: dict[str, str] = {}


class Ulimit(msgspec.Struct, frozen=True, kw_only=True):
    """One ``--ulimit``: name without RLIMIT_ (``nofile``), -1 for unlimited."""

    name: str
    soft: int
    hard: int


class DeviceMapping(msgspec.Struct, frozen=True, kw_only=True):
    """One ``--device``: host path, path inside, and the subset of ``rwm`` that is allowed."""

    host_path: str
    container_path: str
    permissions: str = "rwm"


class ExecConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One ``exec``: a further process of a running container.

    Attributes:
        env: on top of the container's.
        user: empty: the container's.
        working_dir: empty: the container's.
        privileged: all capabilities of the container's user namespace, no seccomp filter change.
        detach: do not wait for its end.
    """

    command: tuple[str, ...]
    env: tuple[str, ...] = ()
    user: str = ""
    working_dir: str = ""
    tty: bool = False
    open_stdin: bool = False
    privileged: bool = False
    detach: bool = False


class EndpointConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One ``--network``: a network and the container's wishes for its place there.

    Attributes:
        network: name or id; what ``network_mode`` says for the first one.
        address4, address6: wanted addresses (``--ip``, ``--ip6``), empty: any.
        mac: wanted hardware address, empty: derived from the address.
        aliases: further names on that network.
        gateway_priority: the network with the highest leads the default route.
    """

    network: str = ""
    address4: str = ""
    address6: str = ""
    mac: str = ""
    aliases: tuple[str, ...] = ()
    gateway_priority: int = 0


class PortConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One published port of ``-p``.

    Attributes:
        protocol: ``tcp`` or ``udp``.
        host_ip: empty: all addresses of the host.
        host_port: 0: any free one.
        host_port_last: end of a range to choose a free one from; 0: exactly ``host_port``.
    """

    container_port: int
    protocol: Literal["tcp", "udp"] = "tcp"
    host_ip: str = ""
    host_port: int = 0
    host_port_last: int = 0


class ContainerUpdate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What ``update`` changes of a container; what is not said stays.

    Attributes:
        resources: limits that are 0, empty or None stay as they are (Docker's rule).
        restart: None: as it is.
        labels: set on top of the container's.
        label_rm: names of labels that go.
        mount_add: binds and volumes.
        mount_rm: the places of mounts that go.
        publish_add, publish_rm: ports to publish, and published ones to take back; of the latter
            the host's port and address may be left out.
        rate_in_bytes, rate_out_bytes: bytes a second, 0 for no limit; None: as it is.
        egress: as in :class:`ContainerConfig`, None: as it is. ``("any",)`` lifts the policy.
    """

    resources: Resources = Resources()
    restart: RestartPolicy | None = None
    labels: dict[str, str] = {}
    label_rm: tuple[str, ...] = ()
    mount_add: tuple[MountConfig, ...] = ()
    mount_rm: tuple[str, ...] = ()
    publish_add: tuple[PortConfig, ...] = ()
    publish_rm: tuple[PortConfig, ...] = ()
    rate_in_bytes: int | None = None
    rate_out_bytes: int | None = None
    egress: tuple[str, ...] | None = None


class HealthConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``--health-*``: on top of the image's HEALTHCHECK; 0 and empty mean "the image's".

    Attributes:
        test: ``("CMD", ...)``, ``("CMD-SHELL", line)`` or ``("NONE",)``.
        start_interval_ns: between checks during the start period.
        on_unhealthy: what the supervisor does when the container becomes unhealthy.
    """

    test: tuple[str, ...] = ()
    interval_ns: int = 0
    timeout_ns: int = 0
    start_period_ns: int = 0
    start_interval_ns: int = 0
    retries: int = 0
    on_unhealthy: Literal["none", "restart", "stop"] = "none"


class ContainerConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A container as its user asked for it.

    Attributes:
        image: the words of the user (``debian:bookworm``), resolved when the container is created.
        command: arguments after the image; empty: the image's Cmd.
        entrypoint: None: the image's; empty tuple: none (``--entrypoint ""``).
        env: ``NAME=value`` in order; later ones win.
        user: ``user[:group]`` by name or number, empty: the image's.
        stdin_once: the end of the first attached input is the container's end of file.
        stop_timeout_s: None: 10 seconds.
        network_mode: ``none``, ``host``, ``default``, ``container:ID`` or a network's name.
        networks: the wishes for ``network_mode``'s network, then further networks.
        ports: published ports (``-p``).
        publish_all: publish what the image exposes (``-P``), on free ports.
        expose: further ports for ``publish_all``: ``80/tcp``.
        rate_in_bytes, rate_out_bytes: bandwidth to and from the container, a second; 0: no limit.
        egress: where it may connect to beyond its networks: networks, addresses, domains; None:
            everywhere; empty: nowhere.
        userns_mode: empty: a user namespace of its own; ``host``: the host's.
        security_options: Docker's words: ``no-new-privileges=false``, ``seccomp=unconfined`` ...
    """

    image: str
    command: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    env: tuple[str, ...] = ()
    working_dir: str = ""
    user: str = ""
    hostname: str = ""
    domainname: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = True
    stop_signal: str = ""
    stop_timeout_s: int | None = None
    auto_remove: bool = False
    init: bool = False
    readonly_rootfs: bool = False
    mounts: tuple[MountConfig, ...] = ()
    volumes_from: tuple[str, ...] = ()
    shm_size_bytes: int = 0
    resources: Resources = Resources()
    cgroup_parent: str = ""
    network_mode: str = "default"
    networks: tuple[EndpointConfig, ...] = ()
    ports: tuple[PortConfig, ...] = ()
    publish_all: bool = False
    expose: tuple[str, ...] = ()
    rate_in_bytes: int = 0
    rate_out_bytes: int = 0
    egress: tuple[str, ...] | None = None
    pid_mode: str = ""
    ipc_mode: str = ""
    uts_mode: str = ""
    userns_mode: str = ""
    cgroupns_mode: str = ""
    extra_hosts: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    privileged: bool = False
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    group_add: tuple[str, ...] = ()
    security_options: tuple[str, ...] = ()
    devices: tuple[DeviceMapping, ...] = ()
    device_cgroup_rules: tuple[str, ...] = ()
    sysctls: dict[str, str] = {}
    ulimits: tuple[Ulimit, ...] = ()
    oom_score_adj: int = 0
    restart: RestartPolicy = RestartPolicy()
    log: LogConfig = LogConfig()
    health: HealthConfig | None = None
    isolation: IsolationName = "process"
    vm_accelerator: Literal["auto", "kvm", "tcg"] = "auto"
    vm_kernel: str = ""
    platform: str = ""
