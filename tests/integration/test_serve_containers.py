"""``/containers`` and ``/exec`` over the Docker Engine API: every endpoint, status and shape."""

from __future__ import annotations

import base64
import io
import json
import os
import tarfile
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import engine_api, images
from tests.support.serving import Api

pytestmark = pytest.mark.requires("root", "overlay", "busybox")

LOOP = ["sh", "-c", "trap 'exit 7' TERM; echo up; while :; do sleep 0.05; done"]


@pytest.fixture(autouse=True)
def _busybox(api: Api) -> Iterator[None]:
    images.ensure_busybox(api.proa)
    yield
    for identity in api.proa.ok("ps", "-aq").split():
        api.proa.ok("rm", "-f", "-v", identity)


def create(api: Api, command: list[str], name: str = "", **host: Any) -> str:
    """Create a container; ``host`` is its HostConfig, but ``config`` adds to the body."""
    more = host.pop("config", {})
    body = {"Image": images.BUSYBOX, "Cmd": command, "HostConfig": host, **more}
    reply = api.ok("POST", "/containers/create", body, query={"name": name} if name else None)
    assert reply.status == 201
    return str(reply.json()["Id"])


def run(api: Api, command: list[str], name: str = "", **host: Any) -> str:
    """Create and start a container."""
    identity = create(api, command, name, **host)
    assert api.ok("POST", f"/containers/{identity}/start").status == 204
    return identity


def wait(api: Api, identity: str) -> int:
    """Wait for a container's end."""
    return int(api.ok("POST", f"/containers/{identity}/wait").json()["StatusCode"])


def logs_of(api: Api, identity: str, **query: Any) -> bytes:
    """Return what a container wrote to stdout, without frames."""
    reply = api.ok("GET", f"/containers/{identity}/logs", query={"stdout": 1, **query})
    assert reply.status == 200
    out, data = b"", reply.body
    while data:
        length = int.from_bytes(data[4:8], "big")
        out, data = out + data[8 : 8 + length], data[8 + length :]
    return out


def inspect(api: Api, identity: str) -> Any:
    """Return a container's document."""
    return api.ok("GET", f"/containers/{identity}/json").json()


def test_the_life_of_a_container(api: Api):
    identity = run(api, LOOP, "life")
    assert inspect(api, "life")["State"]["Status"] == "running"
    assert api("POST", "/containers/life/start").status == 304
    assert api.ok("POST", "/containers/life/pause").status == 204
    assert api("POST", "/containers/life/pause").status == 409
    assert inspect(api, "life")["State"]["Paused"] is True
    assert api.ok("POST", "/containers/life/unpause").status == 204
    assert api.ok("POST", "/containers/life/rename", query={"name": "other"}).status == 204
    assert api("GET", "/containers/life/json").status == 404
    assert api.ok("POST", "/containers/other/restart", query={"t": 1}).status == 204
    while b"up" not in logs_of(api, identity, tail=1):
        pass
    assert api.ok("POST", "/containers/other/stop").status == 204
    assert inspect(api, identity)["State"]["ExitCode"] == 7
    assert api("POST", "/containers/other/stop").status == 304
    assert api("POST", "/containers/other/kill").status == 409
    assert api.ok("DELETE", "/containers/other").status == 204
    assert api("DELETE", "/containers/other").status == 404


def test_the_command_line_and_the_api_show_the_same_containers(api: Api):
    by_api = run(api, LOOP, "by-api")
    by_words = api.proa.ok("run", "-d", "--name", "by-words", images.BUSYBOX, *LOOP)
    listed = {entry["Id"] for entry in api.ok("GET", "/containers/json").json()}
    assert listed == {by_api, by_words}
    assert set(api.proa.ok("ps", "-q", "--no-trunc").split()) == listed
    api.ok("POST", "/containers/by-words/kill")
    api.proa.ok("kill", "by-api")
    api.proa.ok("wait", "by-api")
    assert api.ok("GET", "/containers/json").json() == []


