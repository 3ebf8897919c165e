"""proa.server.encode: bodies of requests as the engine's configuration, and answers."""

from __future__ import annotations

import base64
import json
import stat
from typing import Any

import pytest

from proa.engine.config import (
    ContainerConfig,
    DeviceMapping,
    EndpointConfig,
    HealthConfig,
    LogConfig,
    MountConfig,
    PortConfig,
    Resources,
    RestartPolicy,
    ThrottleDevice,
    Ulimit,
)
from proa.engine.containers.archive.copy import PathStat
from proa.engine.containers.logs import LogLine
from proa.engine.containers.stats import StatsSample
from proa.engine.model import EventRecord
from proa.oci.isolation import Stats
from proa.server.call import Query
from proa.server.encode.containerbody import read_container
from proa.server.encode.events import encode_event
from proa.server.encode.fields import Fields
from proa.server.encode.loglines import encode_line
from proa.server.encode.stats import encode_absent, encode_sample
from proa.server.encode.timestamps import parse_moment, parse_tail, parse_timeout
from proa.server.errors import HttpError
from proa.server.routes.files import encode_stat


def read(host: dict[str, Any] | None = None, **body: Any) -> ContainerConfig:
    """Read a body with an image."""
    return read_container({"Image": "box", "HostConfig": host or {}, **body})


def test_what_the_docker_command_line_sends_for_a_plain_run():
    body = {
        "Hostname": "", "Domainname": "", "User": "", "AttachStdin": False, "AttachStdout": True,
        "AttachStderr": True, "Tty": False, "OpenStdin": False, "StdinOnce": False, "Env": None,
        "Cmd": ["true"], "Image": "box", "Volumes": {}, "WorkingDir": "", "Entrypoint": None,
        "OnBuild": None, "Labels": {},
        "HostConfig": {
            "Binds": None, "ContainerIDFile": "", "LogConfig": {"Type": "", "Config": {}},
            "NetworkMode": "default", "PortBindings": {},
            "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0}, "AutoRemove": True,
            "ConsoleSize": [24, 80], "CapAdd": None, "CgroupnsMode": "", "Dns": [],
            "ExtraHosts": None, "IpcMode": "", "PidMode": "", "Privileged": False,
            "ReadonlyRootfs": False, "SecurityOpt": None, "UTSMode": "", "UsernsMode": "",
            "ShmSize": 0, "Isolation": "", "CpuShares": 0, "Memory": 0, "NanoCpus": 0,
            "BlkioWeight": 0, "BlkioWeightDevice": [], "Devices": [], "DeviceRequests": None,
            "MemorySwappiness": -1, "OomKillDisable": False, "PidsLimit": 0, "Ulimits": [],
            "MaskedPaths": None, "ReadonlyPaths": None,
        },
        "NetworkingConfig": {"EndpointsConfig": {"default": {"Aliases": None, "Links": None}}},
    }  # fmt: skip
    assert read_container(body) == ContainerConfig(
        image="box", command=("true",), auto_remove=True, stdin_once=False
    )


def test_every_field_of_the_host_config():
    config = read(
        {
            "CapAdd": ["NET_ADMIN"], "CapDrop": ["ALL"], "CgroupnsMode": "host",
            "Devices": [{"PathOnHost": "/dev/x", "PathInContainer": "", "CgroupPermissions": "r"}],
            "DeviceCgroupRules": ["c 1:3 r"], "Dns": ["1.1.1.1"], "DnsOptions": ["a"],
            "DnsSearch": ["lan"], "ExtraHosts": ["a:1.2.3.4"], "GroupAdd": ["7"], "Init": True,
            "IpcMode": "container:abc", "Isolation": "VM", "OomScoreAdj": 3, "PidMode": "host",
            "Privileged": True, "PublishAllPorts": True, "ReadonlyRootfs": True,
            "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3},
            "SecurityOpt": ["no-new-privileges", "seccomp:unconfined"], "ShmSize": 5,
            "Sysctls": {"net.x": "1"}, "UTSMode": "host", "UsernsMode": "host",
            "Ulimits": [{"Name": "nofile", "Soft": 1, "Hard": 2}], "VolumesFrom": ["other"],
            "LogConfig": {"Type": "none"}, "Annotations": {"a": "b"}, "CgroupParent": "/p",
        }
    )  # fmt: skip
    assert config.devices == (DeviceMapping(host_path="/dev/x", container_path="/dev/x",
                                            permissions="r"),)  # fmt: skip
    assert config.isolation == "vm"
    assert config.restart == RestartPolicy(name="on-failure", maximum_retry_count=3)
    assert config.security_options == ("no-new-privileges", "seccomp=unconfined")
    assert config.ulimits == (Ulimit(name="nofile", soft=1, hard=2),)
    assert config.log == LogConfig(driver="none")
    assert (config.ipc_mode, config.pid_mode) == ("container:abc", "host")
    assert (config.init, config.privileged, config.publish_all) == (True, True, True)
    assert config.cgroupns_mode == config.uts_mode == config.userns_mode == "host"


