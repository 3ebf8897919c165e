"""Seccomp filters of containers: the default, profiles from files, and the compiled programs.

Compiled programs are remembered: passing the shared default object to :func:`compile_spec` costs a
look-up. The default profile depends on the container's capabilities only through those that it
names, so nearly all containers share one program.

The functions here may be called from one thread at a time, as in the supervisor and the zygote.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeVar

from proa.errors import Invalid
from proa.linux import seccomp as abi
from proa.oci.seccomp import LinuxSeccomp
from proa.runtime.security import seccomp_compile, seccomp_profile

FLAGS = {
    # The filter is loaded by the only thread of a process that is about to call execve: there is
    # nothing to synchronize, and the kernel refuses TSYNC beside a listener.
    "SECCOMP_FILTER_FLAG_TSYNC": 0,
    "SECCOMP_FILTER_FLAG_LOG": abi.FILTER_FLAG_LOG,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": abi.FILTER_FLAG_SPEC_ALLOW,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": abi.FILTER_FLAG_WAIT_KILLABLE_RECV,
}

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")

_MAX_REMEMBERED = 16

_default: seccomp_profile.Profile | None = None
_relevant: frozenset[str] = frozenset()
_resolved: dict[frozenset[str], LinuxSeccomp] = {}
_by_identity: dict[int, tuple[LinuxSeccomp, bytes]] = {}
_by_value: dict[LinuxSeccomp, bytes] = {}


def default_profile(capabilities: Collection[str]) -> LinuxSeccomp:
    """Return the default filter for a bounding set; equal needs share one object.

    Args:
        capabilities: ``CAP_*`` names of the container's bounding set.
    """
    global _default, _relevant
    if _default is None:
        _default = seccomp_profile.load_default()
        _relevant = seccomp_profile.relevant_capabilities(_default)
    key = _relevant.intersection(capabilities)
    spec = _resolved.get(key)
    if spec is None:
        _forget_oldest(_resolved)
        spec = _resolved[key] = seccomp_profile.resolve(_default, key)
    return spec


def default_filter(capabilities: Collection[str]) -> bytes:
    """Return the compiled default filter for a bounding set (``CAP_*`` names)."""
    return compile_spec(default_profile(capabilities))


def load_profile(source: str | bytes, capabilities: Collection[str]) -> LinuxSeccomp:
    """Load ``--security-opt seccomp=FILE``, in Docker's format or the OCI's.

    Args:
        source: a path, or the JSON itself.
        capabilities: ``CAP_*`` names of the container's bounding set.

    Raises:
        Invalid: not a profile, or one that does not compile.
        Unsupported: an action that this machine cannot do.
        ProaError: the file cannot be read.
    """
    if isinstance(source, str):
        profile = seccomp_profile.load(source)
    else:
        profile = seccomp_profile.parse(source, "the seccomp profile")
    spec = seccomp_profile.resolve(profile, capabilities)
    compile_spec(spec)
    filter_flags(spec)
    return spec


def compile_spec(seccomp: LinuxSeccomp) -> bytes:
    """Return the compiled filter: a packed array of ``struct sock_filter``. Remembered.

    Raises:
        Invalid, Unsupported: see :func:`seccomp_compile.compile_program`.
    """
    known = _by_identity.get(id(seccomp))
    if known is not None:
        # The entry keeps its object alive: the identity cannot be another object's.
        return known[1]
    program = _by_value.get(seccomp)
    if program is None:
        program = seccomp_compile.compile_program(seccomp)
        _forget_oldest(_by_value)
        _by_value[seccomp] = program
    _forget_oldest(_by_identity)
    _by_identity[id(seccomp)] = (seccomp, program)
    return program


def filter_flags(seccomp: LinuxSeccomp) -> int:
    """Return the flags for seccomp(2), ``FILTER_FLAG_NEW_LISTENER`` among them when needed.

    Raises:
        Invalid: an unknown flag.
    """
    flags = 0
    for name in seccomp.flags:
        if name not in FLAGS:
            raise Invalid(f"unknown seccomp flag {name!r}", f"known are {', '.join(FLAGS)}")
        flags |= FLAGS[name]
    if any(rule.action == "SCMP_ACT_NOTIFY" for rule in seccomp.syscalls):
        flags |= abi.FILTER_FLAG_NEW_LISTENER
    return flags


def _forget_oldest(cache: dict[_Key, _Value]) -> None:
    if len(cache) >= _MAX_REMEMBERED:
        del cache[next(iter(cache))]