def test_a_container_that_runs_is_removed_only_by_force(api: Api):
    run(api, LOOP, "held")
    reply = api("DELETE", "/containers/held")
    assert (reply.status, "held" in reply.message) == (409, True)
    assert api.ok("DELETE", "/containers/held", query={"force": 1}).status == 204


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"Image": "no-such-image:9"}, 404),
        ({"Cmd": ["true"]}, 400),
        ({"Image": images.BUSYBOX, "Cmd": 5}, 400),
        ({"Image": images.BUSYBOX, "HostConfig": {"Binds": ["/a:relative"]}}, 400),
        ({"Image": images.BUSYBOX, "HostConfig": {"Memory": "64m"}}, 400),
        ({"Image": images.BUSYBOX, "HostConfig": {"Isolation": "hyperv"}}, 400),
        ({"Image": images.BUSYBOX, "HostConfig": {"Runtime": "kata"}}, 400),
        ({"Image": images.BUSYBOX, "HostConfig": {"NetworkMode": "nowhere"}}, 404),
        ({"Image": images.BUSYBOX, "HostConfig": {"RestartPolicy": {"Name": "often"}}}, 400),
        ({"Image": images.BUSYBOX, "HostConfig": {"PortBindings": {"99999/tcp": []}}}, 400),
        ({"Image": images.BUSYBOX, "HostConfig": {"Links": ["other:alias"]}}, 501),
        ({"Image": images.BUSYBOX, "WorkingDir": "relative"}, 400),
        ({"Image": images.BUSYBOX, "Healthcheck": {"Interval": 5}}, 400),
        ({"Image": images.BUSYBOX, "HostConfig": {"OomScoreAdj": 5000}}, 400),
        ([], 400),
    ],
)  # fmt: skip
def test_what_cannot_be_created_is_refused(api: Api, body: Any, status: int):
    reply = api("POST", "/containers/create", body)
    assert reply.status == status, reply.body
    assert reply.message


def test_a_name_in_use_is_a_conflict(api: Api):
    create(api, ["true"], "taken")
    reply = api("POST", "/containers/create", {"Image": images.BUSYBOX}, query={"name": "taken"})
    assert reply.status == 409


def test_what_is_configured_is_seen_inside(api: Api):
    identity = run(
        api,
        [
            "sh", "-c",
            (
                "id -u; pwd; echo $WORD; hostname; cat /proc/self/oom_score_adj; ulimit -n;"
                "test -e /run/place && echo place; touch /x 2>/dev/null || echo read-only"
            ),
        ],
        config={
            "User": "1000", "WorkingDir": "/tmp", "Env": ["WORD=seen"], "Hostname": "inner",
            "Labels": {"a": "b"},
        },
        OomScoreAdj=500, ReadonlyRootfs=True, Tmpfs={"/run/place": "size=1m"},
        Ulimits=[{"Name": "nofile", "Soft": 77, "Hard": 88}], Memory=64 * 1024 * 1024,
        NetworkMode="none", CapDrop=["ALL"], SecurityOpt=["no-new-privileges"],
    )  # fmt: skip
    assert wait(api, identity) == 0
    words = logs_of(api, identity).decode().split()
    assert words == ["1000", "/tmp", "seen", "inner", "500", "77", "place", "read-only"]
    found = inspect(api, identity)
    assert found["HostConfig"]["Memory"] == 64 * 1024 * 1024
    assert found["Config"]["Labels"]["a"] == "b"


def test_mounts_of_both_grammars(api: Api, tmp_path: Any):
    (tmp_path / "file").write_text("from the host")
    identity = run(
        api,
        ["sh", "-c", "cat /bound/file /mounted/file; echo data > /kept/x; cat /kept/x; ls /anon"],
        config={"Volumes": {"/anon": {}}},
        Binds=[f"{tmp_path}:/bound:ro", "serve-volume:/kept"],
        Mounts=[{"Type": "bind", "Source": str(tmp_path), "Target": "/mounted", "ReadOnly": True}],
    )
    assert wait(api, identity) == 0
    assert logs_of(api, identity) == b"from the hostfrom the hostdata\n"
    kinds = sorted((item["Type"], item["Destination"]) for item in inspect(api, identity)["Mounts"])
    assert kinds == [
        ("bind", "/bound"), ("bind", "/mounted"), ("volume", "/anon"), ("volume", "/kept"),
    ]  # fmt: skip
    api.ok("DELETE", f"/containers/{identity}", query={"v": 1})
    api.ok("DELETE", "/volumes/serve-volume")