def test_limits():
    config = read(
        {
            "Memory": 1, "MemorySwap": -1, "MemoryReservation": 2, "NanoCpus": 3, "CpuShares": 4,
            "CpusetCpus": "0", "CpusetMems": "0", "PidsLimit": 5, "BlkioWeight": 10,
            "BlkioDeviceReadBps": [{"Path": "/dev/x", "Rate": 6}], "OomKillDisable": True,
        }
    )  # fmt: skip
    assert config.resources == Resources(
        memory_bytes=1, memory_swap_bytes=-1, memory_reservation_bytes=2, nano_cpus=3,
        cpu_shares=4, cpuset_cpus="0", cpuset_mems="0", pids_limit=5, blkio_weight=10,
        device_read_bps=(ThrottleDevice("/dev/x", 6),), oom_kill_disable=True,
    )  # fmt: skip
    assert read({"PidsLimit": None}).resources.pids_limit is None


def test_entrypoints():
    assert read(Entrypoint=None).entrypoint is None
    assert read(Entrypoint=[""]).entrypoint == ()
    assert read(Entrypoint="one").entrypoint == ("one",)
    assert read(Cmd="true").command == ("true",)


def test_ports():
    config = read(
        {
            "PortBindings": {
                "80/tcp": [{"HostIp": "::1", "HostPort": "8080"}, {"HostPort": "9000-9010"}],
                "53/udp": [{"HostPort": ""}],
            }
        },
        ExposedPorts={"80/tcp": {}, "99": {}},
    )
    assert config.ports == (
        PortConfig(container_port=80, host_ip="::1", host_port=8080),
        PortConfig(container_port=80, host_port=9000, host_port_last=9010),
        PortConfig(container_port=53, protocol="udp"),
    )
    assert config.expose == ("80/tcp", "99/tcp")


def test_networks():
    body = {
        "EndpointsConfig": {
            "web": {"Aliases": ["a"], "IPAMConfig": {"IPv4Address": "10.0.0.5"}, "GwPriority": 2},
            "data": {"MacAddress": "02:AA:00:00:00:01"},
        }
    }
    config = read({"NetworkMode": "web"}, NetworkingConfig=body)
    assert config.network_mode == "web"
    assert config.networks == (
        EndpointConfig(address4="10.0.0.5", aliases=("a",), gateway_priority=2),
        EndpointConfig(network="data", mac="02:aa:00:00:00:01"),
    )
    alone = read(NetworkingConfig={"EndpointsConfig": {"web": {}}})
    assert (alone.network_mode, alone.networks) == ("web", ())
    assert read({"NetworkMode": "none"}).network_mode == "none"


def test_mounts():
    config = read(
        {
            "Binds": ["/a:/b:ro,rslave", "data:/c:nocopy"],
            "Mounts": [
                {"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 9, "Mode": 448}},
                {"Type": "bind", "Source": "/x", "Target": "/y",
                 "BindOptions": {"Propagation": "shared", "CreateMountpoint": True}},
                {"Type": "volume", "Source": "v1", "Target": "/v",
                 "VolumeOptions": {"NoCopy": True, "Subpath": "s"}},
            ],
            "Tmpfs": {"/s": "size=4k,noexec", "/r": ""},
        },
        Volumes={"/anon": {}, "/c": {}},
    )  # fmt: skip
    assert config.mounts == (
        MountConfig(type="bind", source="/a", target="/b", readonly=True, propagation="rslave",
                    create_source=True),
        MountConfig(type="volume", source="data", target="/c", volume_nocopy=True),
        MountConfig(type="tmpfs", target="/t", tmpfs_size_bytes=9, tmpfs_mode=0o700),
        MountConfig(type="bind", source="/x", target="/y", propagation="shared",
                    create_source=True),
        MountConfig(type="volume", source="v1", target="/v", volume_nocopy=True,
                    volume_subpath="s"),
        MountConfig(type="tmpfs", target="/s", tmpfs_size_bytes=4096, tmpfs_options=("noexec",)),
        MountConfig(type="tmpfs", target="/r"),
        MountConfig(type="volume", target="/anon"),
    )  # fmt: skip


def test_health():
    check = {"Test": ["CMD", "x"], "Interval": 1_000_000_000, "Retries": 2}
    assert read(Healthcheck=check).health == HealthConfig(
        test=("CMD", "x"), interval_ns=1_000_000_000, retries=2
    )
    assert read().health is None


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ({"Binds": "not-a-list:"}, 400),
        ({"Binds": ["/a:/b", "/c:/b"]}, 400),
        ({"Mounts": [{"Type": "image", "Target": "/x"}]}, 501),
        ({"Mounts": [{"Type": "moon", "Target": "/x"}]}, 400),
        ({"PortBindings": {"80/sctp": [{}]}}, 501),
        ({"PortBindings": {"80/tcp": [{"HostIp": "here"}]}}, 400),
        ({"DeviceRequests": [{"Count": -1}]}, 501),
        ({"StorageOpt": {"size": "1g"}}, 501),
        ({"NanoCpus": 5, "CpuQuota": 5}, 400),
        ({"PidMode": "moon"}, 400),
        ({"SecurityOpt": ["seccomp={"]}, 400),
        ({"AutoRemove": True, "RestartPolicy": {"Name": "always"}}, 400),
        ({"CpuRealtimePeriod": 5}, 501),
        ({"Privileged": "yes"}, 400),
        ({"Sysctls": {"a": 1}}, 400),
    ],
)
def test_what_cannot_be_is_refused(host: dict[str, Any], status: int):
    with pytest.raises(HttpError) as caught:
        read(host)
    assert caught.value.status == status
    assert caught.value.message


