"""What a test may leave on the host: nothing.

:func:`take` reads every kind of thing that the engine makes outside its root: mounts, cgroups,
links, nftables tables, named network namespaces, processes, descriptors of the test process.
:func:`settle` waits, bounded, until what is new since a snapshot is gone: teardown continues in the
supervisor after the command has answered (architecture, section 7), and other suites may run beside
this one, whose containers come and go.
"""

from __future__ import annotations

import gc
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator

SETTLE_S = 5.0
_POLL_S = 0.02

Leaks = frozenset[str]


def take() -> Leaks:
    """Return one line per thing that exists now, each with its kind in front."""
    gc.collect()
    return frozenset(
        (
            *_mounts(),
            *_cgroups(),
            *_links(),
            *_nft_tables(),
            *_named_netns(),
            *_container_processes(),
            *_children(),
            *_descriptors(),
        )
    )


def settle(before: Leaks, timeout_s: float = SETTLE_S) -> list[str]:
    """Return what is new since ``before`` and does not go away within ``timeout_s``.

    Things that appear while waiting belong to somebody else and are not reported.
    """
    new = take() - before
    deadline = time.monotonic() + timeout_s
    while new and time.monotonic() < deadline:
        time.sleep(_POLL_S)  # sysfs, cgroupfs and mountinfo of others offer no common event
        new &= take()
    return sorted(new)


def _mounts() -> Iterator[str]:
    with open("/proc/self/mountinfo") as file:
        for line in file:
            fields = line.split()
            yield f"mount {fields[4]} ({fields[fields.index('-') + 1]})"


def _cgroups() -> Iterator[str]:
    for base in _cgroup_mounts():
        for path in _proa_groups(base):
            # What all containers share stays: the parent, as Docker's /docker does, and the group
            # of the default device list below it.
            if os.path.basename(path) not in ("proa", "proa.slice", "@devices"):
                yield f"cgroup {path}"


def _cgroup_mounts() -> Iterator[str]:
    with open("/proc/self/mountinfo") as file:
        for line in file:
            fields = line.split()
            if fields[fields.index("-") + 1] in ("cgroup", "cgroup2"):
                yield fields[4]


def _proa_groups(base: str, below: bool = False) -> Iterator[str]:
    try:
        entries = [entry.name for entry in os.scandir(base) if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return
    for name in entries:
        path = os.path.join(base, name)
        if below or "proa" in name:
            yield path
            yield from _proa_groups(path, below=True)
        else:
            yield from _proa_groups(path)


def _links() -> Iterator[str]:
    for name in os.listdir("/sys/class/net"):
        # The default bridge of an engine (proa-<mark>) stays until its root goes, as docker0 does.
        if name.startswith(("veth", "proa")) and not re.fullmatch(r"proa-[0-9a-f]{6}", name):
            yield f"link {name}"


def _nft_tables() -> Iterator[str]:
    nft = shutil.which("nft")
    if nft is None or os.geteuid() != 0:
        return
    result = subprocess.run([nft, "list", "tables"], capture_output=True, text=True, check=False)
    for line in result.stdout.splitlines():
        # So does its table (proa_<mark>).
        if "proa" in line and not re.search(r"proa_[0-9a-f]{6}$", line):
            yield f"nft {line}"


def _named_netns() -> Iterator[str]:
    for directory in ("/run/netns", "/run/proa/netns"):
        if os.path.isdir(directory):
            for name in os.listdir(directory):
                yield f"netns {directory}/{name}"


def _container_processes() -> Iterator[str]:
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cgroup") as file:
                inside = any("/proa" in line for line in file)
            if inside:
                yield f"process {pid} in a container's cgroup ({_start(pid)} {_comm(pid)})"
        except (FileNotFoundError, ProcessLookupError):
            continue


def _children() -> Iterator[str]:
    for task in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{task}/children") as file:
            for pid in file.read().split():
                try:
                    yield f"child {pid} of the tests ({_start(pid)} {_comm(pid)})"
                except (FileNotFoundError, ProcessLookupError):
                    continue


def _descriptors() -> Iterator[str]:
    parents: set[str] = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except FileNotFoundError:  # the listing's own descriptor
            continue
        if target in ("/proc/self/fd", f"/proc/{os.getpid()}/fd"):
            continue
        # One per hierarchy and process: the manager keeps the parent group of all containers open,
        # until its next use also one that another process has removed.
        parent = target.removesuffix(" (deleted)")
        ours = parent.startswith("/sys/fs/cgroup/") and parent.endswith("/proa")
        if ours and parent not in parents:
            parents.add(parent)
            continue
        yield f"descriptor {fd} -> {target}"


def _start(pid: str) -> str:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[19]


def _comm(pid: str) -> str:
    with open(f"/proc/{pid}/comm") as file:
        return file.read().strip()
