"""``proa logs``: what a container wrote."""

from __future__ import annotations

from proa import units
from proa.cli.invocation import Invocation
from proa.cli.kinds import BOOL, read_int, reading, scalar
from proa.cli.parser import Command, Flag

_ALL = -1


def _read_tail(text: str) -> int:
    if text in ("all", ""):
        return _ALL
    lines = read_int(text)
    return lines if lines >= 0 else _ALL


def _read_time(text: str) -> int:
    return reading(units.parse_timestamp, text) if text else 0


_TIME = scalar("string", _read_time, 0)
_EXAMPLES = '(e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)'

DETAILS = Flag("details", BOOL, "Show extra details provided to logs", hidden=True)
FOLLOW = Flag("follow", BOOL, "Follow log output", short="f")
SINCE = Flag("since", _TIME, f"Show logs since timestamp {_EXAMPLES}")
TAIL = Flag(
    "tail",
    scalar("string", _read_tail, _ALL),
    'Number of lines to show from the end of the logs, or "all"',
    short="n",
)
TIMESTAMPS = Flag("timestamps", BOOL, "Show timestamps", short="t")
UNTIL = Flag("until", _TIME, f"Show logs before a timestamp {_EXAMPLES}")

COMMAND = Command(
    words="container logs",
    usage="[OPTIONS] CONTAINER",
    summary="Fetch the logs of a container",
    flags=(DETAILS, FOLLOW, SINCE, TAIL, TIMESTAMPS, UNTIL),
    least=1,
    most=1,
)


def execute(call: Invocation) -> int:
    """Write the container's standard output to ours and its standard error to ours."""
    io = call.io
    fds = {"stdout": io.stdout_fd, "stderr": io.stderr_fd}
    timestamps = call[TIMESTAMPS]
    lines = call.engine.containers.logs(
        call.arguments[0],
        follow=call[FOLLOW],
        since_ns=call[SINCE],
        until_ns=call[UNTIL],
        tail=call[TAIL],
    )
    for line in lines:
        data = line.data
        if timestamps:
            data = f"{units.format_rfc3339_ns(line.time_ns)} ".encode() + data
        io.write(fds[line.stream], data)
    return 0
