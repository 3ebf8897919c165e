"""Docker Compose v2 against ``proa serve``: what people do with a project."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import images
from tests.support.clients import Compose, Docker, lines_of
from tests.support.serving import Api

pytestmark = pytest.mark.requires("root", "overlay", "busybox", "compose")

_WAIT_S = 20.0

SHOP = """
services:
  db:
    image: busybox
    init: true
    command: [sh, -c, "sleep 0.5; touch /tmp/ready; echo db is up; sleep 600"]
    healthcheck: {test: [CMD, test, -e, /tmp/ready], interval: 200ms, retries: 50}
    volumes: ["data:/data"]
    networks: {back: {aliases: [store]}}
  web:
    image: busybox
    init: true
    command: [sh, -c, "cat /run/secrets/key /settings; httpd -f -p 8080 -h /site"]
    depends_on: {db: {condition: service_healthy}}
    environment: {COLOUR: "${COLOUR:-blue}"}
    volumes: ["data:/data:ro", "./site:/site"]
    networks: [front, back]
    ports: ["127.0.0.1::8080"]
    secrets: [key]
    configs: [{source: settings, target: /settings}]
    labels: {role: web}
volumes: {data: {}}
networks: {front: {}, back: {internal: true}}
secrets: {key: {file: ./key}}
configs: {settings: {file: ./settings}}
"""

JOBS = """
services:
  once:
    image: busybox
    command: [sh, -c, "echo done > /out/mark"]
    volumes: [{type: volume, source: out, target: /out}]
  after:
    image: busybox
    init: true
    command: [sh, -c, "cat /out/mark; sleep 600"]
    volumes: ["out:/out"]
    depends_on: {once: {condition: service_completed_successfully}}
  fails:
    image: busybox
    command: ["false"]
    profiles: [broken]
  never:
    image: busybox
    command: ["true"]
    depends_on: {fails: {condition: service_completed_successfully}}
    profiles: [broken]
  tools:
    image: busybox
    init: true
    command: [sleep, "600"]
    profiles: [debug]
volumes: {out: {}}
"""

WATCHED = """
services:
  app:
    image: busybox
    init: true
    command: [sleep, "600"]
    develop: {watch: [{action: sync, path: ./source, target: /app}]}
