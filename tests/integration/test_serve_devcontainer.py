"""The sequence of calls with which VS Code opens a folder in a dev container.

Written down from the log of the Dev Containers extension and its command line (devcontainers/cli,
``src/spec-node/singleContainer.ts``): look for the folder's container by labels, look at the image,
run the container attached to its output, follow the start event, keep one shell open as a server
for commands, put files in through it, reopen it later by the same labels.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.support import images
from tests.support.clients import Docker, lines_of
from tests.support.serving import Api

pytestmark = pytest.mark.requires("root", "overlay", "busybox", "docker-cli")

STARTED = "Container started"
# What the extension gives the container to do: wait for signals, and say that it is there.
LOOP = f"""echo {STARTED}
trap "exit 0" 15
exec "$@"
while sleep 1 & wait $!; do :; done"""


class ShellServer:
    """One ``docker exec -i`` shell that runs commands one after another, as the extension does."""

    def __init__(self, docker: Docker, container: str, user: str) -> None:
        self._process = docker.spawn("exec", "-i", "-u", user, "-e", "IN_EDITOR=1", container,
                                     "/bin/sh")  # fmt: skip

    def __call__(self, command: str) -> tuple[int, str]:
        """Run a command; its exit code and output lie between markers."""
        assert self._process.stdin is not None
        script = f"echo -n ␄; ( {command} ); echo -n ␄$?␄\n"
        self._process.stdin.write(script.encode())
        self._process.stdin.flush()
        assert self._process.stdout is not None
        answer = b""
        while answer.decode(errors="ignore").count("␄") < 3:
            piece = os.read(self._process.stdout.fileno(), 65536)
            assert piece, answer
            answer += piece
        _, output, code, _ = answer.decode().split("␄")
        return int(code), output

    def close(self) -> None:
        """End the shell: its stdin ends, and so does it."""
        self._process.communicate(timeout=20)
        assert self._process.returncode == 0


def test_a_folder_is_opened_used_closed_and_opened_again(api: Api, tmp_path: Path):
    images.ensure_busybox(api.proa)
    docker = Docker(api, tmp_path / "client")
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "README").write_text("read me\n")
    labels = [
        f"devcontainer.local_folder={folder}",
        "devcontainer.config_file=/x/devcontainer.json",
    ]
    found = [word for label in labels for word in ("--filter", f"label={label}")]
    metadata = '[{"remoteUser":"root","customizations":{"vscode":{"extensions":["a.b"]}}}]'

    assert docker.ok("version", "--format", "{{.Server.Os}}/{{.Server.Arch}}").startswith("linux/")
    assert docker.ok("ps", "-q", "-a", *found) == ""
    assert docker("inspect", "--type", "image", "no-such-image").code == 1
    (image,) = json.loads(docker.ok("inspect", "--type", "image", images.BUSYBOX))
    assert image["Os"] == "linux"

    with docker.spawn("events", "--format", "{{json .}}", "--filter", "event=start") as events:
        with docker.spawn(
            "run", "--sig-proxy=false", "-a", "STDOUT", "-a", "STDERR",
            "--mount", f"type=bind,source={folder},target=/workspaces/project,consistency=cached",
            *(word for label in labels for word in ("-l", label)),
            "-l", f"devcontainer.metadata={metadata}", "--cap-add=SYS_PTRACE",
            "--security-opt", "seccomp=unconfined", "--entrypoint", "/bin/sh", images.BUSYBOX,
            "-c", LOOP, "-",
        ) as run:  # fmt: skip
            assert next(lines_of(run)) == STARTED
            event = json.loads(next(lines_of(events)))
            container = docker.ok("ps", "-q", "-a", "--no-trunc", *found)
            assert (event["Action"], event["id"]) == ("start", container)
            (details,) = json.loads(docker.ok("inspect", "--type", "container", container))
            assert details["State"]["Status"] == "running"
            assert details["Config"]["Labels"]["devcontainer.metadata"] == metadata
            (mount,) = details["Mounts"]
            assert (mount["Type"], mount["Destination"]) == ("bind", "/workspaces/project")

            shell = ShellServer(docker, container, "root")
            assert shell("uname -s") == (0, "Linux\n")
            assert shell("cat /workspaces/project/README") == (0, "read me\n")
            assert shell("echo $IN_EDITOR; exit 3") == (3, "1\n")
            assert shell("mkdir -p /root/.server && echo ready > /root/.server/mark") == (0, "")
            put = "cat > /tmp/large; wc -c < /tmp/large"
            copied = docker("exec", "-i", container, "sh", "-c", put, stdin=b"x" * 200_000)
            assert copied.stdout.strip() == "200000"
            assert shell("wc -c < /tmp/large") == (0, "200000\n")
            shell.close()

            # The window closes: whoever was attached leaves, the container goes on.
            run.kill()
            run.communicate(timeout=20)
        events.terminate()
        events.communicate(timeout=20)
    assert docker.ok("inspect", "-f", "{{.State.Running}}", container) == "true"

    docker.ok("stop", container)
    assert docker.ok("inspect", "-f", "{{.State.ExitCode}}", container) == "0"
    again = docker.ok("ps", "-q", "-a", "--no-trunc", *found)
    assert again == container
    docker.ok("start", again)
    assert docker.ok("exec", again, "cat", "/root/.server/mark") == "ready"
    docker.ok("rm", "-f", again)
