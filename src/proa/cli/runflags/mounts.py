"""``-v``, ``--mount`` and ``--tmpfs``.

The three grammars are Docker's: colons with an optional list of modes, comma separated pairs (CSV,
so a value may be quoted), and mount(8) options behind a path.
"""

from __future__ import annotations

import os
import re

from proa.cli.kinds import read_bool, read_size
from proa.engine.config import MountConfig

_VOLUME_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_PROPAGATIONS = frozenset(("private", "rprivate", "slave", "rslave", "shared", "rshared"))
# Sharing of SELinux labels (z, Z) and Docker Desktop's caching words change nothing on Linux.
_IGNORED_MODES = frozenset(("z", "Z", "consistent", "cached", "delegated"))
_BARE_KEYS = frozenset(("readonly", "ro", "volume-nocopy", "bind-nonrecursive"))
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
        return MountConfig(type="volume", target=_target(text))
    if len(parts) == 2 and not parts[1].startswith("/"):
        raise ValueError(
            f"invalid volume specification: '{text}': invalid mount path: '{parts[1]}' "
            "mount path must be absolute"
        )
    modes = parts[2].split(",") if len(parts) == 3 else []
    readonly, propagation, nocopy = _parse_modes(modes, text)
    source, target = parts[0], _target(parts[1])
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
        source=_volume_name(source),
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
        elif mode in _PROPAGATIONS:
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


def _volume_name(name: str) -> str:
    if not _VOLUME_NAME.fullmatch(name):
        raise ValueError(
            f'"{name}" includes invalid characters for a volume name, only '
            '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed; for a host directory use an absolute path'
        )
    return name


def _target(path: str) -> str:
    if not path.startswith("/"):
        raise ValueError(f"invalid mount path: '{path}' mount path must be absolute")
    clean = os.path.normpath("/" + path.lstrip("/"))
    if clean == "/":
        raise ValueError("invalid specification: destination can't be '/'")
    return clean


def _absolute(path: str, cwd: str) -> str:
    return os.path.normpath(os.path.join(cwd, path))


def parse_mount(text: str, cwd: str) -> MountConfig:
    """Parse one ``--mount``: ``type=bind,src=/a,dst=/b,readonly``.

    Args:
        text: the words of the user.
        cwd: what a bind source that begins with a dot is relative to.

    Raises:
        ValueError: an unknown key, a bad value, a missing key, or keys of another type.
    """
    fields: dict[str, str] = {}
    for field in _split_csv(text):
        key, equals, value = field.partition("=")
        key = key.lower().strip()
        if not equals:
            if key not in _BARE_KEYS:
                raise ValueError(f"invalid field '{field}' must be a key=value pair")
            value = "true"
        key = _MOUNT_SYNONYMS.get(key, key)
        if key not in _MOUNT_KEYS:
            raise ValueError(f"unexpected key '{key}' in '{field}'")
        if key in _MOUNT_REFUSED:
            raise ValueError(f"{key} is not available: {_MOUNT_REFUSED[key]}")
        fields[key] = value
    kind = fields.pop("type", "volume").lower()
    if not fields.get("target"):
        raise ValueError("target is required")
    for key in fields:
        owner = key.partition("-")[0]
        if owner in ("bind", "volume", "tmpfs") and owner != kind:
            raise ValueError(f"cannot mix '{owner}-*' options with mount type '{kind}'")
    if kind == "bind":
        return _bind_mount(fields, cwd)
    if kind == "volume":
        return _volume_mount(fields)
    if kind == "tmpfs":
        return _tmpfs_mount(fields)
    raise ValueError(f"mount type '{kind}' is unknown; use bind, volume or tmpfs")


_MOUNT_SYNONYMS = {
    "src": "source",
    "dst": "target",
    "destination": "target",
    "ro": "readonly",
}
_MOUNT_REFUSED = {
    "volume-driver": "volumes are directories of the engine",
    "volume-label": "volumes have no labels yet",
    "volume-opt": "volumes are directories of the engine",
    "image-subpath": "images can't be mounted yet",
}
_MOUNT_KEYS = frozenset(
    (
        "type", "source", "target", "readonly", "consistency", "bind-propagation",
        "bind-recursive", "bind-nonrecursive", "volume-nocopy", "volume-subpath", "tmpfs-size",
        "tmpfs-mode", *_MOUNT_REFUSED,
    )
)  # fmt: skip