def test_filters_of_the_list(api: Api):
    run(api, LOOP, "runs", config={"Labels": {"team": "red"}})
    stopped = run(api, ["sh", "-c", "exit 3"], "ended", config={"Labels": {"team": "blue"}})
    wait(api, stopped)
    create(api, ["true"], "made")

    def names(**query: Any) -> list[str]:
        found = api.ok("GET", "/containers/json", query=query).json()
        return sorted(name[1:] for entry in found for name in entry["Names"])

    assert names() == ["runs"]
    assert names(all=1) == ["ended", "made", "runs"]
    assert names(all=1, limit=1) == ["made"]
    assert names(filters={"status": ["exited"]}) == ["ended"]
    assert names(filters={"exited": ["3"]}) == ["ended"]
    assert names(all="true", filters={"label": ["team=blue"]}) == ["ended"]
    assert names(all=1, filters={"name": {"run": True}}) == ["runs"]
    assert names(all=1, filters={"ancestor": [images.BUSYBOX], "since": ["ended"]}) == ["made"]
    assert api("GET", "/containers/json", query={"filters": {"moon": ["full"]}}).status == 400
    assert api("GET", "/containers/json", query={"filters": "no json"}).status == 400
    sized = api.ok("GET", "/containers/json", query={"all": 1, "size": 1}).json()
    assert all(entry["SizeRootFs"] > 0 for entry in sized)


def test_waiting_for_conditions(api: Api):
    identity = create(api, ["sh", "-c", "exit 6"])
    assert api("POST", f"/containers/{identity}/wait", query={"condition": "moon"}).status == 400
    api.ok("POST", f"/containers/{identity}/start")
    assert wait(api, identity) == 6
    assert wait(api, identity) == 6
    api.ok("DELETE", f"/containers/{identity}")
    assert api("POST", f"/containers/{identity}/wait").status == 404


def test_a_missing_command_is_said_in_words_that_clients_know(api: Api):
    identity = create(api, ["no-such-command"])
    reply = api("POST", f"/containers/{identity}/start")
    assert reply.status == 400
    assert "executable file not found" in reply.message
    assert inspect(api, identity)["State"]["ExitCode"] == 127


def test_logs_by_stream_time_and_count(api: Api):
    identity = run(api, ["sh", "-c", "echo one; echo two >&2; echo three"])
    wait(api, identity)
    path = f"/containers/{identity}/logs"
    assert logs_of(api, identity) == b"one\nthree\n"
    whole = api.ok("GET", path, query={"stdout": 1, "stderr": 1})
    assert whole.headers["Content-Type"] == "application/vnd.docker.multiplexed-stream"
    assert whole.body.count(b"\x02\0\0\0\0\0\0\x04two\n") == 1
    older = api.ok("GET", path, query={"stdout": 1}, version="1.41")
    assert older.headers["Content-Type"] == "application/vnd.docker.raw-stream"
    assert logs_of(api, identity, stderr=1, tail=1) in (b"two\n", b"three\n")
    assert logs_of(api, identity, since=int(time.time()) + 100) == b""
    stamped = logs_of(api, identity, timestamps=1).split(b"\n")[0]
    assert stamped.endswith(b"Z one")
    assert len(stamped.split()[0]) == len("2026-11-24T11:30:00.123456789Z")
    assert logs_of(api, identity, follow=1) == b"one\nthree\n"
    assert api("GET", path).status == 400
    assert api("GET", "/containers/none/logs", query={"stdout": 1}).status == 404


def test_a_driver_that_keeps_nothing_cannot_be_read(api: Api):
    identity = create(api, ["true"], LogConfig={"Type": "none"})
    assert api("GET", f"/containers/{identity}/logs", query={"stdout": 1}).status == 501


def test_top_changes_and_stats(api: Api):
    identity = run(api, ["sh", "-c", "echo x > /new; while :; do sleep 0.05; done"])
    path = f"/containers/{identity}"
    table = api.ok("GET", f"{path}/top").json()
    assert "CMD" in table["Titles"]
    assert any("sleep" in " ".join(row) for row in table["Processes"])
    while {"Path": "/new", "Kind": 1} not in (api.ok("GET", f"{path}/changes").json() or []):
        pass
    once = api.ok("GET", f"{path}/stats", query={"stream": 0, "one-shot": 1}).json()
    assert once["memory_stats"]["usage"] > 0
    assert once["precpu_stats"]["cpu_usage"]["total_usage"] == 0
    pair = api.ok("GET", f"{path}/stats", query={"stream": "false"}).json()
    assert pair["precpu_stats"]["system_cpu_usage"] < pair["cpu_stats"]["system_cpu_usage"]
    api.ok("POST", f"{path}/kill")
    assert api("GET", f"{path}/top").status == 409
    assert api.ok("GET", f"{path}/stats", query={"stream": 0}).json()["memory_stats"] == {}


