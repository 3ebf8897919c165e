"""The kernels that guests can boot: installed ones, the host's own, any file.

::

    <root>/vm/kernels/<release>/      vmlinuz, vmlinux (x86-64, made once), modules/, kernel.json
    <root>/vm/kernels/unpacked/       vmlinux of kernels that are not ours, by a digest of the file

``kernel.json`` is written last and removed first: a directory without it is not a kernel. An
installation holds the lock of ``kernels/``.
"""

from __future__ import annotations

import os
import re

import msgspec

from proa.errors import Conflict, NotFound, from_os_error
from proa.fs.atomicfile import load_file, save_file
from proa.vm.kernel.vmlinux import LIMIT_BYTES, extract_vmlinux, find_release, has_pvh_entry

INSTALL_HINT = "proa vm kernel install"

RELEASE = re.compile(r"[0-9]+\.[0-9A-Za-z][0-9A-Za-z.+~_-]*")
_MARK = "kernel.json"


class Kernel(msgspec.Struct, frozen=True, kw_only=True):
    """A kernel that a guest can boot.

    Attributes:
        release: ``uname -r``.
        architecture: ``x86_64`` or ``aarch64``.
        origin: ``installed``, ``host`` or ``file``.
        image: the packed kernel: a bzImage, or arm64's Image.
        vmlinux: uncompressed ELF kernel with a PVH entry, for ``microvm``; empty: it has none, use
            ``q35`` with ``image``.
        modules: its ``/lib/modules/<release>``; empty: there is none.
        package: the package and version it came from.
    """

    release: str
    architecture: str
    origin: str
    image: str
    vmlinux: str = ""
    modules: str = ""
    package: str = ""


def kernels_directory(root: str) -> str:
    """Where installed kernels are below a state root."""
    return f"{root}/vm/kernels"


def list_kernels(root: str) -> list[Kernel]:
    """Installed kernels, newest release first."""
    directory = kernels_directory(root)
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    kernels = [kernel for name in names if (kernel := _load(f"{directory}/{name}"))]
    return sorted(kernels, key=_order, reverse=True)


def find_kernel(root: str, wanted: str = "", architecture: str = "") -> Kernel | None:
    """Find what ``--kernel`` says.

    Args:
        root: the engine's state root.
        wanted: a path (it has a slash in it), a release, or the beginning of one (``6.1``: the
            newest of them); empty: the newest installed kernel, else the host's own.
        architecture: as ``uname -m`` says it; empty: this machine's.

    Raises:
        NotFound: ``wanted`` is a path where nothing is.
        Corrupt: that file is no kernel.
    """
    architecture = architecture or os.uname().machine
    if "/" in wanted:
        return _from_file(root, wanted, "file", architecture)
    for kernel in list_kernels(root):
        if kernel.architecture == architecture and _matches(kernel.release, wanted):
            return kernel
    return _from_host(root, wanted) if architecture == os.uname().machine else None


def get_kernel(root: str, wanted: str = "", architecture: str = "") -> Kernel:
    """As :func:`find_kernel`.

    Raises:
        NotFound: there is no such kernel.
        Corrupt: it is no kernel.
    """
    kernel = find_kernel(root, wanted, architecture)
    if kernel is None:
        what = f"kernel {wanted}" if wanted else "kernel for virtual machines"
        where = f" for {architecture}" if architecture else ""
        raise NotFound(f"no {what}{where}", f"run `{INSTALL_HINT}`, or name one with --kernel")
    return kernel


def remove_kernel(root: str, release: str) -> None:
    """Remove an installed kernel. Running guests keep what they have open.

    Raises:
        NotFound: it is not installed.
    """
    from proa.fs.tree import remove_tree

    for kernel in list_kernels(root):
        if kernel.release == release:
            directory = os.path.dirname(kernel.image)
            os.unlink(f"{directory}/{_MARK}")
            remove_tree(directory)
            return
    raise NotFound(f"kernel {release} is not installed", "see `proa vm kernel ls`")


