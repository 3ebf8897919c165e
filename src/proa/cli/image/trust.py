"""Docker's flag of content trust, which Proa has no part in: digests are always verified."""

from __future__ import annotations

from proa.cli.kinds import BOOL
from proa.cli.parser import Flag

DISABLE_CONTENT_TRUST = Flag(
    "disable-content-trust", BOOL, "Accepted: there is no content trust to skip", hidden=True
)
