"""From the values of the flags to a :class:`ContainerConfig`."""

from __future__ import annotations

import json
from typing import Literal, cast

import msgspec

from proa.cli.io import IO
from proa.cli.parser import Flag, Options, UsageError
from proa.cli.runflags import files, mounts
from proa.cli.runflags import table as t
from proa.cli.runflags.health import health_from
from proa.engine.config import (
    ContainerConfig,
    EndpointConfig,
    LogConfig,
    MountConfig,
    Pull,
    Resources,
    Ulimit,
)

_SECURITY_WORDS = frozenset(("no-new-privileges", "seccomp", "apparmor", "label", "systempaths"))


def config_from(options: Options, io: IO) -> ContainerConfig:  # long: one line for each flag
    """Make the configuration of a new container.

    Args:
        options: the flags of ``t.SHARED``; the first argument is the image.
        io: where files and relative paths are looked up and bare ``-e NAME`` gets its value.

    Raises:
        UsageError: a value is wrong, or two flags contradict each other (exit code 125).
    """
    image, *command = options.arguments
    if not image:
        raise UsageError("invalid reference format: the image has no name")
    if options[t.RM] and options[t.RESTART].name != "no":
        raise UsageError("conflicting options: cannot specify both --restart and --rm")
    if options[t.UTS] == "host" and (options[t.HOSTNAME] or options[t.DOMAINNAME]):
        raise UsageError("conflicting options: hostname and the UTS mode")
    network_mode, wishes = _networks(options)
    return ContainerConfig(
        image=image,
        command=tuple(command),
        entrypoint=_entrypoint(options),
        env=environment(options, io),
        working_dir=working_dir(options),
        user=options[t.USER],
        hostname=options[t.HOSTNAME],
        domainname=options[t.DOMAINNAME],
        labels=_labels(options, io),
        annotations=_mapping(options[t.ANNOTATION]),
        tty=options[t.TTY],
        open_stdin=options[t.INTERACTIVE],
        stop_signal=options[t.STOP_SIGNAL],
        stop_timeout_s=options[t.STOP_TIMEOUT],
        auto_remove=options[t.RM],
        init=options[t.INIT],
        readonly_rootfs=options[t.READ_ONLY],
        mounts=_mounts(options, io),
        volumes_from=options[t.VOLUMES_FROM],
        shm_size_bytes=options[t.SHM_SIZE],
        resources=_resources(options),
        cgroup_parent=options[t.CGROUP_PARENT],
        network_mode=network_mode,
        networks=wishes,
        ports=tuple(port for ports in options[t.PUBLISH] for port in ports),
        publish_all=options[t.PUBLISH_ALL],
        expose=options[t.EXPOSE],
        rate_in_bytes=options[t.RATE_IN],
        rate_out_bytes=options[t.RATE_OUT],
        egress=options[t.EGRESS] if options.is_given(t.EGRESS) else None,
        pid_mode=_namespace(options, t.PID, "PID", ("host",)),
        ipc_mode=_namespace(options, t.IPC, "IPC", ("none", "private", "shareable", "host")),
        uts_mode=_namespace(options, t.UTS, "UTS", ("host",)),
        userns_mode=_namespace(options, t.USERNS, "USER", ("host",)),
        cgroupns_mode=_namespace(options, t.CGROUPNS, "CGROUP", ("host", "private")),
        extra_hosts=options[t.ADD_HOST],
        dns=options[t.DNS],
        dns_search=options[t.DNS_SEARCH],
        dns_options=(*options[t.DNS_OPTION], *options[t.DNS_OPT]),
        privileged=options[t.PRIVILEGED],
        cap_add=options[t.CAP_ADD],
        cap_drop=options[t.CAP_DROP],
        group_add=options[t.GROUP_ADD],
        security_options=_security_options(options, io),
        devices=options[t.DEVICE],
        device_cgroup_rules=options[t.DEVICE_CGROUP_RULE],
        sysctls=_mapping(options[t.SYSCTL]),
        ulimits=_ulimits(options),
        oom_score_adj=options[t.OOM_SCORE_ADJ],
        restart=options[t.RESTART],
        health=health_from(options),
        log=_log(options),
        isolation=_isolation(options),
        vm_accelerator=_accelerator(options),
        vm_kernel=options[t.KERNEL],
        platform=options[t.PLATFORM],
    )


