"""``proa machine start``: start the machine, made at the first time."""

from __future__ import annotations

from proa.cli.invocation import Invocation
from proa.cli.kinds import BYTES, UNSIGNED, repeated
from proa.cli.parser import Command, Flag
from proa.cli.runflags.network import read_publish

CPUS = Flag("cpus", UNSIGNED, "Number of CPUs (at the first start)", default=2)
MEMORY = Flag("memory", BYTES, "Memory (at the first start; default 2 GiB)", short="m")
PUBLISH = Flag(
    "publish",
    repeated("list", read_publish),
    "Lead a TCP port of this host into the machine (at the first start)",
    "p",
)

COMMAND = Command(
    words="machine start",
    usage="[OPTIONS]",
    summary="Start a light Linux machine that has the whole engine inside",
    flags=(CPUS, MEMORY, PUBLISH),
    most=0,
    details="The first start makes its disk, which takes a minute. 'proa --machine COMMAND' then"
    " runs commands in it, and DOCKER_HOST leads Docker's clients to it.",
)

_MIB = 1 << 20


def execute(call: Invocation) -> int:
    """Start it; say where its engine is."""
    machine = call.engine.machine
    warning = machine.start(
        memory_bytes=-(-(call[MEMORY] or 2 << 30) // _MIB) * _MIB,
        vcpus=call[CPUS],
        ports=tuple(port for ports in call[PUBLISH] for port in ports),
        progress=lambda text: call.io.err(f"machine: {text}"),
    )
    if warning:
        call.io.err(f"WARNING: {warning}")
    call.io.out(f"export DOCKER_HOST={machine.status().docker_host}")
    return 0
