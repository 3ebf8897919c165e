"""Being in other namespaces for the moment in which a child is made.

A pid namespace can only be joined by a process' children, and a child in a new user namespace
could not join one that the host's root owns. So the single-threaded parent joins for the time of
one clone and goes back.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from proa.linux.namespaces import FLAGS, open_namespace, setns


@contextmanager
def entering(namespaces: Sequence[tuple[int, str]]) -> Iterator[None]:
    """Join namespaces, and leave them at the end whatever happens.

    Args:
        namespaces: descriptor (of the namespace, or a pidfd) and kind (``pid``, ``network`` ...).

    Raises:
        OSError: one could not be joined; the caller is where it was.
    """
    if not namespaces:
        yield
        return
    homes: list[tuple[int, str]] = []
    try:
        for fd, kind in namespaces:
            home = open_namespace("self", kind)
            homes.append((home, kind))
            setns(fd, FLAGS[kind])
        yield
    finally:
        for home, kind in reversed(homes):
            setns(home, FLAGS[kind])
            os.close(home)
