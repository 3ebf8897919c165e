"""Disks of a guest: an image of each read-only layer, and the container's writable one.

On disk::

    <root>/snapshots/<chain hex>/layer.erofs   beside the layer's files; goes with them
    <root>/vm/layers/<key>.erofs               of directories that are no snapshots
    <root>/vm/empty-<MiB>.ext4                 an empty filesystem, copied for every container
    <root>/containers/<id>/writable.ext4       sparse; kept across stop and start

Images are made beside their place under a lock, and renamed: one that has its name is whole. Layers
are shared by all guests through the host's page cache.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from proa.errors import Unavailable, from_os_error
from proa.fs import lock

WRITABLE_MIB = 20 * 1024
"""What a container may write; the file is sparse."""

_MIB = 1 << 20
_TIMEOUT_S = 600
_CHUNK_BYTES = 1 << 20
_PROGRAMS = ("/usr/bin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/local/sbin")


class LayerImage(NamedTuple):
    """A layer as a filesystem in a file."""

    path: str
    size: int
    filesystem: str


def ensure_layer(root: str, directory: str) -> LayerImage:
    """Return the image of a layer's files, made if it is not there.

    Args:
        root: the engine's state root.
        directory: the unpacked layer.

    Raises:
        Unavailable: neither mkfs.erofs nor mke2fs is installed, or it failed.
        ProaError: the layer cannot be read.
    """
    try:
        place = _place_of(root, os.path.realpath(directory))
        found = _find_image(place)
        if found is not None:
            return found
        os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
        with lock.acquire(f"{place}.lock"):
            found = _find_image(place)
            if found is None:
                _make_image(directory, place)
                found = _find_image(place)
            os.unlink(f"{place}.lock")
    except OSError as error:
        raise from_os_error(error, f"cannot make a disk of the layer {directory}") from error
    assert found is not None
    return found


def ensure_writable(root: str, path: str, size_mib: int = WRITABLE_MIB) -> bool:
    """Make a container's writable disk; True when it is new, that is empty.

    Raises:
        Unavailable: mke2fs is not installed, or it failed.
        ProaError: no room.
    """
    if os.path.exists(path):
        return False
    try:
        template = f"{root}/vm/empty-{size_mib}.ext4"
        if not os.path.exists(template):
            os.makedirs(os.path.dirname(template), mode=0o700, exist_ok=True)
            _make_empty(template, size_mib)
        staging = f"{path}.new"
        _copy_sparse(template, staging)
        os.rename(staging, path)
    except OSError as error:
        raise from_os_error(error, f"cannot make the writable disk {path}") from error
    return True


def _place_of(root: str, directory: str) -> str:
    """Path of a layer's image without its ending."""
    parent, name = os.path.split(directory)
    if name == "fs" and os.path.dirname(parent) == os.path.realpath(f"{root}/snapshots"):
        return f"{parent}/layer"
    import hashlib

    info = os.stat(directory)
    text = f"{directory}\0{info.st_dev}:{info.st_ino}:{info.st_ctime_ns}:{_newest(directory)}"
    return f"{root}/vm/layers/{hashlib.sha256(os.fsencode(text)).hexdigest()[:32]}"


def _newest(directory: str) -> int:
    """Latest change below a directory that is not a committed layer: it may go on changing."""
    newest = 0
    for parent, directories, names in os.walk(directory):
        for name in (*directories, *names):
            newest = max(newest, os.lstat(f"{parent}/{name}").st_ctime_ns)
    return newest


def _find_image(place: str) -> LayerImage | None:
    for filesystem in ("erofs", "ext4"):
        try:
            size = os.stat(f"{place}.{filesystem}").st_size
        except FileNotFoundError:
            continue
        return LayerImage(f"{place}.{filesystem}", size, filesystem)
    return None


def _make_image(directory: str, place: str) -> None:
    staging = f"{place}.new"
    program = _find_program("mkfs.erofs")
    if program:
        filesystem = "erofs"
        _run([program, "--quiet", staging, directory])
    else:
        filesystem = "ext4"
        _run(
            [*_mke2fs(), "-O", "^has_journal", "-d", directory, staging, f"{_estimate(directory)}k"]
        )
    fd = os.open(staging, os.O_RDWR | os.O_CLOEXEC)
    try:
        size = os.fstat(fd).st_size
        os.ftruncate(fd, size + -size % 4096)
        os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(staging, f"{place}.{filesystem}")


def _make_empty(template: str, size_mib: int) -> None:
    staging = f"{template}.{os.getpid()}"
    features = "lazy_itable_init=1,lazy_journal_init=1,nodiscard"
    _run([*_mke2fs(), "-m", "0", "-J", "size=16", "-E", features, staging, f"{size_mib}M"])
    os.rename(staging, template)


def _mke2fs() -> list[str]:
    program = _find_program("mke2fs")
    if not program:
        raise Unavailable("mke2fs is not installed", "apt-get install e2fsprogs")
    return [program, "-q", "-F", "-t", "ext4"]


def _find_program(name: str) -> str:
    for directory in _PROGRAMS:
        if os.access(f"{directory}/{name}", os.X_OK):
            return f"{directory}/{name}"
    return ""


def _run(command: list[str]) -> None:
    import subprocess

    name = os.path.basename(command[0])
    try:
        ended = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_S,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{name} did not end in {_TIMEOUT_S} s") from error
    if ended.returncode != 0:
        said = ended.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise Unavailable(f"{name} failed: {said[:300] or 'it said nothing'}")


def _estimate(directory: str) -> int:
    """Kibibytes that a filesystem needs for these files: contents, and room for inodes."""
    from proa.fs.usage import usage

    used = usage(directory)
    return (used.size_bytes // 1024) * 5 // 4 + used.inodes + 4096


def _copy_sparse(source: str, target: str) -> None:
    """Copy what of a file is there; holes stay holes."""
    reading = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        writing = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(reading).st_size
            os.ftruncate(writing, size)
            offset = 0
            while offset < size:
                try:
                    start = os.lseek(reading, offset, os.SEEK_DATA)
                except OSError:
                    # ENXIO: only a hole is left.
                    break
                offset = os.lseek(reading, start, os.SEEK_HOLE)
                _copy_range(reading, writing, start, offset)
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def _copy_range(reading: int, writing: int, start: int, end: int) -> None:
    while start < end:
        data = os.pread(reading, min(_CHUNK_BYTES, end - start), start)
        if not data:
            return
        start += os.pwrite(writing, data, start)
