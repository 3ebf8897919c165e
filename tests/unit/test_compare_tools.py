"""What is read from the output of known benchmarks; samples are of Debian 12's packages."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from proa.compare.targets.base import CompareError, Completed, Inapplicable
from proa.compare.workloads import plan, tools
from proa.compare.workloads.tools import Tools
from tests.support.comparing import FakeTarget

OUTPUTS = {
    "sysbench cpu": "CPU speed:\n    events per second:  3666.50\n",
    "sysbench threads": "General statistics:\n    total number of events:              290\n",
    "sysbench memory": "52756.00 MiB transferred (26378.25 MiB/sec)\n",
    "--rw=randread": 'note: no fsync\n{"jobs": [{"read": {"iops": 9512.5}}]}',
    "--rw=randwrite": '{"jobs": [{"write": {"iops": 76464.5}}]}',
    "iperf3": '{"end": {"sum_received": {"bits_per_second": 8000000.0}}}',
    "python3": "took 8568.0\n",
    "redis-benchmark": '"test","rps"\n"GET","48544.0","0.5"\n',
}


class Talker(FakeTarget):
    """Answers each script with what the benchmark says."""

    def __init__(self, broken: str = "") -> None:
        super().__init__("process", [])
        self.broken = broken
        self.ended: list[str] = []

    def start(self, options: Sequence[str] = (), argv: Sequence[str] = (), image: str = "") -> str:
        assert image == tools.REFERENCE
        assert "none" in options
        assert argv[0] == "sleep"
        return "handle"

    def exec(self, handle: str, argv: Sequence[str]) -> Completed:
        assert handle == "handle"
        if argv[0] == "rm":
            return Completed(0, "", "")
        (output,) = [text for word, text in OUTPUTS.items() if word in argv[-1]]
        if self.broken and self.broken in argv[-1]:
            return Completed(0, "nothing\n", "")
        return Completed(0, output, "")

    def stop(self, handle: str) -> None:
        self.ended.append(f"stop {handle}")

    def remove(self, handle: str) -> None:
        self.ended.append(f"remove {handle}")


def test_figures_are_read() -> None:
    target = Talker()
    found = {sample.row: sample.value for sample in Tools().measure(target)}
    assert found == {
        "tools.cpu": 3666.5,
        "tools.threads": 145.0,
        "tools.memory": 26378.25,
        "tools.fio.read": 9512.5,
        "tools.fio.write": 76464.5,
        "tools.iperf": 1.0,
        "tools.python": 8568.0,
        "tools.redis": 48544.0,
    }
    assert target.ended == ["stop handle", "remove handle"]


@pytest.mark.parametrize("broken", ["sysbench threads", "python3", "redis-benchmark"])
def test_other_output_is_a_failure_and_leaves_nothing(broken: str) -> None:
    target = Talker(broken)
    with pytest.raises(CompareError, match="nothing"):
        Tools().measure(target)
    assert target.ended == ["stop handle", "remove handle"]


def test_a_host_without_the_programs_has_no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools.shutil, "which", lambda _program: None)  # type: ignore[attr-defined]
    with pytest.raises(Inapplicable, match="sysbench is not installed here"):
        Tools().measure(FakeTarget("host", []))


def test_only_a_full_comparison_has_them() -> None:
    assert "tools" not in [workload.name for workload in plan()]
    assert "tools" in [workload.name for workload in plan(full=True)]


def test_keys_of_all_rows_are_different() -> None:
    keys = [row.key for workload in plan(full=True) for row in workload.rows]
    assert len(keys) == len(set(keys))