def pull_policy(options: Options) -> Pull:
    """The word of ``--pull``, or of ``--policy``.

    Raises:
        UsageError: another word than always, missing and never.
    """
    word = options[t.POLICY if options.is_given(t.POLICY) else t.PULL]
    if word not in ("always", "missing", "never"):
        raise UsageError(
            f'invalid pull option: \'{word}\': must be one of "always", "missing" or "never"'
        )
    return cast("Pull", word)


def _entrypoint(options: Options) -> tuple[str, ...] | None:
    if not options.is_given(t.ENTRYPOINT):
        return None
    word = options[t.ENTRYPOINT]
    return (word,) if word else ()


def working_dir(options: Options) -> str:
    """The absolute path of ``--workdir``, or empty.

    Raises:
        UsageError: it is relative.
    """
    path = options[t.WORKDIR]
    if path and not path.startswith("/"):
        raise UsageError(
            f"the working directory '{path}' is invalid, it needs to be an absolute path"
        )
    return path


def environment(options: Options, io: IO) -> tuple[str, ...]:
    """``NAME=value`` of ``--env-file`` and ``-e``, in this order.

    Raises:
        UsageError: a file cannot be read or is malformed.
    """
    entries: list[str] = []
    for name in options[t.ENV_FILE]:
        try:
            entries.extend(files.read_env_file(io.path(name), io.env))
        except ValueError as error:
            raise UsageError(str(error)) from None
    for entry in options[t.ENV]:
        if "=" in entry:
            entries.append(entry)
        elif entry in io.env:
            entries.append(f"{entry}={io.env[entry]}")
    return tuple(entries)


def _labels(options: Options, io: IO) -> dict[str, str]:
    labels: dict[str, str] = {}
    for name in options[t.LABEL_FILE]:
        try:
            labels.update(files.read_label_file(io.path(name)))
        except ValueError as error:
            raise UsageError(str(error)) from None
    labels.update(_mapping(options[t.LABEL]))
    return labels


def _mounts(options: Options, io: IO) -> tuple[MountConfig, ...]:
    found: list[MountConfig] = []
    readers = (
        (t.VOLUME, lambda text: mounts.parse_volume(text, io.cwd)),
        (t.MOUNT, lambda text: mounts.parse_mount(text, io.cwd)),
        (t.TMPFS, mounts.parse_tmpfs),
    )
    for flag, read in readers:
        for text in options[flag]:
            try:
                found.append(read(text))
            except ValueError as error:
                raise UsageError(
                    f'invalid argument "{text}" for "{flag.spelling}" flag: {error}',
                    named=False,
                    show_usage=True,
                ) from None
    seen: set[str] = set()
    for mount in found:
        if mount.target in seen:
            raise UsageError(f"duplicate mount point: {mount.target}")
        seen.add(mount.target)
    return tuple(found)


def _resources(options: Options) -> Resources:
    if options[t.CPUS] and (options[t.CPU_QUOTA] or options[t.CPU_PERIOD]):
        raise UsageError(
            "conflicting options: cannot specify both --cpus and --cpu-period or --cpu-quota"
        )
    return Resources(
        memory_bytes=options[t.MEMORY],
        memory_swap_bytes=options[t.MEMORY_SWAP],
        memory_reservation_bytes=options[t.MEMORY_RESERVATION],
        nano_cpus=options[t.CPUS],
        cpu_shares=options[t.CPU_SHARES],
        cpu_period_us=options[t.CPU_PERIOD],
        cpu_quota_us=options[t.CPU_QUOTA],
        cpuset_cpus=options[t.CPUSET_CPUS],
        cpuset_mems=options[t.CPUSET_MEMS],
        pids_limit=options[t.PIDS_LIMIT],
        blkio_weight=options[t.BLKIO_WEIGHT],
        device_read_bps=options[t.DEVICE_READ_BPS],
        device_write_bps=options[t.DEVICE_WRITE_BPS],
        device_read_iops=options[t.DEVICE_READ_IOPS],
        device_write_iops=options[t.DEVICE_WRITE_IOPS],
        oom_kill_disable=options[t.OOM_KILL_DISABLE],
    )


