"""What is measured: each workload takes one sample of each of its rows on one target."""

from __future__ import annotations

from proa.compare.workloads.base import Workload
from proa.compare.workloads.disk import Disk
from proa.compare.workloads.files import Files
from proa.compare.workloads.http import Http
from proa.compare.workloads.isolation import gather
from proa.compare.workloads.life import Life, Parallel, Start
from proa.compare.workloads.memory import Memory
from proa.compare.workloads.processor import Processor
from proa.compare.workloads.tools import Tools

__all__ = ["Workload", "gather", "plan"]


def plan(*, full: bool = False) -> list[Workload]:
    """Return the workloads in the order in which they are measured.

    Args:
        full: with those that need a second, large image.
    """
    return [
        Start(),
        Life(),
        Parallel(1),
        Parallel(10),
        Parallel(50),
        Memory(),
        Processor(),
        Files("files", "root"),
        Files("volume", "volume", ("-v", "/data")),
        Files("bind", "directory of the host", ("-v", "{}:/data")),
        Disk(),
        Http(),
        *([Tools()] if full else []),
    ]
