"""libseccomp through ctypes: the reference that tests and benchmarks compare with.

Source: seccomp(3), ``seccomp.h``.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from typing import Any

from proa.oci.seccomp import LinuxSeccomp
from tests.support import seccomp_oracle

ARCHITECTURES: Mapping[str, int] = {
    "x86_64": 0xC000003E,
    "x86": 0x40000003,
    "x32": 0x4000003E,
    "aarch64": 0xC00000B7,
    "arm": 0x40000028,
}

_OPERATORS = {"NE": 1, "LT": 2, "LE": 3, "EQ": 4, "GE": 5, "GT": 6, "MASKED_EQ": 7}
_UNKNOWN = -1
_ATTRIBUTE_OPTIMIZE = 8
_EEXIST = 17


class _Compare(ctypes.Structure):
    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("a", ctypes.c_uint64),
        ("b", ctypes.c_uint64),
    )


def load() -> Any:
    """Load the library.

    Raises:
        OSError: it is not installed.
    """
    library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    library.seccomp_init.restype = ctypes.c_void_p
    return library


def resolve(library: Any, architecture: str, name: str) -> int | None:
    """Return a call's number, negative for libseccomp's own stand-ins, None for an unknown name."""
    token = ctypes.c_uint32(ARCHITECTURES[architecture])
    number: int = library.seccomp_syscall_resolve_name_arch(token, name.encode())
    return None if number == _UNKNOWN else number


def compile_spec(library: Any, spec: LinuxSeccomp, *, tree: bool = False) -> bytes:
    """Compile a filter as runc does.

    Args:
        library: from :func:`load`.
        spec: the filter.
        tree: let libseccomp search in a binary tree.
    """
    default = seccomp_oracle.action(spec.default_action, spec.default_errno_ret)
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(default)))
    if not context:
        raise OSError("seccomp_init failed")
    try:
        for name in spec.architectures:
            token = ARCHITECTURES[name.removeprefix("SCMP_ARCH_").lower()]
            result = library.seccomp_arch_add(context, ctypes.c_uint32(token))
            if result not in (0, -_EEXIST):
                raise OSError(-result, f"seccomp_arch_add {name}")
        if tree:
            library.seccomp_attr_set(context, _ATTRIBUTE_OPTIMIZE, ctypes.c_uint32(2))
        for rule in spec.syscalls:
            value = seccomp_oracle.action(rule.action, rule.errno_ret)
            if value == default:
                continue
            compares = (_Compare * len(rule.args))(
                *(
                    _Compare(arg.index, _OPERATORS[arg.op[9:]], arg.value, arg.value_two)
                    for arg in rule.args
                )
            )
            for name in rule.names:
                number = library.seccomp_syscall_resolve_name(name.encode())
                if number == _UNKNOWN:
                    continue
                result = library.seccomp_rule_add_array(
                    context, ctypes.c_uint32(value), number, len(compares), compares
                )
                if result:
                    raise OSError(-result, f"seccomp_rule_add {name}")
        return _export(library, context)
    finally:
        library.seccomp_release(context)


def _export(library: Any, context: ctypes.c_void_p) -> bytes:
    fd = os.memfd_create("filter")
    try:
        result = library.seccomp_export_bpf(context, fd)
        if result:
            raise OSError(-result, "seccomp_export_bpf")
        return os.pread(fd, 1 << 20, 0)
    finally:
        os.close(fd)
