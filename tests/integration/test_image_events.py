"""What ``proa events`` tells of images, and images that a container needs and are not here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.engines import Proa
from tests.support.images import ensure_busybox
from tests.support.layers import LayerBuilder
from tests.support.registry import Registry, running_registry

pytestmark = pytest.mark.requires("root", "userns", "overlay", "busybox", "docker-registry")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with running_registry(str(tmp_path_factory.mktemp("registry"))) as running:
        yield running


@pytest.fixture
def box(fresh_proa: Proa) -> Proa:
    """The command line on a root of its own that has the busybox image."""
    ensure_busybox(fresh_proa)
    return fresh_proa


def test_every_verb_is_told(box: Proa, registry: Registry, tmp_path: Path) -> None:
    name = f"{registry.host}/events/busybox:1"
    image_id = box.ok("images", "-q", "--no-trunc", "busybox")
    box.ok("tag", "busybox", name)
    box.ok("push", name)
    box.ok("rmi", name)
    box.ok("pull", name)
    box.ok("save", "-o", str(tmp_path / "saved.tar"), name)
    box.ok("rmi", name, "busybox")
    box.ok("load", "-i", str(tmp_path / "saved.tar"))
    (tmp_path / "root.tar").write_bytes(LayerBuilder().file("f", b"1").tar())
    box.ok("import", "--change", "LABEL job=ci", str(tmp_path / "root.tar"), "imported:1")
    box.ok("image", "prune", "-a", "-f")
    words = ("events", "--since", "0", "--until", "0s", "--filter", "type=image")
    events = [json.loads(line) for line in box.ok(*words, "--format", "json").splitlines()]
    told = [
        (one["Action"], one["Actor"]["ID"], one["Actor"]["Attributes"].get("name"))
        for one in events
    ][1:]  # the first is of the image that every test begins with
    repository = name.removesuffix(":1")
    imported = told[-2][1]
    assert told == [
        ("tag", image_id, name),
        ("push", name, repository),
        ("untag", image_id, name),
        ("untag", image_id, told[3][2]),
        ("pull", name, repository),
        ("save", image_id, image_id),
        ("untag", image_id, name),
        ("untag", image_id, told[7][2]),
        ("untag", image_id, "busybox:latest"),
        ("delete", image_id, image_id),
        ("load", image_id, image_id),
        ("import", imported, imported),
        ("prune", "", None),
    ]
    assert told[3][2].startswith(f"{repository}@sha256:")
    assert events[-2]["Actor"]["Attributes"]["job"] == "ci"
    assert int(events[-1]["Actor"]["Attributes"]["reclaimed"]) > 2_000_000


def test_a_missing_image_is_pulled_by_run(box: Proa, registry: Registry) -> None:
    name = f"{registry.host}/run/busybox:1"
    box.ok("tag", "busybox", name)
    box.ok("push", name)
    box.ok("image", "prune", "-a", "-f")
    run = ("run", "--rm", "--network", "none")
    refused = box(*run, "--pull", "never", name, "echo", "hi")
    assert (refused.code, refused.stdout) == (125, "")
    assert "no such image" in refused.stderr
    first = box(*run, name, "echo", "hi")
    assert (first.code, first.stdout) == (0, "hi\n")
    assert f"Unable to find image '{name}' locally" in first.stderr
    assert "layer sha256:" in first.stderr
    second = box(*run, name, "echo", "hi")
    assert (second.code, second.stdout, second.stderr) == (0, "hi\n", "")
    before = len(registry.requests())
    box.ok(*run, "--pull", "always", name, "true")
    asked = registry.requests()[before:]
    assert [request.partition(" ")[0] for request in asked].count("HEAD") == 1
    assert not [request for request in asked if "/blobs/" in request]
    box.ok("image", "prune", "-a", "-f")
    assert box(*run, "-q", name, "true").stderr == f"Unable to find image '{name}' locally\n"
    assert box.ok("create", "--name", "made", name)
    box.ok("rm", "made")


def test_ps_shows_the_labels_of_the_image(box: Proa, tmp_path: Path) -> None:
    (tmp_path / "root.tar").write_bytes(LayerBuilder().file("f", b"1").tar())
    box.ok("import", "--change", "LABEL from=image", str(tmp_path / "root.tar"), "labelled:1")
    box.ok("create", "--name", "one", "--label", "own=1", "labelled:1", "x")
    assert (
        box.ok("ps", "-a", "--format", '{{.Label "from"}} {{.Labels}}') == "image from=image,own=1"
    )
    box.ok("container", "prune", "-f", "--filter", "label!=from=image")
    assert box.containers() != []
    box.ok("container", "prune", "-f", "--filter", "label=from=image")
    assert box.containers() == []
