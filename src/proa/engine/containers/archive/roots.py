"""A container's root as a descriptor, running or not, with its volumes in their places.

*Running*: the root of its init through ``/proc/PID``, pinned by the directory of that very process
(a reused pid cannot stand in for it). Owners appear shifted by the container's range of user ids.

*Stopped*: overlay and volumes are mounted as the container would have them, in a mount namespace
that a thread makes for it and nobody else sees; the container's lock is held so that it does not
start meanwhile. Owners appear as on disk, that is as the container sees them.

Nothing is ever executed or loaded from there; every path below goes through ``openat2`` with the
descriptor as root (:mod:`proa.fs.rootpath`).
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from proa.engine.compose.mounts import compose_mounts
from proa.engine.compose.process import root_stack
from proa.engine.compose.sharing import first_id
from proa.engine.containers.lifecycle import StartedAgain, get, lock_stopped
from proa.engine.containers.query import find_image
from proa.engine.context import Context
from proa.engine.layout import PLACES
from proa.engine.model import ContainerRecord
from proa.errors import Conflict, NotFound, ProaError, from_os_error
from proa.fs import rootpath
from proa.image.model import Image
from proa.linux import mount as api
from proa.linux import procfs
from proa.linux.namespaces import CLONE_NEWNS
from proa.linux.syscalls import AT_EMPTY_PATH, AT_RECURSIVE, call, number
from proa.oci.spec import Mount

_RUNNING = ("running", "paused")
_CLONE_FS = 0x00000200
_ATTEMPTS = 100
_PAUSE_S = 0.01


class ContainerRoot(msgspec.Struct, frozen=True):
    """An open root.

    Attributes:
        fd: directory (O_PATH); everything is resolved below it.
        shift: what owners on it are moved by; 0: they are the container's own.
        name: names the container in messages.
    """

    fd: int
    shift: int
    name: str


@contextmanager
def open_root(context: Context, reference: str) -> Iterator[ContainerRoot]:
    """Open a container's root; it stays valid until the end of the block.

    Raises:
        NotFound: no such container, or its image is gone.
        Conflict: it starts and stops all the time.
    """
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_PAUSE_S)
        record = get(context, reference)
        if record.state.status in _RUNNING:
            fd = _open_running(record)
            if fd < 0:
                continue
            try:
                yield ContainerRoot(fd, max(first_id(context, record), 0), record.name)
            finally:
                os.close(fd)
            return
        with _held(context, record) as unchanged:
            if not unchanged:
                continue
            with _mounted(context, record) as fd:
                yield ContainerRoot(fd, 0, record.name)
            return
    raise Conflict(f"container {reference} starts and stops all the time", "stop it first")


@contextmanager
def open_stack(context: Context, record: ContainerRecord, image: Image) -> Iterator[list[int]]:
    """Open a container's layers, its writable directory first (O_PATH), without its volumes."""
    if record.config.isolation == "vm":
        from proa.engine.containers.archive.guestfiles import copied_upper

        with copied_upper(context, record) as upper:
            lowers = root_stack(context.layout, record, image)[1:]
            with _opened_all([upper, *lowers]) as stack:
                yield stack
        return
    with _opened_all(root_stack(context.layout, record, image)) as stack:
        yield stack


@contextmanager
def open_upper(context: Context, record: ContainerRecord) -> Iterator[str]:
    """Path of a container's writable directory as overlayfs keeps it; a guest's is a copy."""
    if record.config.isolation == "vm":
        from proa.engine.containers.archive.guestfiles import copied_upper

        with copied_upper(context, record) as upper:
            yield upper
        return
    yield f"{context.layout.container(record.id)}/upper"


def in_guest(context: Context, reference: str) -> bool:
    """Whether a container's files are behind another kernel.

    Raises:
        NotFound: no such container.
    """
    return get(context, reference).config.isolation == "vm"


@contextmanager
def _opened_all(directories: list[str]) -> Iterator[list[int]]:
    opened: list[int] = []
    try:
        for directory in directories:
            fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            opened.append(fd)
        yield opened
    finally:
        for fd in opened:
            os.close(fd)


