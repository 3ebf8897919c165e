"""aiodocker and python-on-whales against ``proa serve``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.support import images
from tests.support.clients import Docker, find_docker
from tests.support.serving import Api

pytestmark = pytest.mark.requires("root", "overlay", "busybox", "python-clients")


async def _drive(url: str) -> None:
    import aiodocker

    async with aiodocker.Docker(url=url) as docker:
        assert (await docker.version())["ApiVersion"] == "1.51"
        assert any("busybox:latest" in one["RepoTags"] for one in await docker.images.list())
        subscriber = docker.events.subscribe()
        while docker.events.json_stream is None:  # the request is sent by a task of the client
            await asyncio.sleep(0.01)
        config: Any = {"Image": "busybox", "Cmd": ["cat"], "OpenStdin": True,
                  "AttachStdin": True, "AttachStdout": True, "Labels": {"x": "y"}}  # fmt: skip
        container = await docker.containers.create(config, name="aio")
        event: Any = await asyncio.wait_for(subscriber.get(), 20)
        assert (event["Type"], event["Action"]) == ("container", "create")
        async with container.attach(stdin=True, stdout=True, stderr=True) as stream:
            await container.start()
            await stream.write_in(b"through\n")
            message = await stream.read_out()
            assert (message.stream, message.data) == (1, b"through\n")
        execution = await container.exec(["sh", "-c", "echo out; exit 3"])
        async with execution.start() as stream:
            message = await stream.read_out()
            assert message.data == b"out\n"
            assert await stream.read_out() is None
        assert (await execution.inspect())["ExitCode"] == 3
        assert (await container.stats(stream=False))[0]["pids_stats"]["current"] >= 1
        await container.kill()
        assert (await container.wait())["StatusCode"] == 137
        assert await container.log(stdout=True) == ["through\n"]
        await container.delete()
        volume = await docker.volumes.create({"Name": "aio-volume"})
        assert (await volume.show())["Name"] == "aio-volume"
        await volume.delete()
        network = await docker.networks.create({"Name": "aio-net"})
        assert (await network.show())["Driver"] == "bridge"
        await network.delete()


def test_aiodocker_drives_a_container_from_create_to_delete(api: Api):
    images.ensure_busybox(api.proa)
    asyncio.run(asyncio.wait_for(_drive(api.url), 60))


@pytest.mark.requires("compose")
def test_python_on_whales_drives_the_command_line(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from python_on_whales import DockerClient

    images.ensure_busybox(api.proa)
    monkeypatch.setenv("DOCKER_CONFIG", str(Docker(api, tmp_path / "client").directory))
    (tmp_path / "compose.yaml").write_text(
        "services: {app: {image: busybox, init: true, command: [sleep, '600']}}"
    )
    client = DockerClient(
        client_call=[find_docker()],
        host=api.url,
        compose_files=[tmp_path / "compose.yaml"],
        compose_project_name="whales",
    )
    assert client.run("busybox", ["echo", "hi"], remove=True) == "hi"
    container = client.run("busybox", ["sleep", "600"], detach=True, init=True, name="whale",
                           labels={"x": "y"})  # fmt: skip
    assert container.state.running
    assert (container.config.labels or {})["x"] == "y"
    assert client.execute(container, ["echo", "in"]) == "in"
    assert [one.name for one in client.ps(filters=[("label", "x=y")])] == ["whale"]
    (stats,) = client.stats(containers=[container])
    assert stats.container_id == container.id
    container.remove(force=True)
    assert client.system.info().architecture
    assert client.image.inspect("busybox").repo_tags == ["busybox:latest"]
    client.compose.up(detach=True)
    assert [one.state.status for one in client.compose.ps()] == ["running"]
    client.compose.down(timeout=1)
