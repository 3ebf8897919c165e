"""Root filesystems from mmdebstrap: a tar on its standard output, straight into the store."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from proa.errors import Unavailable, Unsupported
from proa.image.bootstrap.request import Request
from proa.image.bootstrap.sources import public_sources
from proa.image.bootstrap.tools import last_words, require_tool
from proa.image.layers.entry import REGULAR, Entry
from proa.image.layers.layer import read_chunks
from proa.image.layers.writer import TarWriter
from proa.image.model import Progress
from proa.oci.platform import host_platform

if TYPE_CHECKING:
    import subprocess
    import threading

PACKAGE = "mmdebstrap"
_BINFMT = "/proc/sys/fs/binfmt_misc"
_KEPT_LINES = 50

# What a container needs of dpkg and apt and a machine does not: no service is started, nothing is
# flushed for a crash that would lose the container anyway, no caches that only fill layers.
_EARLY_FILES = (("usr/sbin/policy-rc.d", 0o755, b"#!/bin/sh\nexit 101\n"),)
_FILES = (
    ("etc/dpkg/dpkg.cfg.d/proa", 0o644, b"force-unsafe-io\n"),
    (
        "etc/apt/apt.conf.d/proa",
        0o644,
        (
            b'APT::Update::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb"; };\n'
            b'DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb"; };\n'
            b'Dir::Cache::pkgcache "";\n'
            b'Dir::Cache::srcpkgcache "";\n'
            b'Acquire::Languages "none";\n'
            b'APT::AutoRemove::SuggestsImportant "false";\n'
        ),
    ),
)
_SLIM_EXCLUDES = (
    "/usr/share/man/*",
    "/usr/share/info/*",
    "/usr/share/doc/*",
    "/usr/share/lintian/*",
    "/usr/share/locale/*",
)
_SLIM_INCLUDES = ("/usr/share/doc/*/copyright",)
# What differs from run to run, or names the machine that the image was made on.
_CLEANUP = (
    'rm -f "$1"/etc/apt/sources.list "$1"/etc/hostname "$1"/etc/resolv.conf'
    ' "$1"/var/cache/ldconfig/aux-cache "$1"/var/cache/apt/*.bin;'
    ' rm -rf "$1"/var/log/apt "$1"/var/log/*.log "$1"/var/lib/dpkg/*-old "$1"/run/mount'
)
# Merges /usr before anything is unpacked, where the suite wants it; else the package usrmerge does
# it afterwards, and brings 50 MB of perl.
_MERGED_USR_HOOKS = "/usr/share/mmdebstrap/hooks/maybe-merged-usr"
_EMULATORS = {
    "amd64": "x86_64",
    "arm64": "aarch64",
    "armhf": "arm",
    "armel": "arm",
    "i386": "i386",
    "ppc64el": "ppc64le",
}


def rootfs_chunks(
    request: Request, lines: list[str], epoch_s: int, progress: Progress
) -> Iterator[bytes]:
    """Yield the tar of a root filesystem as it is made.

    Args:
        request: what is wanted.
        lines: the one-line sources.
        epoch_s: date of files that are made here.
        progress: told what mmdebstrap says.

    Raises:
        Unavailable: mmdebstrap or an emulator is missing, or mmdebstrap failed; raised at the end
            of the stream too, so that a cut tar is never taken for a whole one.
    """
    import subprocess
    import tempfile

    program = require_tool(PACKAGE, PACKAGE)
    check_architecture(request.architecture)
    with tempfile.TemporaryDirectory(prefix="proa-bootstrap-") as directory:
        sources = f"etc/apt/sources.list.d/{request.distribution.name}.sources"
        late = (*_FILES, (sources, 0o644, public_sources(request).encode()))
        _write_files(f"{directory}/early.tar", _EARLY_FILES, epoch_s)
        _write_files(f"{directory}/late.tar", late, epoch_s)
        process = subprocess.Popen(
            [program, *_arguments(request, directory, lines)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "SOURCE_DATE_EPOCH": str(epoch_s), "LC_ALL": "C.UTF-8"},
        )
        words: list[str] = []
        reader = _follow(process, words, progress)
        try:
            assert process.stdout is not None
            yield from read_chunks(process.stdout.fileno())
            status = process.wait()
        finally:
            # Reached without the end when the import failed or the user interrupted. The tool
            # removes its directory on SIGTERM.
            if process.poll() is None:
                process.terminate()
            if process.stdout:
                process.stdout.close()
            process.wait()
            reader.join()
            if process.stderr:
                process.stderr.close()
        if status:
            reason = last_words(words)
            raise Unavailable(
                f"cannot bootstrap {request.distribution.name} {request.suite}: {reason}",
                "set the clock, use another mirror, or take them with --allow-expired"
                if "is expired" in reason
                else "",
            )


def check_architecture(architecture: str) -> None:
    """Refuse an architecture whose programs the host cannot run.

    Raises:
        Unsupported: neither the CPU nor a registered emulator executes them.
    """
    host = host_platform().architecture
    native = {"amd64": ("amd64", "i386"), "arm64": ("arm64",), "386": ("i386",)}
    if architecture in native.get(host, (host,)):
        return
    machine = _EMULATORS.get(architecture, architecture)
    emulator = f"qemu-{machine}"
    if not any(os.path.exists(f"{_BINFMT}/{prefix}-{machine}") for prefix in ("qemu", "proa")):
        raise Unsupported(
            f"programs for {architecture} do not run on this {host} machine: the kernel knows no"
            f" {emulator}",
            "apt-get install qemu-user-static, then: proa system emulate install",
        )


def _arguments(request: Request, directory: str, lines: list[str]) -> list[str]:
    arguments = [
        f"--variant={request.variant}",
        f"--architectures={request.architecture}",
        "--format=tar",
        "--mode=root" if os.geteuid() == 0 else "--mode=unshare",
        '--aptopt=Acquire::Languages "none"',
        # Its own policy-rc.d would be removed at the end, and ours with it.
        "--skip=chroot/policy-rc.d",
        f"--essential-hook=tar-in {directory}/early.tar /",
        # Last: the image's sources are not the ones that it is made from.
        f"--customize-hook=tar-in {directory}/late.tar /",
        f"--customize-hook={_CLEANUP}",
    ]
    if request.allow_expired:
        arguments.append('--aptopt=Acquire::Check-Valid-Until "false"')
    if os.path.isdir(_MERGED_USR_HOOKS):
        arguments.append(f"--hook-directory={_MERGED_USR_HOOKS}")
    if request.include:
        arguments.append(f"--include={','.join(request.include)}")
    if request.slim:
        arguments += [f"--dpkgopt=path-exclude={path}" for path in _SLIM_EXCLUDES]
        arguments += [f"--dpkgopt=path-include={path}" for path in _SLIM_INCLUDES]
    return [*arguments, request.suite, "-", *lines]


def _write_files(path: str, files: tuple[tuple[str, int, bytes], ...], epoch_s: int) -> None:
    mtime_ns = epoch_s * 1_000_000_000
    with open(path, "wb") as file:
        writer = TarWriter(file.write)
        for name, mode, data in files:
            entry = Entry(name.encode(), REGULAR, mode=mode, size=len(data), mtime_ns=mtime_ns)
            writer.add(entry, (data,))
        writer.close()


def _follow(
    process: subprocess.Popen[bytes], words: list[str], progress: Progress
) -> threading.Thread:
    """Read the tool's messages in a thread: a full pipe would stop it."""
    import threading

    def read() -> None:
        assert process.stderr is not None
        for raw in process.stderr:
            line = raw.decode("utf-8", "replace").strip()
            words.append(line)
            del words[:-_KEPT_LINES]
            if line.startswith("I: "):
                progress(line.removeprefix("I: "))

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread
