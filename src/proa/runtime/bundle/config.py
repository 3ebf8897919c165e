"""A bundle's ``config.json``, read for this runtime.

The document is the caller's, who is root's equal. What is normalised here is what runc accepts in
several forms and the runtime proper (:mod:`proa.runtime.validate`) in one.
"""

from __future__ import annotations

import os
from typing import TypeVar

import msgspec

from proa.cgroups.systemd import DEFAULT_PARENT, cgroup_path, expand_slice
from proa.errors import Corrupt, Invalid, NotFound, from_os_error
from proa.fs.atomicfile import load_file
from proa.oci.codec import MAX_DOCUMENT_BYTES, decode_without_nulls
from proa.oci.spec import Linux, LinuxNamespace, Mount, Spec
from proa.runtime.steps.devices import STANDARD
from proa.runtime.steps.options import parse_options

T = TypeVar("T")

_DEPTH = 8
"""Levels of objects in a spec: linux, resources, blockIO, device; Go writes null for "none"."""

_STANDARD = frozenset([f"/dev/{name}" for name, _, _ in STANDARD] + ["/dev/console", "/dev/ptmx"])
"""Devices that every container has; Docker lists them again for a privileged one."""

_DEFAULT_SLICE = "system.slice"
_COPYING = "tmpcopyup"
"""runc's word for a tmpfs that begins with what the image has there; see :func:`_mount`."""


def load_spec(bundle: str, container_id: str) -> Spec:
    """Read and normalise ``<bundle>/config.json``.

    Args:
        bundle: absolute directory, which relative paths in the document start from.
        container_id: names the cgroup where the document does not.

    Raises:
        NotFound: there is none.
        Invalid: it is not a runtime spec.
        ProaError: it cannot be read.
    """
    path = f"{bundle}/config.json"
    try:
        document = load_file(path, MAX_DOCUMENT_BYTES)
    except FileNotFoundError as error:
        raise NotFound(f"JSON specification file {path} not found") from error
    except OSError as error:
        raise from_os_error(error, f"cannot read {path}") from error
    spec = parse(document, Spec, path)
    if spec.root is None or spec.linux is None or spec.process is None:
        raise Invalid(f"{path} has no root, no process or no linux section")
    linux = _linux(spec.linux, spec.mounts, container_id)
    mounts = tuple([_mount(mount, bundle) for mount in spec.mounts])
    return msgspec.structs.replace(spec, linux=linux, mounts=mounts)


def parse(document: bytes, kind: type[T], what: str) -> T:
    """Decode one of the caller's documents.

    Raises:
        Invalid: it is not of that kind.
    """
    try:
        return decode_without_nulls(document, kind, what, _DEPTH)
    except Corrupt as error:
        raise Invalid(error.message) from error


def find_root(spec: Spec, bundle: str) -> str:
    """Absolute host path of the root directory, without symbolic links.

    Raises:
        NotFound: there is no such directory.
    """
    assert spec.root is not None
    path = os.path.realpath(os.path.join(bundle, spec.root.path))
    if not os.path.isdir(path):
        raise NotFound(f"the root filesystem {path} of the bundle does not exist")
    return path


def _linux(linux: Linux, mounts: tuple[Mount, ...], container_id: str) -> Linux:
    return msgspec.structs.replace(
        linux,
        devices=tuple([device for device in linux.devices if device.path not in _STANDARD]),
        cgroups_path=_cgroup(linux.cgroups_path, container_id),
        namespaces=_namespaces(linux.namespaces, mounts),
        # runc takes both "slave" and "rslave"; the root is one mount here.
        rootfs_propagation=_propagation(linux.rootfs_propagation),
    )


def _propagation(word: str) -> str:
    return word[1:] if word in ("rprivate", "rslave", "rshared", "runbindable") else word


def _cgroup(path: str, container_id: str) -> str:
    """Absolute path of the group.

    ``slice:prefix:name`` is systemd's form (``--systemd-cgroup``): the scope is made as a group.
    """
    if path.count(":") == 2:
        slice_name, prefix, name = path.split(":")
        parent = expand_slice(slice_name or _DEFAULT_SLICE).rstrip("/")
        if name.endswith(".slice"):
            return f"{parent}/{name}"
        return f"{parent}/{prefix}-{name}.scope" if prefix else f"{parent}/{name}.scope"
    if path.startswith("/"):
        return path
    return f"/{path}" if path else cgroup_path(DEFAULT_PARENT, container_id)


def _namespaces(
    namespaces: tuple[LinuxNamespace, ...], mounts: tuple[Mount, ...]
) -> tuple[LinuxNamespace, ...]:
    """The namespaces, a cgroup namespace among them when the groups are shown.

    On v1 a mount of the hierarchies shows all groups of the host unless a cgroup namespace makes
    the container's own the root. runc binds the container's groups instead.
    """
    shown = any(mount.type == "cgroup" for mount in mounts)
    if not shown or any(namespace.type == "cgroup" for namespace in namespaces):
        return namespaces
    return (*namespaces, LinuxNamespace(type="cgroup"))


def _mount(mount: Mount, bundle: str) -> Mount:
    """The mount with an absolute source and without words that mean nothing here.

    A tmpfs is not filled from the image: what it hides may be a symbolic link into the host.
    """
    options = tuple([word for word in mount.options if word != _COPYING])
    source = mount.source
    if (mount.type == "bind" or parse_options(options).bind) and not source.startswith("/"):
        source = os.path.normpath(os.path.join(bundle, source))
    if source != mount.source or options != mount.options:
        return msgspec.structs.replace(mount, source=source, options=options)
    return mount
