"""The container's process: what runs, as whom, with which environment and privileges.

The rules are Docker's: the user's words replace the image's, an entrypoint given by the user drops
the image's command, the environment is the image's with the user's on top.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable, Sequence

import msgspec

from proa.engine.compose.files import host_name
from proa.engine.config import ContainerConfig, ExecConfig, Ulimit
from proa.engine.layout import Layout
from proa.engine.model import ContainerRecord
from proa.errors import Invalid
from proa.image.model import Image
from proa.image.snapshots.view import LayeredView
from proa.linux.capability import read_sets
from proa.oci.imageconfig import ContainerDefaults
from proa.oci.spec import LinuxCapabilities, POSIXRlimit, Process, User
from proa.runtime.security import capabilities, userdb

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_UNLIMITED = 2**64 - 1

_identities: dict[tuple[str, tuple[str, ...], tuple[str, ...]], userdb.UserIdentity] = {}
"""Users of containers that have not touched /etc, by what the layers alone decide; layers never
change."""

_MOST_IDENTITIES = 64


def resolve_command(config: ContainerConfig, defaults: ContainerDefaults) -> tuple[str, ...]:
    """Return the argument vector.

    Raises:
        Invalid: neither the user nor the image names a command.
    """
    if config.entrypoint is None:
        arguments = (*defaults.entrypoint, *(config.command or defaults.cmd))
    else:
        arguments = (*config.entrypoint, *config.command)
    if not arguments or not arguments[0]:
        raise Invalid(
            f"no command specified for a container of {config.image}",
            "give one after the image; the image has no default",
        )
    return arguments


def resolve_environment(
    config: ContainerConfig, defaults: ContainerDefaults, container_id: str
) -> dict[str, str]:
    """Return the environment, without HOME (that needs the user)."""
    environment = {"PATH": DEFAULT_PATH, "HOSTNAME": host_name(config, container_id)}
    if config.tty:
        environment["TERM"] = "xterm"
    for entry in (*defaults.env, *config.env):
        name, separator, value = entry.partition("=")
        if separator:
            environment[name] = value
        else:
            # Docker: a name without "=" takes the variable away.
            environment.pop(name, None)
    return environment


def resolve_user(
    user: str, directories: Sequence[str], group_add: Sequence[str]
) -> userdb.UserIdentity:
    """Look the user up in the container's own passwd and group files.

    Args:
        user: ``name|uid[:group|gid]``, empty for root.
        directories: the container's root as a stack: its writable directory, then the layers.
        group_add: supplementary groups by name or number.

    Raises:
        NotFound: no such user or group in the image.
        Invalid: the words cannot be a user.
    """
    key = (user, tuple(directories[1:]), tuple(group_add))
    untouched = not os.path.lexists(f"{directories[0]}/etc")
    if untouched and key in _identities:
        return _identities[key]
    with LayeredView(directories) as view:
        files = [_open(view, path) for path in ("/etc/passwd", "/etc/group")]
        try:
            identity = userdb.resolve(user, files[0], files[1], group_add)
        finally:
            for fd in files:
                if fd is not None:
                    os.close(fd)
    if untouched:
        if len(_identities) >= _MOST_IDENTITIES:
            _identities.clear()
        _identities[key] = identity
    return identity


def _open(view: LayeredView, path: str) -> int | None:
    try:
        return view.open_file(path)
    except OSError:
        return None


def compose_process(
    config: ContainerConfig,
    defaults: ContainerDefaults,
    container_id: str,
    arguments: tuple[str, ...],
    directories: Sequence[str],
) -> Process:
    """Return the init process of the runtime spec.

    Raises:
        ProaError: see the parts.
    """
    identity = resolve_user(config.user or defaults.user, directories, config.group_add)
    environment = resolve_environment(config, defaults, container_id)
    environment.setdefault("HOME", identity.home)
    return Process(
        args=arguments,
        env=tuple([f"{name}={value}" for name, value in environment.items()]),
        cwd=resolve_working_directory(config, defaults),
        terminal=config.tty,
        user=User(
            uid=identity.uid, gid=identity.gid, additional_gids=tuple(identity.additional_gids)
        ),
        capabilities=compose_capabilities(config, identity.uid),
        no_new_privileges=wants_no_new_privileges(
            config.security_options, privileged=config.privileged
        ),
        oom_score_adj=config.oom_score_adj or None,
        rlimits=tuple([compose_rlimit(ulimit) for ulimit in config.ulimits]),
    )


def compose_exec(
    layout: Layout, record: ContainerRecord, image: Image, exec_config: ExecConfig
) -> Process:
    """Return a further process of a container: the container's own, with what the user changes.

    Raises:
        Invalid: no command, or a relative working directory.
        NotFound: no such user or group in the container.
    """
    if not exec_config.command or not exec_config.command[0]:
        raise Invalid(f"no command specified for exec in container {record.id[:12]}")
    config = msgspec.structs.replace(
        record.config,
        env=(*record.config.env, *exec_config.env),
        user=exec_config.user or record.config.user,
        working_dir=exec_config.working_dir or record.config.working_dir,
        tty=exec_config.tty,
        privileged=exec_config.privileged or record.config.privileged,
        oom_score_adj=0,
    )
    return compose_process(
        config,
        image.config.config,
        record.id,
        exec_config.command,
        root_stack(layout, record, image),
    )


def root_stack(layout: Layout, record: ContainerRecord, image: Image) -> list[str]:
    """Return the directories of a container's root, uppermost first."""
    upper = f"{layout.container(record.id)}/upper"
    return [upper, *(f"{layout.root}/{lower}" for lower in image.lowers)]


