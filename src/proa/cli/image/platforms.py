"""Docker's ``--platform`` where it chooses among the platforms of one stored image."""

from __future__ import annotations

from proa.cli.kinds import STRING
from proa.cli.parser import Flag

PLATFORM = Flag(
    "platform", STRING, "Not available", refusal="an image is stored for one platform only"
)
