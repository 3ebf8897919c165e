"""System call names to numbers, for the architectures whose seccomp filters Proa compiles.

Tables are loaded when a filter is first compiled and never before: a process that only starts
containers with a ready filter pays nothing for them. Architectures are named as libseccomp names
them without the prefix, in lower case: ``x86_64``, ``x86`` (i386), ``x32``, ``aarch64``, ``arm``
(EABI).

Names are the kernel's (``asm/unistd.h``); x32 numbers are without their marker bit 0x40000000.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

ARCHITECTURES = ("x86_64", "x86", "x32", "aarch64", "arm")

_numbers: dict[str, Mapping[str, int]] = {}
_narrow: Mapping[str, int] | None = None


def numbers(architecture: str) -> Mapping[str, int]:
    """Return name to number for one of :data:`ARCHITECTURES`.

    Raises:
        KeyError: Proa has no table for that architecture.
    """
    table = _numbers.get(architecture)
    if table is None:
        if architecture not in ARCHITECTURES:
            raise KeyError(architecture)
        table = {}
        number = 0
        for token in _runs(architecture):
            if token[0].isdigit():
                number = int(token)
            else:
                table[token] = number
                number += 1
        _numbers[architecture] = table
    return table


def narrow_arguments() -> Mapping[str, int]:
    """Return name to bit mask of the arguments that a 64-bit kernel reads as 32 bits or fewer.

    The upper half of such a register is ignored by the system call and must be ignored by a filter:
    ``socket(0x100000028, ...)`` is ``socket(AF_VSOCK, ...)``.
    """
    global _narrow
    if _narrow is None:
        masks: dict[str, int] = {}
        mask = 0
        for token in _runs("narrow"):
            if token[0].isdigit():
                mask = int(token)
            else:
                masks[token] = mask
        _narrow = masks
    return _narrow


def _runs(module: str) -> list[str]:
    runs: str = import_module(f"{__name__}.{module}").RUNS
    return runs.split()
