"""Lines of a log as ``logs`` and ``attach`` send them."""

from __future__ import annotations

from proa.engine.containers.logs import LogLine
from proa.server.streams.pump import STDERR, STDOUT, frame
from proa.units import format_rfc3339_ns


def encode_line(line: LogLine, *, multiplexed: bool, timestamps: bool = False) -> bytes:
    """Return one line, in a frame if the stream has frames.

    Args:
        line: with its newline.
        multiplexed: the container has no terminal.
        timestamps: begin with the time, in Docker's nine digits.
    """
    data = line.data
    if timestamps:
        data = _moment(line.time_ns).encode() + b" " + data
    if not multiplexed:
        return data
    return frame(STDERR if line.stream == "stderr" else STDOUT, data)


def _moment(time_ns: int) -> str:
    """Return a time that always has nine digits behind the point, so that lines stay aligned."""
    text = format_rfc3339_ns(time_ns).removesuffix("Z")
    whole, _, fraction = text.partition(".")
    return f"{whole}.{fraction.ljust(9, '0')}Z"
