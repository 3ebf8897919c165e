"""The busybox root that Proa and all peers run: Debian's busybox-static and its links."""

from __future__ import annotations

import io
import os
import shutil
import tarfile

from benchmarks.measure import MeasurementError

APPLETS = ("sh", "true", "sleep", "echo", "cat", "ls", "id")
_DIRECTORIES = ("bin", "dev", "etc", "proc", "root", "run", "sys", "tmp", "var")


def make_directory(path: str) -> None:
    """Lay the root out below the new directory ``path``.

    Raises:
        MeasurementError: busybox is not installed or not static.
    """
    for name in _DIRECTORIES:
        os.makedirs(os.path.join(path, name))
    os.chmod(os.path.join(path, "tmp"), 0o1777)
    busybox = shutil.which("busybox")
    if busybox is None:
        raise MeasurementError("busybox is not installed (Debian: busybox-static)")
    shutil.copy(busybox, os.path.join(path, "bin", "busybox"))
    for applet in APPLETS:
        os.symlink("busybox", os.path.join(path, "bin", applet))
    with open(os.path.join(path, "etc", "passwd"), "w") as file:
        file.write("root:x:0:0:root:/root:/bin/sh\n")


def pack(path: str) -> bytes:
    """Return the root at ``path`` as a tar archive owned by root."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(path, arcname=".", filter=_as_root)
    return buffer.getvalue()


def _as_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member
