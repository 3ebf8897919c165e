"""Docker's words for mounts, as the command line and the API's ``Binds`` and ``Tmpfs`` write them.

Colons with an optional list of modes, and mount(8) options behind a path.
"""

from __future__ import annotations

import os
import re

from proa.engine.config import MountConfig
from proa.errors import Invalid
from proa.units import parse_size

PROPAGATIONS = frozenset(("private", "rprivate", "slave", "rslave", "shared", "rshared"))
_VOLUME_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
# Sharing of SELinux labels (z, Z) and Docker Desktop's caching words change nothing on Linux.
_IGNORED_MODES = frozenset(("z", "Z", "consistent", "cached", "delegated"))
_TMPFS_FLAGS = frozenset(
    (
        "exec", "noexec", "suid", "nosuid", "dev", "nodev", "sync", "async", "dirsync", "atime",
        "noatime", "diratime", "nodiratime", "relatime", "norelatime", "strictatime",
        "nostrictatime", "defaults",
    )
)  # fmt: skip
_TMPFS_PAIRS = frozenset(("uid", "gid", "nr_inodes", "nr_blocks", "mpol", "huge"))


def parse_volume(text: str, cwd: str) -> MountConfig:
    """Parse one ``-v``: ``[SOURCE:]TARGET[:MODES]``.

    Args:
        text: the words of the user.
        cwd: what a source that begins with a dot is relative to.

    Raises:
        ValueError: the form, a mode, the target or the volume's name is wrong.
    """
    if not text:
        raise ValueError("invalid empty volume spec")
    parts = text.split(":")
    if len(parts) > 3 or (len(parts) > 1 and not parts[0]) or not parts[-1]:
        raise ValueError(f"invalid volume specification: '{text}'")
    if len(parts) == 1:
        return MountConfig(type="volume", target=clean_target(text))
    if len(parts) == 2 and not parts[1].startswith("/"):
        raise ValueError(
            f"invalid volume specification: '{text}': invalid mount path: '{parts[1]}' "
            "mount path must be absolute"
        )
    modes = parts[2].split(",") if len(parts) == 3 else []
    readonly, propagation, nocopy = _parse_modes(modes, text)
    source, target = parts[0], clean_target(parts[1])
    if source.startswith((".", "/")):
        if nocopy:
            raise ValueError(f"invalid mode: nocopy is for volumes: '{text}'")
        return MountConfig(
            type="bind",
            source=_absolute(source, cwd),
            target=target,
            readonly=readonly,
            propagation=propagation or "rprivate",
            create_source=True,
        )
    if propagation:
        raise ValueError(f"invalid mode: {propagation} is for bind mounts: '{text}'")
    return MountConfig(
        type="volume",
        source=check_volume_name(source),
        target=target,
        readonly=readonly,
        volume_nocopy=nocopy,
    )


def _parse_modes(modes: list[str], text: str) -> tuple[bool, str, bool]:
    readonly, propagation, nocopy = False, "", False
    seen: set[str] = set()
    for mode in modes:
        if mode in ("ro", "rw"):
            group, readonly = "access", mode == "ro"
        elif mode in PROPAGATIONS:
            group, propagation = "propagation", mode
        elif mode == "nocopy":
            group, nocopy = "copy", True
        elif mode in _IGNORED_MODES:
            group = "label" if mode in "zZ" else "consistency"
        else:
            raise ValueError(f"invalid mode: {mode}: '{text}'")
        if group in seen:
            raise ValueError(f"invalid mode: {','.join(modes)}: '{text}'")
        seen.add(group)
    return readonly, propagation, nocopy


def check_volume_name(name: str) -> str:
    """Return a name that a volume may have.

    Raises:
        ValueError: it has other characters.
    """
    if not _VOLUME_NAME.fullmatch(name):
        raise ValueError(
            f'"{name}" includes invalid characters for a volume name, only '
            '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed; for a host directory use an absolute path'
        )
    return name


def clean_target(path: str) -> str:
    """Return an absolute path inside the container, normal.

    Raises:
        ValueError: it is relative, or the root.
    """
    if not path.startswith("/"):
        raise ValueError(f"invalid mount path: '{path}' mount path must be absolute")
    clean = os.path.normpath("/" + path.lstrip("/"))
    if clean == "/":
        raise ValueError("invalid specification: destination can't be '/'")
    return clean


def _absolute(path: str, cwd: str) -> str:
    return os.path.normpath(os.path.join(cwd, path))


def parse_tmpfs(text: str) -> MountConfig:
    """Parse one ``--tmpfs``: ``/run[:rw,noexec,size=64m,mode=1777]``.

    Raises:
        ValueError: a relative path, an unknown option, a bad value.
    """
    target, _, rest = text.partition(":")
    size, mode, readonly = 0, 0o1777, False
    options: list[str] = []
    for option in rest.split(",") if rest else []:
        key, equals, value = option.partition("=")
        if key in ("ro", "rw") and not equals:
            readonly = key == "ro"
        elif key == "size" and not value.endswith("%"):
            try:
                size = parse_size(value)
            except Invalid:
                raise ValueError(f"invalid value for size: {value}") from None
        elif key == "mode":
            mode = parse_mode(value, "mode")
        elif (key in _TMPFS_PAIRS or key == "size") if equals else key in _TMPFS_FLAGS:
            options.append(option)
        else:
            raise ValueError(f'invalid tmpfs option "{option}"')
    return MountConfig(
        type="tmpfs",
        target=clean_target(target),
        readonly=readonly,
        tmpfs_size_bytes=size,
        tmpfs_mode=mode,
        tmpfs_options=tuple(options),
    )


def parse_mode(text: str, key: str) -> int:
    """Return an octal mode.

    Raises:
        ValueError: it is none.
    """
    if not re.fullmatch(r"[0-7]{1,5}", text) or int(text, 8) > 0o7777:
        raise ValueError(f"invalid value for {key}: {text}")
    return int(text, 8)