def _split_csv(text: str) -> list[str]:
    if '"' not in text:
        return text.split(",")
    import csv

    try:
        rows = list(csv.reader([text], strict=True))
    except csv.Error as error:
        raise ValueError(f"parse error: {error}") from None
    return rows[0] if rows else []


def _bool_field(fields: dict[str, str], key: str) -> bool:
    value = fields.get(key, "false")
    try:
        return read_bool(value)
    except ValueError:
        raise ValueError(f"invalid value for {key}: {value}") from None


def _bind_mount(fields: dict[str, str], cwd: str) -> MountConfig:
    source = fields.get("source", "")
    if not source:
        raise ValueError("source is required for mount type 'bind'")
    if source.startswith("."):
        source = _absolute(source, cwd)
    if not source.startswith("/"):
        raise ValueError(f"invalid mount path: '{source}' mount path must be absolute")
    propagation = fields.get("bind-propagation", "rprivate").lower()
    if propagation not in _PROPAGATIONS:
        raise ValueError(f"invalid propagation: {propagation}")
    readonly = _bool_field(fields, "readonly")
    return MountConfig(
        type="bind",
        source=os.path.normpath(source),
        target=_target(fields["target"]),
        readonly=readonly,
        propagation=propagation,
        recursive=_is_recursive(fields, readonly=readonly),
    )


def _is_recursive(fields: dict[str, str], *, readonly: bool) -> bool:
    if _bool_field(fields, "bind-nonrecursive"):
        return False
    word = fields.get("bind-recursive", "enabled")
    if word == "writable":
        raise ValueError(
            "bind-recursive=writable is not available: a read-only mount is so in full"
        )
    if word == "readonly" and not readonly:
        raise ValueError("option 'bind-recursive=readonly' requires 'readonly' to be specified")
    if word not in ("enabled", "disabled", "readonly"):
        raise ValueError(
            f"invalid value for bind-recursive: {word}: use enabled, disabled, readonly"
        )
    return word != "disabled"


def _volume_mount(fields: dict[str, str]) -> MountConfig:
    source = fields.get("source", "")
    return MountConfig(
        type="volume",
        source=_volume_name(source) if source else "",
        target=_target(fields["target"]),
        readonly=_bool_field(fields, "readonly"),
        volume_nocopy=_bool_field(fields, "volume-nocopy"),
        volume_subpath=fields.get("volume-subpath", ""),
    )


def _tmpfs_mount(fields: dict[str, str]) -> MountConfig:
    if fields.get("source"):
        raise ValueError("source is not allowed for mount type 'tmpfs'")
    size, mode = 0, 0o1777
    if "tmpfs-size" in fields:
        try:
            size = read_size(fields["tmpfs-size"])
        except ValueError:
            raise ValueError(f"invalid value for tmpfs-size: {fields['tmpfs-size']}") from None
    if "tmpfs-mode" in fields:
        mode = _octal(fields["tmpfs-mode"], "tmpfs-mode")
    return MountConfig(
        type="tmpfs",
        target=_target(fields["target"]),
        readonly=_bool_field(fields, "readonly"),
        tmpfs_size_bytes=size,
        tmpfs_mode=mode,
    )


def _octal(text: str, key: str) -> int:
    if not re.fullmatch(r"[0-7]{1,5}", text) or int(text, 8) > 0o7777:
        raise ValueError(f"invalid value for {key}: {text}")
    return int(text, 8)


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
                size = read_size(value)
            except ValueError:
                raise ValueError(f"invalid value for size: {value}") from None
        elif key == "mode":
            mode = _octal(value, "mode")
        elif (key in _TMPFS_PAIRS or key == "size") if equals else key in _TMPFS_FLAGS:
            options.append(option)
        else:
            raise ValueError(f'invalid tmpfs option "{option}"')
    return MountConfig(
        type="tmpfs",
        target=_target(target),
        readonly=readonly,
        tmpfs_size_bytes=size,
        tmpfs_mode=mode,
        tmpfs_options=tuple(options),
    )