def test_limits_and_restart_policy_are_updated(api: Api):
    identity = run(api, LOOP)
    body = {"Memory": 96 * 1024 * 1024, "RestartPolicy": {"Name": "unless-stopped"}}
    assert api.ok("POST", f"/containers/{identity}/update", body).json() == {"Warnings": []}
    host = inspect(api, identity)["HostConfig"]
    assert (host["Memory"], host["RestartPolicy"]["Name"]) == (96 * 1024 * 1024, "unless-stopped")
    assert api("POST", f"/containers/{identity}/update", {"BlkioWeight": 5}).status == 400


def _tar(**files: bytes) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return raw.getvalue()


@pytest.mark.parametrize("compressed", [False, True])
def test_files_in_and_out(api: Api, compressed: bool):
    import gzip

    identity = create(api, ["true"])
    path = f"/containers/{identity}/archive"
    sent = _tar(note=b"content")
    body = gzip.compress(sent) if compressed else sent
    headers = {"Content-Type": "application/x-tar"}
    assert api.ok("PUT", path, body, query={"path": "/tmp"}, headers=headers).status == 200
    head = api.ok("HEAD", path, query={"path": "/tmp/note"})
    stat = json.loads(base64.b64decode(head.headers["X-Docker-Container-Path-Stat"]))
    assert (stat["name"], stat["size"], stat["mode"]) == ("note", 7, 0o644)
    got = api.ok("GET", path, query={"path": "/tmp/note"})
    assert got.headers["Content-Type"] == "application/x-tar"
    with tarfile.open(fileobj=io.BytesIO(got.body)) as tar:
        assert tar.extractfile("note").read() == b"content"
    folder = json.loads(
        base64.b64decode(
            api.ok("HEAD", path, query={"path": "/tmp"}).headers["X-Docker-Container-Path-Stat"]
        )
    )
    assert folder["mode"] & 1 << 31
    assert api("GET", path, query={"path": "/none"}).status == 404
    assert api("HEAD", path, query={"path": "/none"}).status == 404
    assert api("GET", path).status == 400
    assert api("PUT", path, b"no tar", query={"path": "/tmp"}, headers=headers).status == 400
    assert api("PUT", path, sent, query={"path": "/none"}, headers=headers).status == 404


def test_export_and_commit(api: Api):
    identity = run(api, ["sh", "-c", "echo made > /made"], "origin")
    wait(api, identity)
    with tarfile.open(fileobj=io.BytesIO(api.ok("GET", "/containers/origin/export").body)) as tar:
        assert tar.extractfile("made").read() == b"made\n"
    made = api.ok(
        "POST", "/commit", {"Env": ["A=b c"], "Cmd": ["cat", "/made"]},
        query={"container": "origin", "repo": "serve-made", "tag": "1", "changes": "USER 5"},
    )  # fmt: skip
    assert made.status == 201
    found = api.ok("GET", "/images/serve-made:1/json").json()
    assert found["Id"] == made.json()["Id"]
    assert (found["Config"]["User"], found["Config"]["Cmd"]) == ("5", ["cat", "/made"])
    assert "A=b c" in found["Config"]["Env"]
    api.ok("DELETE", "/images/serve-made:1")
    assert api("POST", "/commit", {}, query={"container": "none"}).status == 404


def test_prune_removes_what_does_not_run(api: Api):
    keep, gone = run(api, LOOP), create(api, ["true"])
    pruned = api.ok("POST", "/containers/prune").json()
    assert pruned["ContainersDeleted"] == [gone]
    assert [entry["Id"] for entry in api.ok("GET", "/containers/json").json()] == [keep]