def resolve_working_directory(config: ContainerConfig, defaults: ContainerDefaults) -> str:
    """Return the working directory.

    Raises:
        Invalid: the user's is not absolute.
    """
    if config.working_dir and not config.working_dir.startswith("/"):
        raise Invalid(
            f"the working directory '{config.working_dir}' is invalid, "
            "it needs to be an absolute path"
        )
    directory = config.working_dir or defaults.working_dir or "/"
    return os.path.normpath("/" + directory.lstrip("/"))


def compose_capabilities(config: ContainerConfig, uid: int) -> LinuxCapabilities:
    """Return the capability sets: ambient and inheritable stay empty (CVE-2022-24769).

    A process that does not start as root has only the bounding set, as with Docker.
    """
    names = capabilities.tweak(config.cap_add, config.cap_drop, privileged=config.privileged)
    sets = capabilities.sets(names.difference(find_missing_capabilities(config)))
    if uid == 0:
        return sets
    return LinuxCapabilities(bounding=sets.bounding)


def find_missing_capabilities(config: ContainerConfig) -> list[str]:
    """Return what is asked for and this host has lost for good (its own bounding set).

    Only in the host's user namespace: one of its own has all capabilities again.
    """
    if not (config.privileged or config.userns_mode == "host"):
        return []
    names = capabilities.tweak(config.cap_add, config.cap_drop, privileged=config.privileged)
    return capabilities.missing(names, read_sets().bounding)


def wants_no_new_privileges(options: Iterable[str], *, privileged: bool = False) -> bool:
    """no_new_privs is on unless ``--security-opt no-new-privileges=false`` says otherwise.

    A privileged container has nothing left to gain, and what it runs may need sudo(8): off.

    Raises:
        Invalid: the value is no boolean.
    """
    wanted = not privileged
    for option in options:
        name, separator, value = option.replace(":", "=", 1).partition("=")
        if name != "no-new-privileges":
            continue
        if value not in ("", "true", "false") or (separator and not value):
            raise Invalid(f"bad value '{option}' for --security-opt", "use true or false")
        wanted = value != "false"
    return wanted


def compose_rlimit(ulimit: Ulimit) -> POSIXRlimit:
    """Return one resource limit.

    Raises:
        Invalid: no such limit, or soft above hard.
    """
    name = "RLIMIT_" + ulimit.name.upper()
    if not hasattr(resource, name):
        raise Invalid(f"invalid ulimit type: {ulimit.name}")
    soft = _UNLIMITED if ulimit.soft < 0 else ulimit.soft
    hard = _UNLIMITED if ulimit.hard < 0 else ulimit.hard
    if soft > hard:
        raise Invalid(f"ulimit {ulimit.name}: soft limit {soft} is above hard limit {hard}")
    return POSIXRlimit(type=name, soft=soft, hard=hard)
