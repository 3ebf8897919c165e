"""Who the process is: limits, working directory, credentials, capabilities.

Order (capabilities(7), credentials(7)): the bounding set is lowered while CAP_SETPCAP is there,
ids change under PR_SET_KEEPCAPS when capabilities must survive, then the sets are written.
Changing ids clears the parent-death signal, so it is set again after that and the parent looked at.
"""

from __future__ import annotations

import os
import struct
from functools import lru_cache

from proa.linux import capability
from proa.linux.process import (
    PR_CAP_AMBIENT,
    PR_CAP_AMBIENT_CLEAR_ALL,
    PR_CAP_AMBIENT_RAISE,
    PR_CAPBSET_DROP,
    PR_SET_DUMPABLE,
    PR_SET_KEEPCAPS,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
)
from proa.linux.syscalls import AT_FDCWD
from proa.oci.spec import LinuxCapabilities, User
from proa.runtime import slots
from proa.runtime.plan import Segment, SlotAddress, Steps
from proa.runtime.steps import target

_SIGKILL = 9
_KEYCTL_JOIN_SESSION_KEYRING = 1
_TIMESPEC_ZERO = bytes(16)
_DEFAULT_UMASK = 0o022

CWD_STEP = "enter the working directory"


@lru_cache(maxsize=8)
def limits(values: tuple[tuple[int, int, int], ...]) -> Segment:
    """Resource limits: number, soft and hard of each (2**64-1 for unlimited)."""
    steps = Steps()
    for number, soft, hard in values:
        steps.add(
            "set a resource limit", "prlimit64", 0, number, struct.pack("<2Q", soft, hard), None
        )
    return steps.compile("limits")


@lru_cache(maxsize=16)
def working_directory(path: str, *, make: bool) -> Segment:
    """Enter the working directory; ``/`` is the current one already.

    No magic link is followed and nothing above the root is reachable, so that a descriptor of the
    host's that is still open leads nowhere (CVE-2024-21626).
    """
    steps = Steps()
    if path != "/":
        name = f"{CWD_STEP} {path}"
        if make:
            place = target.make_directories(steps, name, path, root=AT_FDCWD)
        else:
            flags = os.O_PATH | os.O_DIRECTORY
            place = target.open_path(steps, name, path, flags, root=AT_FDCWD)
        steps.add(name, "fchdir", place)
    return steps.compile("working directory")


@lru_cache(maxsize=4)
def session_keyring(name: str) -> Segment:
    """A fresh session keyring: the engine's keys are not the container's."""
    steps = Steps()
    steps.add(
        "make the session keyring",
        "keyctl",
        _KEYCTL_JOIN_SESSION_KEYRING,
        name.encode(),
        tolerate=(38,),  # ENOSYS: a kernel without keys
    )
    return steps.compile("keyring")


@lru_cache(maxsize=4)
def personality(value: int) -> Segment:
    """Set the execution domain (personality(2))."""
    steps = Steps()
    steps.add("set the personality", "personality", value)
    return steps.compile("personality")


@lru_cache(maxsize=4)
def affinity(mask: bytes) -> Segment:
    """Keep to some CPUs, once the cgroups are joined (sched_setaffinity(2))."""
    steps = Steps()
    steps.add("set the CPU affinity", "sched_setaffinity", 0, len(mask), mask)
    return steps.compile("affinity")


@lru_cache(maxsize=16)
def bounding_set(bounding: tuple[str, ...], last_capability: int) -> Segment:
    """Drop every capability that is not in ``bounding`` for good."""
    kept = capability.mask_of(bounding)
    steps = Steps()
    for number in range(last_capability + 1):
        if not kept >> number & 1:
            steps.add("lower the bounding set", "prctl", PR_CAPBSET_DROP, number, 0, 0, 0)
    return steps.compile("bounding set")


@lru_cache(maxsize=16)
def user(identity: User, *, keep_capabilities: bool) -> Segment:
    """Groups, then ids, then the umask."""
    steps = Steps()
    if keep_capabilities:
        steps.add("keep capabilities", "prctl", PR_SET_KEEPCAPS, 1, 0, 0, 0)
    groups = identity.additional_gids
    packed = struct.pack(f"<{len(groups)}I", *groups) if groups else None
    steps.add("set supplementary groups", "setgroups", len(groups), packed)
    steps.add("set the group", "setresgid", identity.gid, identity.gid, identity.gid)
    steps.add("set the user", "setresuid", identity.uid, identity.uid, identity.uid)
    if keep_capabilities:
        steps.add("keep capabilities", "prctl", PR_SET_KEEPCAPS, 0, 0, 0, 0)
    umask = _DEFAULT_UMASK if identity.umask is None else identity.umask
    steps.add("set the umask", "umask", umask)
    return steps.compile("user")


@lru_cache(maxsize=16)
def capabilities(sets: LinuxCapabilities, *, no_new_privileges: bool) -> Segment:
    """Write the sets; then nothing executed may gain more."""
    steps = Steps()
    name = "set capabilities"
    ambient = capability.mask_of(sets.ambient)
    steps.add(
        name,
        "capset",
        capability.encode_capset_header(),
        capability.encode_capset_data(
            effective=capability.mask_of(sets.effective),
            permitted=capability.mask_of(sets.permitted),
            inheritable=capability.mask_of(sets.inheritable),
        ),
    )
    steps.add(name, "prctl", PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    for number in range(ambient.bit_length()):
        if ambient >> number & 1:
            steps.add(name, "prctl", PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number, 0, 0)
    if no_new_privileges:
        steps.add("forbid new privileges", "prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    return steps.compile("capabilities")


@lru_cache(maxsize=1)
def no_new_privileges() -> Segment:
    """Only that, for a process whose capability sets are left as they are."""
    steps = Steps()
    steps.add("forbid new privileges", "prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    return steps.compile("no new privileges")


@lru_cache(maxsize=1)
def guard() -> Segment:
    """Keep the address space, which may be the parent's, from being traced or dumped.

    A process that is already in the container could otherwise read the engine's memory through a
    child that shares it, once both have the same user (CVE-2016-9962 and kin).
    """
    steps = Steps()
    steps.add("protect the address space", "prctl", PR_SET_DUMPABLE, 0, 0, 0, 0)
    return steps.compile("guard")


@lru_cache(maxsize=1)
def outlive_parent() -> Segment:
    """Let the parent end: the container is to be started by another process."""
    steps = Steps()
    steps.add("outlive the runtime", "prctl", PR_SET_PDEATHSIG, 0, 0, 0, 0)
    return steps.compile("outlive parent")


@lru_cache(maxsize=1)
def follow_parent() -> Segment:
    """Die with the supervisor, also from here on; stop if it is dead by now."""
    steps = Steps()
    steps.add("die with the supervisor", "prctl", PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    steps.add(
        "look after the supervisor",
        "ppoll",
        SlotAddress(slots.POLL_PARENT),
        1,
        _TIMESPEC_ZERO,
        None,
        0,
        zero_only=True,
    )
    return steps.compile("follow parent")
