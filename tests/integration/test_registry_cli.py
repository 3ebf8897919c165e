"""pull, push, login, logout, search and manifest inspect as whole processes."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.engines import Proa
from tests.support.registry import (
    PASSWORD,
    USER,
    Received,
    Registry,
    Reply,
    make_certificate,
    running_registry,
    running_stub,
)
from tests.support.registry_images import make_image, make_tar, upload_image

pytestmark = pytest.mark.requires("root", "docker-registry", "openssl")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with running_registry(str(tmp_path_factory.mktemp("registry"))) as running:
        yield running


@pytest.fixture
def image(registry: Registry) -> str:
    """The name of an image in the registry."""
    name = f"{registry.host}/tools/hello:1"
    upload_image(name, make_image([make_tar({"hello": b"world"})]))
    return name


def test_pull_shows_and_names_the_image(image: str, fresh_proa: Proa) -> None:
    done = fresh_proa("pull", image)
    assert done.code == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == [f"Status: Downloaded newer image for {image}", image]
    assert "layer sha256:" in done.stderr
    assert f"Status: Image is up to date for {image}" in fresh_proa.ok("pull", image)
    assert fresh_proa.ok("images", "--format", "{{.Repository}}:{{.Tag}}") == image
    assert fresh_proa.ok("pull", "-q", image) == image
    repository = image.removesuffix(":1")
    (shown,) = json.loads(fresh_proa.ok("image", "inspect", image))
    assert shown["RepoTags"] == [image]
    assert [one.partition("@")[0] for one in shown["RepoDigests"]] == [repository]


def test_removing_the_tag_removes_the_image(image: str, fresh_proa: Proa) -> None:
    fresh_proa.ok("pull", "-q", image)
    removed = fresh_proa.ok("rmi", image).splitlines()
    assert removed[0] == f"Untagged: {image}"
    assert removed[1].startswith(f"Untagged: {image.removesuffix(':1')}@sha256:")
    assert removed[2].startswith("Deleted: sha256:")
    assert fresh_proa.ok("images", "-q") == ""
    assert os.listdir(f"{fresh_proa.root}/content/blobs/sha256") == []


def test_json_progress(image: str, fresh_proa: Proa) -> None:
    done = fresh_proa("pull", "--progress", "json", image)
    steps = [json.loads(line) for line in done.stderr.splitlines()]
    layers = [step for step in steps if step["step"].startswith("layer ")]
    assert layers[-1]["done_bytes"] == layers[-1]["total_bytes"] > 0


def test_what_does_not_exist(registry: Registry, fresh_proa: Proa) -> None:
    done = fresh_proa("pull", f"{registry.host}/nothing:1")
    assert done.code == 1
    assert f"cannot read {registry.host}/nothing:1" in done.stderr
    assert done.stdout == ""
    never = fresh_proa("pull", "--policy", "never", f"{registry.host}/nothing:1")
    assert (never.code, "no such image" in never.stderr) == (1, True)


def test_push_manifest_inspect_and_search(registry: Registry, image: str, fresh_proa: Proa) -> None:
    fresh_proa.ok("pull", "-q", image)
    target = f"{registry.host}/pushed/hello:2"
    fresh_proa.ok("tag", image, target)
    line = fresh_proa.ok("push", "--compression", "zstd", target)
    assert line.startswith("2: digest: sha256:")
    digest = line.split()[2]
    shown = json.loads(fresh_proa.ok("manifest", "inspect", "-v", target))
    assert shown["Descriptor"]["digest"] == digest
    assert shown["Manifest"]["layers"][0]["mediaType"].endswith("+zstd")
    found = fresh_proa.ok("search", "--format", "{{.Name}}", f"{registry.host}/pushed")
    assert found == f"{registry.host}/pushed/hello"


def test_login_pull_logout(fresh_proa: Proa, tmp_path: Path) -> None:
    certificate = make_certificate(str(tmp_path))
    with running_registry(str(tmp_path), certificate=certificate, password=True) as guarded:
        settings = tmp_path / "registries.toml"
        settings.write_text(f'[registry."{guarded.host}"]\nca = "{certificate.path}"\n')
        env = {"DOCKER_CONFIG": str(tmp_path / "docker"), "PROA_REGISTRIES": str(settings)}
        words = ("login", "-u", USER, "--password-stdin", guarded.host)
        refused = fresh_proa(*words, stdin=b"guess\n", env=env)
        assert refused.code == 1
        assert "user name or password is wrong" in refused.stderr
        assert not (tmp_path / "docker").exists()
        assert fresh_proa.ok(*words, stdin=PASSWORD.encode(), env=env) == "Login Succeeded"
        missing = fresh_proa("pull", f"{guarded.host}/x", env=env)
        assert "manifest unknown" in missing.stderr
        gone = fresh_proa.ok("logout", guarded.host, env=env)
        assert gone == f"Removing login credentials for {guarded.host}"
        again = fresh_proa("pull", f"{guarded.host}/x", env=env)
        assert f"proa login {guarded.host}" in again.stderr


def test_ctrl_c_ends_a_pull_at_once_and_the_next_goes_on(fresh_proa: Proa) -> None:
    built = make_image([make_tar({"big": os.urandom(400_000)})], compression="none")
    layer = built.blobs[1]
    documents = {blob.descriptor.digest: blob.data for blob in built.blobs}
    slow, release = threading.Event(), threading.Event()

    def answer(request: Received) -> Reply:
        if "/manifests/" in request.path:
            media_type = built.manifest.descriptor.media_type
            return Reply(200, {"Content-Type": media_type}, built.manifest.data)
        digest = request.path.rpartition("/")[2]
        if digest != layer.descriptor.digest or release.is_set():
            start = int(request.headers.get("range", "bytes=0-")[6:-1])
            data = documents[digest]  # type: ignore[index]
            extent = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
            return Reply(206 if start else 200, extent if start else {}, data[start:])
        slow.set()
        release.wait(30)
        return Reply(503)

    with running_stub(answer) as stub:
        name = f"{stub.host}/x:1"
        with fresh_proa.spawn("pull", name) as process:
            assert slow.wait(30)
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=10)
        assert process.returncode == 130
        assert fresh_proa.ok("images", "-q") == ""
        release.set()
        assert fresh_proa.ok("pull", "-q", name) == name
