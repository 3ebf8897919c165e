"""Whether containers can have a user namespace of their own here.

Two things are needed: the kernel makes user namespaces, and the filesystem of the state root can be
shown ID-mapped (mount_setattr(2), Linux 5.12; overlayfs on such layers, Linux 5.19), so that
nothing has to be chowned. Where one is missing the engine falls back to the host's user namespace
and says so. The answer is found by trying, once a process and filesystem.
"""

from __future__ import annotations

import os

from proa.linux import mount as api
from proa.linux import namespaces as ns
from proa.linux.procfs import write_process_file
from proa.linux.syscalls import AT_EMPTY_PATH, call, number

_OVERLAY_ON_IDMAPPED = (5, 19)
_MAPPING = "0 524288 65536\n"

_reasons: dict[int, str | None] = {}


def probe(base: str) -> str | None:
    """Return None when user namespaces work for containers under ``base``, else why they do not.

    Args:
        base: the state root, an existing directory.

    Raises:
        OSError: ``base`` cannot be looked at.
    """
    device = os.stat(base).st_dev
    if device not in _reasons:
        _reasons[device] = _find_reason(base)
    return _reasons[device]


def _find_reason(base: str) -> str | None:
    release = os.uname().release
    if _version(release) < _OVERLAY_ON_IDMAPPED:
        return f"Linux {release} cannot mount overlayfs on ID-mapped layers (5.19 can)"
    if not ns.supports("user"):
        return "the kernel has no user namespaces"
    try:
        userns_fd = _make_namespace()
    except OSError as error:
        return f"user namespaces cannot be made ({os.strerror(error.errno or 0).lower()})"
    try:
        _show_mapped(base, userns_fd)
    except OSError as error:
        why = os.strerror(error.errno or 0).lower()
        return f"the filesystem of {base} cannot be ID-mapped ({why})"
    finally:
        os.close(userns_fd)
    return None


def _show_mapped(base: str, userns_fd: int) -> None:
    tree = api.clone_path(base)
    try:
        attr = api.pack_mount_attr(attr_set=api.MOUNT_ATTR_IDMAP, userns_fd=userns_fd)
        api.mount_setattr(tree, AT_EMPTY_PATH, attr)
    finally:
        os.close(tree)


def _make_namespace() -> int:
    """Return a descriptor of a new, mapped user namespace; a short-lived child makes it."""
    ready_r, ready_w = os.pipe2(os.O_CLOEXEC)
    leave_r, leave_w = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            os.close(leave_w)
            call(number("unshare"), ns.CLONE_NEWUSER)
            os.write(ready_w, b"1")
            os.read(leave_r, 1)
        finally:
            os._exit(0)
    os.close(ready_w)
    os.close(leave_r)
    try:
        if not os.read(ready_r, 1):
            raise PermissionError(1, os.strerror(1))
        write_process_file(pid, "uid_map", _MAPPING)
        write_process_file(pid, "gid_map", _MAPPING)
        return ns.open_namespace(pid, "user")
    finally:
        os.close(ready_r)
        os.close(leave_w)
        os.waitpid(pid, 0)


def _version(release: str) -> tuple[int, ...]:
    numbers = []
    for word in release.split("-", maxsplit=1)[0].split(".")[:2]:
        digits = "".join([character for character in word if character.isdigit()])
        numbers.append(int(digits or 0))
    return tuple(numbers)
