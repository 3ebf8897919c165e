"""How a process is scheduled: what is accepted, and the kernel's forms of it."""

from __future__ import annotations

import pytest

from proa.errors import Invalid
from proa.oci.spec import CPUAffinity, IOPriority, LinuxPersonality, Process, Scheduler
from proa.runtime import scheduling


@pytest.mark.parametrize(
    "process",
    [
        Process(scheduler=Scheduler(policy="SCHED_MAGIC")),
        Process(scheduler=Scheduler(policy="SCHED_FIFO", flags=("SCHED_FLAG_MAGIC",))),
        Process(io_priority=IOPriority(io_class="IOPRIO_CLASS_MAGIC")),
        Process(io_priority=IOPriority(io_class="IOPRIO_CLASS_BE", priority=8)),
        Process(exec_cpu_affinity=CPUAffinity(final="0-")),
        Process(exec_cpu_affinity=CPUAffinity(initial="one")),
    ],
)
def test_unknown_words_are_refused(process: Process) -> None:
    with pytest.raises(Invalid):
        scheduling.validate(process)


@pytest.mark.parametrize(
    ("text", "mask"),
    [("", b""), ("0", b"\1" + bytes(7)), ("1-2,63", b"\6" + bytes(6) + b"\x80"),
     ("64", bytes(8) + b"\1" + bytes(7))],
)  # fmt: skip
def test_cpu_lists_become_masks_of_whole_words(text: str, mask: bytes) -> None:
    assert scheduling.pack_cpus(text) == mask


def test_personalities() -> None:
    assert scheduling.personality(LinuxPersonality(domain="LINUX32")) == 8
    with pytest.raises(Invalid):
        scheduling.personality(LinuxPersonality(domain="SVR4"))
    with pytest.raises(Invalid):
        scheduling.personality(LinuxPersonality(domain="LINUX", flags=("ADDR_NO_RANDOMIZE",)))
