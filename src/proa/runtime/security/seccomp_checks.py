"""Argument checks of a seccomp filter, as BPF.

An argument is 64 bits of ``struct seccomp_data``, BPF's accumulator has 32: a check looks at the
upper word, then the lower one. Where the call itself reads only 32 bits the upper word says nothing
and is not looked at.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from proa.linux import bpf, seccomp

Condition: TypeAlias = tuple[int, str, int, int, bool]
"""Index, operator, value, value_two, and whether the call reads 32 bits of the argument only."""

Conditions: TypeAlias = tuple[Condition, ...]

Decision: TypeAlias = "int | tuple[tuple[Conditions, int], ...]"
"""What a filter returns for a call: a value, or rules of which the first that matches counts."""

_LOW = 0xFFFFFFFF
_SIGN_EXTENSION = 0xFFFFFFFF80000000

# Negated operators: the same check with the branches exchanged.
_NEGATIONS = {
    "SCMP_CMP_NE": "SCMP_CMP_EQ",
    "SCMP_CMP_LT": "SCMP_CMP_GE",
    "SCMP_CMP_LE": "SCMP_CMP_GT",
}
_LOW_JUMPS = {
    "SCMP_CMP_EQ": bpf.JMP_JEQ_K,
    "SCMP_CMP_GT": bpf.JMP_JGT_K,
    "SCMP_CMP_GE": bpf.JMP_JGE_K,
}


class Target(NamedTuple):
    """A place to go on at: ``entry``, or ``loaded`` when A already holds the word that it needs."""

    entry: int
    word: int = -1
    loaded: int = -1

    def when_a_holds(self, word: int) -> int:
        """Return the label to jump to while A holds the word at that offset."""
        return self.loaded if word == self.word else self.entry


class Checks:
    """Emits decisions into a program; equal decisions are emitted once."""

    def __init__(self, assembler: bpf.Assembler, default: int) -> None:
        self._assembler = assembler
        self._default = default
        self._emitted: dict[Decision, int] = {}

    def emit(self, decision: Decision) -> int:
        """Emit a decision, or find it; return its label."""
        if isinstance(decision, int):
            return self._assembler.ret(decision)
        label = self._emitted.get(decision)
        if label is None:
            otherwise = Target(self._assembler.ret(self._default))
            for conditions, value in reversed(decision):
                matched = Target(self._assembler.ret(value))
                for condition in reversed(conditions):
                    matched = self._check(condition, matched, otherwise)
                otherwise = matched
            label = self._emitted[decision] = otherwise.entry
        return label

    def _check(self, condition: Condition, yes: Target, no: Target) -> Target:
        index, operator, value, value_two, narrow = condition
        if operator in _NEGATIONS:
            operator = _NEGATIONS[operator]
            yes, no = no, yes
        low = seccomp.DATA_ARGS + 8 * index
        check = self._masked if operator == "SCMP_CMP_MASKED_EQ" else self._compare
        if narrow:
            value, value_two = _narrowed(value), _narrowed(value_two)
        return check(operator, low, value, value_two, narrow, yes, no)

    def _compare(
        self, operator: str, low: int, value: int, _: int, narrow: bool, yes: Target, no: Target
    ) -> Target:
        """EQ, GT or GE, unsigned."""
        if narrow:
            if value > _LOW:
                return no
            return self._word(low, _LOW_JUMPS[operator], value, yes, no)
        high, upper = low + 4, value >> 32
        lower = self._word(low, _LOW_JUMPS[operator], value & _LOW, yes, no)
        if operator == "SCMP_CMP_EQ":
            return self._word(high, bpf.JMP_JEQ_K, upper, lower, no)
        if upper == 0:
            return self._word(high, bpf.JMP_JGT_K, 0, yes, lower)
        assembler = self._assembler
        equal = assembler.branch(
            bpf.JMP_JEQ_K, upper, lower.when_a_holds(high), no.when_a_holds(high)
        )
        return self._word(high, bpf.JMP_JGT_K, upper, yes, Target(equal, high, equal))

    def _masked(
        self, _: str, low: int, mask: int, value: int, narrow: bool, yes: Target, no: Target
    ) -> Target:
        """``argument & mask == value``."""
        if narrow:
            mask &= _LOW
        if value & ~mask:
            return no
        target = yes
        for word, shift in ((low, 0), (low + 4, 32)):
            part = mask >> shift & _LOW
            wanted = value >> shift & _LOW
            if part == _LOW:
                target = self._word(word, bpf.JMP_JEQ_K, wanted, target, no)
            elif part and not wanted:
                target = self._word(word, bpf.JMP_JSET_K, part, no, target)
            elif part:
                # The AND spoils A: nothing that follows may take the word as loaded.
                equal = self._assembler.branch(bpf.JMP_JEQ_K, wanted, target.entry, no.entry)
                masked = self._assembler.mask(part, equal)
                target = Target(self._assembler.load(word, masked), word, masked)
        return target

    def _word(self, word: int, operation: int, value: int, yes: Target, no: Target) -> Target:
        """Compare one word of the data."""
        true, false = yes.when_a_holds(word), no.when_a_holds(word)
        loaded = self._assembler.branch(operation, value, true, false)
        return Target(self._assembler.load(word, loaded), word, loaded)


def _narrowed(value: int) -> int:
    """Undo the sign extension of a negative 32-bit number written as 64 bits (-1 as 2**64 - 1)."""
    return value & _LOW if value >= _SIGN_EXTENSION else value
