"""From a container's record and image to what an isolation builds: the OCI runtime spec."""

from __future__ import annotations

import msgspec

from proa.engine.compose.devices import compose_devices
from proa.engine.compose.files import host_name
from proa.engine.compose.mounts import compose_mounts
from proa.engine.compose.process import compose_process, find_missing_capabilities, root_stack
from proa.engine.compose.propagation import find_deaf
from proa.engine.compose.resources import compose_resources
from proa.engine.compose.securityoptions import find_ineffective, shows_system_paths
from proa.engine.compose.sharing import (
    CONTAINER,
    compose_mappings,
    compose_namespaces,
    share_memory,
)
from proa.engine.config import ContainerConfig
from proa.engine.context import Context
from proa.engine.layout import PLACES
from proa.engine.model import ContainerRecord
from proa.errors import Invalid, from_os_error
from proa.image.model import Image
from proa.oci.isolation import OverlayRoot, SandboxSpec
from proa.oci.platform import Platform, host_platform
from proa.oci.seccomp import LinuxSeccomp
from proa.oci.spec import Linux, Root, Spec
from proa.runtime import defaults
from proa.runtime.security import seccomp

CGROUP_PARENT = "/proa"


def cgroup_path(record: ContainerRecord) -> str:
    """Return the container's group below the hierarchies' roots."""
    parent = record.config.cgroup_parent or CGROUP_PARENT
    return f"/{parent.strip('/')}/{record.id}"


def compose_sandbox(
    context: Context, record: ContainerRecord, image: Image
) -> tuple[SandboxSpec, tuple[str, ...]]:
    """Return what to build, and warnings about what the configuration asks for in vain.

    Raises:
        ProaError: see the parts.
    """
    config = record.config
    directory = context.layout.container(record.id)
    arguments = (record.path, *record.args)
    mounts = compose_mounts(
        config, directory, context.layout.volumes, defaults.mounts(privileged=config.privileged)
    )
    mounts = share_memory(context, config, mounts)
    if config.init:
        from proa.engine.compose.init import add_init

        arguments, mounts = add_init(context.layout, arguments, mounts)
    process = compose_process(
        config,
        image.config.config,
        record.id,
        arguments,
        root_stack(context.layout, record, image),
    )
    devices, rules = compose_devices(config)
    mappings = compose_mappings(context, record)
    shown = config.privileged or shows_system_paths(config.security_options)
    kept = process.capabilities.bounding if process.capabilities is not None else ()
    spec = Spec(
        process=process,
        root=Root(readonly=config.readonly_rootfs),
        hostname="" if config.uts_mode == "host" else host_name(config, record.id),
        domainname=config.domainname,
        mounts=mounts,
        linux=Linux(
            namespaces=compose_namespaces(context, record),
            uid_mappings=mappings,
            gid_mappings=mappings,
            cgroups_path=cgroup_path(record),
            devices=devices,
            resources=msgspec.structs.replace(compose_resources(config.resources), devices=rules),
            seccomp=_seccomp(config, kept),
            sysctl=_sysctls(config),
            masked_paths=() if shown else defaults.MASKED_PATHS,
            readonly_paths=() if shown else defaults.READONLY_PATHS,
        ),
    )
    warnings = tuple(
        [
            f"this host has no {name}: the container does without"
            for name in find_missing_capabilities(config)
        ]
        + find_ineffective(config.security_options)
        + find_deaf(config.mounts, own_userns=bool(mappings))
    )
    sandbox = SandboxSpec(
        id=record.id,
        spec=spec,
        root=_overlay_root(context, record, image),
        bundle=directory,
        emulators=_emulators(record, image.config.platform),
    )
    return sandbox, warnings


def _overlay_root(context: Context, record: ContainerRecord, image: Image) -> OverlayRoot:
    relative = f"containers/{record.id}"
    return OverlayRoot(
        base=context.layout.root,
        lowers=(*image.lowers, PLACES),
        upper=f"{relative}/upper",
        work=f"{relative}/work",
        merged=relative,
        volatile=record.config.auto_remove,
    )


def _emulators(record: ContainerRecord, made_for: Platform) -> tuple[str, ...]:
    """Entries of the container's own binfmt_misc; a native image, the usual one, needs none."""
    if record.userns_base < 0 or made_for.architecture == host_platform().architecture:
        return ()
    from proa.engine.emulation import compose_registrations

    return compose_registrations(made_for)


def _sysctls(config: ContainerConfig) -> dict[str, str]:
    if config.network_mode == "host" or config.network_mode.startswith(CONTAINER):
        return dict(config.sysctls)
    return {**defaults.NETWORK_SYSCTLS, **config.sysctls}


def _seccomp(config: ContainerConfig, capabilities: tuple[str, ...]) -> LinuxSeccomp | None:
    if config.privileged:
        return None
    for option in config.security_options:
        name, _, value = option.replace(":", "=", 1).partition("=")
        if name != "seccomp":
            continue
        if value == "unconfined":
            return None
        if value not in ("", "builtin", "default"):
            return _load_profile(value, capabilities)
    return seccomp.default_profile(frozenset(capabilities))


def _load_profile(value: str, capabilities: tuple[str, ...]) -> LinuxSeccomp:
    """Read a profile: JSON text, or the path of a file with it."""
    if value.lstrip().startswith("{"):
        return seccomp.load_profile(value.encode(), frozenset(capabilities))
    try:
        with open(value, "rb") as stream:
            document = stream.read(16 * 1024 * 1024)
    except OSError as error:
        raise from_os_error(error, f"cannot read the seccomp profile {value}") from error
    if not document.strip():
        raise Invalid(f"the seccomp profile {value} is empty")
    return seccomp.load_profile(document, frozenset(capabilities))
