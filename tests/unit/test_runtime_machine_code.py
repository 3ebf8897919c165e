"""The machine code in the tree is what its sources assemble to."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from proa.linux.syscall_tables import numbers
from proa.runtime import plan
from proa.runtime.executors.machine_code import CODE
from proa.runtime.plan import Slot, Steps

ROOT = Path(__file__).parent.parent.parent


def load_tool() -> ModuleType:
    place = ROOT / "tools/assemble_executors.py"
    spec = importlib.util.spec_from_file_location("assemble_executors", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "machine",
    [
        pytest.param("x86_64", marks=pytest.mark.requires("x86_64-linux-gnu-as")),
        pytest.param("aarch64", marks=pytest.mark.requires("aarch64-linux-gnu-as")),
    ],
)
def test_the_bytes_are_those_of_the_source(machine: str) -> None:
    assert load_tool().assemble(machine).hex() == CODE[machine]


def test_the_code_is_small() -> None:
    assert all(len(text) // 2 < 320 for text in CODE.values())


@pytest.mark.requires("aarch64-linux-gnu-as", "aarch64-linux-gnu-ld", "qemu-aarch64-static")
def test_the_aarch64_loop_runs_a_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ELF file with an arena in its data, run by qemu-user from the loop's first entry."""
    monkeypatch.setattr(plan, "number", numbers("aarch64").__getitem__)
    steps = Steps()
    copy = steps.add("copy", "dup", 1, into=4)
    steps.add("say", "write", copy, b"one ", 4, skip=1, skip_on="success")
    steps.add("say", "write", copy, b"x", 1)
    steps.add("fail", "close", 1000, tolerate=(2, 1, 5, 9), skip=1, skip_on="error")
    steps.add("say", "write", copy, b"x", 1)
    second = Steps()
    second.add("say", "write", Slot(4), b"two\n", 4)
    second.add("zero", "umask", 0)
    second.add("zero", "umask", 7, zero_only=True)
    second.add("not zero", "umask", 0, zero_only=True)
    code = steps.compile("first").code + second.compile("second").code
    arena = bytes(plan.SLOTS_OFFSET + plan.SLOT_BYTES * plan.SLOT_COUNT)
    (tmp_path / "arena").write_bytes(arena + code)
    source = (ROOT / "src/proa/runtime/executors/aarch64.s").read_text()
    start = f"""
        .globl _start
_start: ldr x9, =arena
        ldr x10, =arena + {len(arena)}
        mov x11, x10
        add sp, x9, #512
        b run
        .ltorg
        .data
        .balign 16
arena:  .incbin "{tmp_path}/arena"
"""
    (tmp_path / "program.s").write_text(source + start)
    for command in (
        ["aarch64-linux-gnu-as", "-o", "program.o", "program.s"],
        ["aarch64-linux-gnu-ld", "-o", "program", "program.o"],
    ):
        subprocess.run(command, check=True, cwd=tmp_path)
    done = subprocess.run(
        ["qemu-aarch64-static", "./program"], cwd=tmp_path, capture_output=True, check=False
    )
    assert done.stdout == b"one two\n"
    assert done.returncode == 125
    assert sys.byteorder == "little"
