"""What a container changed of its image's files (``proa diff``).

The answer is in its writable directory: what is there was made, changed or (as a whiteout) removed.
Places that the engine itself makes, to mount things on, are not the container's doing.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from typing import Literal

import msgspec

from proa.engine.compose.files import NAMES
from proa.engine.containers.archive.roots import open_stack
from proa.engine.containers.lifecycle import get
from proa.engine.containers.query import find_image
from proa.engine.context import Context
from proa.engine.model import ContainerRecord
from proa.errors import NotFound, from_os_error
from proa.image.layers import whiteout
from proa.image.model import Image

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PLACES = ("dev", "proc", "sys", *(f"etc/{name}" for name in NAMES))


class Change(msgspec.Struct, frozen=True):
    """One difference: ``A`` added, ``C`` changed or ``D`` deleted, and the absolute path."""

    kind: Literal["A", "C", "D"]
    path: str


Changes = list[Change]


def diff(context: Context, reference: str) -> Changes:
    """Return what a container changed, by path.

    Raises:
        NotFound: no such container, or its image is gone.
    """
    record = get(context, reference)
    image = find_image(context, record)
    if image is None:
        raise NotFound(f"the image of container {record.name} is gone")
    context.images.ensure_unpacked(image)
    try:
        with open_stack(context, record, image) as (upper, *lowers):
            changes = _Comparison(_find_places(upper, lowers)).compare(upper, lowers)
    except OSError as error:
        raise from_os_error(error, f"cannot compare container {record.name}") from error
    return sorted(changes, key=lambda change: change.path)


def made_places(context: Context, record: ContainerRecord, image: Image) -> frozenset[bytes]:
    """Return the paths in a container's writable directory that only the engine made."""
    with open_stack(context, record, image) as (upper, *lowers):
        return _find_places(upper, lowers)


def _find_places(upper: int, lowers: Sequence[int]) -> frozenset[bytes]:
    """Empty files and directories at places of mounts, of which the image has nothing."""
    found = set()
    for place in _PLACES:
        if _is_empty(upper, place) and not any(_exists(fd, place) for fd in lowers):
            found.add(place.encode())
    return frozenset(found)


def _is_empty(directory: int, path: str) -> bool:
    try:
        status = os.stat(path, dir_fd=directory, follow_symlinks=False)
        if stat.S_ISREG(status.st_mode):
            return status.st_size == 0
        if not stat.S_ISDIR(status.st_mode):
            return False
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
    except OSError:
        return False
    try:
        return not os.listdir(fd)
    finally:
        os.close(fd)


def _exists(directory: int, path: str) -> bool:
    try:
        os.stat(path, dir_fd=directory, follow_symlinks=False)
    except OSError:
        return False
    return True


class _Comparison:
    def __init__(self, places: frozenset[bytes]) -> None:
        self._places = places

    def compare(self, upper: int, lowers: Sequence[int], path: bytes = b"") -> Changes:
        """Return what ``upper`` changes of the merged directory below it."""
        changes: Changes = []
        names = sorted(map(os.fsencode, os.listdir(f"/proc/self/fd/{upper}")))
        for name in names:
            whole = path + name
            if whole in self._places:
                continue
            try:
                status = os.stat(name, dir_fd=upper, follow_symlinks=False)
            except FileNotFoundError:
                continue  # the container runs
            before = _find_below(lowers, name)
            if whiteout.is_whiteout(status.st_mode, status.st_rdev):
                if before is not None:
                    changes.append(_change("D", whole))
            elif stat.S_ISDIR(status.st_mode):
                changes += self._compare_directory(upper, lowers, whole, status, before)
            else:
                changes.append(_change("A" if before is None else "C", whole))
        return changes

    def _compare_directory(
        self,
        upper: int,
        lowers: Sequence[int],
        path: bytes,
        status: os.stat_result,
        before: os.stat_result | None,
    ) -> Changes:
        name = path.rpartition(b"/")[2]
        fd = os.open(name, _DIRECTORY, dir_fd=upper)
        merged: list[int] = []
        try:
            replaced: Changes = []
            merged = _merge(lowers, name)
            if merged and whiteout.is_opaque(fd):
                replaced = [
                    _change("D", path + b"/" + gone)
                    for gone in _names(merged)
                    if not _exists(fd, os.fsdecode(gone))
                ]
            below = self.compare(fd, merged, path + b"/") + replaced
        finally:
            for one in (fd, *merged):
                os.close(one)
        if before is None:
            return [_change("A", path), *below]
        same = stat.S_ISDIR(before.st_mode) and _attributes(before) == _attributes(status)
        return below if same and not below else [_change("C", path), *below]


def _attributes(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_mode, status.st_uid, status.st_gid


def _change(kind: Literal["A", "C", "D"], path: bytes) -> Change:
    return Change(kind, "/" + os.fsdecode(path))


def _find_below(lowers: Sequence[int], name: bytes) -> os.stat_result | None:
    for fd in lowers:
        try:
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            continue
        return None if whiteout.is_whiteout(status.st_mode, status.st_rdev) else status
    return None


def _merge(lowers: Sequence[int], name: bytes) -> list[int]:
    merged: list[int] = []
    for fd in lowers:
        try:
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            continue
        if not stat.S_ISDIR(status.st_mode):
            break
        merged.append(os.open(name, _DIRECTORY, dir_fd=fd))
        if whiteout.is_opaque(merged[-1]):
            break
    return merged


def _names(level: Sequence[int]) -> set[bytes]:
    shown: set[bytes] = set()
    hidden: set[bytes] = set()
    for fd in level:
        for name in map(os.fsencode, os.listdir(f"/proc/self/fd/{fd}")):
            if name in shown or name in hidden:
                continue
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            gone = whiteout.is_whiteout(status.st_mode, status.st_rdev)
            (hidden if gone else shown).add(name)
    return shown
