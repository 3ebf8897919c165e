"""Docker's seccomp profile format, and its reduction to the OCI's ``linux.seccomp``.

A Docker profile says more than a filter: rules hold only for some architectures, capabilities or
kernels (``includes``, ``excludes``), and ``archMap`` says which foreign calls a machine also runs.
Resolving a profile for a container leaves plain OCI data. A document in the OCI's own format passes
through: it is the same format without those members.

Source: moby/profiles ``seccomp/seccomp.go`` (types) and ``seccomp_linux.go`` (resolution).
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection

import msgspec

from proa.errors import Invalid, from_os_error
from proa.oci.seccomp import LinuxSeccomp, LinuxSeccompArg, LinuxSyscall

MAX_PROFILE_BYTES = 4 << 20
"""Refuse larger files: Docker's profile has 14 KB."""

_DEFAULT_PATH = os.path.join(os.path.dirname(__file__), "seccomp_default.json")

# Machine as uname(2) says it -> (name in includes and excludes, name in archMap).
_NATIVE = {
    "x86_64": ("amd64", "SCMP_ARCH_X86_64"),
    "i686": ("x86", "SCMP_ARCH_X86"),
    "i386": ("x86", "SCMP_ARCH_X86"),
    "aarch64": ("arm64", "SCMP_ARCH_AARCH64"),
    "armv7l": ("arm", "SCMP_ARCH_ARM"),
    "armv6l": ("arm", "SCMP_ARCH_ARM"),
}


class Condition(msgspec.Struct, frozen=True, rename="camel"):
    """``includes`` or ``excludes`` of a rule; every list that is given must hold."""

    caps: tuple[str, ...] | None = None
    arches: tuple[str, ...] | None = None
    min_kernel: str | None = None


class Rule(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A rule of a Docker profile; ``name`` is the form of profiles before Docker 1.13."""

    names: tuple[str, ...] | None = None
    name: str = ""
    action: str
    errno_ret: int | None = None
    args: tuple[LinuxSeccompArg, ...] | None = None
    includes: Condition | None = None
    excludes: Condition | None = None


class ArchMap(msgspec.Struct, frozen=True, rename="camel"):
    """The foreign system calls that machines of an architecture also run."""

    architecture: str
    sub_architectures: tuple[str, ...] | None = None


class Profile(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A Docker profile as written; members that Proa does not know are ignored, as Docker does."""

    default_action: str = ""
    default_errno_ret: int | None = None
    architectures: tuple[str, ...] | None = None
    arch_map: tuple[ArchMap, ...] | None = None
    flags: tuple[str, ...] | None = None
    listener_path: str = ""
    listener_metadata: str = ""
    syscalls: tuple[Rule, ...] | None = None


def load_default() -> Profile:
    """Load the profile that Proa ships: Docker's, as of moby/profiles in June 2026."""
    with open(_DEFAULT_PATH, "rb") as file:
        return parse(file.read(), "the default seccomp profile")


def load(path: str) -> Profile:
    """Load a profile from a file.

    Raises:
        NotFound, Forbidden ...: the file cannot be read.
        Invalid: it is too large or not a profile.
    """
    try:
        with open(path, "rb") as file:
            document = file.read(MAX_PROFILE_BYTES + 1)
    except OSError as error:
        raise from_os_error(error, f"cannot read the seccomp profile {path}") from error
    return parse(document, f"the seccomp profile {path}")


def parse(document: bytes, name: str) -> Profile:
    """Parse a profile's JSON.

    Args:
        document: Docker's format or the OCI's.
        name: what to call it in errors.

    Raises:
        Invalid: it is too large, not JSON, or not a profile.
    """
    if len(document) > MAX_PROFILE_BYTES:
        raise Invalid(f"{name} is larger than {MAX_PROFILE_BYTES} bytes")
    try:
        profile = msgspec.json.decode(document, type=Profile)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"{name} is not valid: {error}") from error
    if not profile.default_action:
        # Docker takes such a file as "no filter"; one that says nothing must not disarm anything.
        raise Invalid(
            f"{name} has no defaultAction", "to run without a filter use seccomp=unconfined"
        )
    if profile.architectures and profile.arch_map:
        raise Invalid(f"{name} has both architectures and archMap", "leave one of them out")
    for rule in profile.syscalls or ():
        if rule.name and rule.names:
            raise Invalid(f"{name} has both name and names in one rule ({rule.name})")
        if not (rule.name or rule.names):
            raise Invalid(f"{name} has a rule without names")
    return profile


def resolve(
    profile: Profile,
    capabilities: Collection[str],
    *,
    machine: str | None = None,
    kernel: tuple[int, int] | None = None,
) -> LinuxSeccomp:
    """Reduce a profile to what holds for one container on one machine.

    Args:
        profile: the profile.
        capabilities: the container's bounding set, ``CAP_*`` names.
        machine: architecture as uname(2) says it; this machine's by default.
        kernel: version and patch level; the running kernel's by default.

    Raises:
        Invalid: a ``minKernel`` that is no version.
    """
    machine = machine or os.uname().machine
    kernel = kernel or parse_kernel(os.uname().release)
    short, native = _NATIVE.get(machine, (machine, ""))
    architectures = profile.architectures or ()
    for entry in profile.arch_map or ():
        if entry.architecture == native:
            architectures = (native, *(entry.sub_architectures or ()))
            break
    rules = [
        LinuxSyscall(
            names=rule.names or (rule.name,),
            action=rule.action,
            errno_ret=rule.errno_ret,
            args=rule.args or (),
        )
        for rule in profile.syscalls or ()
        if _holds(rule, capabilities, short, kernel)
    ]
    return LinuxSeccomp(
        default_action=profile.default_action,
        default_errno_ret=profile.default_errno_ret,
        architectures=architectures,
        flags=profile.flags or (),
        listener_path=profile.listener_path,
        listener_metadata=profile.listener_metadata,
        syscalls=tuple(rules),
    )


def parse_kernel(release: str) -> tuple[int, int]:
    """Return version and patch level of a release (``6.18.44-amd64`` is 6, 18).

    Raises:
        Invalid: the text does not begin with two numbers.
    """
    match = re.match(r"(\d{1,9})\.(\d{1,9})", release)
    if match is None:
        raise Invalid(f"{release!r} is not a kernel version", "write it as 4.8")
    return int(match[1]), int(match[2])


def relevant_capabilities(profile: Profile) -> frozenset[str]:
    """Return the capabilities that a profile names: no others make a difference to it."""
    found: set[str] = set()
    for rule in profile.syscalls or ():
        for condition in (rule.includes, rule.excludes):
            if condition is not None and condition.caps:
                found.update(condition.caps)
    return frozenset(found)


def _holds(rule: Rule, capabilities: Collection[str], arch: str, kernel: tuple[int, int]) -> bool:
    excludes, includes = rule.excludes, rule.includes
    if excludes is not None and (
        arch in (excludes.arches or ())
        or any(name in capabilities for name in excludes.caps or ())
        or (excludes.min_kernel is not None and kernel >= parse_kernel(excludes.min_kernel))
    ):
        return False
    return includes is None or (
        (not includes.arches or arch in includes.arches)
        and all(name in capabilities for name in includes.caps or ())
        and (includes.min_kernel is None or kernel >= parse_kernel(includes.min_kernel))
    )
