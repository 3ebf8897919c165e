"""restart, rename, prune, top, port, update, stats and events: words in, calls and tables out."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import pytest

from proa.cli.container import stats as stats_command
from proa.engine.config import ContainerConfig, Resources, RestartPolicy
from proa.engine.containers.prune import Pruned
from proa.engine.containers.restore import Restored
from proa.engine.containers.stats import StatsSample
from proa.engine.containers.top import ProcessTable
from proa.engine.model import ContainerRecord, ContainerState, EventRecord
from proa.errors import Conflict, NotFound
from proa.oci.isolation import Stats
from tests.support.cli import CapturedIO, proa

ID = "0123456789abcdef" * 4
SECOND = 1_000_000_000
MIB = 1 << 20


def record(name: str = "web") -> ContainerRecord:
    return ContainerRecord(
        id=ID, name=name, image_id="sha256:" + "a" * 64, created_at_ns=1,
        config=ContainerConfig(image="busybox"), state=ContainerState(status="running"),
    )  # fmt: skip


class TestRestart:
    def test_options_are_those_of_stop(self) -> None:
        ended = proa("restart", "-t", "3", "-s", "INT", "web")
        assert (ended.code, ended.stdout) == (0, "web\n")
        assert ended.call.name == "containers.restart"
        assert ended.call.options == {"timeout_s": 3, "signal": "INT"}

    def test_one_failure_spares_the_others(self) -> None:
        def restart(name: str, **options: Any) -> None:
            if name == "nx":
                raise NotFound("no such container: nx")

        ended = proa("container", "restart", "nx", "a", containers__restart=restart)
        assert (ended.code, ended.stdout) == (1, "a\n")
        assert ended.stderr == "proa: no such container: nx\n"


class TestRename:
    def test_silent(self) -> None:
        ended = proa("rename", "web", "shop")
        assert (ended.code, ended.stdout) == (0, "")
        assert ended.call.args == ("web", "shop")

    def test_two_words(self) -> None:
        ended = proa("rename", "web")
        assert ended.code == 1
        assert "'proa rename' requires 2 arguments" in ended.stderr


class TestPrune:
    PRUNED = Pruned(ids=("a" * 64, "b" * 64), freed_bytes=1_200_000)

    def test_forced(self) -> None:
        ended = proa(
            "container", "prune", "-f", "--filter", "until=24h", containers__prune=self.PRUNED
        )
        assert ended.call.args == ({"until": ["24h"]},)
        assert ended.stdout == (
            f"Deleted Containers:\n{'a' * 64}\n{'b' * 64}\n\nTotal reclaimed space: 1.2MB\n"
        )

    @pytest.mark.parametrize(("answer", "asked"), [("y\n", 1), ("\n", 0), ("no\n", 0)])
    def test_it_asks(self, answer: str, asked: int, tmp_path: Any) -> None:
        (tmp_path / "answer").write_text(answer)
        with open(tmp_path / "answer", "rb") as stream:
            io = CapturedIO()
            io.stdin_fd = stream.fileno()
            ended = proa("container", "prune", io=io, containers__prune=self.PRUNED)
        assert ended.stderr.startswith("WARNING! This will remove all stopped containers.\n")
        assert len(ended.engine.calls) == asked


def test_top() -> None:
    table = ProcessTable(titles=("PID", "CMD"), processes=(("1234", "sleep 600"), ("9", "sh")))
    ended = proa("top", "web", "-o", "pid,cmd", containers__top=table)
    assert ended.call.args == ("web", ["-o", "pid,cmd"])
    assert ended.stdout == "PID       CMD\n1234      sleep 600\n9         sh\n"


class TestPort:
    PORTS: ClassVar[dict[str, Any]] = {
        "443/tcp": [{"HostIp": "::", "HostPort": "8443"}],
        "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}],
        "53/udp": None,
    }

    def port(self, *words: str) -> Any:
        document = {"NetworkSettings": {"Ports": self.PORTS}}
        return proa("port", "web", *words, containers__inspect=document)

    def test_all(self) -> None:
        assert self.port().stdout == "80/tcp -> 0.0.0.0:8080\n443/tcp -> [::]:8443\n"

    def test_one(self) -> None:
        assert self.port("80").stdout == "0.0.0.0:8080\n"
        assert self.port("443/tcp").stdout == "[::]:8443\n"

    def test_none(self) -> None:
        ended = self.port("53/udp")
        assert (ended.code, ended.stdout) == (1, "")
        assert "no public port '53/udp' published for web" in ended.stderr


class TestUpdate:
    def test_limits(self) -> None:
        ended = proa("update", "-m", "64m", "--cpus", "1.5", "--pids-limit", "7", "a", "b")
        assert (ended.code, ended.stdout) == (0, "a\nb\n")
        options = ended.engine.calls[0].options
        assert options["resources"] == Resources(
            memory_bytes=64 * MIB, nano_cpus=1_500_000_000, pids_limit=7
        )
        assert options["restart"] is None

    def test_restart_policy_and_labels(self) -> None:
        ended = proa("update", "--restart", "on-failure:3", "--label-add", "k=v", "a")
        assert ended.call.options["restart"] == RestartPolicy(
            name="on-failure", maximum_retry_count=3
        )
        assert ended.call.options["labels"] == {"k": "v"}
        assert ended.call.options["resources"] == Resources()

    def test_something_must_be_said(self) -> None:
        ended = proa("update", "a")
        assert ended.code == 1
        assert "you must provide one or more flags" in ended.stderr


def sample(at_s: float, cpu_s: float) -> StatsSample:
    return StatsSample(
        id=ID, name="web", time_ns=0, monotonic_ns=int(at_s * SECOND),
        usage=Stats(
            cpu_usage_ns=int(cpu_s * SECOND), memory_usage_bytes=50 * MIB,
            memory_inactive_file_bytes=18 * MIB, pids_current=3, io_read_bytes=1_500_000,
            io_write_bytes=0,
        ),
        memory_limit_bytes=64 * MIB, network_received_bytes=1000, network_sent_bytes=2_000_000,
    )  # fmt: skip


class TestStats:
    @pytest.fixture(autouse=True)
    def at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(stats_command, "INTERVAL_S", 0.0)

    def test_one_table(self) -> None:
        readings = iter([sample(10, 1), sample(12, 2.5)])
        ended = proa(
            "stats", "--no-stream",
            containers__list=[record()], containers__stats=lambda _: next(readings),
        )  # fmt: skip
        header, row = ended.stdout.splitlines()
        assert header.split() == [
            "CONTAINER", "ID", "NAME", "CPU", "%", "MEM", "USAGE", "/", "LIMIT", "MEM", "%",
            "NET", "I/O", "BLOCK", "I/O", "PIDS",
        ]  # fmt: skip
        assert "75.00%" in row
        assert "32MiB / 64MiB" in row
        assert "50.00%" in row
        assert "1kB / 2MB" in row
        assert "1.5MB / 0B" in row

    def test_json_of_a_stopped_one(self) -> None:
        ended = proa(
            "stats", "--no-stream", "--format", "json", "web",
            containers__get=record(), containers__stats=Conflict("not running"),
        )  # fmt: skip
        row = json.loads(ended.stdout)
        assert (row["Name"], row["CPUPerc"], row["MemUsage"]) == ("web", "--", "-- / --")

    def test_it_goes_on(self) -> None:
        io = CapturedIO()
        lists = iter([[record()], [record()], [record()]])

        def containers(**_: Any) -> list[ContainerRecord]:
            try:
                return next(lists)
            except StopIteration:
                raise BrokenPipeError from None

        ended = proa("stats", io=io, containers__list=containers, containers__stats=sample(1, 1))
        assert ended.code == 141
        assert ended.stdout.count("CONTAINER ID") == 2


class TestEvents:
    EVENT = EventRecord(
        sequence=1, time_ns=1_700_000_000 * SECOND + 7, type="container", action="die",
        actor_id=ID, attributes={"name": "web", "image": "busybox", "exitCode": "3"},
    )  # fmt: skip

    def test_until_the_past_ends(self) -> None:
        ended = proa(
            "events", "--until", "1700000001", "-f", "event=die", events__list=[self.EVENT]
        )
        assert ended.stdout == (
            f"2023-11-14T22:13:20.000000007Z container die {ID} "
            "(exitCode=3, image=busybox, name=web)\n"
        )
        assert ended.call.options == {
            "since_ns": 0, "until_ns": 1_700_000_001 * SECOND, "filters": {"event": ["die"]},
        }  # fmt: skip

    def test_following(self) -> None:
        ended = proa("system", "events", events__follow=lambda **_: iter([self.EVENT]))
        assert ended.call.options == {"since_ns": None, "until_ns": 0, "filters": {}}
        ended = proa("events", "--since", "1700000000", events__follow=lambda **_: iter(()))
        assert ended.call.options["since_ns"] == 1_700_000_000 * SECOND

    def test_formats(self) -> None:
        follow: dict[str, Any] = {"events__follow": lambda **_: iter([self.EVENT])}
        document = json.loads(proa("events", "--format", "json", **follow).stdout)
        assert document == {
            "status": "die", "id": ID, "from": "busybox", "Type": "container", "Action": "die",
            "Actor": {"ID": ID, "Attributes": self.EVENT.attributes}, "scope": "local",
            "time": 1_700_000_000, "timeNano": 1_700_000_000 * SECOND + 7,
        }  # fmt: skip
        text = "{{.Type}} {{.Actor.Attributes.name}}"
        assert proa("events", "--format", text, **follow).stdout == "container web\n"


class TestRecover:
    def test_what_was_started(self) -> None:
        restored = Restored(lost=("a" * 64, "b" * 64), started=("a" * 64,))
        ended = proa("system", "recover", system__recover=restored)
        assert (ended.code, ended.stdout) == (0, f"{'a' * 64}\n")

    def test_what_was_not(self) -> None:
        restored = Restored(failed={"b" * 64: "no such image"})
        ended = proa("system", "recover", system__recover=restored)
        assert ended.code == 1
        assert f"container {'b' * 12} cannot be started: no such image" in ended.stderr
