"""``linux.seccomp`` of the OCI runtime spec 1.2: a system call filter as data."""

from __future__ import annotations

import msgspec


class LinuxSeccompArg(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"
):
    """One condition on a system call's argument.

    Attributes:
        index: 0 to 5.
        value: operand; the mask for ``SCMP_CMP_MASKED_EQ``.
        value_two: the value compared with after masking.
        op: ``SCMP_CMP_NE|LT|LE|EQ|GE|GT|MASKED_EQ``.
    """

    index: int
    value: int
    value_two: int = 0
    op: str


class LinuxSyscall(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """A rule: these system calls, when all ``args`` hold, get ``action``."""

    names: tuple[str, ...]
    action: str
    errno_ret: int | None = None
    args: tuple[LinuxSeccompArg, ...] = ()


class LinuxSeccomp(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """A whole filter; ``architectures`` and actions are libseccomp's words (``SCMP_ACT_ERRNO``)."""

    default_action: str
    default_errno_ret: int | None = None
    architectures: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    listener_path: str = ""
    listener_metadata: str = ""
    syscalls: tuple[LinuxSyscall, ...] = ()
