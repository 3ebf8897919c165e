"""What instances take on disk before they write anything."""

from __future__ import annotations

from proa.compare.model import Row
from proa.compare.targets.base import Inapplicable, Target, allocated_mb
from proa.compare.workloads.base import Sample

_PLACES = ("first", "second", "third")


class Disk:
    """Starts three idle instances and looks at the engine's directory after each."""

    name = "disk"
    rows: tuple[Row, ...] = tuple(
        Row(
            key=f"disk.{place}",
            title=f"Disk that a {place} instance adds",
            definition="Growth of the allocated blocks of the engine's directory by starting an"
            f" idle instance while {number or 'none'} of the same image already"
            f" {'runs' if number == 1 else 'run'}; databases and logs of the engine count.",
            unit="MB",
        )
        for number, place in enumerate(_PLACES)
    )

    def repeats(self, *, quick: bool) -> int:
        """Three, or one."""
        return 1 if quick else 3

    def seconds(self, target: Target) -> float:
        """Three starts, and the walks."""
        return target.startup_s * 4 + 1.0

    def instances(self, target: Target) -> int:  # noqa: ARG002 - the same for all
        """One after the other, all stay."""
        return len(_PLACES)

    def measure(self, target: Target) -> list[Sample]:
        """Start, look, end.

        Raises:
            Inapplicable: the target takes no disk.
        """
        directory = target.storage()
        if not directory:
            raise Inapplicable("takes none")
        handles: list[str] = []
        taken = [allocated_mb(directory)]
        try:
            for _ in _PLACES:
                handles.append(target.start())
                taken.append(allocated_mb(directory))
        finally:
            for handle in handles:
                target.stop(handle)
                target.remove(handle)
        return [
            Sample(row.key, after - before)
            for row, before, after in zip(self.rows, taken, taken[1:], strict=False)
        ]
