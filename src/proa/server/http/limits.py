"""What a client may send and how long it may take."""

from __future__ import annotations

from typing import Final

HEAD_BYTES: Final = 64 * 1024
"""Request line and headers; registry credentials travel in a header."""

HEAD_TIMEOUT_S: Final = 10.0
"""From the first byte of a head to its end; connections that say nothing cost nothing and stay."""

BODY_TIMEOUT_S: Final = 600.0
"""Longest silence in the middle of a body: a tar may be made while it is sent."""

SMALL_BODY_TIMEOUT_S: Final = 30.0
"""For all of a body that is read at once (JSON)."""

DRAIN_BYTES: Final = 1024 * 1024
"""What is read of a body nobody wanted, to keep the connection; above it is closed."""

LINGER_S: Final = 2.0
LINGER_BYTES: Final = 64 * 1024 * 1024
"""How long, and for how much, a refused client may go on sending before it is hung up on."""

CONNECTIONS: Final = 4096
REQUESTS: Final = 1024
"""In work at a time, each in a thread; further ones wait for their turn."""
