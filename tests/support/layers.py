"""Layer tars and image archives, honest and hostile, written by hand.

Headers are put together here byte by byte and not by :mod:`proa.image.layers.writer`, so that a
defect of the writer cannot hide one of the reader, and so that nothing stops a test from writing
what no writer would.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Sequence
from typing import Any

BLOCK = 512
END = bytes(2 * BLOCK)


def header(
    name: str | bytes,
    kind: str = "0",
    *,
    size: int = 0,
    mode: int = 0o644,
    uid: int | None = None,
    gid: int | None = None,
    mtime: int = 0,
    link: str | bytes = b"",
    major: int = 0,
    minor: int = 0,
    prefix: bytes = b"",
    magic: bytes = b"ustar\x0000",
) -> bytes:
    """Return one 512-byte header with a right checksum; names are cut at 100 bytes.

    The owner is whoever runs the test unless said otherwise, so that nothing needs root.
    """
    block = bytearray(BLOCK)
    block[0:100] = _bytes(name)[:100].ljust(100, b"\0")
    block[100:108] = _octal(mode, 8)
    block[108:116] = _octal(os.geteuid() if uid is None else uid, 8)
    block[116:124] = _octal(os.getegid() if gid is None else gid, 8)
    block[124:136] = _octal(size, 12)
    block[136:148] = _octal(mtime, 12)
    block[156:157] = kind.encode("latin-1")
    block[157:257] = _bytes(link)[:100].ljust(100, b"\0")
    block[257:265] = magic
    block[329:337] = _octal(major, 8)
    block[337:345] = _octal(minor, 8)
    block[345:500] = prefix.ljust(155, b"\0")
    return seal(block)


def seal(block: bytes | bytearray) -> bytes:
    """Return the header with its checksum made right."""
    spaced = bytes(block[:148]) + b" " * 8 + bytes(block[156:])
    return spaced[:148] + b"%06o\0 " % sum(spaced) + spaced[156:]


def padded(data: bytes) -> bytes:
    """Return data filled up to whole blocks."""
    return data + bytes(-len(data) % BLOCK)


def record(key: str, value: bytes) -> bytes:
    """Return one pax record."""
    body = b" " + key.encode() + b"=" + value + b"\n"
    length = len(body)
    while len(str(length)) + len(body) != length:
        length = len(str(length)) + len(body)
    return str(length).encode() + body


def pax(records: Sequence[tuple[str, bytes]], kind: str = "x") -> bytes:
    """Return an extended header."""
    data = b"".join(record(key, value) for key, value in records)
    return header("././@PaxHeader", kind, size=len(data)) + padded(data)


class LayerBuilder:
    """Collects entries; every method returns the builder, ``tar`` the archive."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def raw(self, data: bytes) -> LayerBuilder:
        """Add bytes as they are."""
        self._parts.append(data)
        return self

    def pax(self, **records: bytes) -> LayerBuilder:
        """Add an extended header for the next entry (keys without dots)."""
        return self.raw(pax(list(records.items())))

    def records(self, *records: tuple[str, bytes]) -> LayerBuilder:
        """Add an extended header for the next entry (any keys)."""
        return self.raw(pax(records))

    def file(self, name: str | bytes, data: bytes = b"", **fields: Any) -> LayerBuilder:
        """Add a regular file."""
        return self.raw(header(name, "0", size=len(data), **fields) + padded(data))

    def directory(self, name: str | bytes, mode: int = 0o755, **fields: Any) -> LayerBuilder:
        """Add a directory."""
        return self.raw(header(name, "5", mode=mode, **fields))

    def symlink(self, name: str | bytes, target: str | bytes, **fields: Any) -> LayerBuilder:
        """Add a symbolic link."""
        return self.raw(header(name, "2", mode=0o777, link=target, **fields))

    def hardlink(self, name: str | bytes, target: str | bytes, **fields: Any) -> LayerBuilder:
        """Add a hard link."""
        return self.raw(header(name, "1", link=target, **fields))

    def node(self, name: str, kind: str, major: int = 0, minor: int = 0, **f: Any) -> LayerBuilder:
        """Add a character (``3``) or block (``4``) device or a FIFO (``6``)."""
        return self.raw(header(name, kind, major=major, minor=minor, **f))

    def tar(self, end: bytes = END) -> bytes:
        """Return the archive."""
        return b"".join(self._parts) + end


