"""The assembler: jumps of any distance, and nothing that the kernel's checker refuses."""

from __future__ import annotations

import pytest

from proa.linux import bpf, seccomp
from tests.support.bpf_machine import Program


def test_a_minimal_program_is_one_instruction() -> None:
    assembler = bpf.Assembler()
    assembler.ret(seccomp.RET_ALLOW)
    assert assembler.pack() == bytes.fromhex("06000000 0000ff7f")


def test_fields_are_where_sock_filter_has_them() -> None:
    assembler = bpf.Assembler()
    no = assembler.ret(1)
    yes = assembler.ret(2)
    entry = assembler.branch(bpf.JMP_JEQ_K, 0x01020304, yes, no)
    assembler.load(seccomp.DATA_NR, entry)
    assert assembler.pack() == bytes.fromhex(
        "2000000000000000 1500000104030201 0600000002000000 0600000001000000"
    )


def test_equal_returns_share_an_instruction() -> None:
    assembler = bpf.Assembler()
    assert assembler.ret(7) == assembler.ret(7)
    assert len(assembler) == 1


def test_a_branch_to_one_place_is_no_branch() -> None:
    assembler = bpf.Assembler()
    label = assembler.ret(7)
    assert assembler.branch(bpf.JMP_JEQ_K, 1, label, label) == label


@pytest.mark.parametrize("distance", [0, 1, 254, 255, 256, 257, 1000, 4000])
def test_jumps_of_any_distance(distance: int) -> None:
    assembler = bpf.Assembler()
    far = assembler.load(seccomp.DATA_ARCH, assembler.ret(1))
    near = assembler.ret(2)
    for _ in range(distance):
        near = assembler.mask(0xFFFFFFFF, near)
    taken = assembler.branch(bpf.JMP_JEQ_K, 5, far, near)
    assembler.load(seccomp.DATA_NR, taken)
    program = Program(assembler.pack())
    assert program.run(0, 5).value == 1
    assert program.run(0, 6).value == 2
    # And with the branches exchanged: both sides reach far.
    swapped = assembler.branch(bpf.JMP_JEQ_K, 6, near, far)
    assembler.load(seccomp.DATA_NR, swapped)
    program = Program(assembler.pack())
    assert program.run(0, 5).value == 1
    assert program.run(0, 6).value == 2


def test_straight_code_jumps_over_what_lies_between() -> None:
    assembler = bpf.Assembler()
    end = assembler.ret(1)
    assembler.ret(2)
    assembler.load(seccomp.DATA_NR, end)
    assert Program(assembler.pack()).run(0, 0).value == 1


def test_programs_longer_than_the_kernel_takes_are_refused() -> None:
    assembler = bpf.Assembler()
    label = assembler.ret(1)
    for _ in range(bpf.MAX_INSTRUCTIONS):
        label = assembler.load(0, label)
    with pytest.raises(ValueError, match="4097"):
        assembler.pack()
