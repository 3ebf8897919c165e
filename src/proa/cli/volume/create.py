"""``proa volume create``: make a volume."""

from __future__ import annotations

from proa.cli.invocation import Invocation
from proa.cli.kinds import STRING, repeated
from proa.cli.parser import Command, Flag
from proa.cli.runflags import values

DRIVER = Flag("driver", STRING, "Specify volume driver name", "d", "local")
LABEL = Flag("label", repeated("list", values.read_label), "Set metadata for a volume")
OPT = Flag("opt", repeated("map", values.read_pair), "Set driver specific options", short="o")

COMMAND = Command(
    words="volume create",
    usage="[OPTIONS] [VOLUME]",
    summary="Create a volume",
    flags=(DRIVER, LABEL, OPT),
    most=1,
)


def execute(call: Invocation) -> int:
    """Make the volume and print its name; one that exists already is left as it is."""
    labels: tuple[tuple[str, str], ...] = call[LABEL]
    options: tuple[tuple[str, str], ...] = call[OPT]
    volume = call.engine.volumes.create(
        call.arguments[0] if call.arguments else "",
        driver=call[DRIVER],
        labels=dict(labels),
        options=dict(options),
    )
    call.io.out(volume.name)
    return 0
