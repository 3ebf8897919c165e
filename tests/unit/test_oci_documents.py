"""``proa.oci``: digests, platforms, media types, manifests, indexes, image configs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.errors import Corrupt, Invalid, ProaError, Unsupported
from proa.oci import mediatype
from proa.oci.codec import MAX_DOCUMENT_BYTES, decode_json, encode_json
from proa.oci.descriptor import Descriptor
from proa.oci.digest import (
    DiffID,
    algorithm,
    chain_ids,
    digest_of,
    encoded,
    parse_digest,
)
from proa.oci.imageconfig import parse_image_config
from proa.oci.index import parse_index, select
from proa.oci.manifest import MAX_LAYERS, parse_manifest
from proa.oci.platform import Platform, host_platform, matches, normalize, parse_platform, rank

HEX = "a" * 64


class TestDigest:
    @pytest.mark.parametrize(
        "text",
        [
            "",
            "sha256:",
            HEX,
            f"sha256:{HEX[:-1]}",
            f"sha256:{HEX}0",
            f"sha256:{HEX.upper()}",
            f"SHA256:{HEX}",
            f"sha256:{HEX}\n",
            f"sha256:../../{'x' * 58}",
            "sha256:../../x",
            f"sha512:{HEX}",
            f"md5:{'a' * 32}",
            f"sha256:{HEX}/../../etc",
        ],
    )
    def test_refused(self, text: str) -> None:
        with pytest.raises(Invalid, match="not a digest"):
            parse_digest(text)

    def test_accepted(self) -> None:
        assert algorithm(parse_digest(f"sha512:{HEX}{HEX}")) == "sha512"
        assert encoded(parse_digest(f"sha256:{HEX}")) == HEX

    def test_chain(self) -> None:
        # From the image spec's definition, computed with sha256sum.
        first = digest_of(b"one")
        second = digest_of(b"two")
        chain = chain_ids([DiffID(first), DiffID(second)])
        assert str(chain[0]) == str(first)
        assert str(chain[1]) == str(digest_of(f"{first} {second}".encode()))
        assert chain_ids([]) == ()


class TestPlatform:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("linux/amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm64/8", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/armel", "linux/arm/v6"),
            ("linux/i386", "linux/386"),
            ("Linux/AMD64", "linux/amd64"),
            ("arm64", "linux/arm64"),
            ("macos/arm64", "darwin/arm64"),
        ],
    )
    def test_normalized(self, text: str, expected: str) -> None:
        assert str(parse_platform(text)) == expected

    @pytest.mark.parametrize("text", ["", "/", "a/b/c/d", "linux/", "li nux/amd64", "linux/../x"])
    def test_refused(self, text: str) -> None:
        with pytest.raises(Invalid):
            parse_platform(text)

    def test_system_alone_takes_the_hosts_architecture(self) -> None:
        found = parse_platform("windows")
        assert (found.os, found.architecture) == ("windows", host_platform().architecture)

    def test_older_variants_serve(self) -> None:
        v7 = Platform(architecture="arm", variant="v7")
        v6 = Platform(architecture="arm", variant="v6")
        assert rank(v7, v7) > rank(v7, v6) > 0
        assert not matches(v6, v7)
        assert not matches(Platform(architecture="arm64"), v7)
        assert matches(Platform(architecture="arm64"), Platform(architecture="arm64", variant="v8"))
        assert not matches(Platform(os="windows"), Platform())

    def test_normalize_keeps_the_rest(self) -> None:
        platform = Platform(os="windows", architecture="amd64", os_version="10.0")
        assert normalize(platform) == platform


class TestMediaType:
    def test_layers(self) -> None:
        assert mediatype.layer_compression(mediatype.OCI_LAYER + "+zstd") == "zstd"
        assert mediatype.layer_compression(mediatype.DOCKER_LAYER + ".gzip") == "gzip"
        assert mediatype.layer_compression(mediatype.oci_layer("none")) == "none"

    @pytest.mark.parametrize(
        ("media_type", "why"),
        [
            ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "foreign"),
            ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "foreign"),
            ("application/vnd.oci.image.layer.v1.tar+gzip+encrypted", "encrypted"),
            ("text/plain", "not a layer"),
        ],
    )
    def test_refused(self, media_type: str, why: str) -> None:
        with pytest.raises(Unsupported, match=why):
            mediatype.layer_compression(media_type)


def descriptor(media_type: str = mediatype.OCI_LAYER + "+gzip", **fields: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": f"sha256:{HEX}", "size": 3, **fields}


def manifest(**fields: Any) -> bytes:
    document = {
        "schemaVersion": 2,
        "mediaType": mediatype.OCI_MANIFEST,
        "config": descriptor(mediatype.OCI_CONFIG),
        "layers": [descriptor()],
        **fields,
    }
    return json.dumps({k: v for k, v in document.items() if v is not ...}).encode()


class TestManifest:
    def test_unknown_fields_are_fine(self) -> None:
        found = parse_manifest(manifest(subject=None, future={"a": 1}), "m")
        assert found.layers[0].size == 3

    def test_type_may_be_missing(self) -> None:
        assert parse_manifest(manifest(mediaType=...), "m").media_type == ""

    @pytest.mark.parametrize(
        ("fields", "kind"),
        [
            ({"manifests": []}, Corrupt),  # CVE-2021-41190
            ({"mediaType": mediatype.OCI_INDEX}, Corrupt),
            ({"schemaVersion": 1}, Corrupt),
            ({"layers": ...}, Corrupt),
            ({"layers": [descriptor(digest="sha256:../../x")]}, Corrupt),
            ({"layers": [descriptor(size=-1)]}, Corrupt),
            ({"layers": [descriptor("application/vnd.docker.image.rootfs.foreign.diff.tar")]},
             Unsupported),
            ({"layers": [descriptor()] * (MAX_LAYERS + 1)}, Invalid),
            ({"layers": [descriptor()] * 10_000}, Invalid),
            ({"config": descriptor("application/vnd.cncf.helm.config.v1+json")}, Unsupported),
            ({"fsLayers": []}, Unsupported),
            ({"mediaType": "application/vnd.docker.distribution.manifest.v1+json"}, Unsupported),
        ],
    )  # fmt: skip
    def test_refused(self, fields: dict[str, Any], kind: type[ProaError]) -> None:
        with pytest.raises(kind):
            parse_manifest(manifest(**fields), "m")

    def test_the_limit_itself_is_fine(self) -> None:
        found = parse_manifest(manifest(layers=[descriptor()] * MAX_LAYERS), "m")
        assert len(found.layers) == MAX_LAYERS

    def test_too_long(self) -> None:
        with pytest.raises(Corrupt, match="bytes long"):
            parse_manifest(b"{" + b" " * MAX_DOCUMENT_BYTES + b"}", "m")

    def test_deeply_nested(self) -> None:
        with pytest.raises(Corrupt):
            parse_manifest(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "m")

    @given(st.binary(max_size=200))
    def test_garbage(self, data: bytes) -> None:
        with pytest.raises(ProaError):
            parse_manifest(data, "m")


def index(*entries: dict[str, Any]) -> bytes:
    return json.dumps({"schemaVersion": 2, "manifests": list(entries)}).encode()


def entry(os_name: str, architecture: str, variant: str = "", **fields: Any) -> dict[str, Any]:
    platform = {"os": os_name, "architecture": architecture, "variant": variant}
    return descriptor(mediatype.OCI_MANIFEST, platform=platform, **fields)


class TestIndex:
    def test_best_platform(self) -> None:
        found = parse_index(
            index(
                entry("linux", "arm", "v6", size=6),
                entry("linux", "arm", "v7", size=7),
                entry("linux", "amd64", size=1),
                entry("unknown", "unknown", size=9),
            ),
            "i",
        )
        assert select(found, parse_platform("linux/arm/v7"), "i").size == 7
        assert select(found, parse_platform("linux/arm/v6"), "i").size == 6
        assert select(found, parse_platform("linux/amd64"), "i").size == 1
        with pytest.raises(Unsupported, match="linux/arm/v7"):
            select(found, parse_platform("linux/s390x"), "i")

    def test_without_platform(self) -> None:
        found = parse_index(index(descriptor(mediatype.OCI_MANIFEST)), "i")
        assert select(found, host_platform(), "i").size == 3

    def test_attestations_are_no_images(self) -> None:
        attestation = descriptor(
            mediatype.OCI_MANIFEST,
            annotations={"vnd.docker.reference.type": "attestation-manifest"},
        )
        with pytest.raises(Unsupported, match="nothing"):
            select(parse_index(index(attestation), "i"), host_platform(), "i")

    def test_a_manifest_is_no_index(self) -> None:
        with pytest.raises(Corrupt, match="not an index"):
            parse_index(manifest(), "i")


class TestImageConfig:
    def test_nulls_mean_not_set(self) -> None:
        document: dict[str, Any] = {
            "architecture": "arm64",
            "os": "linux",
            "variant": "v8",
            "created": None,
            "config": {
                "Cmd": None,
                "Entrypoint": None,
                "Env": ["A=1"],
                "Volumes": None,
                "ExposedPorts": {"80/tcp": {}},
                "Labels": None,
                "Healthcheck": {"Test": ["CMD", "true"], "Interval": 5},
                "OnBuild": None,
            },
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{HEX}"]},
            "history": [{"created_by": "x", "empty_layer": True}, None],
        }
        config = parse_image_config(json.dumps(document).encode(), "c")
        assert config.config.cmd == ()
        assert config.config.env == ("A=1",)
        assert config.config.exposed_ports == {"80/tcp": {}}
        assert config.config.healthcheck
        assert config.config.healthcheck.interval == 5
        assert config.history[0].empty_layer
        assert str(config.platform) == "linux/arm64"

    @pytest.mark.parametrize(
        "rootfs", [{"type": "other", "diff_ids": []}, {"type": "layers", "diff_ids": ["sha256:x"]}]
    )
    def test_refused(self, rootfs: dict[str, Any]) -> None:
        document: dict[str, Any] = {"architecture": "amd64", "os": "linux", "rootfs": rootfs}
        with pytest.raises(Corrupt):
            parse_image_config(json.dumps(document).encode(), "c")

    def test_own_documents_are_stable(self) -> None:
        one = encode_json({"b": 1, "a": Descriptor(media_type="x", digest=digest_of(b""), size=0)})
        two = encode_json({"a": Descriptor(media_type="x", digest=digest_of(b""), size=0), "b": 1})
        assert one == two
        assert decode_json(one, dict[str, Any], "d")["b"] == 1
