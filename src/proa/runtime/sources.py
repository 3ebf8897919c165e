"""What the parent opens for a launch: the root's base, bind sources and devices.

All are detached mounts made by the engine with the host's rights, by host paths, before the child
exists. Once the child's user namespace is there they are ID-mapped into it, so that files keep the
owners they have on disk. They are the child's to attach; none is ever visible on the host.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence

from proa.errors import Unsupported, from_os_error
from proa.linux import mount as api
from proa.linux.namespaces import open_namespace
from proa.linux.openat2 import RESOLVE_IN_ROOT, RESOLVE_NO_SYMLINKS, openat2
from proa.linux.syscalls import AT_EMPTY_PATH, AT_RECURSIVE
from proa.oci.isolation import DirectoryRoot, OverlayRoot
from proa.oci.spec import Linux, LinuxDevice, Mount
from proa.runtime.entering import entering
from proa.runtime.handover import to_host
from proa.runtime.steps.options import MountOptions, parse_options

_NO_OPTIONS = MountOptions()
_FOREIGN = re.compile(r"/proc/([0-9]+)/root(/.+)")
"""A path in another container, by its init."""


class Source:
    """One detached mount.

    Attributes:
        fd: owned by this object.
        slot: where the plan expects it.
        directory: what is shown is a directory.
        place: host path, for messages.
    """

    __slots__ = ("directory", "fd", "idmap", "options", "place", "required", "slot")

    def __init__(
        self,
        fd: int,
        slot: int,
        place: str,
        options: MountOptions = _NO_OPTIONS,
        *,
        idmap: bool = True,
        required: bool = False,
    ) -> None:
        self.fd = fd
        self.slot = slot
        self.place = place
        self.options = options
        self.idmap = idmap
        self.required = required
        self.directory = stat.S_ISDIR(os.fstat(fd).st_mode)

    def prepare(self, userns_fd: int, warnings: list[str]) -> None:
        """Set the mount's attributes, ID-mapped when a user namespace is given.

        Args:
            userns_fd: the container's user namespace, -1 for the host's.
            warnings: gets a sentence when an optional source cannot be ID-mapped.

        Raises:
            Unsupported: the root's filesystem cannot be ID-mapped.
            ProaError: other refusals.
        """
        mapped = userns_fd >= 0 and self.idmap
        try:
            self._set_attributes(userns_fd if mapped else -1)
        except OSError as error:
            if not mapped:
                raise from_os_error(error, f"cannot prepare the mount of {self.place}") from error
            if self.required:
                raise Unsupported(
                    f"the filesystem of {self.place} cannot be ID-mapped"
                    f" ({os.strerror(error.errno or 0).lower()})",
                    "move the state root to ext4, xfs or btrfs, or use --userns=host",
                ) from error
            warnings.append(
                f"the filesystem of {self.place} cannot be ID-mapped: its files belong to nobody"
                " in the container"
            )
            self._set_attributes(-1)

    def _set_attributes(self, userns_fd: int) -> None:
        options = self.options
        recursive = AT_RECURSIVE if options.recursive else 0
        attr_set = options.recursive_set
        if userns_fd >= 0:
            attr_set |= api.MOUNT_ATTR_IDMAP
        propagation = options.propagation or api.MS_PRIVATE
        if userns_fd >= 0 and propagation == api.MS_SHARED:
            # As the kernel does for whole mount namespaces: a less privileged one only listens.
            propagation = api.MS_SLAVE
        attr = api.pack_mount_attr(
            attr_set, options.recursive_clear, propagation, max(userns_fd, 0)
        )
        api.mount_setattr(self.fd, AT_EMPTY_PATH | recursive, attr)
        if options.attr_set or options.attr_clear:
            attr = api.pack_mount_attr(options.attr_set, options.attr_clear)
            api.mount_setattr(self.fd, AT_EMPTY_PATH, attr)

    def close(self) -> None:
        """Close the descriptor; what the child attached stays. Idempotent."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def open_base(root: OverlayRoot | DirectoryRoot, slot: int) -> Source:
    """Open the tree that holds the overlay's directories, or the root directory itself.

    Raises:
        ProaError: it does not exist ...
    """
    if isinstance(root, OverlayRoot):
        place, flags = root.base, 0
    else:
        place, flags = root.path, AT_RECURSIVE
    options = MountOptions(recursive=bool(flags))
    if isinstance(root, OverlayRoot) and root.volatile:
        _forgive_volatile(f"{root.base}/{root.work}")
    try:
        return Source(api.clone_path(place, flags), slot, place, options, required=True)
    except OSError as error:
        raise from_os_error(error, f"cannot open the root {place}") from error


