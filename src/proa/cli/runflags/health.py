"""The flags of health checks, and what they mean together."""

from __future__ import annotations

from typing import Any, Literal

from proa import units
from proa.cli.kinds import BOOL, STRING, UNSIGNED, reading, scalar
from proa.cli.parser import Flag, Options, UsageError
from proa.engine.config import HealthConfig

OnUnhealthy = Literal["none", "restart", "stop"]
_LEAST_NS = 1_000_000


def _read_duration(text: str) -> int:
    duration_ns = reading(units.parse_duration_ns, text)
    if duration_ns and duration_ns < _LEAST_NS:
        raise ValueError("cannot be less than 1ms")
    return duration_ns


def _read_reaction(text: str) -> OnUnhealthy:
    if text == "none":
        return "none"
    if text == "restart":
        return "restart"
    if text == "stop":
        return "stop"
    raise ValueError("use none, restart or stop")


_NONE: OnUnhealthy = "none"
_DURATION = scalar("duration", _read_duration, 0)
CMD = Flag("health-cmd", STRING, "Command to run to check health")
INTERVAL = Flag("health-interval", _DURATION, "Time between running the check (default 30s)")
RETRIES = Flag(
    "health-retries", UNSIGNED, "Consecutive failures needed to report unhealthy (default 3)"
)
START_INTERVAL = Flag(
    "health-start-interval",
    _DURATION,
    "Time between running the check during the start period (default 5s)",
)
START_PERIOD = Flag(
    "health-start-period",
    _DURATION,
    "Time for the container to initialize before failures count",
)
TIMEOUT = Flag("health-timeout", _DURATION, "Time to allow one check to run (default 30s)")
NO_HEALTHCHECK = Flag("no-healthcheck", BOOL, "Disable any container-specified HEALTHCHECK")
ON_UNHEALTHY = Flag(
    "on-unhealthy",
    scalar("string", _read_reaction, _NONE),
    'What to do with a container that becomes unhealthy ("none", "restart", "stop")',
)

FLAGS: tuple[Flag[Any], ...] = (
    CMD, INTERVAL, NO_HEALTHCHECK, ON_UNHEALTHY, RETRIES, START_INTERVAL, START_PERIOD, TIMEOUT,
)  # fmt: skip


def health_from(options: Options) -> HealthConfig | None:
    """Return what the user says of health checks; None: nothing, the image's counts.

    Raises:
        UsageError: ``--no-healthcheck`` with another flag of these.
    """
    given = [flag for flag in FLAGS if options.is_given(flag)]
    if not given:
        return None
    if options[NO_HEALTHCHECK]:
        if len(given) > 1:
            raise UsageError("--no-healthcheck conflicts with --health-* options")
        return HealthConfig(test=("NONE",))
    command = options[CMD]
    return HealthConfig(
        test=("CMD-SHELL", command) if command else (),
        interval_ns=options[INTERVAL],
        timeout_ns=options[TIMEOUT],
        start_period_ns=options[START_PERIOD],
        start_interval_ns=options[START_INTERVAL],
        retries=options[RETRIES],
        on_unhealthy=options[ON_UNHEALTHY],
    )
