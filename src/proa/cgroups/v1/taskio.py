"""I/O of a container that has no blkio group: what its processes have caused.

``/proc/<pid>/io`` counts what a process and its reaped children read from and wrote to block
devices (proc_pid_io(5)), so the sum over a container's processes is its I/O, but for what processes
did whose parent ignores SIGCHLD. A blkio group would cost each start a tenth of a millisecond, and
kernels since 6.10 count nothing in it anyway before the first throttle.
"""

from __future__ import annotations

from collections.abc import Iterable

from proa.cgroups.stats import Reading


def collect(pids: Iterable[int], reading: Reading, proc: str = "/proc") -> None:
    """Add bytes read and written to a reading; operations stay unknown."""
    read_bytes = write_bytes = 0
    for pid in pids:
        try:
            with open(f"{proc}/{pid}/io", encoding="ascii") as file:
                fields = dict(line.split(": ") for line in file)
        except OSError:  # it ended, or the kernel has no task I/O accounting
            continue
        read_bytes += int(fields["read_bytes"])
        # Dirty pages that were truncated before they were written.
        write_bytes += int(fields["write_bytes"]) - int(fields["cancelled_write_bytes"])
    reading["io_read_bytes"] = read_bytes
    reading["io_write_bytes"] = max(write_bytes, 0)
