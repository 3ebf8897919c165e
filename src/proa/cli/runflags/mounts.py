"""``-v``, ``--mount`` and ``--tmpfs``.

The three grammars are Docker's: colons with an optional list of modes, comma separated pairs (CSV,
so a value may be quoted), and mount(8) options behind a path.
"""

from __future__ import annotations

import os

from proa.cli.kinds import read_bool, read_size
from proa.engine.config import MountConfig
from proa.engine.mountwords import (
    PROPAGATIONS,
    check_volume_name,
    clean_target,
    parse_mode,
    parse_tmpfs,
    parse_volume,
)

__all__ = ["parse_mount", "parse_tmpfs", "parse_volume"]

_BARE_KEYS = frozenset(("readonly", "ro", "volume-nocopy", "bind-nonrecursive"))


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
    if propagation not in PROPAGATIONS:
        raise ValueError(f"invalid propagation: {propagation}")
    readonly = _bool_field(fields, "readonly")
    return MountConfig(
        type="bind",
        source=os.path.normpath(source),
        target=clean_target(fields["target"]),
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
        source=check_volume_name(source) if source else "",
        target=clean_target(fields["target"]),
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
        mode = parse_mode(fields["tmpfs-mode"], "tmpfs-mode")
    return MountConfig(
        type="tmpfs",
        target=clean_target(fields["target"]),
        readonly=_bool_field(fields, "readonly"),
        tmpfs_size_bytes=size,
        tmpfs_mode=mode,
    )
