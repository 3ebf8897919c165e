"""Telling the engine that a sleeping supervisor has something to do.

A keeper sends its frame itself, as long as the zygote that it knew is there. After that it runs
this in a fresh interpreter, which starts a zygote, perhaps of a newer version, and sends it
instead.
"""

from __future__ import annotations

from proa.engine.ipc.connect import request
from proa.engine.layout import Layout


def wake(root: str, run: str, container_id: str) -> None:
    """Ask a worker to act for the container's keeper, and wait until it lets go.

    Raises:
        Unavailable: no worker accepts.
    """
    with request(Layout(root, run), b"H", container_id.encode()) as peer:
        while peer.recv(4096):
            pass
