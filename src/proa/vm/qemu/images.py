"""Disk images: what one is, making and resizing copies, snapshots of a machine that is off.

Images come from strangers. Only their first bytes are read here; whatever parses one runs as
``qemu-img`` in the confinement of :mod:`proa.vm.qemu.process`, with the image's descriptor and
nothing else. A base image's own references to other files are refused, never followed.

Source: ``docs/interop/qcow2.txt``.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Sequence
from typing import Literal

import msgspec

from proa.errors import Corrupt, Invalid, Unavailable, from_os_error
from proa.vm.qemu.machine import FIRST_FD, Command, File, Source
from proa.vm.qemu.process import Confinement, spawn

Format = Literal["raw", "qcow2"]

_HEADER = struct.Struct(">4sIQIIQ")
"""Magic, version, offset and size of the backing file's name, cluster bits, virtual size."""
_INCOMPATIBLE_AT = 72
_DATA_FILE = 1 << 2
_MAGIC = b"QFI\xfb"
_OTHER_FORMATS = (
    (0, b"KDMV", "vmdk"), (0, b"# Disk DescriptorFile", "vmdk"), (0, b"vhdxfile", "vhdx"),
    (0, b"conectix", "vpc"), (64, b"\x7f\x10\xda\xbe", "vdi"),
)  # fmt: skip


class ImageInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What an image is.

    Attributes:
        format: layout.
        size_bytes: the disk that it holds.
    """

    format: Format
    size_bytes: int


def inspect_image(path: str, wanted: str = "") -> ImageInfo:
    """Read an image's header.

    Args:
        path: absolute.
        wanted: what the user says that it is; empty: look at it.

    Raises:
        NotFound, Forbidden: it cannot be read.
        Invalid: it is of another format, or of one that machines cannot use.
        Corrupt: its header makes no sense.
    """
    try:
        with open(path, "rb") as stream:
            head = stream.read(104)
            size = os.fstat(stream.fileno()).st_size
            if not os.path.isfile(path):
                raise Invalid(f"{path} is not a regular file", "name a disk image")
    except OSError as error:
        raise from_os_error(error, f"cannot read the disk image {path}") from error
    if wanted == "raw":
        return ImageInfo(format="raw", size_bytes=size)
    if head.startswith(_MAGIC):
        return _inspect_qcow2(path, head)
    for offset, magic, name in _OTHER_FORMATS:
        if head[offset:].startswith(magic):
            raise Invalid(
                f"{path} is a {name} image", f"convert it: qemu-img convert -O qcow2 {path} NEW"
            )
    if wanted == "qcow2":
        raise Invalid(f"{path} is not a qcow2 image")
    if not size:
        raise Invalid(f"the disk image {path} is empty")
    return ImageInfo(format="raw", size_bytes=size)


def _inspect_qcow2(path: str, head: bytes) -> ImageInfo:
    if len(head) < _HEADER.size:
        raise Corrupt(f"the qcow2 header of {path} is cut off")
    _, version, backing_offset, _, _, size = _HEADER.unpack_from(head)
    if version not in (2, 3) or not 0 < size < 1 << 62:
        raise Corrupt(f"the qcow2 header of {path} makes no sense")
    incompatible = 0
    if version == 3 and len(head) >= _INCOMPATIBLE_AT + 8:
        (incompatible,) = struct.unpack_from(">Q", head, _INCOMPATIBLE_AT)
    if backing_offset or incompatible & _DATA_FILE:
        raise Invalid(
            f"{path} refers to another file, which is not followed",
            f"make it stand alone: qemu-img convert -O qcow2 {path} NEW",
        )
    return ImageInfo(format="qcow2", size_bytes=size)


def create_overlay(path: str, base: str, base_format: str, size_bytes: int, uid: int) -> None:
    """Make a copy-on-write image owned by a machine's user.

    Args:
        path: must not exist.
        base: named in the header for humans; machines are told their base explicitly. Empty: none.
        size_bytes: what the guest sees; at least the base's.

    Raises:
        ProaError: qemu-img is missing or failed; nothing is left.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.fchown(fd, uid if os.geteuid() == 0 else -1, -1)
        finally:
            os.close(fd)
    except OSError as error:
        raise from_os_error(error, f"cannot make the disk {path}") from error
    # -u: the base is not opened.
    backing = ["-u", "-b", base, "-F", base_format] if base else []
    size_bytes = -(-size_bytes // 512) * 512
    try:
        run_qemu_img(
            ["create", "-q", "-f", "qcow2", *backing, "{0}", str(size_bytes)],
            (File(path, writable=True),),
            uid,
        )
    except BaseException:
        os.unlink(path)
        raise


def list_snapshots(path: str, uid: int) -> list[str]:
    """Names of the snapshots in a qcow2 image that nobody has open, in their order."""
    shown = run_qemu_img(["snapshot", "-l", _alone("{0}")], (File(path, writable=True),), uid)
    return re.findall(r"^\d+\s+(\S+)\s", shown, re.MULTILINE)


def change_snapshot(path: str, uid: int, action: Literal["-c", "-a", "-d"], name: str) -> None:
    """Create, apply or delete a snapshot in a qcow2 image that nobody has open.

    Raises:
        Unavailable: qemu-img failed: there is no such snapshot, or one already.
    """
    run_qemu_img(["snapshot", action, name, _alone("{0}")], (File(path, writable=True),), uid)


def run_qemu_img(arguments: Sequence[str], sources: Sequence[Source], uid: int) -> str:
    """Run qemu-img confined; return what it said.

    Args:
        arguments: ``{0}``, ``{1}`` ... stand for the sources.

    Raises:
        Unavailable: it is not installed, or failed; the message has its words.
    """
    words = list(arguments)
    for index in range(len(sources)):
        place = f"/proc/self/fd/{FIRST_FD + index}"
        words = [word.replace(f"{{{index}}}", place) for word in words]
    command = Command(argv=("qemu-img", *words), sources=tuple(sources))
    with spawn(command, Confinement(uid=uid if os.geteuid() == 0 else 0)) as tool:
        code, number = tool.wait()
        said = tool.read_log()
    if code or number:
        reason = said.splitlines()[-1].partition(": ")[2] if said else f"signal {number}"
        raise Unavailable(f"qemu-img {arguments[0]} failed: {reason}")
    return said


def _alone(place: str) -> str:
    """An image without its base, which such commands need not read."""
    return (
        f'json:{{"driver":"qcow2","backing":null,"file":{{"driver":"file","filename":"{place}"}}}}'
    )
