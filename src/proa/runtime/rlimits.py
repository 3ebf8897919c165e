"""Resource limits: the spec's names, and what a launch does about each."""

from __future__ import annotations

import resource
from collections.abc import Sequence

from proa.errors import Invalid
from proa.linux import capability, procfs
from proa.oci.spec import POSIXRlimit

NUMBERS = {
    "RLIMIT_CPU": 0,
    "RLIMIT_FSIZE": 1,
    "RLIMIT_DATA": 2,
    "RLIMIT_STACK": 3,
    "RLIMIT_CORE": 4,
    "RLIMIT_RSS": 5,
    "RLIMIT_NPROC": 6,
    "RLIMIT_NOFILE": 7,
    "RLIMIT_MEMLOCK": 8,
    "RLIMIT_AS": 9,
    "RLIMIT_LOCKS": 10,
    "RLIMIT_SIGPENDING": 11,
    "RLIMIT_MSGQUEUE": 12,
    "RLIMIT_NICE": 13,
    "RLIMIT_RTPRIO": 14,
    "RLIMIT_RTTIME": 15,
}
"""setrlimit(2) numbers, the same on x86-64 and aarch64."""

UNLIMITED = 2**64 - 1


def effective_limits(
    wanted: Sequence[POSIXRlimit], warnings: list[str]
) -> tuple[tuple[tuple[int, int, int], ...], tuple[int, ...]]:
    """What to set in the child, and which hard limits the parent must raise before.

    A hard limit above the engine's own can be raised only by the parent, and only with
    CAP_SYS_RESOURCE in the host's user namespace; without it the engine's own limit is kept and a
    warning added.

    Returns:
        ``(number, soft, hard)`` of each limit, and the numbers whose hard limit must be raised.

    Raises:
        Invalid: no process of this kernel can have that many open files.
    """
    values = []
    raised = []
    for limit in wanted:
        number = NUMBERS[limit.type]
        soft, hard = limit.soft, limit.hard
        own = _unsigned(resource.getrlimit(number)[1])
        if number == NUMBERS["RLIMIT_NOFILE"]:
            _check_open_files(hard)
        if hard > own:
            if _may_raise():
                raised.append(number)
            else:
                warnings.append(
                    f"the hard limit {limit.type} stays at {own}: raising it needs CAP_SYS_RESOURCE"
                )
                soft, hard = min(soft, own), own
        values.append((number, soft, hard))
    return tuple(values), tuple(raised)


def raise_limits(pid: int, values: Sequence[tuple[int, int, int]], numbers: Sequence[int]) -> None:
    """Raise the hard limits of a waiting child, keeping its soft ones.

    Raises:
        OSError: EPERM.
    """
    for number, _soft, hard in values:
        if number in numbers:
            soft, _ = resource.prlimit(pid, number)
            wanted = resource.RLIM_INFINITY if hard == UNLIMITED else hard
            resource.prlimit(pid, number, (soft, wanted))


def _check_open_files(hard: int) -> None:
    most = procfs.read_max_open_files()
    if hard > most:
        asked = "unlimited" if hard == UNLIMITED else str(hard)
        raise Invalid(
            f"--ulimit nofile={asked} is more than this kernel holds",
            f"give at most {most}, or raise the sysctl fs.nr_open",
        )


def _unsigned(value: int) -> int:
    return UNLIMITED if value == resource.RLIM_INFINITY else value


def _may_raise() -> bool:
    effective = capability.read_sets().effective
    return bool(effective >> capability.NUMBERS["CAP_SYS_RESOURCE"] & 1)
