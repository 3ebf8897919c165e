"""An image of several layers made of Debian's packages: what real pulls look like.

The lowest layer is a minbase system, each further one what a group of packages unpacks to. Packages
and layers are kept in a directory of the caller's, because making them takes a minute.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Sequence

import msgspec

from benchmarks.measure import MeasurementError
from proa.oci.platform import host_platform

SUITE = "bookworm"
GROUPS: dict[str, tuple[str, ...]] = {
    "compiler": ("gcc-12", "cpp-12", "libgcc-12-dev", "binutils-x86-64-linux-gnu", "libc6-dev"),
    "perl": ("perl-modules-5.36", "libperl5.36", "perl-doc"),
    "python": ("libpython3.11-stdlib", "libpython3.11-minimal", "python3.11-minimal"),
    "editor": ("vim-runtime", "vim", "git"),
}
_LEVEL = 6  # of gzip, as Docker's client packs


class LayerFile(msgspec.Struct, frozen=True, kw_only=True):
    """A layer on disk: gzip beside its name, with what a manifest and a config say of it."""

    path: str
    digest: str
    diff_id: str
    size_bytes: int
    unpacked_bytes: int


def make_layers(directory: str) -> list[LayerFile]:
    """Return the image's layers, lowest first; they are made below ``directory`` once.

    Raises:
        MeasurementError: mmdebstrap or the archive is missing.
    """
    os.makedirs(directory, exist_ok=True)
    return [_layer(directory, name) for name in ("base", *GROUPS)]


def variant_of(layers: Sequence[LayerFile], directory: str) -> list[LayerFile]:
    """Return the same layers with another uppermost one (a repeated pull that moves only that)."""
    tree = f"{directory}/changed"
    if not os.path.exists(f"{directory}/changed.json"):
        os.makedirs(f"{tree}/opt", exist_ok=True)
        with open(f"{tree}/opt/changed", "wb") as file:
            file.write(os.urandom(1 << 20))
    return [*layers[:-1], _pack(directory, "changed")]


def config_of(layers: Sequence[LayerFile]) -> bytes:
    """Return the image config."""
    document = {
        "architecture": host_platform().architecture,
        "os": "linux",
        "config": {"Cmd": ["/bin/bash"]},
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        "history": [{"created_by": os.path.basename(layer.path)} for layer in layers],
    }
    return json.dumps(document).encode()


def _layer(directory: str, name: str) -> LayerFile:
    found = f"{directory}/{name}.json"
    if os.path.exists(found):
        with open(found, "rb") as file:
            return msgspec.json.decode(file.read(), type=LayerFile)
    tree = f"{directory}/{name}"
    shutil.rmtree(tree, ignore_errors=True)
    if name == "base":
        _run("mmdebstrap", "--variant=minbase", "--quiet", SUITE, f"{tree}.tar")
    else:
        os.makedirs(f"{tree}.debs", exist_ok=True)
        # Not as apt's own user: it may not write here, and says so.
        _run(
            "apt-get",
            "-q",
            "-o",
            "APT::Sandbox::User=root",
            "download",
            *GROUPS[name],
            cwd=f"{tree}.debs",
        )
        os.makedirs(tree)
        for package in sorted(os.listdir(f"{tree}.debs")):
            _run("dpkg-deb", "-x", f"{tree}.debs/{package}", tree)
    return _pack(directory, name)


def _pack(directory: str, name: str) -> LayerFile:
    tree, tar, path = f"{directory}/{name}", f"{directory}/{name}.tar", f"{directory}/{name}.tar.gz"
    if not os.path.exists(f"{tree}.json"):
        if os.path.isdir(tree):
            _run("tar", "--sort=name", "--numeric-owner", "-C", tree, "-cf", tar, ".")
        diff_id = hashlib.sha256()
        with open(tar, "rb") as source, gzip.open(path, "wb", _LEVEL) as target:
            while chunk := source.read(1 << 20):
                diff_id.update(chunk)
                target.write(chunk)
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256")
        layer = LayerFile(
            path=path,
            digest=f"sha256:{digest.hexdigest()}",
            diff_id=f"sha256:{diff_id.hexdigest()}",
            size_bytes=os.path.getsize(path),
            unpacked_bytes=os.path.getsize(tar),
        )
        os.unlink(tar)
        shutil.rmtree(tree, ignore_errors=True)
        with open(f"{tree}.json", "wb") as file:
            file.write(msgspec.json.encode(layer))
    with open(f"{tree}.json", "rb") as file:
        return msgspec.json.decode(file.read(), type=LayerFile)


def _run(*argv: str, cwd: str | None = None) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=cwd)
    if done.returncode:
        raise MeasurementError(f"{argv[0]} gave {done.returncode}: {done.stderr.strip()[-300:]}")
