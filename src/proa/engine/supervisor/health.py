"""Health checks: a command inside the container, now and then (``--health-*``, HEALTHCHECK).

Loaded only where there is a check. The status is in the container's record, because every listing
shows it; the last results are in the file ``health`` in the container's directory, written at each
check without a sync, because only ``inspect`` shows them.

Rules (Docker's): *starting* until a check succeeds or ``retries`` checks in a row fail; failures
during the start period do not count until the first success; the pause is counted from the end of
one check to the beginning of the next.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Protocol

from proa.engine.compose.process import compose_exec
from proa.engine.config import ContainerConfig, ExecConfig, HealthConfig
from proa.engine.context import Context
from proa.engine.healthlog import HealthLog, HealthResult, save_health_log
from proa.engine.model import ContainerRecord, Health
from proa.engine.supervisor.journal import Journal
from proa.engine.supervisor.loop import READ, Loop, Timer
from proa.errors import ProaError
from proa.image.model import Image
from proa.oci.imageconfig import Healthcheck
from proa.oci.isolation import ProcessHandle, Sandbox, Stdio
from proa.oci.spec import Process

_NS = 1_000_000_000
DEFAULT_INTERVAL_NS = 30 * _NS
DEFAULT_TIMEOUT_NS = 30 * _NS
DEFAULT_START_INTERVAL_NS = 5 * _NS
DEFAULT_RETRIES = 3
MAX_OUTPUT_BYTES = 4096
MAX_RESULTS = 5
_SHELL = ("/bin/sh", "-c")


class Owner(Protocol):
    """What the monitor asks of the supervisor."""

    def get_running(self) -> Sandbox:
        """Return the sandbox.

        Raises:
            Conflict: the container is not running.
        """

    def stop(self, number: int, timeout_s: float | None) -> None:
        """Begin to stop the container."""

    def restart(self, number: int, timeout_s: float | None) -> None:
        """Begin to restart the container."""


def resolve_health(config: ContainerConfig, image: Healthcheck | None) -> HealthConfig | None:
    """Return the check with all defaults filled in; None when there is none."""
    user = config.health or HealthConfig()
    base = image or Healthcheck()
    test = user.test or base.test
    if not test or test[0] == "NONE":
        return None
    return HealthConfig(
        test=test,
        interval_ns=user.interval_ns or base.interval or DEFAULT_INTERVAL_NS,
        timeout_ns=user.timeout_ns or base.timeout or DEFAULT_TIMEOUT_NS,
        start_period_ns=user.start_period_ns or base.start_period,
        start_interval_ns=user.start_interval_ns
        or base.start_interval
        or DEFAULT_START_INTERVAL_NS,
        retries=user.retries or base.retries or DEFAULT_RETRIES,
        on_unhealthy=user.on_unhealthy,
    )


def monitor(
    context: Context, record: ContainerRecord, image: Image, owner: Owner
) -> HealthMonitor | None:
    """Return the monitor of a container that has a check."""
    config = resolve_health(record.config, image.config.config.healthcheck)
    if config is None:
        return None
    return HealthMonitor(context, record, image, config, owner)


class HealthMonitor:
    """Checks one run of a container."""

    def __init__(
        self,
        context: Context,
        record: ContainerRecord,
        image: Image,
        config: HealthConfig,
        owner: Owner,
    ) -> None:
        """Prepare; nothing happens before :meth:`start`."""
        self._context = context
        self._record = record
        self._image = image
        self._config = config
        self._owner = owner
        self._directory = context.layout.container(record.id)
        self._status: Health = "starting"
        self._streak = 0
        self._results: tuple[HealthResult, ...] = ()
        self._timer: Timer | None = None
        self._check: _Check | None = None

    def start(self, loop: Loop, journal: Journal) -> None:
        """Begin to check; results of an earlier run are forgotten."""
        self._loop = loop
        self._journal = journal
        self._began_s = time.monotonic()
        self._save()
        self._schedule()

    def close(self) -> None:
        """Stop checking; a check that runs ends with the container. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._check is not None:
            self._check.close()
            self._check = None

    @property
    def _is_starting(self) -> bool:
        """Failures do not count yet."""
        age_ns = (time.monotonic() - self._began_s) * _NS
        return self._status == "starting" and age_ns < self._config.start_period_ns

    def _schedule(self) -> None:
        config = self._config
        pause_ns = config.start_interval_ns if self._is_starting else config.interval_ns
        self._timer = self._loop.call_later(pause_ns / _NS, self._begin)

    def _begin(self) -> None:
        if self._journal.status != "running":
            # Frozen: a check would only hang.
            self._schedule()
            return
        began_ns = time.time_ns()
        try:
            process = compose_exec(
                self._context.layout, self._record, self._image, self._exec_config()
            )
            self._check = _Check(self._loop, self._config.timeout_ns, self._on_result)
            self._check.begin(self._owner.get_running(), process)
        except ProaError as error:
            self.close()
            self._on_result(HealthResult(began_ns, time.time_ns(), -1, str(error)))

    def _exec_config(self) -> ExecConfig:
        kind, *words = self._config.test
        if kind == "CMD-SHELL":
            shell = self._image.config.config.shell or _SHELL
            return ExecConfig(command=(*shell, *words))
        return ExecConfig(command=tuple(words) if kind == "CMD" else (kind, *words))

    def _on_result(self, result: HealthResult) -> None:
        self._check = None
        self._results = (*self._results, result)[-MAX_RESULTS:]
        before = self._status
        if result.exit_code == 0:
            self._streak = 0
            self._status = "healthy"
        elif not self._is_starting:
            self._streak += 1
            if self._streak >= self._config.retries:
                self._status = "unhealthy"
        self._save()
        self._schedule()
        if self._status != before:
            self._journal.became(self._status)
            if self._status == "unhealthy":
                self._react()

    def _react(self) -> None:
        if self._config.on_unhealthy == "restart":
            self._owner.restart(0, None)
        elif self._config.on_unhealthy == "stop":
            self._owner.stop(0, None)

    def _save(self) -> None:
        log = HealthLog(failing_streak=self._streak, results=self._results)
        try:
            save_health_log(self._directory, log)
        except OSError:
            # A full disk must not end the container's supervisor; the status is what counts.
            return


