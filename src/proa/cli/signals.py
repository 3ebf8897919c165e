"""The flag ``-s, --signal`` of ``stop`` and ``kill``."""

from __future__ import annotations

from proa import units
from proa.cli.kinds import reading, scalar
from proa.cli.parser import Flag


def read_signal(text: str) -> str:
    """Read the name or the number of a signal and keep it as it was written.

    Raises:
        ValueError: Linux has no such signal.
    """
    if text:
        reading(units.parse_signal, text)
    return text


SIGNAL_NAME = scalar("string", read_signal, "")
SIGNAL = Flag("signal", SIGNAL_NAME, "Signal to send to the container", short="s")
