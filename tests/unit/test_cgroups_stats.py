"""The kernel's statistics formats."""

from __future__ import annotations

from proa.cgroups.stats import (
    parse_flat_keyed,
    parse_nested_keyed,
    parse_number,
    sum_by_operation,
)


def test_number_and_its_unlimiteds() -> None:
    assert parse_number("4096\n") == 4096
    assert parse_number("max\n") == -1
    assert parse_number("9223372036854771712\n") == -1


def test_flat_keyed() -> None:
    assert parse_flat_keyed("oom_kill 3\nlow 0\nword x\n") == {"oom_kill": 3, "low": 0}


def test_nested_keyed() -> None:
    text = "8:0 rbytes=1024 wbytes=0 rios=2\n9:0 rbytes=1 cost.vrate=100.00\n"
    assert parse_nested_keyed(text) == {
        "8:0": {"rbytes": 1024, "wbytes": 0, "rios": 2},
        "9:0": {"rbytes": 1},
    }


def test_operations_are_summed_over_devices() -> None:
    text = "8:0 Read 10\n8:0 Write 1\n8:0 Total 11\n9:0 Read 5\nTotal 16\n"
    assert sum_by_operation(text) == {"Read": 15, "Write": 1, "Total": 11}
