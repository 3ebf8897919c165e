"""What the engine does for a child that waits: identities, limits, ownership of its pipes."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from proa.linux.procfs import write_process_file
from proa.oci.isolation import Stdio
from proa.oci.spec import Linux, LinuxIDMapping, Process
from proa.runtime import scheduling, slots
from proa.runtime.rlimits import raise_limits


def map_ids(pid: int, linux: Linux) -> None:
    """Write uid_map and gid_map of a child in a new user namespace (user_namespaces(7)).

    Raises:
        OSError: a range is not the engine's to give; ``filename`` names the file.
    """
    for name, mappings in (("uid_map", linux.uid_mappings), ("gid_map", linux.gid_mappings)):
        lines = [f"{m.container_id} {m.host_id} {m.size}\n" for m in mappings]
        write_process_file(pid, name, "".join(lines))


def adjust(
    pid: int,
    process: Process,
    limits: Sequence[tuple[int, int, int]],
    raised: Sequence[int],
    warnings: list[str],
) -> None:
    """Raise hard limits, set scheduling and OOM score; a refused score becomes a warning.

    Raises:
        ProaError: the scheduling cannot be had.
        OSError: a limit cannot be raised although the engine has CAP_SYS_RESOURCE.
    """
    if process.scheduler is not None or process.io_priority is not None:
        scheduling.apply(pid, process)
    if raised:
        raise_limits(pid, limits, raised)
    if process.oom_score_adj is not None:
        try:
            write_process_file(pid, "oom_score_adj", str(process.oom_score_adj))
        except PermissionError:
            warnings.append(
                f"the OOM score stays: lowering it to {process.oom_score_adj} needs"
                " CAP_SYS_RESOURCE"
            )


def fill_stdio(stdio: Stdio, process: Process, linux: Linux) -> dict[int, int]:
    """The stdio slots; pipes become the property of the container's user.

    Otherwise it could not open /dev/stdout, which leads to the pipe by name. Files of other kinds
    (a terminal, a file of the caller's) stay as they are.
    """
    fds = (stdio.stdin, stdio.stdout, stdio.stderr)
    uid = to_host(process.user.uid, linux.uid_mappings)
    gid = to_host(process.user.gid, linux.gid_mappings)
    for fd in fds:
        if stat.S_ISFIFO(os.fstat(fd).st_mode):
            try:
                os.fchown(fd, uid, gid)
            except OSError:
                continue  # without the right to give files away the pipe works, its name does not
    return dict(zip((slots.STDIN, slots.STDOUT, slots.STDERR), fds, strict=True))


def to_host(number: int, mappings: Sequence[LinuxIDMapping]) -> int:
    """The host's id for one of the container's; -1 when it has none."""
    for mapping in mappings:
        if 0 <= number - mapping.container_id < mapping.size:
            return mapping.host_id + number - mapping.container_id
    return -1 if mappings else number
