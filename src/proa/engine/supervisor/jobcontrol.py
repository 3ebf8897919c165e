"""Whose turn it is to read a terminal (credentials(7), "Sessions and process groups")."""

from __future__ import annotations

import os

BACKGROUND_S = 0.2
"""How often a terminal is looked at that its user has given to somebody else."""


def is_terminal_in_background(fd: int, pid: int) -> bool:
    """Whether ``fd`` is a terminal on which process ``pid`` is not in the foreground.

    The supervisor has no controlling terminal, so job control does not stop it from reading a
    terminal that the user has given back to the shell (proc(5): fields pgrp and tpgid).
    """
    if not os.isatty(fd):
        return False
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:
            fields = stream.read().rpartition(b")")[2].split()
    except OSError:
        return True
    return fields[0] == b"T" or (fields[5] != b"-1" and fields[2] != fields[5])
