"""Platforms as clients ask for them."""

from __future__ import annotations

import msgspec

from proa.server.call import Query


class _Platform(msgspec.Struct):
    os: str = "linux"
    architecture: str = ""
    variant: str = ""


def read_platform(query: Query) -> str:
    """Return ``platform`` as ``os/arch[/variant]``; empty if it is not asked for.

    It comes so, or as a JSON object; of several objects the first counts.

    Raises:
        HttpError: 400, it is neither.
    """
    text = query.text("platform")
    if not text.lstrip().startswith("{"):
        return text
    wanted = query.json("platform", _Platform, _Platform())
    return "/".join(part for part in (wanted.os, wanted.architecture, wanted.variant) if part)