class _Check:
    """One run of the command."""

    def __init__(
        self, loop: Loop, timeout_ns: int, on_result: Callable[[HealthResult], None]
    ) -> None:
        self._loop = loop
        self._timeout_ns = timeout_ns
        self._on_result = on_result
        self._output = bytearray()
        self._pipe = -1
        self._handle: ProcessHandle | None = None
        self._timer: Timer | None = None
        self._timed_out = False
        self._began_ns = time.time_ns()

    def begin(self, sandbox: Sandbox, process: Process) -> None:
        """Start it; errors as ``Sandbox.exec``."""
        self._pipe, theirs = os.pipe2(os.O_CLOEXEC)
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._handle = sandbox.exec(process, Stdio(null, theirs, theirs))
        finally:
            os.close(null)
            os.close(theirs)
        os.set_blocking(self._pipe, False)
        self._loop.add(self._pipe, READ, lambda _: self._read())
        self._loop.add(self._handle.pidfd, READ, lambda _: self._on_exit())
        self._timer = self._loop.call_later(self._timeout_ns / _NS, self._on_timeout)

    def close(self) -> None:
        """Forget it. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._handle is not None:
            self._loop.remove(self._handle.pidfd)
            self._handle.signal(signal.SIGKILL)
            self._handle.wait()
            self._handle.close()
            self._handle = None
        self._close_pipe()

    def _close_pipe(self) -> None:
        if self._pipe >= 0:
            self._loop.remove(self._pipe)
            os.close(self._pipe)
            self._pipe = -1

    def _read(self) -> None:
        try:
            data = os.read(self._pipe, MAX_OUTPUT_BYTES)
        except BlockingIOError:
            return
        if not data:
            self._close_pipe()
        self._output += data[: MAX_OUTPUT_BYTES - len(self._output)]

    def _on_timeout(self) -> None:
        self._timed_out = True
        if self._handle is not None:
            self._handle.signal(signal.SIGKILL)

    def _on_exit(self) -> None:
        handle = self._handle
        assert handle is not None
        code = handle.wait().code
        if self._pipe >= 0:
            self._read()
        self.close()
        text = self._output.decode("utf-8", "replace")
        if self._timed_out:
            code = -1
            text = f"health check exceeded timeout ({self._timeout_ns / _NS:g}s): {text}"
        self._on_result(HealthResult(self._began_ns, time.time_ns(), code, text))
