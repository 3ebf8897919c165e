"""``--init``: a process 1 that reaps orphans and passes signals on, in front of the command."""

from __future__ import annotations

import os
from collections.abc import Sequence

from proa.engine.layout import Layout
from proa.errors import from_os_error
from proa.fs.atomicfile import save_file
from proa.oci.spec import Mount
from proa.runtime.init.image import build_init

PLACE = "/dev/init"
"""On the container's own tmpfs: nothing is made in its root."""


def add_init(
    layout: Layout, arguments: tuple[str, ...], mounts: Sequence[Mount]
) -> tuple[tuple[str, ...], tuple[Mount, ...]]:
    """Return arguments and mounts of a container whose process 1 is the engine's init.

    Raises:
        Unsupported: there is none for this machine.
    """
    mount = Mount(
        destination=PLACE,
        type="bind",
        source=_ensure_file(layout),
        options=("bind", "ro", "nosuid", "nodev", "rprivate"),
    )
    return (PLACE, *arguments), (*mounts, mount)


def _ensure_file(layout: Layout) -> str:
    """Return the path of the program, which is written once; its name says what is in it."""
    program = build_init()
    path = f"{layout.root}/init-{hash_of(program)}"
    if not os.path.exists(path):
        try:
            save_file(path, program, mode=0o755, durable=False)
        except OSError as error:
            raise from_os_error(error, f"cannot write {path}") from error
    return path


def hash_of(program: bytes) -> str:
    """Sixteen hexadecimal digits that name a program."""
    import hashlib

    return hashlib.sha256(program).hexdigest()[:16]
