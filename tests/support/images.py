"""Images for tests: busybox, Debian, stacks of many layers, and a store without an engine.

What is slow to make is kept below ``PROA_TEST_CACHE`` (/var/cache/proa-tests) as an archive, so
that a run makes it once and the next one loads it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from proa.image.bootstrap.bootstrap import bootstrap
from proa.image.model import Image
from proa.image.references import ImageRecord
from proa.image.store import ImageStore
from tests.support.layers import LayerBuilder, docker_archive

if TYPE_CHECKING:
    from tests.support.engines import Proa

BUSYBOX = "busybox:latest"
DEBIAN = "debian:bookworm"
BOOTSTRAP_TIMEOUT_S = 280.0


class MemoryReferences:
    """A table of names in memory (:class:`proa.image.references.References`)."""

    def __init__(self) -> None:
        self.records: dict[str, ImageRecord] = {}

    def find(self, reference: str) -> ImageRecord | None:
        return self.records.get(reference)

    def list(self) -> list[ImageRecord]:
        return sorted(
            self.records.values(), key=lambda record: (record.updated_at_ns, record.reference)
        )

    def put(self, record: ImageRecord) -> ImageRecord | None:
        before = self.records.get(record.reference)
        self.records[record.reference] = record
        return before

    def remove(self, reference: str) -> bool:
        return self.records.pop(reference, None) is not None


def open_store(root: str | os.PathLike[str]) -> ImageStore:
    """Open an image store with names in memory below ``root``, which is made 0700."""
    path = os.fspath(root)
    os.makedirs(path, 0o700, exist_ok=True)
    return ImageStore(path, MemoryReferences())


def ensure_busybox(proa: Proa) -> None:
    """Make sure that an engine has ``busybox:latest``; fast when it has."""
    _ensure(proa, BUSYBOX, busybox_archive)


def ensure_debian(proa: Proa) -> None:
    """Make sure that an engine has ``debian:bookworm``; the first time on a machine takes 20 s."""
    _ensure(proa, DEBIAN, debian_archive)


def busybox_archive() -> str:
    """Return the path of an archive with ``busybox:latest`` (needs busybox-static)."""
    status = os.stat("/bin/busybox")
    return cached(f"busybox-{status.st_size}-{status.st_mtime_ns}.tar", _save_bootstrapped(BUSYBOX))


def debian_archive() -> str:
    """Return the path of an archive with ``debian:bookworm`` (needs mmdebstrap and the mirror)."""
    return cached("debian-bookworm.tar", _save_bootstrapped(DEBIAN))


def suite_archive(suite: str) -> str:
    """Return the path of an archive with a small ``debian:<suite>``, made by the command.

    Expired package lists are taken: sid's live for a week, and a mirror may stand still for longer.
    """
    name = f"debian:{suite}"

    def make(path: str) -> None:
        from tests.support.engines import temporary_root

        with temporary_root() as proa:
            words = ("--quiet", "--allow-expired", "--variant", "essential", name)
            proa.ok("image", "bootstrap", *words, timeout_s=BOOTSTRAP_TIMEOUT_S)
            proa.ok("save", "-o", f"{path}.new", name)
        os.rename(f"{path}.new", path)

    return cached(f"debian-{suite}-essential.tar", make)


def debian_arm64_archive() -> str:
    """Return the path of an OCI archive with ``debian:bookworm`` for arm64, made by the command.

    It has no key but its suite: what a point release changes in it is not what tests look at. Needs
    mmdebstrap, the mirror and, until it is made, qemu-aarch64 in binfmt_misc.
    """

    def make(path: str) -> None:
        from tests.support.engines import temporary_root

        with temporary_root() as proa:
            words = ("--quiet", "--architecture", "arm64", DEBIAN)
            proa.ok("image", "bootstrap", *words, timeout_s=BOOTSTRAP_TIMEOUT_S)
            proa.ok("save", "--format", "oci-archive", "-o", f"{path}.new", DEBIAN)
        os.rename(f"{path}.new", path)

    return cached("debian-bookworm-arm64.tar", make)


def stacked_archive(path: str, layers: int, name: str = "stack:latest") -> None:
    """Write an archive of an image with that many tiny layers, each with a file ``layer-<n>``."""
    tars = [
        LayerBuilder().file(f"layer-{number}", f"{number}\n".encode()).tar()
        for number in range(layers)
    ]
    with open(path, "wb") as file:
        file.write(docker_archive(tars, names=[name]))


def load_layers(
    store: ImageStore, tars: Sequence[bytes], path: str, name: str = "test:latest"
) -> Image:
    """Load an image of these layers, lowest first, through an archive written to ``path``."""
    with open(path, "wb") as file:
        file.write(docker_archive(tars, names=[name]))
    (image,) = store.load(path)
    return image


def _ensure(proa: Proa, name: str, archive: Callable[[], str]) -> None:
    if proa("image", "inspect", name).code:
        proa.ok("load", "-i", archive())


def _save_bootstrapped(name: str) -> Callable[[str], None]:
    def save(path: str) -> None:
        with _scratch_root() as root:
            store = open_store(root)
            bootstrap(store, name)
            store.save([name], path)

    return save


@contextmanager
def _scratch_root() -> Iterator[str]:
    import tempfile

    with tempfile.TemporaryDirectory(
        prefix="proa-i-", dir=os.environ.get("PROA_TEST_DIR", "/var/tmp")
    ) as directory:
        yield f"{directory}/root"


def cache_directory() -> str:
    """Return the directory of what is slow to make, made."""
    directory = os.environ.get("PROA_TEST_CACHE", "/var/cache/proa-tests")
    try:
        os.makedirs(directory, exist_ok=True)
    except PermissionError:
        directory = f"/var/tmp/proa-tests-{os.getuid()}"
        os.makedirs(directory, exist_ok=True)
    return directory


def cached(name: str, make: Callable[[str], None]) -> str:
    """Return the path of a cached file, making it once, also among parallel runs."""
    directory = cache_directory()
    path = f"{directory}/{name}"
    with open(f"{directory}/lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(path):
            make(path)
    return path
