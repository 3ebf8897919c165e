"""The launch plan: a finished list of system calls as data.

Everything is decided before the first of them runs. A :class:`Step` is one call, a
:class:`Segment` a compiled run of steps, a :class:`Plan` the segments of one launch in order. An
executor (:mod:`proa.runtime.executors`) copies the segments into an *arena*, starts a child and
lets it work through them; the child decides nothing but what the entries say: go on, skip, stop.

A segment is position independent: it names strings and earlier results by their distance from its
own start, and what comes from elsewhere (descriptors opened by the parent, results of other
segments) by *slot*. So a segment that is the same for every container is compiled once and copied,
and the bytes of a plan can be compared in a test.

Arena::

    0    failed    offset of the entry that failed, 0 while none has
    8    current   offset of the entry that runs
    16   stack     of the child; the machine code needs 64 bytes
    512  slots     8 bytes each
    4608 segments  16-byte aligned

Entry (80 bytes, little endian)::

    0   u32     system call number; 0xffffffff: go on args[0] bytes after the segment's start
    4   u32     bits 0-7 flags; then the kind of each argument, four bits each, argument 0 uppermost
    8   u64[6]  arguments
    56  i64     result, -errno for an error
    64  u64     time stamp counter after the call
    72  u8[4]   error numbers that are tolerated
    76  u16     offset of the slot that keeps the result, 0 for none
    78  u16     how many entries to skip
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from proa.linux.syscalls import number

ENTRY = struct.Struct("<II6QqQ4BHH")
ENTRY_BYTES = ENTRY.size
RESULT_OFFSET = 56
TICKS_OFFSET = 64

STACK_END = 512
SLOTS_OFFSET = 512
SLOT_BYTES = 8
SLOT_COUNT = 512

FLAG_TOLERATE_ALL = 1
FLAG_SKIP_ON_SUCCESS = 2
FLAG_SKIP_ON_ERROR = 4
FLAG_ZERO_ONLY = 8

KIND_SEGMENT = 1
KIND_ARENA = 2
KIND_VALUE = 4

_JUMP = 0xFFFFFFFF
_WORD = 0xFFFFFFFFFFFFFFFF
_FIRST_KIND_SHIFT = 28


class Slot(NamedTuple):
    """The value of a slot, when the call is made."""

    number: int


class SlotAddress(NamedTuple):
    """A pointer to a slot's eight bytes."""

    number: int


class Result(NamedTuple):
    """What an earlier step of the same segment returned."""

    number: int


class Vector(NamedTuple):
    """A pointer to a NULL-terminated array of pointers to these strings (argv, envp)."""

    items: tuple[bytes, ...]


class Record(NamedTuple):
    """A pointer to a structure that itself holds pointers.

    Attributes:
        data: the structure with zeros where the pointers go.
        pointers: offset in ``data`` and the bytes to point to.
    """

    data: bytes
    pointers: tuple[tuple[int, bytes], ...]


Argument = int | bytes | Slot | SlotAddress | Result | Vector | Record | None
"""``bytes`` are pointers to a copy with a NUL after it; None is NULL."""


class Step(msgspec.Struct, frozen=True):
    """One system call.

    Attributes:
        name: what it is for, in the words of an error message ("mount /proc").
        syscall: the kernel's name of the call.
        args: up to six.
        tolerate: error numbers (at most four) after which the plan goes on.
        tolerate_all: go on after any error.
        into: slot that keeps the result, 0 for none (slot 0 is never a target).
        skip: how many steps to leave out ...
        skip_on: ... after a ``success``, or after a tolerated ``error``.
        zero_only: a result above zero is a failure as well.
    """

    name: str
    syscall: str
    args: tuple[Argument, ...]
    tolerate: tuple[int, ...] = ()
    tolerate_all: bool = False
    into: int = 0
    skip: int = 0
    skip_on: str = ""
    zero_only: bool = False

    def describe(self) -> str:
        """One line: the call with its arguments and what is tolerated."""
        words = [_describe_argument(argument) for argument in self.args]
        if self.syscall == "execve":
            words[2:] = [_describe_environment(argument) for argument in self.args[2:]]
        line = f"{self.name}: {self.syscall}({', '.join(words)})"
        if self.into:
            line += f" -> slot {self.into}"
        if self.tolerate_all:
            line += " [any error]"
        elif self.tolerate:
            from errno import errorcode

            line += f" [{' '.join(errorcode[e] for e in self.tolerate)}]"
        if self.skip:
            line += f" [skip {self.skip} on {self.skip_on}]"
        return line


class Steps:
    """Collects the steps of one segment."""

    __slots__ = ("steps",)

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def add(
        self,
        name: str,
        syscall: str,
        *args: Argument,
        tolerate: tuple[int, ...] = (),
        tolerate_all: bool = False,
        into: int = 0,
        skip: int = 0,
        skip_on: str = "",
        zero_only: bool = False,
    ) -> Result:
        """Append a step; what it returns stands for its result in later steps."""
        self.steps.append(
            Step(name, syscall, args, tolerate, tolerate_all, into, skip, skip_on, zero_only)
        )
        return Result(len(self.steps) - 1)

    def compile(self, name: str) -> Segment:
        """The finished segment."""
        return Segment(name, self.steps)


class Segment:
    """A compiled run of steps.

    Attributes:
        name: for messages and cache keys.
        steps: what it was made of.
        code: entries, then the strings and structures they point to; a multiple of 16 bytes.
        relocations: offsets in ``code`` of words to which the segment's address must be added
            (pointers inside structures; arguments need none).
    """

    __slots__ = ("code", "name", "relocations", "steps")

    def __init__(self, name: str, steps: Iterable[Step]) -> None:
        self.name = name
        self.steps = tuple(steps)
        self.code, self.relocations = _encode(self.steps)


