"""Keeping the image store small: removing names and images, and what nobody needs any more.

Everything here happens under the store's exclusive lock, which nobody gets while images are made or
taken into use (:meth:`proa.image.store.ImageStore.lease`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from proa.errors import Unavailable
from proa.fs import lock
from proa.image.border import Border
from proa.image.catalog import Catalog
from proa.image.content.store import ContentStore
from proa.image.model import Image, Removal
from proa.image.references import ImageRecord, References
from proa.image.removal import prune_names, remove_names, remove_platforms
from proa.image.snapshots.overlay import Snapshots

if TYPE_CHECKING:
    from proa.image.usage import StoreUsage

InUse = Callable[[], Mapping[str, str]]
"""Returns image id -> name of one container that uses it; called with the store locked."""

_COLLECT_WAIT_S = 2.0
_COLLECT_POLL_S = 0.02


def nobody() -> Mapping[str, str]:
    """No container uses any image."""
    return {}


def lock_path(root: str) -> str:
    """Return the file of the store's lock, whose directory is made if need be."""
    directory = f"{root}/images"
    os.makedirs(directory, 0o700, exist_ok=True)
    return f"{directory}/lock"


class Upkeep:
    """The removing half of an image store. Making one touches no disk."""

    def __init__(
        self,
        root: str,
        references: References,
        catalog: Catalog,
        content: ContentStore,
        snapshots: Snapshots,
    ) -> None:
        """Work on the parts of the store of ``root``."""
        self._root = root
        self._references = references
        self._catalog = catalog
        self._content = content
        self._snapshots = snapshots

    def remove(self, name: str, *, force: bool, in_use: InUse) -> list[Removal]:
        """See :meth:`proa.image.store.ImageStore.remove`."""
        with self._exclusive() as alone:
            used = in_use()
            held = self._held()
            removed = remove_names(
                self._references, name, force=force, in_use=used, keep_image=not alone
            )
            if alone and held:
                removed += remove_platforms(self._references, held - self._held(), used)
            if any(one.action == "deleted" for one in removed):
                removed += self._collect(used)[0]
        return removed

    def prune(
        self, *, every: bool, may_go: Callable[[ImageRecord], bool] | None, in_use: InUse
    ) -> tuple[list[Removal], int]:
        """See :meth:`proa.image.store.ImageStore.prune`; ``may_go`` is asked where it is given."""
        with self._exclusive() as alone:
            if not alone:
                raise Unavailable(
                    f"the images of {self._root} are in use by another command",
                    "try again when it is done",
                )
            used = in_use()
            removed = prune_names(
                self._references,
                every=every,
                in_use=used,
                chosen=may_go or _any,
                held=self._held(),
            )
            resumable = may_go is not None or not every
            layers, freed_bytes = self._collect(used, resumable=resumable, measured=True)
        return removed + layers, freed_bytes

    def measure(self, images: Collection[Image], in_use: Mapping[str, str]) -> StoreUsage:
        """Return what images take on disk; the caller holds a lease."""
        from proa.image.usage import measure_store

        with Border(f"cannot measure the images of {self._root}"):
            return measure_store(
                self._references, self._catalog, self._content, self._snapshots, images, in_use
            )

    def sweep_if_idle(self) -> None:
        """Remove what makers that were killed had staged, unless somebody makes images now."""
        from proa.image.gc import sweep_staged

        with Border(f"cannot remove unused content of {self._root}"):
            held = lock.try_acquire(lock_path(self._root))
            if held:
                with held:
                    sweep_staged(self._content, self._snapshots)

    def collect_if_idle(self) -> None:
        """Collect right away unless somebody uses the store; never fails, the next one will."""
        from proa.errors import ProaError

        try:
            held = lock.try_acquire(lock_path(self._root))
            if held:
                with held:
                    self._collect({})
        except (OSError, ProaError):
            pass

    def _held(self) -> set[str]:
        """Return the manifests that are kept because a name's index lists them."""
        from proa.image.gc import mark_index

        indexes = {record.index for record in self._references.list() if record.index}
        held: set[str] = set()
        for index in indexes:
            held |= mark_index(index, self._content, set())
        return held

    @contextmanager
    def _exclusive(self) -> Iterator[bool]:
        """Hold the store alone; yields False when others are still at it after a moment."""
        with Border(f"cannot lock the images of {self._root}"):
            path = lock_path(self._root)
            deadline = time.monotonic() + _COLLECT_WAIT_S
            held = lock.try_acquire(path)
            while held is None and time.monotonic() < deadline:
                time.sleep(_COLLECT_POLL_S)
                held = lock.try_acquire(path)
        try:
            yield held is not None
        finally:
            if held:
                held.release()

    def _collect(
        self, used: Mapping[str, str], *, resumable: bool = True, measured: bool = False
    ) -> tuple[list[Removal], int]:
        from proa.image.gc import collect

        with Border(f"cannot remove unused content of {self._root}"):
            return collect(
                self._references,
                self._catalog,
                self._content,
                self._snapshots,
                used,
                resumable=resumable,
                measured=measured,
            )


def _any(_record: ImageRecord) -> bool:
    return True