def test_the_life_of_an_exec(api: Api):
    identity = run(api, LOOP)
    body = {"Cmd": ["sh", "-c", "echo $A; exit 9"], "AttachStdout": True, "Env": ["A=in exec"]}
    made = api.ok("POST", f"/containers/{identity}/exec", body).json()["Id"]
    # As with Docker the code is null before the end, whatever the schema says.
    before = api.ok("GET", f"/exec/{made}/json", conforms=False).json()
    assert (before["Running"], before["ExitCode"]) == (False, None)
    assert api("POST", f"/exec/{made}/resize", query={"h": 1, "w": 1}).status == 409
    assert api.ok("POST", f"/exec/{made}/start", {"Detach": True}).status == 200
    while api.ok("GET", f"/exec/{made}/json", conforms=False).json()["Running"]:
        pass
    after = api.ok("GET", f"/exec/{made}/json").json()
    assert after["ExitCode"] == 9
    assert api("POST", f"/exec/{made}/start", {"Detach": True}).status == 409
    assert api("POST", f"/containers/{identity}/exec", {"Cmd": []}).status == 400
    assert api("GET", "/exec/none/json").status == 404
    api.ok("POST", f"/containers/{identity}/pause")
    assert api("POST", f"/containers/{identity}/exec", body).status == 409
    api.ok("POST", f"/containers/{identity}/unpause")
    api.ok("POST", f"/containers/{identity}/kill")
    assert api("POST", f"/containers/{identity}/exec", body).status == 409


def test_execs_that_run_are_listed_with_their_container(api: Api):
    identity = run(api, LOOP)
    made = api.ok("POST", f"/containers/{identity}/exec", {"Cmd": ["sleep", "60"]}).json()["Id"]
    assert inspect(api, identity)["ExecIDs"] is None
    api.ok("POST", f"/exec/{made}/start", {"Detach": True})
    assert inspect(api, identity)["ExecIDs"] == [made]
    assert api.ok("GET", f"/exec/{made}/json", conforms=False).json()["Pid"] > 0


def test_events_of_a_container(api: Api):
    began = time.time()
    identity = run(api, ["sh", "-c", "exit 4"], "told")
    wait(api, identity)
    query = {
        "since": f"{began:.9f}", "until": f"{time.time():.9f}",
        "filters": {"container": [identity]},
    }  # fmt: skip
    found = api.ok("GET", "/events", query=query, conforms=False).lines()
    for event in found:
        published = {k: v for k, v in event.items() if k not in ("status", "id", "from")}
        assert not engine_api.definition_problems("EventMessage", published)
    assert [event["Action"] for event in found] == ["create", "start", "die"]
    assert found[-1]["Actor"]["Attributes"]["exitCode"] == "4"
    assert api("GET", "/events", query={"filters": {"moon": ["x"]}}).status == 400
    assert api("GET", "/events", query={"since": "later"}).status == 400


def test_a_start_is_told_once_though_the_supervisor_slept(api: Api):
    began = time.time()
    identity = run(api, ["sleep", "600"])
    while not os.path.exists(f"{api.proa.root}/containers/{identity}/keeper"):
        pass
    api.ok("POST", f"/containers/{identity}/stop", query={"t": 0})
    query = {"since": f"{began:.9f}", "until": f"{time.time():.9f}"}
    found = api.ok("GET", "/events", query=query, conforms=False).lines()
    actions = [event["Action"] for event in found if event["Type"] == "container"]
    assert (actions[:2], actions[-2:]) == (["create", "start"], ["die", "stop"])
    assert actions.count("start") == 1


def test_ports_and_networks(api: Api):
    api.ok("POST", "/networks/create", {"Name": "serve-net"})
    identity = run(
        api, LOOP, "placed",
        config={
            "ExposedPorts": {"80/tcp": {}},
            "NetworkingConfig": {
                "EndpointsConfig": {"serve-net": {"Aliases": ["alias"], "IPAMConfig": None}}
            },
        },
        NetworkMode="serve-net", PortBindings={"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]},
    )  # fmt: skip
    found = inspect(api, identity)["NetworkSettings"]
    assert found["Networks"]["serve-net"]["Aliases"] == ["alias"]
    (binding,) = found["Ports"]["80/tcp"]
    assert binding["HostIp"] == "127.0.0.1"
    (entry,) = api.ok("GET", "/containers/json").json()
    assert entry["Ports"][0]["PublicPort"] == int(binding["HostPort"])
    api.ok("DELETE", f"/containers/{identity}", query={"force": 1})
    api.ok("DELETE", "/networks/serve-net")


def test_vm_isolation_is_asked_of_the_engine(api: Api):
    reply = api(
        "POST", "/containers/create",
        {"Image": images.BUSYBOX, "HostConfig": {"Isolation": "vm"}},
    )  # fmt: skip
    assert reply.status == 201
    path = f"/containers/{reply.json()['Id']}/json"
    found = api.ok("GET", path, conforms=False).json()
    assert found["HostConfig"]["Isolation"] == "vm"
