"""Copying between a container and the host by the rules of ``docker cp``.

The copy of SOURCE goes *into* DESTINATION when that is a directory, and *becomes* DESTINATION when
nothing is there; the content of a directory (``SOURCE/.``) goes into DESTINATION in both cases. A
file replaces a file. On the host the archive is not trusted: below the destination no link is
followed, and without ``archive`` nothing keeps rights that it had in the container.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import msgspec

from proa.engine.containers.archive.copy import PathStat, put_archive, put_files, stat_path
from proa.engine.containers.archive.guestfiles import open_guest
from proa.engine.containers.archive.roots import in_guest, open_root
from proa.engine.context import Context
from proa.errors import Invalid, NotFound, from_os_error
from proa.fs import rootpath
from proa.image.layers.extract import Destination, Ownership, copy, unpack
from proa.image.layers.treepack import END, Packer
from proa.image.layers.treewalk import Item, Walker
from proa.oci.files import Transfer


class _Plan(msgspec.Struct, frozen=True):
    """Where a copy goes: an existing directory, and the name in it (empty: the content)."""

    directory: str
    name: str


def copy_from(
    context: Context,
    reference: str,
    path: str,
    host_path: str,
    *,
    follow_link: bool = False,
    archive: bool = False,
) -> None:
    """Copy out of a container; see :meth:`Containers.copy_from`.

    Raises:
        NotFound: no such container, path, or directory on the host.
        Invalid, Conflict: a directory where a file is, or the other way round.
    """
    if in_guest(context, reference):
        _copy_from_guest(context, reference, path, host_path, follow_link, archive)
        return
    with open_root(context, reference) as root:
        content = _is_content(path)
        flags = os.O_PATH if follow_link or content else os.O_PATH | os.O_NOFOLLOW
        try:
            source = rootpath.open_in_root(root.fd, path, flags)
        except OSError as error:
            raise from_os_error(
                error, f"could not find the file {path} in container {root.name}"
            ) from error
        try:
            is_directory = stat.S_ISDIR(os.fstat(source).st_mode)
            plan = _plan(path, is_directory, host_path, _host_kind(host_path))
            owner = None if archive else os.geteuid()
            group = None if archive else os.getegid()
            target = os.open(plan.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                copy(
                    _walk(Walker(shift=root.shift, xattrs=archive), source, plan.name),
                    Destination(root_fd=target),
                    Ownership(uid=owner, gid=group, strip=not archive),
                    f"the copy of {path} of container {root.name}",
                )
            finally:
                os.close(target)
        except OSError as error:
            raise from_os_error(
                error, f"cannot copy {path} of container {root.name} to {host_path}"
            ) from error
        finally:
            os.close(source)


def _copy_from_guest(
    context: Context, reference: str, path: str, host_path: str, follow_link: bool, archive: bool
) -> None:
    with open_guest(context, reference) as guest:
        follow = follow_link or _is_content(path)
        found = guest.stat(path, follow=follow)
        plan = _plan(path, stat.S_ISDIR(found.mode), host_path, _host_kind(host_path))
        request = Transfer(kind="pack", path=path, follow=follow, name=plan.name)
        what = f"the copy of {path} of container {guest.name}"
        ownership = Ownership(
            uid=None if archive else os.geteuid(),
            gid=None if archive else os.getegid(),
            strip=not archive,
        )
        try:
            target = os.open(plan.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                unpack(guest.pack(request), Destination(root_fd=target), ownership, what)
            finally:
                os.close(target)
        except OSError as error:
            raise from_os_error(
                error, f"cannot copy {path} of container {guest.name} to {host_path}"
            ) from error


def copy_to(
    context: Context,
    reference: str,
    host_path: str,
    path: str,
    *,
    follow_link: bool = False,
    archive: bool = False,
) -> None:
    """Copy into a container; see :meth:`Containers.copy_to`.

    Raises:
        NotFound: no such container, file on the host, or directory in the container.
        Invalid, Conflict: a directory where a file is, or the other way round.
    """
    content = _is_content(host_path)
    flags = os.O_PATH | os.O_CLOEXEC
    try:
        source = os.open(host_path, flags if follow_link or content else flags | os.O_NOFOLLOW)
    except OSError as error:
        raise from_os_error(error, f"cannot open {host_path}") from error
    guest: AbstractContextManager[object] = nullcontext()
    try:
        if in_guest(context, reference):
            guest = open_guest(context, reference)
        is_directory = stat.S_ISDIR(os.fstat(source).st_mode)
        with guest:
            _copy_into(context, reference, _Source(host_path, source, is_directory), path, archive)
    except OSError as error:
        raise from_os_error(error, f"cannot read {host_path}") from error
    finally:
        os.close(source)


class _Source(msgspec.Struct, frozen=True):
    """An open file or directory of the host."""

    path: str
    fd: int
    is_directory: bool


def _copy_into(context: Context, reference: str, source: _Source, path: str, archive: bool) -> None:
    kind, resolved = _container_kind(context, reference, path)
    plan = _plan(source.path, source.is_directory, resolved, kind)
    if in_guest(context, reference):
        pieces = _pack(Packer(), source.fd, plan.name)
        put_archive(context, reference, plan.directory, pieces, keep_owner=archive)
        return
    items = _walk(Walker(), source.fd, plan.name)
    put_files(context, reference, plan.directory, items, keep_owner=archive)


def _plan(source: str, is_directory: bool, target: str, kind: str) -> _Plan:
    """Decide by the rules above; ``kind`` of the target is ``directory``, ``file`` or empty."""
    if kind == "directory":
        if is_directory and _is_content(source):
            return _Plan(target, "")
        return _Plan(target, _base_name(source) or "root")
    parent, name = rootpath.split_last(target)
    if kind == "file":
        if is_directory:
            raise Invalid(f"cannot copy the directory {source} over the file {target}")
        if target.endswith("/"):
            raise Invalid(f"{target} is not a directory")
        return _Plan(parent or ".", name)
    if not is_directory and target.endswith("/"):
        raise NotFound(f"no such directory: {target}", "make it first, or leave out the slash")
    return _Plan(parent or ".", name)


def _host_kind(path: str) -> str:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return ""
    return "directory" if stat.S_ISDIR(status.st_mode) else "file"


def _container_kind(context: Context, reference: str, path: str) -> tuple[str, str]:
    """Return what is at a path, links followed, and the path that a file is to be written to."""
    for _ in range(40):
        try:
            found = stat_path(context, reference, path)
        except NotFound:
            stat_path(context, reference, "/")  # it is the container that is not there
            return "", path
        if not found.is_link:
            return _kind(found), path
        behind = _find(context, reference, path)
        if behind is not None and behind.is_directory:
            return "directory", path
        parent, _ = rootpath.split_last(path)
        path = os.path.join(parent or "/", found.link_target)
    raise Invalid(f"too many links at {path}")


def _find(context: Context, reference: str, path: str) -> PathStat | None:
    try:
        return stat_path(context, reference, path, follow_link=True)
    except NotFound:
        return None


def _kind(found: PathStat) -> str:
    return "directory" if found.is_directory else "file"


def _pack(packer: Packer, source: int, name: str) -> Iterator[bytes]:
    if name:
        yield from packer.pack(source, os.fsencode(name))
    else:
        yield from packer.pack_below([source], b"")
    yield END


def _walk(walker: Walker, source: int, name: str) -> Iterator[Item]:
    if name:
        return walker.walk(source, os.fsencode(name))
    return walker.walk_below([source], b"")


def _is_content(path: str) -> bool:
    return path in (".", "/") or path.endswith(("/.", "/./"))


def _base_name(path: str) -> str:
    name = os.path.basename(os.path.normpath(path))
    return "" if name in (".", "..", "/") else name
