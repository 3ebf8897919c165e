"""Mount options: fstab's words sorted into attributes, propagation and the filesystem's own."""

from __future__ import annotations

from functools import lru_cache

import msgspec

from proa.linux import mount as api

_ATTRIBUTES = {
    "ro": (api.MOUNT_ATTR_RDONLY, 0),
    "rw": (0, api.MOUNT_ATTR_RDONLY),
    "nosuid": (api.MOUNT_ATTR_NOSUID, 0),
    "suid": (0, api.MOUNT_ATTR_NOSUID),
    "nodev": (api.MOUNT_ATTR_NODEV, 0),
    "dev": (0, api.MOUNT_ATTR_NODEV),
    "noexec": (api.MOUNT_ATTR_NOEXEC, 0),
    "exec": (0, api.MOUNT_ATTR_NOEXEC),
    "nosymfollow": (api.MOUNT_ATTR_NOSYMFOLLOW, 0),
    "symfollow": (0, api.MOUNT_ATTR_NOSYMFOLLOW),
    "nodiratime": (api.MOUNT_ATTR_NODIRATIME, 0),
    "diratime": (0, api.MOUNT_ATTR_NODIRATIME),
    "noatime": (api.MOUNT_ATTR_NOATIME, api.MOUNT_ATTR_ATIME),
    "strictatime": (api.MOUNT_ATTR_STRICTATIME, api.MOUNT_ATTR_ATIME),
    "relatime": (0, api.MOUNT_ATTR_ATIME),
}
"""What a word sets, and what it clears."""

_PROPAGATION = {
    "private": api.MS_PRIVATE,
    "slave": api.MS_SLAVE,
    "shared": api.MS_SHARED,
    "unbindable": api.MS_UNBINDABLE,
}

_IGNORED = frozenset(
    (
        "defaults",
        "async",
        "norelatime",
        "nostrictatime",
        "atime",
        "loud",
        "silent",
        "idmap",
        "ridmap",
    )
)


class MountOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Parsed options.

    Attributes:
        bind: the source is a path to show, not a filesystem to make.
        recursive: with everything mounted below the source.
        attr_set, attr_clear: MOUNT_ATTR_* of the mount itself.
        recursive_set, recursive_clear: MOUNT_ATTR_* of the mount and all below it (``rro`` ...).
        propagation: MS_* or 0 for private.
        data: the filesystem's own options; the value is None for a flag.
    """

    bind: bool = False
    recursive: bool = False
    attr_set: int = 0
    attr_clear: int = 0
    recursive_set: int = 0
    recursive_clear: int = 0
    propagation: int = 0
    propagation_recursive: bool = False
    data: tuple[tuple[str, str | None], ...] = ()


@lru_cache(maxsize=128)
def parse_options(words: tuple[str, ...]) -> MountOptions:
    """Sort the options of an OCI mount; later words win."""
    bind = recursive = deep = False
    plain, below = [0, 0], [0, 0]
    propagation = 0
    data: list[tuple[str, str | None]] = []
    for word in words:
        if word in ("bind", "rbind"):
            bind, recursive = True, word == "rbind"
        elif word in _ATTRIBUTES:
            _apply(plain, _ATTRIBUTES[word])
        elif word[:1] == "r" and word[1:] in _ATTRIBUTES:
            _apply(below, _ATTRIBUTES[word[1:]])
        elif word in _PROPAGATION:
            propagation, deep = _PROPAGATION[word], False
        elif word[:1] == "r" and word[1:] in _PROPAGATION:
            propagation, deep = _PROPAGATION[word[1:]], True
        elif word not in _IGNORED:
            key, separator, value = word.partition("=")
            data.append((key, value if separator else None))
    return MountOptions(
        bind=bind,
        recursive=recursive,
        attr_set=plain[0],
        attr_clear=plain[1],
        recursive_set=below[0],
        recursive_clear=below[1],
        propagation=propagation,
        propagation_recursive=deep,
        data=tuple(data),
    )


def _apply(state: list[int], change: tuple[int, int]) -> None:
    """Fold one word in; the kernel clears before it sets, so a bit may be in both masks."""
    added, cleared = change
    state[0] = state[0] & ~cleared | added
    state[1] |= cleared
