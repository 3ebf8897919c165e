"""The smallest useful image: Debian's statically linked busybox and its applets."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from proa.errors import Unavailable
from proa.image.bootstrap.tools import require_tool, run_tool
from proa.image.layers.entry import DIRECTORY, LINK, REGULAR, Entry
from proa.image.layers.writer import TarWriter

PACKAGE = "busybox-static"
_PROGRAM = "/bin/busybox"
_DIRECTORIES = (
    ("bin", 0o755),
    ("dev", 0o755),
    ("etc", 0o755),
    ("home", 0o755),
    ("lib", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("usr", 0o755),
    ("usr/bin", 0o755),
    ("usr/sbin", 0o755),
    ("sbin", 0o755),
    ("var", 0o755),
    ("var/tmp", 0o1777),
)
_FILES = (
    ("etc/group", b"root:x:0:\ndaemon:x:1:\ntty:x:5:\nnogroup:x:65534:\n"),
    (
        "etc/passwd",
        (
            b"root:x:0:0:root:/root:/bin/sh\n"
            b"daemon:x:1:1:daemon:/usr/sbin:/bin/false\n"
            b"nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"
        ),
    ),
    ("etc/nsswitch.conf", b"passwd: files\ngroup: files\nhosts: files dns\n"),
)
_PIECE_BYTES = 256 * 1024


def busybox_program(progress: Callable[[str], None]) -> bytes:
    """Return the program: the host's, when dpkg vouches for it, else from apt.

    Raises:
        Unavailable: neither is to be had.
    """
    if _installed():
        progress(f"taking {_PROGRAM} of the installed package {PACKAGE}")
        with open(_PROGRAM, "rb") as file:
            return file.read()
    return _downloaded(progress)


def rootfs_chunks(program: bytes, applets: list[str]) -> Iterator[bytes]:
    """Yield the tar of a root filesystem in pieces; the same program gives the same tar.

    Args:
        program: an ELF file.
        applets: paths relative to the root that become hard links to the program.
    """
    pieces: list[bytes] = []
    writer = TarWriter(lambda data: pieces.append(bytes(data)))
    for name, mode in _DIRECTORIES:
        writer.add(Entry(f"{name}/".encode(), DIRECTORY, mode=mode))
    for name, data in _FILES:
        writer.add_file(name, data)
    writer.add(Entry(b"bin/busybox", REGULAR, mode=0o755, size=len(program)), (program,))
    for name in sorted(set(applets) - {"bin/busybox"}):
        writer.add(Entry(name.encode(), LINK, mode=0o755, link=b"bin/busybox"))
    writer.close()
    tar = b"".join(pieces)
    for start in range(0, len(tar), _PIECE_BYTES):
        yield tar[start : start + _PIECE_BYTES]


def list_applets(program: bytes) -> list[str]:
    """Ask the program for the paths of its applets, e.g. ``bin/ls``."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="proa-busybox-") as directory:
        path = f"{directory}/busybox"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o700)
        try:
            os.write(fd, program)
        finally:
            os.close(fd)
        text = run_tool(
            [path, "--list-full"],
            package=PACKAGE,
            doing="cannot list the applets of busybox",
            failures=Unavailable,
        )
    known = {name for name, _ in _DIRECTORIES}
    names = [line.strip().lstrip("/") for line in text.splitlines()]
    return [name for name in names if os.path.dirname(name) in known]


def _installed() -> bool:
    """Say whether the package is installed and its files are as they were packed."""
    try:
        run_tool(
            ["dpkg", "--verify", PACKAGE],
            package="dpkg",
            doing="cannot verify busybox",
            failures=Unavailable,
        )
        listed = run_tool(
            ["dpkg-query", "--show", "--showformat=${db:Status-Status}", PACKAGE],
            package="dpkg",
            doing="cannot find busybox",
            failures=Unavailable,
        )
    except Unavailable:
        return False
    return listed.strip() == "installed" and os.path.exists(_PROGRAM)


def _downloaded(progress: Callable[[str], None]) -> bytes:
    import glob
    import tempfile

    require_tool("dpkg-deb", "dpkg")
    with tempfile.TemporaryDirectory(prefix="proa-busybox-") as directory:
        progress(f"fetching the package {PACKAGE}")
        # "download" writes to the working directory; apt verifies what it fetches.
        run_tool(
            ["env", f"--chdir={directory}", "apt-get", "download", "-qq", PACKAGE],
            package="apt",
            doing=f"cannot fetch the package {PACKAGE}",
            failures=Unavailable,
            extra=["-o", "APT::Sandbox::User=root"],
        )
        (package,) = glob.glob(f"{directory}/*.deb")
        run_tool(
            ["dpkg-deb", "--extract", package, f"{directory}/root"],
            package="dpkg",
            doing=f"cannot unpack {package}",
            failures=Unavailable,
        )
        for path in (f"{directory}/root/bin/busybox", f"{directory}/root/usr/bin/busybox"):
            if os.path.isfile(path):
                with open(path, "rb") as file:
                    return file.read()
    raise Unavailable(f"the package {PACKAGE} has no busybox in it")