def _forgive_volatile(work: str) -> None:
    """Let a volatile overlay be mounted again.

    The kernel leaves a mark that refuses it, for after a crash of the machine the upper directory
    may lack data. A container on such an overlay does not outlive a boot.
    """
    try:
        os.unlink(f"{work}/work/incompat/volatile/dirty")
        os.rmdir(f"{work}/work/incompat/volatile")
        os.rmdir(f"{work}/work/incompat")
    except OSError:
        pass


def open_bind(mount: Mount, slot: int) -> Source:
    """Open the source of a bind mount.

    Raises:
        ProaError: it does not exist ...
    """
    options = parse_options(mount.options)
    recursive = AT_RECURSIVE if options.recursive or not options.bind else 0
    foreign = _FOREIGN.fullmatch(mount.source)
    try:
        if foreign is not None:
            fd = clone_foreign(int(foreign[1]), foreign[2], recursive)
            return Source(fd, slot, mount.source, options, idmap=False)
        return Source(api.clone_path(mount.source, recursive), slot, mount.source, options)
    except OSError as error:
        raise from_os_error(error, f"cannot mount {mount.source} at {mount.destination}") from error


def open_host_tree(mount: Mount, path: str, slot: int) -> Source:
    """Open a kernel filesystem of the host's with all that is mounted below it.

    Raises:
        ProaError: it cannot be opened.
    """
    wanted = parse_options(mount.options)
    options = MountOptions(recursive=True, recursive_set=wanted.attr_set)
    try:
        return Source(api.clone_path(path, AT_RECURSIVE), slot, path, options, idmap=False)
    except OSError as error:
        raise from_os_error(error, f"cannot show the host's {path}") from error


def open_queues(mount: Mount, namespace: str, slot: int) -> Source:
    """Mount the message queues of a joined IPC namespace, whose root the child need not be.

    Args:
        namespace: path of its file.

    Raises:
        ProaError: it is gone.
    """
    wanted = parse_options(mount.options)
    options = MountOptions(recursive_set=wanted.attr_set, recursive=True)
    try:
        ipc = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with entering([(ipc, "ipc")]):
                fd = api.make_filesystem("mqueue")
        finally:
            os.close(ipc)
        return Source(fd, slot, mount.destination, options, idmap=False)
    except OSError as error:
        raise from_os_error(error, f"cannot mount the queues of {namespace}") from error


def clone_foreign(pid: int, path: str, flags: int) -> int:
    """Detached copy of a mount in another container, found without following any link there.

    A mount can be copied only by a process of its mount namespace, so this one is there for a
    moment; its own root and directory are given back to it.

    Raises:
        OSError: the process is gone, ELOOP for a link on the way.
    """
    fds = [os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for name in ("/", ".")]
    try:
        fds.append(os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        fds.append(
            openat2(fds[2], path, os.O_PATH | os.O_DIRECTORY, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS)
        )
        mounts = open_namespace(pid, "mount")
        fds.append(mounts)
        try:
            with entering([(mounts, "mount")]):
                return api.open_tree(fds[3], "", api.OPEN_TREE_CLONE | AT_EMPTY_PATH | flags)
        finally:
            os.fchdir(fds[0])
            os.chroot(".")
            os.fchdir(fds[1])
    finally:
        for fd in fds:
            os.close(fd)


def make_devices(devices: Sequence[LinuxDevice], linux: Linux, slot: int) -> Source:
    """Make device nodes on a filesystem of their own: in a user namespace only the host can.

    They are named by their position, owned by the container's users, and the filesystem is shown to
    no one but the child, which binds each node to its place.

    Raises:
        ProaError: the host refuses the device.
    """
    fd = api.make_tmpfs()
    try:
        for index, device in enumerate(devices):
            kind = stat.S_IFBLK if device.type == "b" else stat.S_IFCHR
            number = os.makedev(device.major, device.minor)
            os.mknod(str(index), kind, number, dir_fd=fd)
            mode = 0o666 if device.file_mode is None else device.file_mode & 0o777
            os.chmod(str(index), mode, dir_fd=fd)
            uid = to_host(device.uid or 0, linux.uid_mappings)
            gid = to_host(device.gid or 0, linux.gid_mappings)
            os.chown(str(index), uid, gid, dir_fd=fd)
        return Source(fd, slot, "/dev", idmap=False)
    except OSError as error:
        os.close(fd)
        raise from_os_error(error, "cannot make the container's devices") from error
