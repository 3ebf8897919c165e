"""proa.engine.image_inspect: docker image inspect."""

from __future__ import annotations

import json

from proa.engine.image_inspect import familiar_name, image_entry, inspect_image
from proa.image.model import Image
from proa.oci.digest import DiffID, Digest
from proa.oci.imageconfig import ContainerDefaults, History, ImageConfig, RootFS
from tests.support.records import NOW_NS

DIFF_ID = DiffID("sha256:" + "1" * 64)
IMAGE = Image(
    id=Digest("sha256:" + "2" * 64),
    manifest_digest=Digest("sha256:" + "3" * 64),
    config=ImageConfig(
        architecture="arm64",
        os="linux",
        variant="v8",
        author="me",
        rootfs=RootFS(type="layers", diff_ids=(DIFF_ID,)),
        config=ContainerDefaults(cmd=("bash",), env=("A=1",), labels={"l": "x"}),
        history=(History(comment="made by hand"),),
    ),
    layers=(),
    lowers=("snapshots/l/b", "snapshots/l/a"),
    size_bytes=1000,
    content_bytes=400,
    created_at_ns=NOW_NS,
    references=("docker.io/library/debian:bookworm", "ghcr.io/a/b:1"),
    repo_digests=("docker.io/library/debian@sha256:" + "3" * 64,),
)


def test_an_image_in_dockers_words() -> None:
    document = json.loads(json.dumps(inspect_image(IMAGE, "/r", last_tagged_at_ns=NOW_NS)))
    assert document["Id"] == IMAGE.id
    assert document["RepoTags"] == ["debian:bookworm", "ghcr.io/a/b:1"]
    assert document["RepoDigests"] == ["debian@sha256:" + "3" * 64]
    assert document["Created"] == "2027-01-15T08:00:00.000000000Z"
    assert (document["Architecture"], document["Variant"], document["Os"]) == (
        "arm64", "v8", "linux",
    )  # fmt: skip
    assert document["Comment"] == "made by hand"
    assert document["Size"] == 1000
    assert document["RootFS"] == {"Type": "layers", "Layers": [DIFF_ID]}
    assert document["GraphDriver"]["Data"] == {
        "UpperDir": "/r/snapshots/l/b",
        "LowerDir": "/r/snapshots/l/a",
    }
    config = document["Config"]
    assert config["Cmd"] == ["bash"]
    assert config["Entrypoint"] is None
    assert config["Labels"] == {"l": "x"}
    assert document["Metadata"]["LastTagTime"].startswith("2027-01-15")


def test_an_image_of_the_list() -> None:
    entry = image_entry(IMAGE, containers=2)
    assert entry["Created"] == NOW_NS // 10**9
    assert (entry["Containers"], entry["SharedSize"], entry["Size"]) == (2, -1, 1000)
    assert entry["Labels"] == {"l": "x"}


def test_familiar_names() -> None:
    assert familiar_name("docker.io/library/debian:bookworm") == "debian:bookworm"
    assert familiar_name("docker.io/a/b:1") == "a/b:1"
