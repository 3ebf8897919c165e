"""The docker command line against ``proa serve``: images, networks, volumes, the system.

Containers have their own files (test_serve_containers, test_serve_streams).
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support import images
from tests.support.clients import Docker
from tests.support.layers import LayerBuilder
from tests.support.registry import PASSWORD, USER, running_registry
from tests.support.serving import Api

pytestmark = pytest.mark.requires("root", "overlay", "busybox", "docker-cli")


@pytest.fixture
def docker(api: Api, tmp_path: Path) -> Docker:
    images.ensure_busybox(api.proa)
    return Docker(api, tmp_path / "client")


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    path = tmp_path / "rootfs.tar"
    path.write_bytes(LayerBuilder().file("hello", b"hello\n").tar())
    return path


def test_version_negotiates_the_newest_api_that_both_speak(docker: Docker):
    found = json.loads(docker.ok("version", "--format", "json"))
    assert found["Client"]["ApiVersion"] == found["Client"]["DefaultAPIVersion"]
    assert found["Server"]["ApiVersion"] == "1.51"
    assert found["Server"]["Platform"]["Name"] == "Proa"
    older = docker.ok("version", "--format", "{{.Client.APIVersion}}",
                      env={"DOCKER_API_VERSION": "1.44"})  # fmt: skip
    assert older == "1.44"


def test_info_has_no_errors(docker: Docker):
    found = json.loads(docker.ok("info", "--format", "json"))
    assert not found.get("ServerErrors")
    assert found["DockerRootDir"] == docker.api.proa.root
    assert "Server Version" in docker.ok("info")


def test_images_by_every_verb(docker: Docker, rootfs: Path, tmp_path: Path):
    identity = docker.ok("import", "-c", "LABEL x=y", "-m", "words", str(rootfs), "serve-cli:1")
    assert docker.ok("images", "-q", "--no-trunc", "serve-cli") == identity
    assert docker.ok("image", "ls", "--filter", "label=x=y", "--format", "{{.Repository}}") == (
        "serve-cli"
    )
    docker.ok("tag", "serve-cli:1", "serve-cli:2")
    (found,) = json.loads(docker.ok("image", "inspect", "serve-cli:2"))
    assert found["RepoTags"] == ["serve-cli:1", "serve-cli:2"]
    assert "words" in docker.ok("history", "--no-trunc", "serve-cli:1")
    archive = tmp_path / "saved.tar"
    docker.ok("save", "-o", str(archive), "serve-cli:1", "serve-cli:2")
    removed = docker.ok("rmi", "serve-cli:1", "serve-cli:2")
    assert "Untagged: serve-cli:1" in removed
    assert f"Deleted: {identity}" in removed
    loaded = docker.ok("load", "-i", str(archive))
    assert loaded.splitlines() == ["Loaded image: serve-cli:1", "Loaded image: serve-cli:2"]
    docker.ok("image", "rm", "-f", identity)
    missing = docker("image", "inspect", "serve-cli:1")
    assert (missing.code, "No such image" in missing.stderr) == (1, True)


@pytest.mark.requires("docker-registry")
def test_login_push_and_pull(docker: Docker, rootfs: Path, tmp_path: Path):
    with running_registry(str(tmp_path), password=True) as registry:
        name = f"{registry.host}/serve/cli:1"
        docker.ok("import", str(rootfs), name)
        refused = docker("push", name)
        assert refused.code == 1
        wrong = docker("login", "-u", USER, "--password-stdin", registry.host, stdin=b"wrong")
        assert wrong.code == 1
        login = docker("login", "-u", USER, "--password-stdin", registry.host,
                       stdin=PASSWORD.encode())  # fmt: skip
        assert (login.code, "Login Succeeded" in login.stdout) == (0, True)
        pushed = docker.ok("push", name)
        assert "Pushed" in pushed
        digest = pushed.rpartition("digest: ")[2].split()[0]
        docker.ok("rmi", name)
        pulled = docker.ok("pull", name)
        assert f"Digest: {digest}" in pulled
        assert f"Status: Downloaded newer image for {name}" in pulled
        assert docker.ok("pull", "-q", name) == name
        assert digest in docker.ok("images", "--digests", registry.host + "/serve/cli")
        docker.ok("rmi", name)
        again = docker("pull", f"{registry.host}/serve/none:1")
        assert again.code == 1
        docker.ok("logout", registry.host)


def test_networks_by_every_verb(docker: Docker):
    made = docker.ok("network", "create", "--label", "a=b", "--subnet", "10.78.0.0/24", "serve-cli")
    assert docker.ok("network", "ls", "-q", "--no-trunc", "--filter", "label=a=b") == made
    names = docker.ok("network", "ls", "--format", "{{.Name}}").split()
    assert names == ["bridge", "host", "none", "serve-cli"]
    (found,) = json.loads(docker.ok("network", "inspect", "serve-cli"))
    assert found["IPAM"]["Config"] == [{"Subnet": "10.78.0.0/24", "Gateway": "10.78.0.1"}]
    docker.api.proa.ok("run", "-d", "--name", "guest", images.BUSYBOX, "sleep", "600")
    docker.ok("network", "connect", "--ip", "10.78.0.9", "--alias", "web", "serve-cli", "guest")
    (found,) = json.loads(docker.ok("network", "inspect", "serve-cli"))
    assert [one["IPv4Address"] for one in found["Containers"].values()] == ["10.78.0.9/24"]
    busy = docker("network", "rm", "serve-cli")
    assert busy.code == 1
    docker.ok("network", "disconnect", "serve-cli", "guest")
    docker.api.proa.ok("rm", "-f", "guest")
    assert docker.ok("network", "rm", "serve-cli") == "serve-cli"
    docker.ok("network", "create", "--label", "prune=me", "serve-prune")
    pruned = docker.ok("network", "prune", "-f", "--filter", "label=prune=me")
    assert pruned.splitlines()[:2] == ["Deleted Networks:", "serve-prune"]


def test_volumes_by_every_verb(docker: Docker):
    assert docker.ok("volume", "create", "--label", "a=b", "serve-cli") == "serve-cli"
    assert docker.ok("volume", "ls", "-q", "-f", "label=a=b") == "serve-cli"
    (found,) = json.loads(docker.ok("volume", "inspect", "serve-cli"))
    assert found["Mountpoint"] == f"{docker.api.proa.root}/volumes/serve-cli/_data"
    anonymous = docker.ok("volume", "create")
    assert anonymous in docker.ok("volume", "prune", "-f")
    assert docker.ok("volume", "rm", "serve-cli") == "serve-cli"
    assert docker("volume", "rm", "serve-cli").code == 1


def test_disk_usage_and_prune_of_the_system(docker: Docker, rootfs: Path):
    docker.ok("import", str(rootfs), "serve-cli:3")
    summary = docker.ok("system", "df")
    assert [line.split()[0] for line in summary.splitlines()] == [
        "TYPE", "Images", "Containers", "Local", "Build",
    ]  # fmt: skip
    assert "serve-cli" in docker.ok("system", "df", "-v")
    docker.ok("volume", "create", "serve-kept")
    docker.ok("network", "create", "serve-pruned")
    pruned = docker.ok("system", "prune", "-f")
    assert "serve-pruned" in pruned
    assert "Total reclaimed space" in pruned
    assert docker.ok("volume", "ls", "-q", "-f", "name=serve-kept") == "serve-kept"
    docker.ok("volume", "rm", "serve-kept")
    docker.ok("rmi", "serve-cli:3")


def test_what_is_not_there_says_so(docker: Docker, tmp_path: Path):
    for words, expected in (
        (("swarm", "init"), "swarm mode is not supported"),
        (("node", "ls"), "not a swarm manager"),
        (("service", "ls"), "not a swarm manager"),
        (("stack", "ls"), "not a swarm manager"),
        (("secret", "ls"), "not a swarm manager"),
        (("config", "ls"), "not a swarm manager"),
        (("plugin", "install", "vieux/sshfs"), "plugins are not supported"),
    ):
        done = docker(*words)
        assert (done.code, expected in done.stderr) == (1, True), (words, done)
    assert docker.ok("plugin", "ls", "-q") == ""
    (tmp_path / "Dockerfile").write_text("FROM busybox\n")
    build = docker("build", str(tmp_path), env={"DOCKER_BUILDKIT": "0"})
    assert (build.code, "builds no images yet" in build.stderr) == (1, True)


def test_a_context_of_the_client_leads_here(docker: Docker):
    docker.ok("context", "create", "proa", "--docker", f"host={docker.api.url}")
    assert "proa" in docker.ok("context", "ls", "-q").split()
    docker.ok("context", "use", "proa", env={"DOCKER_HOST": ""})
    found = docker.ok("info", "--format", "{{.DockerRootDir}}", env={"DOCKER_HOST": ""})
    assert found == docker.api.proa.root
    assert docker.ok("--context", "proa", "images", "-q", env={"DOCKER_HOST": ""})
