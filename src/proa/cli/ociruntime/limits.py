"""``update``: limits from flags or from a document."""

from __future__ import annotations

from proa import units
from proa.cli.kinds import INT, OPTIONAL_INT, STRING, reading, scalar
from proa.cli.parser import Flag, Kind, Options
from proa.oci.resources import (
    LinuxBlockIO,
    LinuxCPU,
    LinuxMemory,
    LinuxPids,
    LinuxResources,
)
from proa.runtime.bundle.config import parse


def _read_memory(text: str) -> int | None:
    return -1 if text == "-1" else reading(units.parse_size, text)


_MEMORY: Kind[int | None] = scalar("bytes", _read_memory, None)

DOCUMENT = Flag("resources", STRING, "File with the limits as JSON, - for stdin", short="r")
BLKIO_WEIGHT = Flag("blkio-weight", OPTIONAL_INT, "Block I/O weight, 10 to 1000")
CPU_PERIOD = Flag("cpu-period", OPTIONAL_INT, "CPU period in microseconds")
CPU_QUOTA = Flag("cpu-quota", OPTIONAL_INT, "CPU time in a period in microseconds")
CPU_SHARE = Flag("cpu-share", OPTIONAL_INT, "CPU weight")
CPUSET_CPUS = Flag("cpuset-cpus", STRING, "CPUs to use")
CPUSET_MEMS = Flag("cpuset-mems", STRING, "Memory nodes to use")
MEMORY = Flag("memory", _MEMORY, "Memory limit in bytes")
MEMORY_RESERVATION = Flag("memory-reservation", _MEMORY, "Soft memory limit in bytes")
MEMORY_SWAP = Flag("memory-swap", _MEMORY, "Memory and swap in bytes, -1 for unlimited")
PIDS_LIMIT = Flag("pids-limit", INT, "Most processes, -1 for unlimited")

FLAGS = (
    DOCUMENT, BLKIO_WEIGHT, CPU_PERIOD, CPU_QUOTA, CPU_SHARE, CPUSET_CPUS, CPUSET_MEMS, MEMORY,
    MEMORY_RESERVATION, MEMORY_SWAP, PIDS_LIMIT,
)  # fmt: skip


def read_resources(options: Options, load: bytes) -> LinuxResources:
    """The limits of one ``update``.

    Args:
        load: the document's bytes, empty without ``--resources``; flags are then ignored, as in
            runc.

    Raises:
        Invalid: the document is none of limits.
    """
    if load:
        return parse(load, LinuxResources, "the resources")
    pids = LinuxPids(limit=options[PIDS_LIMIT]) if options.is_given(PIDS_LIMIT) else None
    weight = options[BLKIO_WEIGHT]
    return LinuxResources(
        memory=LinuxMemory(
            limit=options[MEMORY],
            reservation=options[MEMORY_RESERVATION],
            swap=options[MEMORY_SWAP],
        ),
        cpu=LinuxCPU(
            shares=options[CPU_SHARE],
            quota=options[CPU_QUOTA],
            period=options[CPU_PERIOD],
            cpus=options[CPUSET_CPUS],
            mems=options[CPUSET_MEMS],
        ),
        pids=pids,
        block_io=LinuxBlockIO(weight=weight) if weight is not None else None,
    )
