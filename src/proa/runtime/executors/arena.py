"""The memory a plan runs in: loaded from its segments, shared by parent and child."""

from __future__ import annotations

import ctypes
import mmap
import struct
from collections.abc import Iterable
from typing import NamedTuple

from proa import log
from proa.errors import Invalid
from proa.runtime.plan import (
    ENTRY_BYTES,
    RESULT_OFFSET,
    SLOT_BYTES,
    SLOT_COUNT,
    SLOTS_OFFSET,
    TICKS_OFFSET,
    Segment,
    Step,
)

PIDFD_SLOT = 0
"""Where clone3 puts the child's pidfd; never a step's target."""

CAPACITY_BYTES = 8 * 1024 * 1024
"""Room for more arguments than execve(2) takes with the default stack limit."""

_QWORD = struct.Struct("<Q")
_SIGNED = struct.Struct("<q")


class Failure(NamedTuple):
    """The step at which the child stopped.

    Attributes:
        number: of the step in the plan.
        errno: the kernel's answer; 0 where a result above zero was the failure.
    """

    number: int
    step: Step
    errno: int


class Arena:
    """One launch's memory: control words, slots and segments (layout in :mod:`proa.runtime.plan`).

    Segments may be loaded while the child already works through earlier ones, as long as it waits
    before the first that is missing. The memory must live until the child has executed or ended.
    """

    __slots__ = ("_end", "_memory", "_offsets", "_segments", "address", "first")

    def __init__(self, *, shared: bool) -> None:
        """Map the memory; pages are used only where something is loaded.

        Args:
            shared: parent and child have separate address spaces.

        Raises:
            OSError: ENOMEM.
        """
        kind = mmap.MAP_SHARED if shared else mmap.MAP_PRIVATE
        self._memory = mmap.mmap(-1, CAPACITY_BYTES, flags=kind | mmap.MAP_ANONYMOUS)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        self.first = self._end = SLOTS_OFFSET + SLOT_BYTES * SLOT_COUNT
        self._segments: list[Segment] = []
        self._offsets: list[int] = []

    def load(self, segments: Iterable[Segment]) -> None:
        """Copy segments behind those that are there.

        Raises:
            Invalid: arguments and environment are too long.
        """
        memory, offset = self._memory, self._end
        for segment in segments:
            code = segment.code
            end = offset + len(code)
            if end > CAPACITY_BYTES:
                raise Invalid("the arguments and the environment of the process are too long")
            memory[offset:end] = code
            address = self.address + offset
            for place in segment.relocations:
                (distance,) = _QWORD.unpack_from(code, place)
                _QWORD.pack_into(memory, offset + place, distance + address)
            if log.is_enabled():
                self._show(segment)
            self._segments.append(segment)
            self._offsets.append(offset)
            offset = end
        self._end = offset

    @property
    def end(self) -> int:
        """Offset behind the last segment."""
        return self._end

    @property
    def capacity(self) -> int:
        """Size of the mapping in bytes."""
        return CAPACITY_BYTES

    @property
    def memory(self) -> mmap.mmap:
        """The mapping itself, for the executors."""
        return self._memory

    def slot(self, index: int) -> int:
        """Value of a slot as a signed number."""
        value: int = _SIGNED.unpack_from(self._memory, SLOTS_OFFSET + SLOT_BYTES * index)[0]
        return value

    def set_slot(self, index: int, value: int) -> None:
        """Fill a slot; visible to the child at once."""
        _SIGNED.pack_into(self._memory, SLOTS_OFFSET + SLOT_BYTES * index, value)

    def pidfd(self) -> int:
        """The child's pidfd as clone3 left it."""
        (fd,) = struct.unpack_from("<i", self._memory, SLOTS_OFFSET + SLOT_BYTES * PIDFD_SLOT)
        return int(fd)

    def failure(self) -> Failure | None:
        """The step that stopped the child, if one did."""
        (failed,) = _QWORD.unpack_from(self._memory, 0)
        if not failed:
            return None
        index, step = self._locate(failed)
        (result,) = _SIGNED.unpack_from(self._memory, failed + RESULT_OFFSET)
        return Failure(index, step, -result if result < 0 else 0)

    def current(self) -> tuple[int, Step]:
        """The step that the child has reached: number in the plan, and the step."""
        (offset,) = _QWORD.unpack_from(self._memory, 8)
        return self._locate(offset or self.first)

    def results(self, segment: int) -> list[int]:
        """What the calls of a segment (by position; negative from the end) returned so far."""
        start, steps = self._offsets[segment], self._segments[segment].steps
        return [
            _SIGNED.unpack_from(self._memory, start + i * ENTRY_BYTES + RESULT_OFFSET)[0]
            for i in range(len(steps))
        ]

    def find(self, name: str) -> int:
        """Position of the segment of that name.

        Raises:
            ValueError: there is none.
        """
        return [segment.name for segment in self._segments].index(name)

    def step(self, segment: int, index: int) -> Step:
        """A step by its segment (by position; negative from the end) and its place in it."""
        return self._segments[segment].steps[index]

    def ticks(self) -> list[tuple[str, Step, int]]:
        """Segment, step and time stamp counter (0: not reached) of every step, for measurements."""
        rows = []
        for start, segment in zip(self._offsets, self._segments, strict=True):
            for i, step in enumerate(segment.steps):
                place = start + i * ENTRY_BYTES + TICKS_OFFSET
                rows.append((segment.name, step, _QWORD.unpack_from(self._memory, place)[0]))
        return rows

    def close(self) -> None:
        """Unmap. Only after the child has executed or ended."""
        self._memory.close()

    def _show(self, segment: Segment) -> None:
        """Tell what is about to be done, with the numbers that failures have."""
        number = sum(len(earlier.steps) for earlier in self._segments)
        for index, step in enumerate(segment.steps, number):
            log.debug("runtime.plan", segment=segment.name, number=index, step=step.describe())

    def _locate(self, offset: int) -> tuple[int, Step]:
        """The step whose entry lies at an offset; in a jump entry, the last step before it."""
        index = 0
        for start, segment in zip(self._offsets, self._segments, strict=True):
            if start <= offset < start + len(segment.code):
                within = min((offset - start) // ENTRY_BYTES, len(segment.steps) - 1)
                return index + within, segment.steps[within]
            index += len(segment.steps)
        raise ValueError(f"offset {offset} is in no segment")
