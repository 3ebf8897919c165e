"""proa.engine.containers: what docker inspect and docker ps show."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from proa.engine.config import (
    ContainerConfig,
    DeviceMapping,
    LogConfig,
    MountConfig,
    Resources,
    RestartPolicy,
    ThrottleDevice,
    Ulimit,
)
from proa.engine.containers.inspect import (
    ContainerPaths,
    describe_state,
    encode_state,
    inspect_container,
    list_entry,
)
from proa.engine.model import ContainerState, ProcessIdentity, Status
from proa.oci.imageconfig import ContainerDefaults
from proa.units import format_rfc3339_ns
from tests.support.records import IMAGE_ID, NOW_NS, container

DATA = Path(__file__).parents[1] / "support" / "data"
PATHS = ContainerPaths(
    directory="/r/containers/c", log="/r/c.log", lowers=("/r/b", "/r/a"), volumes="/r/volumes"
)
IMAGE = ContainerDefaults(
    user="daemon",
    env=("PATH=/bin", "A=image"),
    entrypoint=("/entry",),
    cmd=("default",),
    labels={"maker": "debian", "tier": "image"},
    working_dir="/srv",
    stop_signal="SIGQUIT",
    exposed_ports={"80/tcp": {}},
    volumes={"/data": {}},
)


def inspect(config: ContainerConfig, **fields: Any) -> dict[str, Any]:
    document = inspect_container(container("web", config=config, **fields), PATHS, IMAGE)
    json.dumps(document)
    return document


def test_the_frame() -> None:
    record = container("web", path="sleep", args=("60",))
    document = inspect_container(record, PATHS, IMAGE)
    assert document["Id"] == record.id
    assert document["Name"] == "/web"
    assert document["Created"] == format_rfc3339_ns(NOW_NS)
    assert (document["Path"], document["Args"]) == ("sleep", ["60"])
    assert document["Image"] == IMAGE_ID
    assert document["HostsPath"] == "/r/containers/c/hosts"
    assert document["LogPath"] == "/r/c.log"
    assert document["GraphDriver"]["Data"] == {
        "ID": record.id,
        "LowerDir": "/r/b:/r/a",
        "MergedDir": "/r/containers/c/merged",
        "UpperDir": "/r/containers/c/upper",
        "WorkDir": "/r/containers/c/work",
    }
    assert "SizeRw" not in document
    sized = inspect_container(record, PATHS, IMAGE, sizes=(5, 50))
    assert (sized["SizeRw"], sized["SizeRootFs"]) == (5, 50)


def test_the_users_words_are_over_the_images() -> None:
    config = ContainerConfig(
        image="debian",
        command=("run",),
        env=("A=user", "B=1", "PATH"),
        labels={"tier": "user"},
        user="1000",
        working_dir="/w",
        hostname="h",
        stop_timeout_s=0,
        mounts=(MountConfig(type="volume", target="/anonymous"),),
    )
    shown = inspect(config)["Config"]
    assert shown["Entrypoint"] == ["/entry"]
    assert shown["Cmd"] == ["run"]
    assert shown["Env"] == ["A=user", "B=1"]
    assert shown["Labels"] == {"maker": "debian", "tier": "user"}
    assert (shown["User"], shown["WorkingDir"], shown["Hostname"]) == ("1000", "/w", "h")
    assert shown["StopSignal"] == "SIGQUIT"
    assert shown["StopTimeout"] == 0
    assert shown["ExposedPorts"] == {"80/tcp": {}}
    assert shown["Volumes"] == {"/data": {}, "/anonymous": {}}


def test_the_images_words_are_shown_where_the_user_said_nothing() -> None:
    shown = inspect(ContainerConfig(image="debian"))["Config"]
    assert shown["Cmd"] == ["default"]
    assert shown["Env"] == ["PATH=/bin", "A=image"]
    assert (shown["User"], shown["WorkingDir"]) == ("daemon", "/srv")
    assert "StopTimeout" not in shown


def test_an_entrypoint_of_the_user_drops_the_images_command() -> None:
    shown = inspect(ContainerConfig(image="debian", entrypoint=("/mine",)))["Config"]
    assert (shown["Entrypoint"], shown["Cmd"]) == (["/mine"], None)


def test_a_container_whose_image_is_gone_can_be_inspected() -> None:
    record = container("web", config=ContainerConfig(image="debian"), path="sh", args=("-c",))
    shown = inspect_container(record, PATHS)["Config"]
    assert shown["Cmd"] == ["sh", "-c"]


def test_host_config_carries_each_setting() -> None:
    config = ContainerConfig(
        image="debian",
        auto_remove=True,
        cap_add=("NET_ADMIN",),
        cgroup_parent="/jobs",
        devices=(DeviceMapping(host_path="/dev/null", container_path="/dev/n"),),
        init=True,
        log=LogConfig(options={"max-size": "1m"}),
        network_mode="none",
        oom_score_adj=5,
        privileged=True,
        readonly_rootfs=True,
        resources=Resources(
            memory_bytes=1 << 29,
            nano_cpus=1_500_000_000,
            pids_limit=32,
            cpuset_cpus="0",
            device_read_bps=(ThrottleDevice("/dev/sda", 1000),),
        ),
        restart=RestartPolicy(name="on-failure", maximum_retry_count=3),
        security_options=("seccomp=unconfined",),
        shm_size_bytes=1 << 20,
        sysctls={"net.core.somaxconn": "9"},
        ulimits=(Ulimit(name="nofile", soft=10, hard=20),),
        isolation="vm",
    )
    shown = inspect(config)["HostConfig"]
    expected = {
        "AutoRemove": True,
        "CapAdd": ["NET_ADMIN"],
        "CapDrop": None,
        "CgroupParent": "/jobs",
        "Devices": [
            {"PathOnHost": "/dev/null", "PathInContainer": "/dev/n", "CgroupPermissions": "rwm"}
        ],
        "Init": True,
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m"}},
        "NetworkMode": "none",
        "OomScoreAdj": 5,
        "Privileged": True,
        "ReadonlyRootfs": True,
        "Memory": 1 << 29,
        "MemorySwap": 1 << 30,
        "NanoCpus": 1_500_000_000,
        "PidsLimit": 32,
        "CpusetCpus": "0",
        "BlkioDeviceReadBps": [{"Path": "/dev/sda", "Rate": 1000}],
        "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3},
        "SecurityOpt": ["seccomp=unconfined"],
        "ShmSize": 1 << 20,
        "Sysctls": {"net.core.somaxconn": "9"},
        "Ulimits": [{"Name": "nofile", "Hard": 20, "Soft": 10}],
        "Isolation": "vm",
        "Runtime": "proa-vm",
    }
    assert {name: shown[name] for name in expected} == expected


def test_mounts_are_shown_as_they_were_asked_for_and_as_they_are() -> None:
    config = ContainerConfig(
        image="debian",
        mounts=(
            MountConfig(type="bind", source="/src", target="/v", readonly=True, create_source=True),
            MountConfig(type="bind", source="/src", target="/m", propagation="rslave"),
            MountConfig(type="volume", source="data", target="/d"),
            MountConfig(type="volume", source="raw", target="/n", volume_nocopy=True),
            MountConfig(type="tmpfs", target="/t", tmpfs_options=("rw", "size=1m")),
            MountConfig(type="tmpfs", target="/u", tmpfs_size_bytes=5),
        ),
    )
    document = inspect(config)
    host_config = document["HostConfig"]
    assert host_config["Binds"] == ["/src:/v:ro", "data:/d"]
    assert host_config["Tmpfs"] == {"/t": "rw,size=1m"}
    assert [mount["Target"] for mount in host_config["Mounts"]] == ["/m", "/n", "/u"]
    by_target = {mount["Destination"]: mount for mount in document["Mounts"]}
    assert by_target["/v"] == {
        "Type": "bind",
        "Source": "/src",
        "Destination": "/v",
        "Mode": "ro",
        "RW": False,
        "Propagation": "rprivate",
    }
    assert by_target["/m"]["Propagation"] == "rslave"
    assert by_target["/d"] == {
        "Type": "volume",
        "Name": "data",
        "Source": "/r/volumes/data/_data",
        "Destination": "/d",
        "Driver": "local",
        "Mode": "",
        "RW": True,
        "Propagation": "",
    }
    assert by_target["/t"]["Type"] == "tmpfs"


@pytest.mark.parametrize(
    ("status", "running", "pid"),
    [("created", False, 0), ("running", True, 7), ("paused", True, 7), ("restarting", True, 0),
     ("removing", False, 0), ("exited", False, 0), ("dead", False, 0)],
)  # fmt: skip
def test_state_flags(status: Status, running: bool, pid: int) -> None:
    state = ContainerState(status=status, init=ProcessIdentity(7, 1, "b"), started_at_ns=NOW_NS)
    shown = encode_state(state)
    assert (shown["Status"], shown["Running"], shown["Pid"]) == (status, running, pid)
    assert shown["Paused"] == (status == "paused")
    assert shown["StartedAt"] == format_rfc3339_ns(NOW_NS)
    assert shown["FinishedAt"] == "0001-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (ContainerState(), "Created"),
        (ContainerState(status="running", started_at_ns=NOW_NS - 5 * 60 * 10**9), "Up 5 minutes"),
        (ContainerState(status="paused", started_at_ns=NOW_NS), "Up Less than a second (Paused)"),
        (
            ContainerState(status="exited", exit_code=3, finished_at_ns=NOW_NS - 7200 * 10**9),
            "Exited (3) 2 hours ago",
        ),
        (
            ContainerState(status="restarting", exit_code=1, finished_at_ns=NOW_NS - 2 * 10**9),
            "Restarting (1) 2 seconds ago",
        ),
        (ContainerState(status="removing"), "Removal In Progress"),
        (ContainerState(status="dead"), "Dead"),
        (ContainerState(status="exited"), "Created"),
    ],
)
def test_status_sentences(state: ContainerState, text: str) -> None:
    assert describe_state(state, now_ns=NOW_NS) == text


def test_list_entry() -> None:
    record = container(
        "web",
        config=ContainerConfig(image="debian", labels={"a": "own"}, network_mode="none"),
        path="sh",
        args=("-c", "a b"),
        state=ContainerState(status="running", started_at_ns=NOW_NS),
    )
    entry = list_entry(record, PATHS, image_labels={"a": "image", "b": "image"}, now_ns=NOW_NS)
    assert entry["Names"] == ["/web"]
    assert entry["Command"] == "sh -c a b"
    assert entry["Created"] == NOW_NS // 10**9
    assert entry["Labels"] == {"a": "own", "b": "image"}
    assert (entry["State"], entry["Status"]) == ("running", "Up Less than a second")
    assert entry["HostConfig"] == {"NetworkMode": "none"}
    assert list(entry["NetworkSettings"]["Networks"]) == ["none"]
    assert "SizeRw" not in entry
    assert list_entry(record, PATHS, sizes=(1, 2))["SizeRootFs"] == 2


def _definition(name: str) -> set[str]:
    """Return the property names of a definition in the description of Engine API 1.51."""
    fields: dict[str, list[str]] = json.loads((DATA / "engine_api_fields.json").read_text())
    return set(fields[name])


def test_every_field_of_the_engine_api_is_there() -> None:
    document = inspect(ContainerConfig(image="debian"))
    left_out = {"ImageManifestDescriptor", "SizeRw", "SizeRootFs"}
    assert _definition("ContainerInspectResponse") - left_out - document.keys() == set()
    assert _definition("ContainerState") - {"Health"} - document["State"].keys() == set()
    wanted = _definition("HostConfig") | _definition("Resources")
    left_out = {"StorageOpt", "KernelMemoryTCP"}  # shown only when set
    assert wanted - left_out - document["HostConfig"].keys() == set()
    # Shown only when set, or gone from the API.
    left_out = {
        "Healthcheck", "ArgsEscaped", "NetworkDisabled", "MacAddress", "Shell", "StopTimeout",
    }  # fmt: skip
    assert _definition("ContainerConfig") - left_out - document["Config"].keys() == set()
    assert _definition("NetworkSettings") - document["NetworkSettings"].keys() == set()
    entry = list_entry(container("web"), PATHS, sizes=(1, 2))
    assert _definition("ContainerSummary") - {"ImageManifestDescriptor"} - entry.keys() == set()
