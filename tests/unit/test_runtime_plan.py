"""The plan: what a compiled segment looks like, without running one."""

from __future__ import annotations

import errno
import struct

import pytest

from proa.linux.syscalls import number
from proa.runtime import plan
from proa.runtime.plan import (
    ENTRY,
    ENTRY_BYTES,
    Plan,
    Record,
    Result,
    Segment,
    Slot,
    SlotAddress,
    Step,
    Steps,
    Vector,
)


def entries(segment: Segment) -> list[tuple[int, ...]]:
    """All entries of a segment, the jump to the next one included."""
    count = len(segment.steps) + 1
    return [ENTRY.unpack_from(segment.code, i * ENTRY_BYTES) for i in range(count)]


def one(*args: plan.Argument, **more: object) -> Segment:
    return Segment("one", [Step("step", "getpid", args, **more)])  # type: ignore[arg-type]


def kind(segment: Segment, argument: int) -> int:
    return entries(segment)[0][1] >> (28 - 4 * argument) & 0xF


def test_an_entry_has_the_size_that_the_machine_code_steps_by() -> None:
    assert ENTRY_BYTES == 80


def test_integers_are_immediate_and_wrap_to_64_bits() -> None:
    fields = entries(one(7, -100, 2**64 - 1))[0]
    assert fields[0] == number("getpid")
    assert fields[2:5] == (7, 2**64 - 100, 2**64 - 1)
    assert fields[1] >> 8 == 0


def test_strings_lie_behind_the_entries_with_a_nul_and_once() -> None:
    segment = one(b"name", b"other", b"name")
    first, second, again = entries(segment)[0][2:5]
    assert first == again != second
    assert segment.code[first : first + 5] == b"name\0"
    assert [kind(segment, i) for i in range(3)] == [plan.KIND_SEGMENT] * 3
    assert segment.relocations == ()


def test_a_string_whose_length_is_a_multiple_of_eight_still_ends_with_nul() -> None:
    segment = one(b"12345678", b"next")
    place = entries(segment)[0][2]
    assert segment.code[place : place + 9] == b"12345678\0"


def test_slots_and_results_are_values_at_known_places() -> None:
    segment = one(Slot(3), SlotAddress(3), Result(0))
    place = plan.SLOTS_OFFSET + 3 * plan.SLOT_BYTES
    assert entries(segment)[0][2:5] == (place, place, plan.RESULT_OFFSET)
    assert kind(segment, 0) == plan.KIND_ARENA | plan.KIND_VALUE
    assert kind(segment, 1) == plan.KIND_ARENA
    assert kind(segment, 2) == plan.KIND_SEGMENT | plan.KIND_VALUE


def test_vectors_end_with_null_and_are_relocated() -> None:
    segment = one(Vector((b"a", b"b")))
    place = entries(segment)[0][2]
    first, second, end = struct.unpack_from("<3Q", segment.code, place)
    assert end == 0
    assert segment.code[first : first + 2] == b"a\0"
    assert segment.code[second : second + 2] == b"b\0"
    assert segment.relocations == (place, place + 8)


def test_records_keep_their_data_and_relocate_their_pointers() -> None:
    segment = one(Record(struct.pack("<HxxxxxxQ", 5, 0), ((8, b"target"),)))
    place = entries(segment)[0][2]
    count, pointer = struct.unpack_from("<HxxxxxxQ", segment.code, place)
    assert count == 5
    assert segment.code[pointer : pointer + 6] == b"target"
    assert segment.relocations == (place + 8,)


def test_flags_errors_slot_and_skip_of_a_step() -> None:
    fields = entries(one(tolerate=(errno.ENOENT, errno.EEXIST), into=2, skip=3, skip_on="error"))[0]
    assert fields[1] & 0xFF == plan.FLAG_SKIP_ON_ERROR
    assert fields[10:14] == (errno.ENOENT, errno.EEXIST, 0, 0)
    assert fields[14] == plan.SLOTS_OFFSET + 2 * plan.SLOT_BYTES
    assert fields[15] == 3
    assert entries(one(tolerate_all=True))[0][1] & 0xFF == plan.FLAG_TOLERATE_ALL
    assert entries(one(zero_only=True))[0][1] & 0xFF == plan.FLAG_ZERO_ONLY
    skipping = entries(one(skip=1, skip_on="success"))[0]
    assert skipping[1] & 0xFF == plan.FLAG_SKIP_ON_SUCCESS


def test_a_segment_ends_with_a_jump_over_its_data() -> None:
    segment = one(b"text")
    jump = entries(segment)[-1]
    assert jump[0] == 0xFFFFFFFF
    assert jump[2] == len(segment.code)
    assert len(segment.code) % 16 == 0


def test_an_argument_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(TypeError, match="no argument of a step"):
        one("text")  # type: ignore[arg-type]


def test_describe_numbers_steps_across_segments() -> None:
    steps = Steps()
    opened = steps.add("open it", "openat", -100, b"/x", 0, tolerate=(errno.ENOENT,), into=4)
    steps.add("use it", "write", opened, b"\xff\xfe", 2, skip=1, skip_on="success")
    first = steps.compile("first")
    second = one(Slot(4), Vector((b"sh", b"-c")), None)
    assert Plan([first, second]).describe().splitlines() == [
        "# first",
        '   0 open it: openat(-100, "/x", 0) -> slot 4 [ENOENT]',
        "   1 use it: write(result of 0, <2 bytes>, 2) [skip 1 on success]",
        "# one",
        '   2 step: getpid(slot 4, ["sh", "-c"], NULL)',
    ]


def test_equal_steps_give_equal_bytes() -> None:
    assert one(b"a", 1).code == one(b"a", 1).code
    assert one(b"a", 1).code != one(b"a", 2).code
