"""What commands may leave in an engine's root and in the kernel, told from what belongs there.

:func:`holdings` lists everything that a command can make, one line a thing, so that two looks can
be compared. :func:`contradictions` needs no earlier look: it names what a crash left by halves.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

from tests.support.engines import Proa

SETTLE_S = 3.0
_POLL_S = 0.01
_ID_DIGITS = 64


def holdings(proa: Proa) -> frozenset[str]:
    """Return what is in the root and the run directory: content, layers, containers, sockets."""
    return frozenset(
        (
            *_below(f"{proa.root}/containers"),
            *_below(f"{proa.root}/content/ingest"),
            *_below(f"{proa.root}/content/blobs/sha256"),
            *_below(f"{proa.root}/snapshots", skip=("l", "staging")),
            *_below(f"{proa.root}/snapshots/l"),
            *_below(f"{proa.root}/snapshots/staging"),
            *_below(f"{proa.root}/images", skip=("lock",)),
            *_below(f"{proa.root}/volumes"),
            *_below(f"{proa.run_dir}/c"),
        )
    )


def contradictions(proa: Proa) -> list[str]:
    """Return what does not fit together, after one command has had its look.

    Records without directory, directories without record, control sockets and cgroups of
    containers that do not run, staged content that has no name.
    """
    recorded = set(proa.containers())
    running = set(proa.ok("ps", "-q", "--no-trunc").split()) if recorded else set()
    directories = set(_names(f"{proa.root}/containers"))
    found = [f"record {name} without a directory" for name in recorded - directories]
    found += [f"directory {name} without a record" for name in directories - recorded]
    found += [
        f"control socket of {name}, which does not run"
        for name in set(_names(f"{proa.run_dir}/c")) - running
    ]
    found += [
        f"cgroup {path} of a container that does not run"
        for name, path in container_groups()
        if name in recorded - running
    ]
    found += _below(f"{proa.root}/content/ingest")
    found += _below(f"{proa.root}/snapshots/staging")
    found += [
        f"link {path} to nothing"
        for path in _below(f"{proa.root}/snapshots/l")
        if not os.path.exists(path)
    ]
    return sorted(found)


def container_groups() -> Iterator[tuple[str, str]]:
    """Yield id and path of the cgroups of containers on this machine, whoever's they are."""
    with open("/proc/self/mountinfo") as file:
        mounts = [
            fields[4]
            for fields in map(str.split, file)
            if fields[fields.index("-") + 1] in ("cgroup", "cgroup2")
        ]
    for mount in mounts:
        for name in _names(f"{mount}/proa"):
            if len(name) == _ID_DIGITS:
                yield name, f"{mount}/proa/{name}"


def settled(look: Callable[[], list[str]], timeout_s: float = SETTLE_S) -> list[str]:
    """Look until nothing is found, bounded; return what was found last.

    Teardown goes on after the answer, and what a killed process held is released by the kernel a
    moment later.
    """
    deadline = time.monotonic() + timeout_s
    while (found := look()) and time.monotonic() < deadline:
        time.sleep(_POLL_S)  # other processes' deeds; there is no event for all of them
    return found


def _below(directory: str, skip: tuple[str, ...] = ()) -> list[str]:
    return [f"{directory}/{name}" for name in _names(directory) if name not in skip]


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []
