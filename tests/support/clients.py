"""Docker's command line and Compose, driven against ``proa serve``.

``scripts/fetch-clients`` puts them below ``.cache/clients``; a ``docker`` 28 on PATH is used
instead. Each test has a client directory of its own (``DOCKER_CONFIG``), so that nothing of the
user's is read or written.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.engines import CommandLine, Completed
from tests.support.serving import Api

CLIENTS = Path(__file__).parent.parent.parent / ".cache/clients"
COMPOSE = CLIENTS / "cli-plugins/docker-compose"
_WANTED = 28
_TIMEOUT_S = 90.0


def missing() -> str:
    """Return why there is no command line, empty when there is one (a probe for ``requires``)."""
    return "" if find_docker() else f"no docker {_WANTED} on PATH or in {CLIENTS}"


def compose_missing() -> str:
    """Return why there is no Compose, empty when there is."""
    return missing() or ("" if os.access(COMPOSE, os.X_OK) else f"no {COMPOSE}")


def python_missing() -> str:
    """Return which of the Python clients (the extra ``clients``) are not installed."""
    names = ("docker", "aiodocker", "testcontainers", "python_on_whales", "redis")
    absent = [name for name in names if importlib.util.find_spec(name) is None]
    return f"not installed: {', '.join(absent)}" if absent else ""


@cache
def find_docker() -> str:
    """Return the path of the command line: version 28 of PATH, else the fetched one."""
    for path in (shutil.which("docker"), str(CLIENTS / "docker")):
        if path and os.access(path, os.X_OK):
            done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
            version = re.match(r"Docker version (\d+)\.", done.stdout)
            if version and int(version[1]) >= _WANTED:
                return path
    return ""


class Docker(CommandLine):
    """The command line with a client directory of its own.

    Attributes:
        api: the server it speaks to.
        directory: ``DOCKER_CONFIG``.
    """

    name = "docker"
    timeout_s = _TIMEOUT_S

    def __init__(self, api: Api, directory: Path) -> None:
        self.api = api
        self.directory = directory
        (directory / "cli-plugins").mkdir(parents=True)
        (directory / "cli-plugins/docker-compose").symlink_to(COMPOSE)

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the environment of a command."""
        return self.api.environment(DOCKER_CONFIG=str(self.directory), **(extra or {}))

    def argv(self) -> list[str]:
        """Return what stands in front of the words."""
        return [find_docker()]


class Compose:
    """Compose on one project; everything of it is removed at the end.

    Attributes:
        docker: the command line.
        directory: of the project, with its ``compose.yaml``.
    """

    def __init__(self, docker: Docker, directory: Path, document: str) -> None:
        self.docker = docker
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "compose.yaml").write_text(document)

    def __call__(self, *words: str, **options: Any) -> Completed:
        """Run ``docker compose <words>``."""
        return self.docker("compose", "--ansi=never", *words, cwd=self.directory, **options)

    def ok(self, *words: str, **options: Any) -> str:
        """Run ``docker compose <words>``, assert exit code 0, return its output."""
        done = self(*words, **options)
        assert done.code == 0, f"compose {' '.join(words)} gave {done.code}: {done.stderr}"
        return done.stdout.removesuffix("\n")

    def spawn(self, *words: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start ``docker compose <words>`` with pipes."""
        return self.docker.spawn("compose", "--ansi=never", *words, cwd=self.directory, **options)

    def down(self) -> None:
        """Remove the project with its volumes."""
        self.ok("--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "1")


def lines_of(process: subprocess.Popen[bytes]) -> Iterator[str]:
    """Yield what a client prints, a line at a time, until it ends."""
    assert process.stdout is not None
    for raw in process.stdout:
        yield raw.decode("utf-8", "replace").rstrip("\n")
