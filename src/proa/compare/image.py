"""The image that every target runs: this host's busybox and its links, the same bytes each time."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile

from proa.errors import NotFound

_DIRECTORIES = ("bin", "dev", "etc", "proc", "root", "run", "sys", "tmp", "var", "var/tmp")
_STICKY = ("tmp", "var/tmp")


def write_rootfs(path: str) -> None:
    """Write the root filesystem as a tar archive.

    Raises:
        NotFound: busybox is not installed.
    """
    busybox = shutil.which("busybox")
    if busybox is None:
        raise NotFound("busybox is not installed", "install it: apt install busybox-static")
    listed = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True)
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for name in _DIRECTORIES:
            member = tarfile.TarInfo(name)
            member.type = tarfile.DIRTYPE
            member.mode = 0o1777 if name in _STICKY else 0o755
            archive.addfile(member)
        _add(archive, "bin/busybox", os.path.realpath(busybox))
        for applet in listed.stdout.split():
            if applet != "busybox":
                link = tarfile.TarInfo(f"bin/{applet}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                archive.addfile(link)
        passwd = b"root:x:0:0:root:/root:/bin/sh\n"
        member = tarfile.TarInfo("etc/passwd")
        member.size, member.mode = len(passwd), 0o644
        archive.addfile(member, io.BytesIO(passwd))


def _add(archive: tarfile.TarFile, name: str, path: str) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = os.path.getsize(path), 0o755
    with open(path, "rb") as stream:
        archive.addfile(member, stream)
