"""Docker's ``--platform`` where it chooses among the platforms of one stored image."""

from __future__ import annotations

from proa.cli.kinds import STRING
from proa.cli.parser import Flag

PLATFORM = Flag(
    "platform", STRING, "Not available", refusal="all platforms that a name has here go together"
)
CHOSEN = Flag("platform", STRING, "Only the image for this platform, os/arch[/variant]")