def test_messages_name_the_field():
    fields = Fields({"a": {"b": [{"c": 5}]}})
    with pytest.raises(HttpError, match=r"a\.b\[0\]\.c must be a string"):
        fields.fields("a").objects("b")[0].text("c")


def test_moments_and_counts():
    assert parse_moment(Query("since=1700000000.5"), "since") == 1_700_000_000_500_000_000
    assert parse_moment(Query("since=1700000000"), "since") == 1_700_000_000_000_000_000
    assert parse_moment(Query("since=2023-11-14T22:13:20Z"), "since") == 1_700_000_000_000_000_000
    assert parse_moment(Query(""), "since") == 0
    with pytest.raises(HttpError):
        parse_moment(Query("since=soon"), "since")
    assert [parse_tail(Query(text)) for text in ("", "tail=all", "tail=5", "tail=x")] == [
        -1, -1, 5, -1,
    ]  # fmt: skip
    assert (parse_timeout(Query("t=-1")), parse_timeout(Query(""))) == (-1.0, None)


def test_log_lines():
    line = LogLine("stderr", 1_700_000_000_000_000_000, b"x\n")
    assert encode_line(line, multiplexed=True) == b"\x02\0\0\0\0\0\0\x02x\n"
    stamped = encode_line(line, multiplexed=False, timestamps=True)
    assert stamped == b"2023-11-14T22:13:20.000000000Z x\n"


def test_events_keep_the_fields_of_old_clients():
    event = EventRecord(sequence=1, time_ns=5_000_000_001, type="container", action="die",
                        actor_id="abc", attributes={"image": "box"})  # fmt: skip
    assert encode_event(event) == {
        "status": "die", "id": "abc", "from": "box", "Type": "container", "Action": "die",
        "Actor": {"ID": "abc", "Attributes": {"image": "box"}}, "scope": "local", "time": 5,
        "timeNano": 5_000_000_001,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("mode", "expected"),
    [(stat.S_IFREG | 0o4755, 1 << 23 | 0o755), (stat.S_IFDIR | 0o1777, 1 << 31 | 1 << 20 | 0o777),
     (stat.S_IFLNK | 0o777, 1 << 27 | 0o777), (stat.S_IFIFO | 0o600, 1 << 25 | 0o600),
     (stat.S_IFCHR | 0o620, 1 << 26 | 1 << 21 | 0o620)],
)  # fmt: skip
def test_modes_are_written_as_go_reads_them(mode: int, expected: int):
    found = PathStat(name="x", size_bytes=1, mode=mode, mtime_ns=0)
    assert json.loads(base64.b64decode(encode_stat(found)))["mode"] == expected


def test_stats_of_two_readings():
    usage = Stats(cpu_usage_ns=5, memory_usage_bytes=100, memory_inactive_file_bytes=40,
                  pids_current=2, io_read_bytes=7, io_write_bytes=8)  # fmt: skip
    sample = StatsSample(id="i", name="n", time_ns=1, monotonic_ns=1, usage=usage,
                         memory_limit_bytes=1000, network_received_bytes=3,
                         network_sent_bytes=4)  # fmt: skip
    document = encode_sample((sample, 50), (sample, 20))
    assert document["cpu_stats"]["system_cpu_usage"] == 50
    assert document["precpu_stats"]["system_cpu_usage"] == 20
    assert document["memory_stats"]["stats"]["total_inactive_file"] == 40
    assert document["networks"]["eth0"]["rx_bytes"] == 3
    assert [item["value"] for item in document["blkio_stats"]["io_service_bytes_recursive"]] == [
        7, 8,
    ]  # fmt: skip
    assert encode_absent("i", "n")["memory_stats"] == {}
