"""Classic BPF, as seccomp(2) takes it: an assembler that builds programs from their end.

A classic BPF program only jumps forward and its conditional jumps reach 255 instructions. Emitting
the last instruction first makes every jump's target known when the jump is written, so that one
pass is enough: where a target is out of reach the assembler puts a copy of it (a return) or a long
jump (anything else) within reach.

Only what the kernel's seccomp checker accepts is here (``seccomp_check_filter`` in
``kernel/seccomp.c``): 32-bit loads from ``struct seccomp_data``, jumps, AND and RET. Loads of the
call's number and architecture, jumps and returns are also what the kernel can evaluate ahead of
time: system calls that it proves always allowed skip the filter altogether (Linux 5.11).

Sources: ``Documentation/networking/filter.rst``, ``linux/filter.h``, ``linux/seccomp.h``.
"""

from __future__ import annotations

import struct

LD_W_ABS = 0x20
ALU_AND_K = 0x54
JMP_JA = 0x05
JMP_JEQ_K = 0x15
JMP_JGT_K = 0x25
JMP_JGE_K = 0x35
JMP_JSET_K = 0x45
RET_K = 0x06

MAX_INSTRUCTIONS = 4096
"""BPF_MAXINSNS: the kernel refuses longer programs."""

INSTRUCTION_BYTES = 8
"""Size of ``struct sock_filter``."""

_REACH = 255


class Assembler:
    """Builds one program from its end.

    A *label* is what the emitting methods return: the address of an instruction that instructions
    emitted later (and so earlier in the program) may jump to. Labels stay valid.
    """

    def __init__(self) -> None:
        # Reversed; each instruction is the 64 bits of its struct sock_filter: code, jt, jf, k.
        self._code: list[int] = []
        self._returns: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._code)

    def ret(self, value: int) -> int:
        """Return ``value`` from the program. Equal returns share one instruction while in reach."""
        label = self._returns.get(value)
        if label is None or len(self._code) - label > _REACH:
            label = self._returns[value] = self._emit(RET_K | value << 32)
        return label

    def load(self, offset: int, then: int) -> int:
        """Load the 32-bit word at ``offset`` of the data into A and go on at ``then``."""
        return self._straight(LD_W_ABS | offset << 32, then)

    def mask(self, value: int, then: int) -> int:
        """AND A with ``value`` and go on at ``then``."""
        return self._straight(ALU_AND_K | value << 32, then)

    def branch(self, operation: int, value: int, true: int, false: int) -> int:
        """Compare A with ``value`` and go on at one of two labels.

        Args:
            operation: one of the ``JMP_J*_K`` codes; comparisons are unsigned.
            value: 32-bit operand.
            true: where to go when the comparison holds.
            false: where to go when it does not.
        """
        if true == false:
            return true
        code = self._code
        while True:
            here = len(code)
            if here - true > _REACH:
                true = self._nearer(true)
            elif here - false > _REACH:
                false = self._nearer(false)
            else:
                break
        code.append(operation | (here - true) << 16 | (here - false) << 24 | value << 32)
        return here + 1

    def pack(self) -> bytes:
        """Return the program as an array of ``struct sock_filter``; the last emitted is first.

        Raises:
            ValueError: it is longer than :data:`MAX_INSTRUCTIONS`.
        """
        if len(self._code) > MAX_INSTRUCTIONS:
            raise ValueError(f"{len(self._code)} instructions, {MAX_INSTRUCTIONS} are possible")
        # Composed as integers, which is struct sock_filter on little-endian machines: all that Proa
        # has system call tables for.
        return struct.pack(f"<{len(self._code)}Q", *reversed(self._code))

    def _emit(self, instruction: int) -> int:
        self._code.append(instruction)
        return len(self._code)

    def _straight(self, instruction: int, then: int) -> int:
        distance = len(self._code) - then
        if distance:
            self._emit(JMP_JA | distance << 32)
        return self._emit(instruction)

    def _nearer(self, label: int) -> int:
        instruction = self._code[label - 1]
        if instruction & 0xFFFF == RET_K:
            return self.ret(instruction >> 32)
        return self._emit(JMP_JA | (len(self._code) - label) << 32)
