"""Files into and out of containers (``proa cp``), and whole roots out (``proa export``)."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext

import msgspec

from proa.engine.containers.archive.guestfiles import GuestFiles, open_guest
from proa.engine.containers.archive.roots import ContainerRoot, in_guest, open_root, open_stack
from proa.engine.containers.lifecycle import get
from proa.engine.containers.query import find_image
from proa.engine.context import Context
from proa.errors import Invalid, NotFound, from_os_error
from proa.fs import rootpath
from proa.image.layers.extract import Destination, Ownership, copy, unpack
from proa.image.layers.treepack import END, Packer
from proa.image.layers.treewalk import Item
from proa.linux.fsids import acting_as
from proa.oci.files import Transfer


class PathStat(msgspec.Struct, frozen=True, kw_only=True):
    """What is at a path of a container.

    Attributes:
        name: last component of the path.
        mode: ``st_mode`` (stat(2)).
        link_target: of a symbolic link, as written.
    """

    name: str
    size_bytes: int
    mode: int
    mtime_ns: int
    link_target: str = ""

    @property
    def is_directory(self) -> bool:
        """It is a directory."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_link(self) -> bool:
        """It is a symbolic link."""
        return stat.S_ISLNK(self.mode)


def stat_path(
    context: Context, reference: str, path: str, *, follow_link: bool = False
) -> PathStat:
    """Look at a path of a container.

    Args:
        reference: the container, running or not.
        path: inside the container; relative ones start at its root.
        follow_link: look at what a link leads to.

    Raises:
        NotFound: no such container or path.
    """
    if in_guest(context, reference):
        with open_guest(context, reference) as guest:
            return _stat_in_guest(guest, path, follow=_follows(path, follow_link=follow_link))
    with open_root(context, reference) as root:
        fd = _open(root, path, follow_link=follow_link)
        try:
            return _stat(fd, path)
        finally:
            os.close(fd)


def get_archive(
    context: Context, reference: str, path: str, *, follow_link: bool = False
) -> Iterator[bytes]:
    """Yield the tar of a file or directory of a container; its name is the path's last component.

    Owners are those that the container sees. Arguments and errors as :func:`stat_path`; they are
    raised when the first piece is asked for.
    """
    if in_guest(context, reference):
        request = Transfer(
            kind="pack",
            path=path,
            follow=_follows(path, follow_link=follow_link),
            name=_base_name(path) or ".",
        )
        with open_guest(context, reference) as guest:
            yield from guest.pack(request)
        return
    with open_root(context, reference) as root:
        fd = _open(root, path, follow_link=follow_link)
        try:
            name = os.fsencode(_base_name(path)) or b"."
            yield from Packer(shift=root.shift).pack(fd, name)
        except OSError as error:
            raise from_os_error(error, f"cannot copy {path} of container {root.name}") from error
        finally:
            os.close(fd)
    yield END


def put_archive(
    context: Context,
    reference: str,
    path: str,
    pieces: Iterable[bytes],
    *,
    keep_owner: bool = True,
) -> None:
    """Unpack a tar into a directory of a container.

    Args:
        reference: the container, running or not.
        path: an existing directory; links in it are followed inside the container.
        pieces: the tar, uncompressed.
        keep_owner: files belong to whom the archive says; False: to the container's root.

    Raises:
        NotFound: no such container or directory.
        Invalid: ``path`` is no directory, or an entry is hostile.
        Conflict: a directory where a file is, or the other way round.
    """
    if in_guest(context, reference):
        with open_guest(context, reference) as guest:
            guest.unpack(Transfer(kind="unpack", path=path, keep_owner=keep_owner), pieces)
        return
    with _receiving(context, reference, path, keep_owner) as (destination, ownership, what):
        unpack(pieces, destination, ownership, what)


def put_files(
    context: Context, reference: str, path: str, items: Iterable[Item], *, keep_owner: bool = True
) -> None:
    """Copy walked objects into a directory of a container that shares this kernel.

    Arguments and errors as :func:`put_archive`, without an archive on the way.
    """
    with _receiving(context, reference, path, keep_owner) as (destination, ownership, what):
        copy(items, destination, ownership, what)


@contextmanager
def _receiving(
    context: Context, reference: str, path: str, keep_owner: bool
) -> Iterator[tuple[Destination, Ownership, str]]:
    """Act as the container's root on one of its directories."""
    with open_root(context, reference) as root:
        what = f"the archive for {path} of container {root.name}"
        owner = None if keep_owner else 0
        actor = acting_as(root.shift, root.shift) if root.shift else nullcontext()
        try:
            destination = Destination(root_fd=root.fd, path=path, follow=True)
            os.close(destination.open(b""))
            with actor:
                yield destination, Ownership(uid=owner, gid=owner, shift=root.shift), what
        except NotADirectoryError as error:
            raise Invalid(f"{path} of container {root.name} is not a directory") from error
        except FileNotFoundError as error:
            raise _no_such_path(root, path) from error
        except OSError as error:
            raise from_os_error(error, f"cannot copy to {path} of container {root.name}") from error


def export(context: Context, reference: str) -> Iterator[bytes]:
    """Yield the tar of a container's whole root, without its volumes.

    Raises:
        NotFound: no such container, or its image is gone.
    """
    record = get(context, reference)
    image = find_image(context, record)
    if image is None:
        raise NotFound(f"the image of container {record.name} is gone")
    context.images.ensure_unpacked(image)
    try:
        with open_stack(context, record, image) as stack:
            yield from Packer().pack_below(stack, b"")
    except OSError as error:
        raise from_os_error(error, f"cannot export container {record.name}") from error
    yield END


def _open(root: ContainerRoot, path: str, *, follow_link: bool) -> int:
    follows = _follows(path, follow_link=follow_link)
    try:
        return rootpath.open_in_root(
            root.fd, path, os.O_PATH if follows else os.O_PATH | os.O_NOFOLLOW
        )
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _no_such_path(root, path) from error
    except OSError as error:
        raise from_os_error(error, f"cannot open {path} of container {root.name}") from error


def _follows(path: str, *, follow_link: bool) -> bool:
    """A slash at the end asks for the directory behind a link."""
    return follow_link or path.endswith(("/", "/."))


def _stat_in_guest(guest: GuestFiles, path: str, *, follow: bool) -> PathStat:
    found = guest.stat(path, follow=follow)
    return PathStat(
        name=_base_name(path) or "/",
        size_bytes=found.size_bytes,
        mode=found.mode,
        mtime_ns=found.mtime_ns,
        link_target=found.link_target,
    )


def _no_such_path(root: ContainerRoot, path: str) -> NotFound:
    return NotFound(f"could not find the file {path} in container {root.name}")


def _stat(fd: int, path: str) -> PathStat:
    status = os.fstat(fd)
    link = os.readlink("", dir_fd=fd) if stat.S_ISLNK(status.st_mode) else ""
    return PathStat(
        name=_base_name(path) or "/",
        size_bytes=status.st_size,
        mode=status.st_mode,
        mtime_ns=status.st_mtime_ns,
        link_target=link,
    )


def _base_name(path: str) -> str:
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return parts[-1] if parts and parts[-1] != ".." else ""
