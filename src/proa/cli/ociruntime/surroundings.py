"""What a process hands down to what it starts, compared between two processes.

runc's containers get from its caller what the bundle does not say: resource limits, CPUs, niceness,
the score of the OOM killer, the namespaces that the bundle shares with "the host". A worker may
stand in for a caller only where all of that is its own too. Cgroups and keyrings are left out: a
container has its own of both. Sources: fork(2), execve(2), proc_pid_status(5), namespaces(7).
"""

from __future__ import annotations

import os

_FILES = ("limits", "oom_score_adj", "loginuid", "attr/current", "personality")
_NAMESPACES = (
    "cgroup",
    "ipc",
    "mnt",
    "net",
    "pid_for_children",
    "time_for_children",
    "user",
    "uts",
)
_STATUS = frozenset(
    (
        b"Uid", b"Gid", b"Umask", b"NoNewPrivs", b"Seccomp", b"Seccomp_filters", b"CapInh",
        b"CapPrm", b"CapEff", b"CapBnd", b"CapAmb", b"Cpus_allowed", b"Mems_allowed",
    )
)  # fmt: skip
_NICE_FIELDS = slice(15, 17)
_POLICY_FIELDS = slice(37, 39)
"""Priority and nice; real-time priority and policy: proc_pid_stat(5), counted behind comm."""


def read_surroundings(pid: int | str) -> tuple[object, ...]:
    """What the process' children would inherit, to compare with another's.

    Raises:
        OSError: it is gone, or not ours to look at.
    """
    directory = os.open(f"/proc/{pid}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        status = _read("status", directory).splitlines()
        stat = _read("stat", directory).rpartition(b")")[2].split()
        root = os.stat("root", dir_fd=directory)
        return (
            [line for line in status if line.partition(b":")[0] in _STATUS],
            stat[_NICE_FIELDS],
            stat[_POLICY_FIELDS],
            [_find(name, directory) for name in _FILES],
            [os.readlink(f"ns/{name}", dir_fd=directory) for name in _NAMESPACES],
            (root.st_dev, root.st_ino),
        )
    finally:
        os.close(directory)


def _find(name: str, directory: int) -> bytes:
    """A file's content; empty where this kernel has no such file."""
    try:
        return _read(name, directory)
    except OSError:
        return b""


def _read(name: str, directory: int) -> bytes:
    fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
    try:
        parts = []
        while chunk := os.read(fd, 65536):
            parts.append(chunk)
    finally:
        os.close(fd)
    return b"".join(parts)