def digest(data: bytes) -> str:
    """Return the sha256 digest in the form of the image spec."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def image_config(tars: Sequence[bytes], **fields: Any) -> bytes:
    """Return an image config for these uncompressed layers."""
    document = {
        "architecture": "amd64",
        "os": "linux",
        "created": "2024-01-02T03:04:05Z",
        "config": {"Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": [digest(tar) for tar in tars]},
        "history": [{"created_by": f"step {number}"} for number in range(len(tars))],
        **fields,
    }
    return json.dumps(document).encode()


def docker_archive(
    tars: Sequence[bytes], names: Sequence[str] = (), config: bytes | None = None
) -> bytes:
    """Return an archive as ``docker save`` wrote it before version 25: manifest.json last."""
    config = image_config(tars) if config is None else config
    builder = LayerBuilder()
    layers = []
    for tar in tars:
        name = hashlib.sha256(tar).hexdigest()
        member = f"{name}/layer.tar"
        if member not in layers:
            builder.directory(f"{name}/").file(f"{name}/VERSION", b"1.0").file(member, tar)
        layers.append(member)
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    builder.file(config_name, config)
    manifest = [{"Config": config_name, "RepoTags": list(names) or None, "Layers": layers}]
    return builder.file("manifest.json", json.dumps(manifest).encode()).tar()


class OciLayout:
    """An OCI image layout as a dictionary of members, to be put together and broken at will."""

    def __init__(self) -> None:
        self.members: dict[str, bytes] = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}
        self.manifests: list[dict[str, Any]] = []

    def blob(self, data: bytes, media_type: str) -> dict[str, Any]:
        """Add a blob; return its descriptor."""
        name = hashlib.sha256(data).hexdigest()
        self.members[f"blobs/sha256/{name}"] = data
        return {"mediaType": media_type, "digest": f"sha256:{name}", "size": len(data)}

    def image(
        self, tars: Sequence[bytes], *, compress: bool = True, **config: Any
    ) -> dict[str, Any]:
        """Add config, layers and manifest; return the manifest's descriptor."""
        layer_type = "application/vnd.oci.image.layer.v1.tar" + ("+gzip" if compress else "")
        layers = [
            self.blob(gzip.compress(tar, 1, mtime=0) if compress else tar, layer_type)
            for tar in tars
        ]
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": self.blob(
                image_config(tars, **config), "application/vnd.oci.image.config.v1+json"
            ),
            "layers": layers,
        }
        return self.blob(
            json.dumps(manifest).encode(), "application/vnd.oci.image.manifest.v1+json"
        )

    def index(self, manifests: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Add a nested index; return its descriptor."""
        media_type = "application/vnd.oci.image.index.v1+json"
        document = {"schemaVersion": 2, "mediaType": media_type, "manifests": list(manifests)}
        return self.blob(json.dumps(document).encode(), media_type)

    def add(self, descriptor: dict[str, Any], name: str = "", **fields: Any) -> OciLayout:
        """List a manifest or index in ``index.json``."""
        entry = {**descriptor, **fields}
        if name:
            entry["annotations"] = {"io.containerd.image.name": name}
        self.manifests.append(entry)
        return self

    def tar(self) -> bytes:
        """Return the layout as an archive, ``index.json`` last."""
        builder = LayerBuilder()
        for name, data in self.members.items():
            builder.file(name, data)
        index = {"schemaVersion": 2, "manifests": self.manifests}
        return builder.file("index.json", json.dumps(index).encode()).tar()


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def _octal(number: int, width: int) -> bytes:
    digits = b"%0*o" % (width - 1, number)
    if len(digits) < width and number >= 0:
        return digits + b"\0"
    # GNU's base 256.
    if number < 0:
        return number.to_bytes(width, "big", signed=True)
    return (number | 1 << (width * 8 - 1)).to_bytes(width, "big")
