"""How fast a Debian layer is unpacked: Proa, GNU tar and Python's tarfile on the same bytes.

``python -m benchmarks.unpack [--repeats N] [--json FILE] [--directory DIR]`` (root; mmdebstrap the
first time).

The floor is a raw replay: the system calls that the layer's files need, from a prepared list with
no archive to read and no digest to check. All cases write to fresh directories of one filesystem,
which are removed after all measuring: ext4 makes files many times slower right after a mass
deletion nearby.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable

from tests.support.images import debian_archive, open_store

from benchmarks.measure import Case, MeasurementError, Report, interleave, machine, table, to_json
from proa.image.layers.entry import DIRECTORY, LINK, REGULAR, SYMLINK, Entry
from proa.image.layers.layer import apply_layer, read_chunks
from proa.image.layers.reader import TarReader
from proa.image.layers.stream import ByteStream

RAW = "raw replay (no archive)"
_KINDS = (DIRECTORY, REGULAR, SYMLINK, LINK)


class Layer:
    """The layer of ``debian:bookworm``, plain and as gzip, and its entries in memory."""

    def __init__(self, directory: str) -> None:
        store = open_store(f"{directory}/store")
        (image,) = store.load(debian_archive())
        self.gzip = store.content.blob_path(image.layers[0].blob.digest)
        self.diff_id = image.layers[0].diff_id
        self.plain = f"{directory}/layer.tar"
        with open(self.plain, "wb") as file:
            subprocess.run(["gzip", "-dc", self.gzip], stdout=file, check=True)
        self.entries: list[tuple[Entry, bytes]] = []
        with open(self.plain, "rb") as file:
            reader = TarReader(ByteStream(read_chunks(file.fileno()), "layer"), "layer")
            for entry in reader:
                if entry.kind in _KINDS:
                    self.entries.append((entry, b"".join(bytes(view) for view in reader.data())))


def replay(layer: Layer, target: str) -> None:
    """Make every file with the system calls that it cannot do without."""
    top = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    for entry, data in layer.entries:
        name = entry.name.lstrip(b"/")
        if entry.kind == DIRECTORY:
            if name not in (b"./", b"."):
                os.mkdir(name, entry.mode, dir_fd=top)
        elif entry.kind == SYMLINK:
            os.symlink(entry.link, name, dir_fd=top)
        elif entry.kind == LINK:
            os.link(entry.link, name, src_dir_fd=top, dst_dir_fd=top)
        else:
            fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, entry.mode, dir_fd=top)
            if data:
                os.write(fd, data)
            os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
            os.close(fd)
    os.close(top)


def proa(path: str, layer: Layer, target: str) -> None:
    """Unpack as the store does: digest of the tar verified, whiteouts and attributes honoured."""
    source = os.open(path, os.O_RDONLY)
    top = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    try:
        apply_layer(read_chunks(source), top, "layer", diff_id=layer.diff_id)
    finally:
        os.close(source)
        os.close(top)


def gnu_tar(path: str, target: str) -> None:
    """Unpack with GNU tar, which finds out the compression by itself."""
    words = ["-p", "--numeric-owner", "--xattrs", "--xattrs-include=*"]
    done = subprocess.run(["tar", "-x", "-f", path, "-C", target, *words], check=False)
    if done.returncode:
        raise MeasurementError(f"tar gave {done.returncode}")


def python_tarfile(path: str, target: str) -> None:
    """Unpack with the standard library: no digest, no extended attributes, nothing refused."""
    with tarfile.open(path) as archive:
        archive.extraction_filter = tarfile.fully_trusted_filter
        archive.extractall(target)


class Unpacking:
    """One way to unpack, into a fresh directory each time."""

    def __init__(self, directory: str, unpack: Callable[[str], None]) -> None:
        self._directory = directory
        self._unpack = unpack
        self._target = ""

    def before(self) -> None:
        """Make the directory, and write out what earlier cases left: it is theirs to pay."""
        self._target = tempfile.mkdtemp(dir=self._directory)
        os.sync()

    def once(self) -> None:
        """Unpack."""
        self._unpack(self._target)


def cases(layer: Layer, path: str, directory: str, repeats: int) -> list[Case]:
    """Return the cases for one form of the layer."""
    ways: dict[str, Callable[[str], None]] = {
        RAW: lambda target: replay(layer, target),
        "proa": lambda target: proa(path, layer, target),
        "GNU tar": lambda target: gnu_tar(path, target),
        "tarfile": lambda target: python_tarfile(path, target),
    }
    found = []
    for name, unpack in ways.items():
        way = Unpacking(directory, unpack)
        found.append(Case(name=name, once=way.once, repeats=repeats, before=way.before))
    return found


def main(arguments: list[str]) -> int:
    """Measure and print a table for each section."""
    parser = argparse.ArgumentParser(prog="benchmarks.unpack", description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", metavar="FILE", default="")
    parser.add_argument("--directory", default="/var/tmp")
    options = parser.parse_args(arguments)
    report = Report(machine=machine())
    directory = tempfile.mkdtemp(prefix="proa-unpack-", dir=options.directory)
    try:
        layer = Layer(directory)
        for title, path in (("plain tar", layer.plain), ("gzip", layer.gzip)):
            samples = interleave(cases(layer, path, directory, options.repeats), warmup=1)
            report.sections[title] = samples
            print(f"\n{title}, {len(layer.entries)} entries, ms, ratio to raw replay")
            print(table(samples, RAW))
    finally:
        shutil.rmtree(directory)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            file.write(to_json(report))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
