"""Every flag of ``run`` and ``create``: the configuration it makes and the words it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from proa.cli.container.run import COMMAND
from proa.cli.parser import UsageError, parse
from proa.cli.runflags.config import config_from, pull_policy
from proa.engine.config import (
    ContainerConfig,
    DeviceMapping,
    EndpointConfig,
    LogConfig,
    PortConfig,
    Resources,
    RestartPolicy,
    ThrottleDevice,
    Ulimit,
)
from tests.support.cli import CapturedIO

CLIENT = {"HOME": "/home/user", "COLOR": "blue", "EMPTY": ""}


def config(*words: str, cwd: str = "/home/user") -> ContainerConfig:
    io = CapturedIO(env=CLIENT, cwd=cwd)
    return config_from(parse(COMMAND, [*words, "img"], "proa run"), io)


def refusal(*words: str) -> str:
    with pytest.raises(UsageError) as caught:
        config(*words)
    assert caught.value.exit_code == 125
    return caught.value.message


def test_without_flags_everything_is_default() -> None:
    assert config() == ContainerConfig(image="img")


def test_what_follows_the_image_is_the_command() -> None:
    options = parse(COMMAND, ["--rm", "debian", "sh", "-c", "echo --rm"], "proa run")
    made = config_from(options, CapturedIO())
    assert made == ContainerConfig(
        image="debian", command=("sh", "-c", "echo --rm"), auto_remove=True
    )


def wishes(name: str, **fields: Any) -> dict[str, Any]:
    return {"network_mode": name, "networks": (EndpointConfig(**fields),)}


def ports(**fields: Any) -> dict[str, Any]:
    return {"ports": (PortConfig(**fields),)}


def limits(**fields: Any) -> dict[str, Any]:
    return {"resources": Resources(**fields)}


@pytest.mark.parametrize(
    ("words", "fields"),
    [
        (["-it"], {"open_stdin": True, "tty": True}),
        (["--entrypoint", "/bin/sh"], {"entrypoint": ("/bin/sh",)}),
        (["--entrypoint", ""], {"entrypoint": ()}),
        (["-e", "A=1", "-e", "A=2", "--env=B=x=y"], {"env": ("A=1", "A=2", "B=x=y")}),
        (["-e", "COLOR", "-e", "UNSET", "-e", "EMPTY"], {"env": ("COLOR=blue", "EMPTY=")}),
        (["-e", "A="], {"env": ("A=",)}),
        (["-w", "/srv"], {"working_dir": "/srv"}),
        (["-u", "1000:100"], {"user": "1000:100"}),
        (["-h", "box", "--domainname", "lan"], {"hostname": "box", "domainname": "lan"}),
        (["-l", "a=b", "--label", "c", "-l", "a=d=e"], {"labels": {"a": "d=e", "c": ""}}),
        (["--annotation", "a.b=c"], {"annotations": {"a.b": "c"}}),
        (["--stop-signal", "SIGUSR1"], {"stop_signal": "SIGUSR1"}),
        (["--stop-timeout", "3"], {"stop_timeout_s": 3}),
        (["--stop-timeout", "-1"], {"stop_timeout_s": -1}),
        (["--rm"], {"auto_remove": True}),
        (["--init"], {"init": True}),
        (["--read-only"], {"readonly_rootfs": True}),
        (["--volumes-from", "a:ro"], {"volumes_from": ("a:ro",)}),
        (["--shm-size", "1g"], {"shm_size_bytes": 2**30}),
        (["-m", "512m"], limits(memory_bytes=512 << 20)),
        (["--memory", "1.5g"], limits(memory_bytes=3 << 29)),
        (["--memory-swap", "-1"], limits(memory_swap_bytes=-1)),
        (["--memory-swap", "2G"], limits(memory_swap_bytes=2 << 30)),
        (["--memory-reservation", "64KiB"], limits(memory_reservation_bytes=65536)),
        (["--cpus", "1.5"], limits(nano_cpus=1_500_000_000)),
        (["--cpus", ".25"], limits(nano_cpus=250_000_000)),
        (["-c", "512"], limits(cpu_shares=512)),
        (
            ["--cpu-period", "50000", "--cpu-quota", "25000"],
            limits(cpu_period_us=50000, cpu_quota_us=25000),
        ),
        (
            ["--cpuset-cpus", "0-1", "--cpuset-mems", "0"],
            limits(cpuset_cpus="0-1", cpuset_mems="0"),
        ),
        (["--pids-limit", "32"], limits(pids_limit=32)),
        (["--pids-limit", "-1"], limits(pids_limit=-1)),
        (["--blkio-weight", "10"], limits(blkio_weight=10)),
        (["--oom-kill-disable"], limits(oom_kill_disable=True)),
        (
            ["--device-read-bps", "/dev/sda:1mb"],
            limits(device_read_bps=(ThrottleDevice("/dev/sda", 1 << 20),)),
        ),
        (
            ["--device-write-bps=/dev/sda:1m", "--device-write-bps=/dev/sdb:5"],
            limits(
                device_write_bps=(
                    ThrottleDevice("/dev/sda", 1 << 20),
                    ThrottleDevice("/dev/sdb", 5),
                )
            ),
        ),
        (
            ["--device-read-iops", "/dev/sda:100"],
            limits(device_read_iops=(ThrottleDevice("/dev/sda", 100),)),
        ),
        (
            ["--device-write-iops", "/dev/sda:7"],
            limits(device_write_iops=(ThrottleDevice("/dev/sda", 7),)),
        ),
        (["--oom-score-adj", "-500"], {"oom_score_adj": -500}),
        (["--cgroup-parent", "/jobs"], {"cgroup_parent": "/jobs"}),
        (["--network", "none"], {"network_mode": "none"}),
        (["--net=host"], {"network_mode": "host"}),
        (["--network", "name=web"], {"network_mode": "web"}),
        (
            ["--network", "name=web,ip=10.1.2.3,alias=db,alias=sql,gw-priority=2"],
            wishes("web", address4="10.1.2.3", aliases=("db", "sql"), gateway_priority=2),
        ),
        (
            ["--network", "web", "--ip", "10.1.2.3", "--network-alias", "db"],
            wishes("web", address4="10.1.2.3", aliases=("db",)),
        ),
        (
            ["--network", "a", "--network", "b", "--mac-address", "02-42-AC-00-00-01"],
            {
                "network_mode": "a",
                "networks": (EndpointConfig(mac="02:42:ac:00:00:01"), EndpointConfig(network="b")),
            },
        ),
        (["-p", "8080:80"], ports(container_port=80, host_port=8080)),
        (["-p", "80"], ports(container_port=80)),
        (
            ["-p", "127.0.0.1::53/udp"],
            ports(container_port=53, protocol="udp", host_ip="127.0.0.1"),
        ),
        (["-p", "[::1]:8080:80"], ports(container_port=80, host_port=8080, host_ip="::1")),
        (["-p", "8000-8010:80"], ports(container_port=80, host_port=8000, host_port_last=8010)),
        (
            ["-p", "8000-8001:80-81"],
            {
                "ports": (
                    PortConfig(container_port=80, host_port=8000),
                    PortConfig(container_port=81, host_port=8001),
                )
            },
        ),
        (["-P", "--expose", "90/udp"], {"publish_all": True, "expose": ("90/udp",)}),
        (
            ["--rate-in", "8mbit", "--rate-out", "2m"],
            {"rate_in_bytes": 10**6, "rate_out_bytes": 2 << 20},
        ),
        (["--egress", "none"], {"egress": ()}),
        (["--egress", "allow=10.0.0.0/8,.debian.org"], {"egress": ("10.0.0.0/8", ".debian.org")}),
        (["--dns-option", "ndots:2"], {"dns_options": ("ndots:2",)}),
        (["--pid", "host"], {"pid_mode": "host"}),
        (["--pid", "container:web"], {"pid_mode": "container:web"}),
        (["--ipc", "shareable"], {"ipc_mode": "shareable"}),
        (["--uts", "host"], {"uts_mode": "host"}),
        (["--userns", "host"], {"userns_mode": "host"}),
        (["--cgroupns", "private"], {"cgroupns_mode": "private"}),
        (
            ["--add-host", "a:10.0.0.1", "--add-host=b=::1", "--add-host", "c:[::2]"],
            {"extra_hosts": ("a:10.0.0.1", "b:::1", "c:::2")},
        ),
        (["--add-host", "gw:host-gateway"], {"extra_hosts": ("gw:host-gateway",)}),
        (
            ["--dns", "1.1.1.1", "--dns-search", "lan"],
            {"dns": ("1.1.1.1",), "dns_search": ("lan",)},
        ),
        (["--privileged"], {"privileged": True}),
        (
            ["--cap-add", "NET_ADMIN", "--cap-drop", "ALL"],
            {"cap_add": ("NET_ADMIN",), "cap_drop": ("ALL",)},
        ),
        (["--group-add", "audio", "--group-add", "7"], {"group_add": ("audio", "7")}),
        (
            ["--security-opt", "no-new-privileges", "--security-opt", "seccomp=unconfined"],
            {"security_options": ("no-new-privileges", "seccomp=unconfined")},
        ),
        (["--security-opt", "label:disable"], {"security_options": ("label=disable",)}),
        (["--device-cgroup-rule", "c 1:* rwm"], {"device_cgroup_rules": ("c 1:* rwm",)}),
        (
            ["--sysctl", "net.ipv4.ip_forward=1", "--sysctl", "kernel/msgmax=9"],
            {"sysctls": {"net.ipv4.ip_forward": "1", "kernel.msgmax": "9"}},
        ),
        (
            ["--restart", "on-failure:3"],
            {"restart": RestartPolicy(name="on-failure", maximum_retry_count=3)},
        ),
        (["--restart", "unless-stopped"], {"restart": RestartPolicy(name="unless-stopped")}),
        (["--restart", "always"], {"restart": RestartPolicy(name="always")}),
        (["--restart", "no", "--rm"], {"auto_remove": True}),
        (["--log-driver", "none"], {"log": LogConfig(driver="none")}),
        (
            ["--log-opt", "max-size=1m", "--log-opt", "max-file=3"],
            {"log": LogConfig(options={"max-size": "1m", "max-file": "3"})},
        ),
        (["--isolation", "process"], {}),
        (["--isolation", "vm"], {"isolation": "vm"}),
        (["--runtime", "proa-vm"], {"isolation": "vm"}),
        (
            ["--isolation", "vm", "--vm-accel", "tcg", "--kernel", "6.1.0-1-cloud-amd64"],
            {"isolation": "vm", "vm_accelerator": "tcg", "vm_kernel": "6.1.0-1-cloud-amd64"},
        ),
        (["--platform", "linux/arm64"], {"platform": "linux/arm64"}),
        (["--disable-content-trust", "-q"], {}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_flag_makes_configuration(words: list[str], fields: dict[str, Any]) -> None:
    assert config(*words) == ContainerConfig(image="img", **fields)


@pytest.mark.parametrize(
    ("text", "mapping"),
    [
        ("/dev/fuse", ("/dev/fuse", "/dev/fuse", "rwm")),
        ("/dev/fuse:r", ("/dev/fuse", "/dev/fuse", "r")),
        ("/dev/fuse:/dev/x", ("/dev/fuse", "/dev/x", "rwm")),
        ("/dev/fuse:/dev/x:mr", ("/dev/fuse", "/dev/x", "mr")),
    ],
)
def test_device(text: str, mapping: tuple[str, str, str]) -> None:
    host, inside, permissions = mapping
    assert config("--device", text).devices == (
        DeviceMapping(host_path=host, container_path=inside, permissions=permissions),
    )


@pytest.mark.parametrize(
    ("texts", "limits"),
    [
        (["nofile=1024"], [("nofile", 1024, 1024)]),
        (["nofile=1:2", "core=0"], [("nofile", 1, 2), ("core", 0, 0)]),
        (["nofile=1", "nofile=5:6"], [("nofile", 5, 6)]),
        (["memlock=-1"], [("memlock", -1, -1)]),
        (["memlock=5:-1"], [("memlock", 5, -1)]),
    ],
)
def test_ulimit(texts: list[str], limits: list[tuple[str, int, int]]) -> None:
    made = config(*(word for text in texts for word in ("--ulimit", text)))
    assert made.ulimits == tuple(Ulimit(name=n, soft=s, hard=h) for n, s, h in limits)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-m", "zz"], 'invalid argument "zz" for "-m, --memory" flag: invalid size'),
        (["-m", "-1"], 'invalid argument "-1" for "-m, --memory" flag: invalid size'),
        (["--shm-size", "0"], 'for "--shm-size" flag: the size of /dev/shm must be above 0'),
        (["--cpus", "abc"], 'invalid argument "abc" for "--cpus" flag: invalid number of CPUs'),
        (["--cpus", "-1"], 'invalid argument "-1" for "--cpus" flag'),
        (["--cpu-period", "-1"], '"-1" for "--cpu-period" flag: \'-1\' is negative'),
        (["--pids-limit", "many"], '"many" for "--pids-limit" flag: \'many\' is not an integer'),
        (["--blkio-weight", "5"], "the weight must be between 10 and 1000"),
        (["--oom-score-adj", "1001"], "the score must be between -1000 and 1000"),
        (["--stop-timeout", "x"], 'for "--stop-timeout" flag'),
        (["--stop-signal", "FOO"], "for \"--stop-signal\" flag: invalid signal 'FOO'"),
        (["-e", ""], 'invalid argument "" for "-e, --env" flag: invalid environment variable: '),
        (["-e", "=x"], 'for "-e, --env" flag: invalid environment variable: =x'),
        (["-l", ""], "invalid label '': empty name"),
        (["-l", "=x"], "invalid label '=x': empty name"),
        (["--annotation", "a"], "must be a key=value pair"),
        (["--log-opt", "a"], "must be a key=value pair"),
        (["--device-read-bps", "foo"], "bad format: foo"),
        (["--device-read-bps", "sda:1"], "bad format for device path: sda:1"),
        (["--device-read-bps", "/dev/sda:xx"], "invalid rate for device: /dev/sda:xx"),
        (["--device-read-iops", "/dev/sda:1k"], "invalid rate for device: /dev/sda:1k"),
        (["--device", "a:b:c:d"], "invalid device specification: a:b:c:d"),
        (["--device", ""], "invalid device specification: "),
        (["--device", "/dev/a:/b:xyz"], "bad mode specified: xyz"),
        (["--device", "/dev/a:/b:rr"], "bad mode specified: rr"),
        (["--device", "dev/a"], "dev/a is not an absolute path"),
        (["--device-cgroup-rule", "x 1:1 r"], "invalid device cgroup format 'x 1:1 r'"),
        (["--ulimit", "x"], "invalid ulimit argument: x"),
        (["--ulimit", "foo=1"], "invalid ulimit type: foo"),
        (["--ulimit", "nofile=3:2"], "must be less than or equal to hard limit: 3 > 2"),
        (["--ulimit", "nofile=-1:2"], "must be less than or equal to hard limit: -1 > 2"),
        (["--ulimit", "nofile=a"], "'a' is not an integer"),
        (["--ulimit", "nofile=1:2:3"], "too many limit value arguments - 1:2:3"),
        (["--ulimit", "nofile=-2"], "a limit is a number of at least -1: -2"),
        (["--restart", "foo"], "unknown policy 'foo'"),
        (["--restart", "always:3"], "cannot be used with restart policy 'always'"),
        (["--restart", "on-failure:x"], "maximum retry count must be an integer"),
        (["--restart", "always", "--rm"], "cannot specify both --restart and --rm"),
        (["--cpus", "1", "--cpu-quota", "5"], "cannot specify both --cpus and"),
        (["--sysctl", "foo"], "sysctl 'foo' is not allowed"),
        (["--sysctl", "kernel.panic=1"], "sysctl 'kernel.panic=1' is not allowed"),
        (["--attach", "foo"], "valid streams are STDIN, STDOUT and STDERR"),
        (["--add-host", "foo"], 'bad format for add-host: "foo"'),
        (["--add-host", "foo:bar"], 'invalid IP address in add-host: "bar"'),
        (["--dns", "zz"], "IP address is not correctly formatted: zz"),
        (["--pid", "foo"], "--pid: invalid PID mode 'foo'"),
        (["--pid", "container:"], "--pid: invalid PID mode 'container:'"),
        (["--ipc", "foo"], "--ipc: invalid IPC mode 'foo'"),
        (["--uts", "private"], "--uts: invalid UTS mode 'private'"),
        (["--userns", "keep-id"], "--userns: invalid USER mode 'keep-id'"),
        (["--cgroupns", "foo"], "--cgroupns: invalid CGROUP mode 'foo'"),
        (["--security-opt", "foo"], 'invalid --security-opt: "foo"'),
        (["--security-opt", "seccomp"], 'invalid --security-opt: "seccomp"'),
        (["--security-opt", "seccomp=/nx"], "opening seccomp profile (/nx) failed: no such file"),
        (["--log-driver", "none", "--log-opt", "a=b"], "invalid logging opts for driver none"),
        (["--vm-accel", "tcg"], "--vm-accel needs --isolation vm"),
        (["--kernel", "x"], "--kernel needs --isolation vm"),
        (["--isolation", "vm", "--vm-accel", "xen"], "invalid accelerator 'xen'"),
        (["--isolation", "hyperv"], "invalid isolation 'hyperv': use process or vm"),
        (["--runtime", "runc"], "unknown runtime 'runc': use proa or proa-vm"),
        (["--runtime", "proa-vm", "--isolation", "process"], "conflicting options: --runtime"),
        (["-w", "srv"], "the working directory 'srv' is invalid"),
        (["--network", "name=a,size=4"], "invalid field size=4"),
        (["--network", "ip=1.2.3.4"], "network name/id is not specified"),
        (["--network", "name=a,ip=1.2.3.4", "--ip", "1.2.3.5"], "conflicting options: --ip"),
        (["--ip", "::1"], "invalid IPv4 address: ::1"),
        (["--mac-address", "01:00:5e:00:00:01"], "not the address of one station"),
        (["-p", "80:80/sctp"], "SCTP ports cannot be published"),
        (["-p", "80-82:80-81"], "invalid ranges specified"),
        (["-p", "0:80"], "ports are 1 to 65535"),
        (["-p", "host:80:80"], "invalid IP address: host"),
        (["--rate-in", "1kbit"], "below 1000 bytes"),
        (["--egress", "all"], "use none or allow="),
        (["--link", "db"], "put both containers on a network"),
        (["--env-file", "/nx"], "open /nx: no such file or directory"),
        (["--label-file", "/"], "open /: is a directory"),
        (["--cpu-count", "1"], "--cpu-count is not available: it is for Windows containers"),
        (["--detach-keys", "ctrl-p,zz"], "unknown character: 'zz'"),
        (["--detach-keys", "ctrl-!"], "unknown character: 'ctrl-!'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_value_is_named(words: list[str], message: str) -> None:
    assert message in refusal(*words)


def test_an_image_without_a_name_is_refused() -> None:
    with pytest.raises(UsageError, match="invalid reference format"):
        config_from(parse(COMMAND, [""], "proa run"), CapturedIO())


def test_pull_policy() -> None:
    for word in ("always", "missing", "never"):
        assert pull_policy(parse(COMMAND, ["--pull", word, "img"], "proa run")) == word
    assert pull_policy(parse(COMMAND, ["img"], "proa run")) == "missing"
    with pytest.raises(UsageError, match="invalid pull option: 'foo': must be one of"):
        pull_policy(parse(COMMAND, ["--pull", "foo", "img"], "proa run"))


class TestEnvFile:
    def read(self, tmp_path: Path, data: bytes, *more: str) -> tuple[str, ...]:
        (tmp_path / "env").write_bytes(data)
        return config("--env-file", "env", *more, cwd=str(tmp_path)).env

    def test_lines(self, tmp_path: Path) -> None:
        data = (
            b"\xef\xbb\xbfA=1\n"  # a byte order mark is no part of the name
            b"# comment\n"
            b"   # comment too\n"
            b"\n"
            b'QUOTED="two words"\n'  # quotes are part of the value
            b"  INDENTED=x  \n"  # trailing blanks too
            b"EQUALS=a=b\n"
            b"HASH=a # b\n"
            b"NONE=\n"
            b"CRLF=y\r\n"
            b"COLOR\n"
            b"NOT_SET_ANYWHERE\n"
        )
        assert self.read(tmp_path, data) == (
            "A=1",
            'QUOTED="two words"',
            "INDENTED=x  ",
            "EQUALS=a=b",
            "HASH=a # b",
            "NONE=",
            "CRLF=y",
            "COLOR=blue",
        )

    def test_flags_come_after_the_file(self, tmp_path: Path) -> None:
        assert self.read(tmp_path, b"A=file", "-e", "A=flag") == ("A=file", "A=flag")

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (b"A=1\nB\xff=2", "invalid utf8 bytes at line 2"),
            (b"=x", "no variable name on line '=x'"),
            (b"A B=x", "variable 'A B' contains whitespaces"),
            (b"A =x", "variable 'A ' contains whitespaces"),
        ],
    )
    def test_bad_lines(self, tmp_path: Path, data: bytes, message: str) -> None:
        with pytest.raises(UsageError, match=message):
            self.read(tmp_path, data)

    def test_label_file(self, tmp_path: Path) -> None:
        (tmp_path / "labels").write_text("a=1\nCOLOR\nb=x y\n")
        labels = config("--label-file", "labels", "-l", "a=2", cwd=str(tmp_path)).labels
        assert labels == {"a": "2", "COLOR": "", "b": "x y"}


class TestSeccompProfile:
    def test_the_file_is_read_here(self, tmp_path: Path) -> None:
        profile = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": []}
        (tmp_path / "profile.json").write_text(json.dumps(profile, indent=2))
        made = config("--security-opt", "seccomp=profile.json", cwd=str(tmp_path))
        (option,) = made.security_options
        assert json.loads(option.removeprefix("seccomp=")) == profile

    def test_it_must_be_json(self, tmp_path: Path) -> None:
        path = tmp_path / "profile.json"
        path.write_text("{")
        with pytest.raises(UsageError, match="is not JSON"):
            config("--security-opt", f"seccomp={path}")
