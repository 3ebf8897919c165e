"""What the last health checks of a container said: the file ``health`` in its directory."""

from __future__ import annotations

import os

import msgspec

from proa.fs.atomicfile import save_file

_NAME = "health"


class HealthResult(msgspec.Struct, frozen=True):
    """One check; ``exit_code`` -1 when it could not be run or took too long."""

    began_ns: int
    ended_ns: int
    exit_code: int
    output: str


class HealthLog(msgspec.Struct, frozen=True, kw_only=True):
    """The newest checks, oldest first, and how many of them failed in a row."""

    failing_streak: int = 0
    results: tuple[HealthResult, ...] = ()


def save_health_log(directory: str, log: HealthLog) -> None:
    """Replace the file; it need not survive a power cut."""
    save_file(os.path.join(directory, _NAME), msgspec.json.encode(log), durable=False)


def load_health_log(directory: str) -> HealthLog:
    """Return what is stored; empty when nothing is, or nothing readable."""
    try:
        with open(os.path.join(directory, _NAME), "rb") as stream:
            return msgspec.json.decode(stream.read(), type=HealthLog)
    except (OSError, msgspec.MsgspecError):
        return HealthLog()