"""

Project = Callable[[str, str], Compose]


@pytest.fixture
def project(api: Api, tmp_path: Path) -> Iterator[Project]:
    """Make projects of a name and a document; they are taken down after the test."""
    images.ensure_busybox(api.proa)
    docker = Docker(api, tmp_path / "client")
    made: list[Compose] = []

    def make(name: str, document: str) -> Compose:
        made.append(Compose(docker, tmp_path / name, document))
        return made[-1]

    yield make
    for compose in made:
        compose.down()
    assert docker.ok("ps", "-aq") == ""
    assert docker.ok("network", "ls", "-q", "-f", "type=custom") == ""


@pytest.fixture
def shop(project: Project) -> Compose:
    compose = project("shop", SHOP)
    (compose.directory / "key").write_text("the key\n")
    (compose.directory / "settings").write_text("the settings\n")
    (compose.directory / "site").mkdir()
    (compose.directory / "site/index.html").write_text("welcome\n")
    return compose


def _states(compose: Compose, *words: str) -> dict[str, str]:
    rows = [json.loads(line) for line in compose.ok("ps", "--format=json", *words).splitlines()]
    return {row["Name"]: row["Health"] or row["State"] for row in rows}


def _sync(app: Compose, source: Path, target: str) -> None:
    """Change a file until the container has it: watching begins some time after it is announced."""
    deadline = time.monotonic() + _WAIT_S
    for attempt in range(1000):
        content = f"{attempt}\n"
        source.write_text(content)
        settled = time.monotonic() + 2.0
        while time.monotonic() < settled:
            if app("exec", "-T", "app", "cat", target).stdout == content:
                return
            assert time.monotonic() < deadline, f"no sync in {_WAIT_S} s"


def test_a_project_goes_up_is_used_and_goes_down(shop: Compose):
    shop.ok("up", "--detach")
    assert _states(shop) == {"shop-db-1": "healthy", "shop-web-1": "running"}
    logs = shop.ok("logs", "--no-color", "--no-log-prefix", "web")
    assert logs.splitlines() == ["the key", "the settings"]
    assert "db-1  | db is up" in shop.ok("logs", "--no-color", "--tail", "1", "db")
    fetched = shop.ok("exec", "-T", "db", "wget", "-q", "-O-", "http://web:8080/index.html")
    assert fetched == "welcome"
    assert "store" in shop.ok("exec", "-T", "web", "nslookup", "store")
    assert shop.ok("exec", "-T", "-e", "X=y", "-w", "/site", "web", "sh", "-c", "echo $X $PWD") == (
        "y /site"
    )
    assert shop("exec", "-T", "web", "sh", "-c", "exit 7").code == 7
    assert shop.ok("exec", "-T", "web", "cat", stdin=b"through\n") == "through"
    readonly = shop("exec", "-T", "web", "touch", "/data/x")
    assert (readonly.code, "Read-only" in readonly.stderr) == (1, True)
    host, _, port = shop.ok("port", "web", "8080").rpartition(":")
    assert (host, port.isdecimal()) == ("127.0.0.1", True)
    down = shop("down", "--volumes", "--timeout", "1")
    assert down.code == 0
    assert "Volume shop_data  Removed" in down.stderr
    assert shop.ok("ps", "-aq") == ""


def test_up_again_keeps_what_is_as_wanted_and_replaces_what_changed(shop: Compose):
    shop.ok("up", "-d")
    before = shop.ok("ps", "-q", "--no-trunc").split()
    shop.ok("up", "-d")
    assert shop.ok("ps", "-q", "--no-trunc").split() == before
    shop.ok("up", "-d", "-t", "1", env={"COLOUR": "red"})
    after = shop.ok("ps", "-q", "--no-trunc").split()
    assert len(set(before) & set(after)) == 1
    assert shop.ok("exec", "-T", "web", "sh", "-c", "echo $COLOUR") == "red"


def test_single_services_are_driven(shop: Compose):
    shop.ok("up", "-d")
    shop.ok("stop", "-t", "1", "web")
    assert _states(shop, "-a")["shop-web-1"] == "exited"
    shop.ok("start", "web")
    shop.ok("pause", "db")
    assert _states(shop)["shop-db-1"] in ("paused", "healthy")
    shop.ok("unpause", "db")
    shop.ok("restart", "-t", "1", "web")
    assert "httpd" in shop.ok("top", "web")
    assert "busybox" in shop.ok("images")
    shop.ok("cp", "web:/settings", str(shop.directory / "copied"))
    assert (shop.directory / "copied").read_text() == "the settings\n"
    shop.ok("kill", "-s", "KILL", "web")
    (project,) = json.loads(shop.ok("ls", "--all", "--format=json"))
    assert (project["Name"], "running(1)" in project["Status"]) == ("shop", True)
    shop.ok("rm", "-f", "-s", "web")
    assert list(_states(shop, "-a")) == ["shop-db-1"]


def test_run_is_one_more_container_of_a_service(shop: Compose):
    ran = shop.ok("run", "--rm", "-T", "-e", "A=b", "web", "sh", "-c", "echo $A; cat /settings")
    assert ran.splitlines() == ["b", "the settings"]
    assert _states(shop) == {"shop-db-1": "healthy"}
    assert shop("run", "--rm", "-T", "--no-deps", "web", "sh", "-c", "exit 3").code == 3
    piped = shop.ok("run", "--rm", "-T", "--no-deps", "web", "cat", stdin=b"in and out\n")
    assert piped == "in and out"


def test_scale_conditions_and_profiles(project: Project):
    jobs = project("jobs", JOBS)
    jobs.ok("up", "-d", "--scale", "after=3")
    assert jobs.ok("logs", "--no-log-prefix", "after").split() == ["done"] * 3
    assert len(_states(jobs)) == 3
    jobs.ok("scale", "after=1")
    assert list(_states(jobs)) == ["jobs-after-1"]
    jobs.ok("--profile", "debug", "up", "-d", "-t", "1")
    assert sorted(_states(jobs)) == ["jobs-after-1", "jobs-tools-1"]
    broken = jobs("--profile", "broken", "up", "-d", "never")
    assert broken.code == 1
    assert "didn't complete successfully" in broken.stderr
    with jobs.spawn("wait", "after") as process:
        jobs.ok("kill", "-s", "KILL", "after")
        printed, _ = process.communicate(timeout=30)
    assert (process.returncode, printed.split()[-1]) == (137, b"137")


def test_up_in_the_foreground_shows_logs_and_stops_on_a_signal(project: Project):
    document = (
        "services: {a: {image: busybox, init: true, command: [sh, -c, 'echo hi; sleep 600']}}"
    )
    front = project("front", document)
    with front.spawn("up", "--timeout", "1") as process:
        for line in lines_of(process):
            if line.endswith("| hi"):
                break
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert _states(front, "-a") == {"front-a-1": "exited"}


def test_up_ends_with_the_exit_code_of_a_container(project: Project):
    document = """
services:
  job: {image: busybox, command: [sh, -c, "echo working; exit 5"]}
  side: {image: busybox, init: true, command: [sleep, "600"]}
"""
    front = project("codes", document)
    done = front("up", "--exit-code-from", "job", "--timeout", "1")
    assert (done.code, "working" in done.stdout) == (5, True)


def test_following_logs_end_with_the_containers(project: Project):
    document = (
        "services: {a: {image: busybox, init: true, command: "
        "[sh, -c, 'for i in 1 2 3; do echo $$i; sleep 0.1; done']}}"
    )
    front = project("tail", document)
    front.ok("up", "-d")
    followed = front.ok("logs", "--follow", "--no-log-prefix", timeout_s=20)
    assert followed.split()[:3] == ["1", "2", "3"]
    assert "exited with code 0" in followed


def test_watch_brings_changed_files_into_the_container(project: Project):
    app = project("app", WATCHED)
    source = app.directory / "source"
    source.mkdir()
    (source / "first").write_text("one\n")
    app.ok("up", "-d")
    with app.spawn("watch", "--no-up") as process:
        for line in lines_of(process):
            if "Watch enabled" in line:
                break
        _sync(app, source / "second", "/app/second")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


def test_building_says_that_there_is_no_builder(project: Project):
    built = project("built", "services: {a: {build: .}}")
    (built.directory / "Dockerfile").write_text("FROM busybox\n")
    done = built("build", env={"DOCKER_BUILDKIT": "0"})
    assert done.code != 0
    assert "builds no images yet" in done.stderr + done.stdout
