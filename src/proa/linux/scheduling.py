"""CPU and I/O scheduling of a process.

Sources: sched_setattr(2), ioprio_set(2), ``linux/sched/types.h``.
"""

from __future__ import annotations

import struct

from proa.linux.syscalls import call, number

POLICIES = {
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_ISO": 4,
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}
FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01,
    "SCHED_FLAG_RECLAIM": 0x02,
    "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08,
    "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}
IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}

_ATTR = struct.Struct("<2IQiI3Q")
_IOPRIO_WHO_PROCESS = 1
_IOPRIO_CLASS_SHIFT = 13


def set_scheduler(
    pid: int,
    policy: int,
    *,
    flags: int = 0,
    nice: int = 0,
    priority: int = 0,
    runtime_ns: int = 0,
    deadline_ns: int = 0,
    period_ns: int = 0,
) -> None:
    """Set policy and parameters of a process (``struct sched_attr``, its first version).

    Raises:
        OSError: EINVAL for values that do not fit the policy, EPERM without CAP_SYS_NICE.
    """
    attr = _ATTR.pack(
        _ATTR.size, policy, flags, nice, priority, runtime_ns, deadline_ns, period_ns
    )  # fmt: skip
    call(number("sched_setattr"), pid, attr, 0)


def set_io_priority(pid: int, io_class: int, priority: int) -> None:
    """Set class and level (0 to 7) of a process' I/O.

    Raises:
        OSError: EINVAL, EPERM for the real-time class without CAP_SYS_NICE.
    """
    value = io_class << _IOPRIO_CLASS_SHIFT | priority
    call(number("ioprio_set"), _IOPRIO_WHO_PROCESS, pid, value)