class Plan:
    """The segments of one launch in order."""

    __slots__ = ("segments",)

    def __init__(self, segments: Iterable[Segment]) -> None:
        self.segments = tuple(segments)

    def steps(self) -> Iterator[Step]:
        """All steps in order."""
        for segment in self.segments:
            yield from segment.steps

    def describe(self) -> str:
        """The plan as text, a line a step, numbered as failures are."""
        lines = []
        index = 0
        for segment in self.segments:
            lines.append(f"# {segment.name}")
            for step in segment.steps:
                lines.append(f"{index:4} {step.describe()}")
                index += 1
        return "\n".join(lines)


def _encode(steps: tuple[Step, ...]) -> tuple[bytes, tuple[int, ...]]:
    data = _Data((len(steps) + 1) * ENTRY_BYTES)
    entries = []
    for step in steps:
        flags = 0
        shift = _FIRST_KIND_SHIFT
        words = [0, 0, 0, 0, 0, 0]
        for position, argument in enumerate(step.args):
            kind, words[position] = data.place(argument)
            flags |= kind << shift
            shift -= 4
        if step.tolerate_all:
            flags |= FLAG_TOLERATE_ALL
        if step.skip:
            flags |= FLAG_SKIP_ON_SUCCESS if step.skip_on == "success" else FLAG_SKIP_ON_ERROR
        if step.zero_only:
            flags |= FLAG_ZERO_ONLY
        tolerate = step.tolerate + (0,) * (4 - len(step.tolerate))
        into = SLOTS_OFFSET + SLOT_BYTES * step.into if step.into else 0
        entries.append(
            ENTRY.pack(number(step.syscall), flags, *words, 0, 0, *tolerate, into, step.skip)
        )
    length = -(-(data.start + len(data.data)) // 16) * 16
    entries.append(ENTRY.pack(_JUMP, 0, length, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0))
    code = b"".join(entries) + data.data
    return code.ljust(length, b"\0"), tuple(data.relocations)


class _Data:
    """Strings and structures behind the entries of a segment, each distinct string once."""

    __slots__ = ("data", "known", "relocations", "start")

    def __init__(self, start: int) -> None:
        self.start = start
        self.data = bytearray()
        self.known: dict[bytes, int] = {}
        self.relocations: list[int] = []

    def place(self, argument: Argument) -> tuple[int, int]:
        """Kind and word of an argument."""
        if argument is None:
            return 0, 0
        if type(argument) is int:
            return 0, argument & _WORD
        if type(argument) is bytes:
            return KIND_SEGMENT, self.string(argument)
        if type(argument) is Slot:
            return KIND_ARENA | KIND_VALUE, SLOTS_OFFSET + SLOT_BYTES * argument.number
        if type(argument) is Result:
            return KIND_SEGMENT | KIND_VALUE, argument.number * ENTRY_BYTES + RESULT_OFFSET
        if type(argument) is SlotAddress:
            return KIND_ARENA, SLOTS_OFFSET + SLOT_BYTES * argument.number
        if type(argument) is Vector:
            return KIND_SEGMENT, self.vector(argument.items)
        if type(argument) is Record:
            return KIND_SEGMENT, self.record(argument)
        raise TypeError(f"{argument!r} is no argument of a step")

    def string(self, value: bytes) -> int:
        offset = self.known.get(value)
        if offset is None:
            offset = self.known[value] = self.start + len(self.data)
            self.data += value
            # NUL, and to the next multiple of eight: structures begin aligned.
            self.data += bytes(8 - len(value) % 8)
        return offset

    def vector(self, items: tuple[bytes, ...]) -> int:
        offsets = [self.string(item) for item in items]
        start = self.start + len(self.data)
        self.relocations.extend(range(start, start + 8 * len(items), 8))
        self.data += struct.pack(f"<{len(items) + 1}Q", *offsets, 0)
        return start

    def record(self, record: Record) -> int:
        fields = bytearray(record.data)
        targets = [(offset, self.string(value)) for offset, value in record.pointers]
        start = self.start + len(self.data)
        for offset, target in targets:
            struct.pack_into("<Q", fields, offset, target)
            self.relocations.append(start + offset)
        self.data += fields
        self.data += bytes(-len(fields) % 8)
        return start


def _describe_environment(argument: Argument) -> str:
    """Names only: values may be secrets."""
    if type(argument) is not Vector:
        return _describe_argument(argument)
    return f"[{' '.join(_describe_argument(item.partition(b'=')[0]) for item in argument.items)}]"


def _describe_argument(argument: Argument) -> str:
    if argument is None:
        return "NULL"
    if type(argument) is int:
        return str(argument) if -4096 < argument < 4096 else hex(argument & _WORD)
    if type(argument) is bytes:
        if argument.isascii() and argument.decode("ascii").isprintable():
            return f'"{argument.decode("ascii")}"' if argument else '""'
        return f"<{len(argument)} bytes>"
    if type(argument) is Slot:
        return f"slot {argument.number}"
    if type(argument) is SlotAddress:
        return f"&slot {argument.number}"
    if type(argument) is Result:
        return f"result of {argument.number}"
    if type(argument) is Vector:
        return "[" + ", ".join(_describe_argument(item) for item in argument.items) + "]"
    assert isinstance(argument, Record)
    return f"<{len(argument.data)} bytes with pointers>"
