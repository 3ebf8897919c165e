"""A classic BPF machine as the kernel has one for seccomp: it runs compiled filters.

Written from ``kernel/seccomp.c`` and ``net/core/filter.c``; it shares nothing with the assembler.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple


class Run(NamedTuple):
    """What a program returned, and after how many instructions."""

    value: int
    steps: int


class Program:
    """A program that passed the kernel's checks.

    Raises:
        ValueError: the kernel would refuse it (``bpf_check_classic``, ``seccomp_check_filter``).
    """

    def __init__(self, packed: bytes) -> None:
        self.instructions = list(struct.iter_unpack("<HBBI", packed))
        count = len(self.instructions)
        if not 0 < count <= 4096:
            raise ValueError(f"{count} instructions")
        for here, (code, true, false, operand) in enumerate(self.instructions):
            if code == 0x20:
                if operand % 4 or operand >= 64:
                    raise ValueError(f"load of offset {operand}")
            elif code == 0x05:
                if operand >= count - here - 1:
                    raise ValueError("jump out of the program")
            elif code in (0x15, 0x25, 0x35, 0x45):
                if here + max(true, false) + 1 >= count:
                    raise ValueError("branch out of the program")
            elif code not in (0x06, 0x54):
                raise ValueError(f"instruction {code:#x}")
        if self.instructions[-1][0] != 0x06:
            raise ValueError("the last instruction does not return")

    def __len__(self) -> int:
        return len(self.instructions)

    def run(self, arch: int, number: int, args: Sequence[int] = ()) -> Run:
        """Judge one call: its AUDIT_ARCH_*, its number and up to six 64-bit arguments."""
        padded = [*args, *[0] * (6 - len(args))]
        data = struct.pack("<IIQ6Q", number, arch, 0, *padded)
        words = struct.unpack("<16I", data)
        accumulator = at = steps = 0
        while True:
            code, true, false, operand = self.instructions[at]
            steps += 1
            at += 1
            if code == 0x20:
                accumulator = words[operand // 4]
            elif code == 0x54:
                accumulator &= operand
            elif code == 0x05:
                at += operand
            elif code == 0x06:
                return Run(operand, steps)
            else:
                at += true if _holds(code, accumulator, operand) else false


def _holds(code: int, accumulator: int, operand: int) -> bool:
    if code == 0x15:
        return accumulator == operand
    if code == 0x25:
        return accumulator > operand
    if code == 0x35:
        return accumulator >= operand
    return bool(accumulator & operand)
