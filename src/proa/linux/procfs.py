"""What /proc says about processes and the boot.

Sources: proc_pid_stat(5), proc_sys_kernel(5).
"""

from __future__ import annotations

import os

_FLAGS_FIELD = 9
_START_TIME_FIELD = 22
_PF_EXITING = 0x4
"""A task is on its way out (include/linux/sched.h)."""


def read_start_ticks(pid: int) -> int:
    """When a process started, in clock ticks since boot; with the boot id it names it for good.

    Raises:
        FileNotFoundError, ProcessLookupError: there is no such process.
    """
    text = _read(f"/proc/{pid}/stat")
    # comm may hold spaces and parentheses; the last ')' ends it.
    fields = text[text.rindex(b")") + 2 :].split()
    return int(fields[_START_TIME_FIELD - 3])


def is_exiting(pid: int) -> bool:
    """Whether a process has begun to end, ended, or is not there (any more).

    Its pidfd becomes readable only later: the first process of a pid namespace waits for all
    others of it, and is past giving its namespaces to anybody meanwhile.
    """
    try:
        text = _read(f"/proc/{pid}/stat")
    except (FileNotFoundError, ProcessLookupError):
        return True
    return bool(int(text.rpartition(b")")[2].split()[_FLAGS_FIELD - 3]) & _PF_EXITING)


def read_exit_status(pid: int) -> tuple[int, int]:
    """How a zombie ended: exit code and signal (proc(5), /proc/PID/stat field 52).

    Raises:
        OSError: there is no such process.
    """
    word = int(_read(f"/proc/{pid}/stat").rpartition(b")")[2].split()[49])
    signal = word & 0x7F
    return 0 if signal else (word >> 8) & 0xFF, signal


def read_boot_id() -> str:
    """Random id of this boot of the machine (36 characters)."""
    return _read("/proc/sys/kernel/random/boot_id").strip().decode("ascii")


def read_max_open_files() -> int:
    """The greatest RLIMIT_NOFILE that the kernel takes from anybody (proc_sys_fs(5), nr_open)."""
    return int(_read("/proc/sys/fs/nr_open"))


def read_status(pid: int | str) -> dict[str, str]:
    """``/proc/PID/status`` as a mapping of its labels.

    Raises:
        FileNotFoundError, ProcessLookupError: there is no such process.
    """
    rows = _read(f"/proc/{pid}/status").decode("utf-8", "replace").splitlines()
    return {label: value.strip() for label, _, value in (row.partition(":") for row in rows)}


def write_process_file(pid: int, name: str, value: str) -> None:
    """Write ``/proc/PID/<name>`` in one write(2), as uid_map, gid_map and oom_score_adj demand.

    Raises:
        OSError: the kernel refused the value or the access; ``filename`` names the file.
    """
    path = f"/proc/{pid}/{name}"
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode("ascii"))
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(fd)


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while chunk := os.read(fd, 65536):
            parts.append(chunk)
    finally:
        os.close(fd)
    return b"".join(parts)