def adopt(directory: str, release: str, architecture: str, package: str) -> Kernel:
    """Complete a directory with ``vmlinuz`` and ``modules``: unpack the kernel, write the mark.

    Raises:
        Conflict: what is there is another kernel than it should be.
        ProaError: any other kind.
    """
    image = f"{directory}/vmlinuz"
    vmlinux = ""
    try:
        os.chmod(image, 0o644)
        if architecture == "x86_64":
            data = load_file(image, LIMIT_BYTES)
            if find_release(data) != release:
                raise Conflict(
                    f"{image} says it is {find_release(data) or 'nothing'}, not {release}"
                )
            unpacked = extract_vmlinux(data)
            if has_pvh_entry(unpacked):
                vmlinux = f"{directory}/vmlinux"
                save_file(vmlinux, unpacked, mode=0o644)
        kernel = Kernel(
            release=release,
            architecture=architecture,
            origin="installed",
            image=image,
            vmlinux=vmlinux,
            modules=f"{directory}/modules" if os.path.isdir(f"{directory}/modules") else "",
            package=package,
        )
        save_file(f"{directory}/{_MARK}", msgspec.json.encode(_relative(kernel)))
    except OSError as error:
        raise from_os_error(error, f"cannot install kernel {release}") from error
    return kernel


def _relative(kernel: Kernel) -> Kernel:
    return msgspec.structs.replace(
        kernel,
        image="vmlinuz",
        vmlinux="vmlinux" if kernel.vmlinux else "",
        modules="modules" if kernel.modules else "",
    )


def _load(directory: str) -> Kernel | None:
    try:
        kernel = msgspec.json.decode(load_file(f"{directory}/{_MARK}", 1 << 16), type=Kernel)
    except (OSError, msgspec.MsgspecError):
        return None
    return msgspec.structs.replace(
        kernel,
        image=f"{directory}/vmlinuz",
        vmlinux=f"{directory}/vmlinux" if kernel.vmlinux else "",
        modules=f"{directory}/modules" if kernel.modules else "",
    )


def _from_host(root: str, wanted: str) -> Kernel | None:
    """The kernel in the host's /boot that runs, else its newest; None when it cannot be read."""
    try:
        names = os.listdir("/boot")
    except OSError:
        return None
    releases = [name.removeprefix("vmlinuz-") for name in names if name.startswith("vmlinuz-")]
    running = os.uname().release
    releases.sort(key=lambda release: (release == running, _version(release)), reverse=True)
    for release in releases:
        path = f"/boot/vmlinuz-{release}"
        if _matches(release, wanted) and os.access(path, os.R_OK):
            return _from_file(root, path, "host", os.uname().machine)
    return None


def _from_file(root: str, path: str, origin: str, architecture: str) -> Kernel:
    path = os.path.abspath(path)
    try:
        status = os.stat(path)
        data = load_file(path, LIMIT_BYTES)
    except OSError as error:
        raise from_os_error(error, f"cannot read the kernel {path}") from error
    release = find_release(data)
    vmlinux = ""
    if architecture == "x86_64":
        vmlinux = _ensure_unpacked(root, f"{path}:{status.st_size}:{status.st_mtime_ns}", data)
    return Kernel(
        release=release or os.path.basename(path),
        architecture=architecture,
        origin=origin,
        image=path,
        vmlinux=vmlinux,
        modules=_find_modules(path, release),
    )


def _find_modules(image: str, release: str) -> str:
    """Modules of a kernel: the host's, or those beside a /boot that was unpacked elsewhere."""
    tree = os.path.dirname(os.path.dirname(image))
    for directory in (f"{tree}/lib/modules/{release}", f"/lib/modules/{release}"):
        if release and os.path.isdir(f"{directory}/kernel"):
            return directory
    return ""


def _ensure_unpacked(root: str, key: str, data: bytes) -> str:
    """Path of the unpacked kernel, made once; empty when it has no PVH entry."""
    import hashlib

    directory = f"{kernels_directory(root)}/unpacked"
    path = f"{directory}/{hashlib.sha256(key.encode()).hexdigest()[:32]}"
    if not os.path.exists(path):
        vmlinux = extract_vmlinux(data)
        try:
            os.makedirs(directory, mode=0o700, exist_ok=True)
            save_file(path, vmlinux if has_pvh_entry(vmlinux) else b"", mode=0o644, durable=False)
        except OSError as error:
            raise from_os_error(error, f"cannot write {path}") from error
    return path if os.path.getsize(path) else ""


def _matches(release: str, wanted: str) -> bool:
    if not wanted or release == wanted:
        return True
    # "6.1" is the beginning of 6.1.0-56, not of 6.12.
    return release.startswith(wanted) and release[len(wanted)] in ".-+~_"


def _order(kernel: Kernel) -> tuple[int, ...]:
    return _version(kernel.release)


def _version(release: str) -> tuple[int, ...]:
    return tuple(int(digits) for digits in re.findall(r"[0-9]+", release))
