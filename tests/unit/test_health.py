"""Health checks: flags, defaults, and the monitor's rules with a sandbox that only pretends."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from proa.cli.parser import UsageError, parse
from proa.cli.runflags.health import health_from
from proa.engine.config import ContainerConfig, HealthConfig
from proa.engine.containers.inspect import describe_state, encode_state
from proa.engine.healthlog import HealthLog, HealthResult, load_health_log
from proa.engine.model import ContainerState
from proa.engine.supervisor import health
from proa.engine.supervisor.health import HealthMonitor, resolve_health
from proa.engine.supervisor.loop import Loop
from proa.oci.imageconfig import Healthcheck
from proa.oci.isolation import ExitStatus

SECOND = 1_000_000_000
MS = 1_000_000


class TestFlags:
    def read(self, *words: str) -> HealthConfig | None:
        from proa.cli.container.run import COMMAND

        return health_from(parse(COMMAND, [*words, "image"], "proa run"))

    def test_none(self) -> None:
        assert self.read() is None

    def test_all(self) -> None:
        read = self.read(
            "--health-cmd", "curl -f localhost", "--health-interval", "1m30s",
            "--health-timeout", "2s", "--health-retries", "4", "--health-start-period", "500ms",
            "--health-start-interval", "1s", "--on-unhealthy", "restart",
        )  # fmt: skip
        assert read == HealthConfig(
            test=("CMD-SHELL", "curl -f localhost"), interval_ns=90 * SECOND,
            timeout_ns=2 * SECOND, retries=4, start_period_ns=500 * MS, start_interval_ns=SECOND,
            on_unhealthy="restart",
        )  # fmt: skip

    def test_off(self) -> None:
        assert self.read("--no-healthcheck") == HealthConfig(test=("NONE",))
        with pytest.raises(UsageError, match="--no-healthcheck conflicts"):
            self.read("--no-healthcheck", "--health-retries", "1")

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (("--health-interval", "10us"), "less than 1ms"),
            (("--on-unhealthy", "pray"), "none, restart or stop"),
            (("--health-retries", "-1"), "negative"),
        ],
    )
    def test_wrong(self, words: tuple[str, str], message: str) -> None:
        with pytest.raises(UsageError, match=message):
            self.read(*words)


class TestResolve:
    def test_the_users_words_over_the_images_over_the_defaults(self) -> None:
        image = Healthcheck(test=("CMD", "check"), interval=5 * SECOND, retries=9)
        config = ContainerConfig(image="i", health=HealthConfig(retries=2))
        found = resolve_health(config, image)
        assert found is not None
        assert (found.test, found.interval_ns, found.retries) == (("CMD", "check"), 5 * SECOND, 2)
        assert found.timeout_ns == health.DEFAULT_TIMEOUT_NS
        assert found.start_interval_ns == health.DEFAULT_START_INTERVAL_NS

    @pytest.mark.parametrize("test", [(), ("NONE",)])
    def test_none(self, test: tuple[str, ...]) -> None:
        config = ContainerConfig(image="i", health=HealthConfig(test=test, retries=1))
        assert resolve_health(config, Healthcheck()) is None

    def test_the_user_switches_the_images_off(self) -> None:
        config = ContainerConfig(image="i", health=HealthConfig(test=("NONE",)))
        assert resolve_health(config, Healthcheck(test=("CMD", "x"))) is None


class PretendProcess:
    """A real child that exits as told, started by the pretended sandbox."""

    console = -1

    def __init__(self, code: int | None, output: bytes, stdout: int) -> None:
        self.pid = os.fork()
        if self.pid == 0:
            os.write(stdout, output)
            if code is None:
                signal.pause()
            os._exit(code or 0)
        self.pidfd = os.pidfd_open(self.pid)
        self._status: ExitStatus | None = None

    def signal(self, number: int) -> None:
        if self._status is None:
            signal.pidfd_send_signal(self.pidfd, number)

    def wait(self) -> ExitStatus:
        if self._status is None:
            code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            self._status = ExitStatus(code=code if code >= 0 else 128 - code)
        return self._status

    def close(self) -> None:
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1


class Pretend:
    """The supervisor and the sandbox."""

    def __init__(self, outcomes: list[int | None]) -> None:
        self.outcomes = outcomes
        self.done: list[str] = []
        self.became_: list[str] = []
        self.status = "running"
        self.loop = Loop()

    def get_running(self) -> Any:
        return self

    def exec(self, process: Any, stdio: Any) -> PretendProcess:
        return PretendProcess(self.outcomes.pop(0), b"said\n", stdio.stdout)

    def stop(self, number: int, timeout_s: float | None) -> None:
        self.done.append("stop")
        self.loop.stop()

    def restart(self, number: int, timeout_s: float | None) -> None:
        self.done.append("restart")
        self.loop.stop()

    def became(self, status: str) -> None:
        self.became_.append(status)


@pytest.fixture
def watch(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Pretend, HealthLog]]:
    """Run a monitor until its outcomes are used up."""

    def run(outcomes: list[int | None], **options: Any) -> tuple[Pretend, HealthLog]:
        pretend = Pretend(list(outcomes))
        config = HealthConfig(
            **{
                "test": ("CMD", "x"), "interval_ns": MS, "timeout_ns": SECOND, "retries": 2,
                "start_interval_ns": MS, **options,
            }
        )  # fmt: skip
        monkeypatch.setattr(health, "compose_exec", lambda *_: None)
        context: Any = type(
            "C", (), {"layout": type("L", (), {"container": lambda *_: str(tmp_path)})()}
        )()
        record: Any = type("R", (), {"id": "x"})()
        image: Any = None
        monitor = HealthMonitor(context, record, image, config, pretend)
        monkeypatch.setattr(monitor, "_exec_config", lambda: None)
        begin = monitor._begin

        def begin_or_stop() -> None:
            begin() if pretend.outcomes else pretend.loop.stop()

        monkeypatch.setattr(monitor, "_begin", begin_or_stop)
        journal: Any = pretend
        monitor.start(pretend.loop, journal)
        pretend.loop.run()
        monitor.close()
        pretend.loop.close()
        return pretend, load_health_log(str(tmp_path))

    return run


Watch = Callable[..., tuple[Pretend, HealthLog]]


class TestMonitor:
    def test_healthy_at_once(self, watch: Watch) -> None:
        pretend, log = watch([0, 0])
        assert pretend.became_ == ["healthy"]
        assert [(one.exit_code, one.output) for one in log.results] == [(0, "said\n")] * 2
        assert log.failing_streak == 0

    def test_unhealthy_after_its_retries(self, watch: Watch) -> None:
        pretend, log = watch([1, 0, 1, 1])
        assert pretend.became_ == ["healthy", "unhealthy"]
        assert log.failing_streak == 2
        assert pretend.done == []

    def test_the_start_period_forgives(self, watch: Watch) -> None:
        pretend, log = watch([1] * 6, start_period_ns=60 * SECOND)
        assert pretend.became_ == []
        assert log.failing_streak == 0
        assert len(log.results) == health.MAX_RESULTS

    def test_the_first_success_ends_the_start_period(self, watch: Watch) -> None:
        pretend, _ = watch([1, 0, 1, 1], start_period_ns=60 * SECOND)
        assert pretend.became_ == ["healthy", "unhealthy"]

    def test_too_slow(self, watch: Watch) -> None:
        _, log = watch([None], timeout_ns=20 * MS)
        assert log.results[0].exit_code == -1
        assert log.results[0].output.startswith("health check exceeded timeout (0.02s): said")

    @pytest.mark.parametrize("reaction", ["restart", "stop"])
    def test_reactions(self, watch: Watch, reaction: str) -> None:
        pretend, _ = watch([1, 1, 1, 1], on_unhealthy=reaction)
        assert pretend.done == [reaction]


def test_what_is_shown() -> None:
    state = ContainerState(status="running", started_at_ns=1, health="healthy")
    assert describe_state(state, now_ns=61 * SECOND).endswith("(healthy)")
    starting = ContainerState(status="running", started_at_ns=1, health="starting")
    assert describe_state(starting, now_ns=61 * SECOND).endswith("(health: starting)")
    log = HealthLog(failing_streak=1, results=(HealthResult(1, 2, 3, "x"),))
    shown = encode_state(state, log)["Health"]
    assert json.loads(json.dumps(shown)) == {
        "Status": "healthy", "FailingStreak": 1,
        "Log": [
            {
                "Start": "1970-01-01T00:00:00.000000001Z", "End": "1970-01-01T00:00:00.000000002Z",
                "ExitCode": 3, "Output": "x",
            }
        ],
    }  # fmt: skip
    assert "Health" not in encode_state(state)
