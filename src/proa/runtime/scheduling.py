"""How a process is scheduled: what the OCI spec asks for, checked, and set from outside.

The runtime sets it with the host's rights while the child waits: in a user namespace of its own
the child has none over scheduling. CPU lists of ``exec`` and the personality anybody may set; these
are steps of the plan.
"""

from __future__ import annotations

from proa.cgroups.limits import parse_cpu_list
from proa.errors import Invalid, from_os_error
from proa.linux import scheduling
from proa.oci.spec import LinuxPersonality, Process

_PERSONALITIES = {"LINUX": 0x0000, "LINUX32": 0x0008}
_IO_LEVELS = range(8)
_WORD_BYTES = 8


def validate(process: Process) -> None:
    """Check the words and ranges.

    Raises:
        Invalid: an unknown policy, flag, class or CPU list.
    """
    scheduler, io = process.scheduler, process.io_priority
    if scheduler is not None:
        if scheduler.policy not in scheduling.POLICIES:
            raise Invalid(f"unknown scheduling policy {scheduler.policy!r}")
        for flag in scheduler.flags:
            if flag not in scheduling.FLAGS:
                raise Invalid(f"unknown scheduling flag {flag!r}")
    if io is not None:
        if io.io_class not in scheduling.IO_CLASSES:
            raise Invalid(f"unknown I/O priority class {io.io_class!r}")
        if io.priority not in _IO_LEVELS:
            raise Invalid(f"the I/O priority {io.priority} is not between 0 and 7")
    if process.exec_cpu_affinity is not None:
        for text in (process.exec_cpu_affinity.initial, process.exec_cpu_affinity.final):
            pack_cpus(text)


def apply(pid: int, process: Process) -> None:
    """Set scheduler and I/O priority of a child that waits.

    Raises:
        ProaError: the kernel refuses the values, or this process may not set them.
    """
    scheduler, io = process.scheduler, process.io_priority
    try:
        if scheduler is not None:
            scheduling.set_scheduler(
                pid,
                scheduling.POLICIES[scheduler.policy],
                flags=sum(scheduling.FLAGS[flag] for flag in set(scheduler.flags)),
                nice=scheduler.nice,
                priority=scheduler.priority,
                runtime_ns=scheduler.runtime,
                deadline_ns=scheduler.deadline,
                period_ns=scheduler.period,
            )
        if io is not None:
            scheduling.set_io_priority(pid, scheduling.IO_CLASSES[io.io_class], io.priority)
    except OSError as error:
        raise from_os_error(error, "cannot set the scheduling of the process") from error


def pack_cpus(text: str) -> bytes:
    """A CPU list (``0-2,7``) as the mask of sched_setaffinity(2); empty for none.

    Raises:
        Invalid: it is no list.
    """
    if not text:
        return b""
    try:
        cpus = parse_cpu_list(text)
    except ValueError as error:
        raise Invalid(f"the CPU list {text!r} is malformed") from error
    mask = sum(1 << cpu for cpu in cpus)
    size = (mask.bit_length() + 8 * _WORD_BYTES - 1) // (8 * _WORD_BYTES) * _WORD_BYTES
    return mask.to_bytes(size, "little")


def personality(wanted: LinuxPersonality) -> int:
    """The argument of personality(2).

    Raises:
        Invalid: an unknown domain, or flags, of which the specification knows none.
    """
    if wanted.domain not in _PERSONALITIES or wanted.flags:
        raise Invalid(f"unknown personality {wanted.domain} {' '.join(wanted.flags)}".rstrip())
    return _PERSONALITIES[wanted.domain]