def _networks(options: Options) -> tuple[str, tuple[EndpointConfig, ...]]:
    """The first network's name, and the wishes for all; flags of their own belong to the first."""
    given = (*options[t.NETWORK], *options[t.NET])
    first = given[0] if given else EndpointConfig()
    for flag, field in ((t.IP, "address4"), (t.IP6, "address6"), (t.MAC_ADDRESS, "mac")):
        if options[flag]:
            if getattr(first, field):
                raise UsageError(f"conflicting options: --{flag.name} and the field of --network")
            first = msgspec.structs.replace(first, **{field: options[flag]})
    aliases = (*first.aliases, *options[t.NETWORK_ALIAS], *options[t.NET_ALIAS])
    first = msgspec.structs.replace(first, aliases=aliases)
    name = first.network or "default"
    wishes = (msgspec.structs.replace(first, network=""), *given[1:])
    return name, () if wishes == (EndpointConfig(),) else wishes


def _namespace(options: Options, flag: Flag[str], what: str, words: tuple[str, ...]) -> str:
    mode = options[flag]
    kind, _, container = mode.partition(":")
    joins = what in ("PID", "IPC") and kind == "container" and bool(container)
    if mode and mode not in words and not joins:
        raise UsageError(f"--{flag.name}: invalid {what} mode '{mode}': use {' or '.join(words)}")
    return mode


def _security_options(options: Options, io: IO) -> tuple[str, ...]:
    """Check the words, and read a seccomp profile from its file as Docker's client does."""
    words: list[str] = []
    for text in options[t.SECURITY_OPT]:
        name, equals, value = text.partition("=")
        if not equals and ":" in name:
            name, equals, value = name.partition(":")
        if name not in _SECURITY_WORDS or (not equals and name != "no-new-privileges"):
            raise UsageError(f'invalid --security-opt: "{text}"')
        if name == "seccomp" and value not in ("unconfined", "builtin"):
            value = _read_profile(io.path(value), value)
        words.append(f"{name}={value}" if equals else name)
    return tuple(words)


def _read_profile(path: str, name: str) -> str:
    try:
        with open(path, "rb") as file:
            return json.dumps(json.load(file), separators=(",", ":"))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(f"opening seccomp profile ({name}) failed: {reason}") from None
    except ValueError as error:
        raise UsageError(f"seccomp profile ({name}) is not JSON: {error}") from None


def _mapping(pairs: tuple[tuple[str, str], ...]) -> dict[str, str]:
    return dict(pairs)


def _ulimits(options: Options) -> tuple[Ulimit, ...]:
    return tuple({limit.name: limit for limit in options[t.ULIMIT]}.values())


def _log(options: Options) -> LogConfig:
    driver = options[t.LOG_DRIVER] or "json-file"
    settings = _mapping(options[t.LOG_OPT])
    if driver == "none" and settings:
        raise UsageError("invalid logging opts for driver none")
    return LogConfig(driver=driver, options=settings)


def _accelerator(options: Options) -> Literal["auto", "kvm", "tcg"]:
    word = options[t.VM_ACCEL]
    if (word or options[t.KERNEL]) and _isolation(options) != "vm":
        flag = t.VM_ACCEL if word else t.KERNEL
        raise UsageError(f"--{flag.name} needs --isolation vm")
    if word == "kvm":
        return "kvm"
    if word == "tcg":
        return "tcg"
    if word not in ("", "auto"):
        raise UsageError(f"invalid accelerator '{word}': use auto, kvm or tcg")
    return "auto"


def _isolation(options: Options) -> Literal["process", "vm"]:
    runtime, word = options[t.RUNTIME], options[t.ISOLATION] or "default"
    if runtime not in ("", "proa", "proa-vm"):
        raise UsageError(f"unknown runtime '{runtime}': use proa or proa-vm")
    if word not in ("default", "process", "vm"):
        raise UsageError(f"invalid isolation '{word}': use process or vm")
    if runtime == "proa-vm" and word == "process":
        raise UsageError("conflicting options: --runtime proa-vm and --isolation process")
    return "vm" if word == "vm" or runtime == "proa-vm" else "process"