def _open_running(record: ContainerRecord) -> int:
    """Return the root of the container's init; -1 when it has ended meanwhile."""
    init = record.state.init
    try:
        process = os.open(f"/proc/{init.pid}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return -1
    try:
        if procfs.read_boot_id() != init.boot_id:
            return -1
        # The directory is this process' own: if it is the right one now, it is for good.
        if init.start_ticks and procfs.read_start_ticks(init.pid) != init.start_ticks:
            return -1
        return os.open("root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=process)
    except OSError:
        return -1
    finally:
        os.close(process)


@contextmanager
def _held(context: Context, record: ContainerRecord) -> Iterator[bool]:
    """Hold a stopped container's lock; yields False when it is not stopped any more."""
    try:
        lock = lock_stopped(context, record)
    except StartedAgain:
        yield False
        return
    if lock < 0:
        raise NotFound(f"no such container: {record.name}")
    try:
        current = context.state.containers.find(record.id)
        yield current is not None and current.state.status == record.state.status
    finally:
        os.close(lock)


@contextmanager
def _mounted(context: Context, record: ContainerRecord) -> Iterator[int]:
    """Mount a stopped container in a namespace of its own and yield its root."""
    import threading

    opened: list[int] = []
    failures: list[BaseException] = []

    def work() -> None:
        try:
            _mount(context, record, opened)
        except BaseException as error:  # noqa: BLE001 - raised again by whoever waits
            failures.append(error)

    thread = threading.Thread(target=work, name="proa-root")
    thread.start()
    thread.join()
    try:
        if failures:
            error = failures[0]
            if isinstance(error, OSError) and not isinstance(error, ProaError):
                message = f"cannot open the files of container {record.name}"
                raise from_os_error(error, message) from error
            raise error
        yield opened[0]
    finally:
        for fd in opened:
            os.close(fd)


def _mount(context: Context, record: ContainerRecord, opened: list[int]) -> None:
    """In a thread: leave the root and the mount namespace that keeps it in ``opened``."""
    image = find_image(context, record)
    if image is None:
        raise NotFound(f"the image of container {record.name} is gone")
    context.images.ensure_unpacked(image)
    call(number("unshare"), CLONE_NEWNS | _CLONE_FS)
    _mount_call(b"none", b"/", b"", api.MS_REC | api.MS_PRIVATE, None)
    os.chdir(context.layout.root)  # this thread's own: the options fit a page only if relative
    place = f"containers/{record.id}"
    lowers = ":".join((*image.lowers, PLACES))
    options = f"lowerdir={lowers},upperdir={place}/upper,workdir={place}/work"
    flags = api.MS_RDONLY if record.config.readonly_rootfs else 0
    _forgive_volatile(f"{place}/work")
    # Over its own upper directory: in this namespace nobody needs that any more.
    target = f"{place}/upper"
    _mount_call(b"overlay", os.fsencode(target), b"overlay", flags, f"{options},userxattr".encode())
    opened.append(os.open(target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
    opened.append(os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC))
    directory = context.layout.container(record.id)
    for mount in compose_mounts(record.config, directory, context.layout.volumes, ()):
        if mount.type == "bind" and os.path.exists(mount.source):
            _bind(opened[0], mount)


def _bind(root: int, mount: Mount) -> None:
    flags = AT_RECURSIVE if "rbind" in mount.options else 0
    source = api.clone_path(mount.source, flags)
    try:
        if stat.S_ISDIR(os.fstat(source).st_mode):
            target = rootpath.ensure_directory(root, mount.destination)
        else:
            try:
                target = rootpath.open_in_root(root, mount.destination, os.O_PATH)
            except FileNotFoundError:
                return
        try:
            if "ro" in mount.options:
                attr = api.pack_mount_attr(api.MOUNT_ATTR_RDONLY)
                api.mount_setattr(source, AT_EMPTY_PATH, attr)
            how = api.MOVE_MOUNT_F_EMPTY_PATH | api.MOVE_MOUNT_T_EMPTY_PATH
            call(number("move_mount"), source, b"", target, b"", how)
        finally:
            os.close(target)
    finally:
        os.close(source)


def _mount_call(source: bytes, target: bytes, kind: bytes, flags: int, data: bytes | None) -> None:
    call(number("mount"), source, target, kind, flags, data)


def _forgive_volatile(work: str) -> None:
    """A container of ``run --rm`` was mounted volatile; it has ended well, or would be gone."""
    try:
        os.unlink(f"{work}/work/incompat/volatile/dirty")
        os.rmdir(f"{work}/work/incompat/volatile")
        os.rmdir(f"{work}/work/incompat")
    except OSError:
        return
