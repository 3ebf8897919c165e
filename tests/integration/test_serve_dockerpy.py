"""docker-py against ``proa serve``."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import images
from tests.support.layers import LayerBuilder, docker_archive
from tests.support.serving import Api

pytestmark = [
    pytest.mark.requires("root", "overlay", "busybox", "python-clients"),
    # docker-py leaves the sockets of its streams to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def client(api: Api) -> Iterator[Any]:
    import docker

    images.ensure_busybox(api.proa)
    made = docker.DockerClient(base_url=api.url, timeout=60)
    yield made
    made.close()


def test_run_gives_output_and_raises_what_a_container_failed_with(client: Any):
    from docker import errors

    assert client.containers.run("busybox", ["echo", "hi"], remove=True) == b"hi\n"
    with pytest.raises(errors.ContainerError) as failed:
        client.containers.run("busybox", ["sh", "-c", "echo no >&2; exit 3"], remove=True)
    assert (failed.value.exit_status, failed.value.stderr) == (3, b"no\n")
    with pytest.raises(errors.APIError) as missing:
        client.containers.run("busybox", ["/not/there"], name="py-missing", remove=True)
    assert missing.value.status_code == 400
    client.containers.get("py-missing").remove()  # as with Docker it stays, created


def test_a_container_by_every_verb(client: Any):
    from docker import errors

    container = client.containers.run(
        "busybox",
        ["sh", "-c", "echo first; echo second >&2; sleep 600"],
        name="py",
        detach=True,
        init=True,
        environment={"A": "b"},
        labels={"x": "y"},
        mem_limit="64m",
        ports={"80/tcp": None},
    )
    assert container.status in ("created", "running")
    container.reload()
    assert (container.status, container.name, container.labels["x"]) == ("running", "py", "y")
    assert container.attrs["HostConfig"]["Memory"] == 64 << 20
    assert container.ports["80/tcp"][0]["HostPort"].isdecimal()
    assert [one.id for one in client.containers.list(filters={"label": "x=y"})] == [container.id]
    for number in range(20):  # as fast as they come: no byte may share a read with the head
        assert container.exec_run(["echo", str(number)]).output == f"{number}\n".encode()
    done = container.exec_run(["sh", "-c", "echo $A; exit 4"])
    assert (done.exit_code, done.output) == (4, b"b\n")
    parts = container.exec_run(["sh", "-c", "echo o; echo e >&2"], demux=True)
    assert parts.output == (b"o\n", b"e\n")
    pieces = container.exec_run(["sh", "-c", "echo 1; echo 2"], stream=True)
    assert b"".join(pieces.output) == b"1\n2\n"
    assert container.logs(stderr=False) == b"first\n"
    assert container.logs(tail=1, stdout=False) == b"second\n"
    assert container.top()["Titles"]
    stats = container.stats(stream=False)
    assert stats["memory_stats"]["usage"] > 0
    assert stats["name"] == "/py"
    container.pause()
    container.reload()
    assert container.status == "paused"
    container.unpause()
    container.rename("py2")
    container.update(mem_limit="96m", memswap_limit="192m")
    container.restart(timeout=1)
    container.stop(timeout=1)
    assert container.wait()["StatusCode"] == 143
    container.remove()
    with pytest.raises(errors.NotFound):
        client.containers.get("py2")


def test_archives_go_in_and_come_out(client: Any):
    container = client.containers.create("busybox", ["true"])
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        member = tarfile.TarInfo("note")
        member.size = 5
        tar.addfile(member, io.BytesIO(b"hello"))
    assert container.put_archive("/tmp", data.getvalue())
    stream, stat = container.get_archive("/tmp/note")
    assert (stat["name"], stat["size"]) == ("note", 5)
    with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as tar:
        found = tar.extractfile("note")
        assert found is not None
        assert found.read() == b"hello"
    assert {"Path": "/tmp/note", "Kind": 1} in container.diff()
    exported = b"".join(container.export())
    with tarfile.open(fileobj=io.BytesIO(exported)) as tar:
        assert "tmp/note" in tar.getnames()
    made = container.commit("py-committed", "1")
    assert made.tags == ["py-committed:1"]
    client.images.remove("py-committed:1")
    container.remove()


def test_attach_carries_both_directions(client: Any):
    container = client.containers.create("busybox", ["cat"], stdin_open=True)
    sock = container.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
    container.start()
    sock._sock.sendall(b"through\n")
    assert sock.read(8) == b"\x01\0\0\0\0\0\0\x08"
    assert sock.read(8) == b"through\n"
    sock._sock.close()
    sock.close()
    container.remove(force=True)


def test_images_networks_and_volumes(client: Any):
    tar = docker_archive([LayerBuilder().file("a", b"py").tar()], names=["py-loaded:1"])
    (loaded,) = client.images.load(tar)
    assert loaded.tags == ["py-loaded:1"]
    assert loaded.tag("py-loaded", "2")
    assert sorted(client.images.get("py-loaded:2").tags) == ["py-loaded:1", "py-loaded:2"]
    assert loaded.history()
    saved = b"".join(loaded.save(named=True))
    client.images.remove("py-loaded:1")
    client.images.remove("py-loaded:2")
    assert client.images.load(saved)[0].tags == ["py-loaded:1"]
    client.images.remove("py-loaded:1")
    network = client.networks.create("py-net", labels={"x": "y"}, internal=True)
    container = client.containers.run("busybox", ["sleep", "600"], detach=True, init=True,
                                      network="py-net")  # fmt: skip
    network.reload()
    assert [one.id for one in network.containers] == [container.id]
    network.disconnect(container)
    network.connect(container, aliases=["web"], ipv4_address=None)
    container.remove(force=True)
    assert [one.name for one in client.networks.list(names=["py-net"])] == ["py-net"]
    network.remove()
    volume = client.volumes.create("py-volume", labels={"x": "y"})
    assert client.volumes.get("py-volume").attrs["Labels"] == {"x": "y"}
    assert [one.name for one in client.volumes.list(filters={"label": "x"})] == ["py-volume"]
    volume.remove()


def test_events_and_the_system(client: Any):
    assert client.ping()
    assert client.version()["ApiVersion"] == "1.51"
    assert client.info()["OSType"] == "linux"
    assert client.df()["LayersSize"] > 0
    events = client.events(decode=True, filters={"type": "container", "event": ["create", "die"]})
    container = client.containers.run("busybox", ["true"], detach=True, labels={"told": "yes"})
    first = next(events)
    assert (first["Action"], first["Actor"]["Attributes"]["told"]) == ("create", "yes")
    assert (first["id"], first["status"]) == (container.id, "create")
    assert next(events)["Actor"]["Attributes"]["exitCode"] == "0"
    events.close()
    container.remove()
    assert client.containers.prune()["SpaceReclaimed"] >= 0


def test_a_build_is_refused_in_words(client: Any):
    from docker import errors

    with pytest.raises(errors.APIError, match="builds no images yet"):
        client.images.build(fileobj=io.BytesIO(b"FROM busybox\n"))
