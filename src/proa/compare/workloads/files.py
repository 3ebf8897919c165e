"""Files on an instance's root, a volume and a directory of the host: one large, many small."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence

from proa.compare.model import Row
from proa.compare.targets.base import Target, expect
from proa.compare.targets.docker import NO_NETWORK
from proa.compare.workloads.base import Sample
from proa.compare.workloads.processor import time_script

_SIZE_MB = 64
_FILES = 300


class Files:
    """Writes, reads and removes in one kind of place."""

    def __init__(self, name: str, where: str, options: Sequence[str] = ()) -> None:
        """Choose the place.

        Args:
            name: of the workload and its rows.
            where: the place, for people.
            options: of ``run``, with the place at ``/data``; ``{}`` is a directory of the host's.
                None: the instance's root.
        """
        self.name = name
        self._options = tuple(options)
        self.rows: tuple[Row, ...] = (
            Row(
                key=f"{name}.write",
                title=f"Sequential write, {where}",
                definition=f"dd of {_SIZE_MB} MB to a new file, with fsync.",
                unit="MB/s",
                lower_is_better=False,
            ),
            Row(
                key=f"{name}.read",
                title=f"Sequential read, {where}",
                definition="dd of that file, from the page cache.",
                unit="MB/s",
                lower_is_better=False,
            ),
            Row(
                key=f"{name}.small",
                title=f"Small files, {where}",
                definition=f"A shell makes {_FILES} empty files in a new directory.",
                unit="1/s",
                lower_is_better=False,
            ),
        )

    def repeats(self, *, quick: bool) -> int:
        """Ten, or three."""
        return 3 if quick else 10

    def seconds(self, target: Target) -> float:
        """A second or two of disk."""
        return target.startup_s * 2 + 2.0

    def instances(self, target: Target) -> int:  # noqa: ARG002 - the same for all
        """One."""
        return 1

    def measure(self, target: Target) -> list[Sample]:
        """Write, read, make."""
        with tempfile.TemporaryDirectory(prefix="proa-compare-", dir="/var/tmp") as directory:
            os.chmod(directory, 0o777)  # root of an instance may be nobody here
            options = [word.replace("{}", directory) for word in self._options]
            handle = target.start((*NO_NETWORK, *options)) if options else target.start()
            place = "/data/test" if options else f"/var/tmp/proa-compare-{handle[:12]}"
            try:
                return self._work(target, handle, place)
            finally:
                target.exec(handle, ("rm", "-rf", place))
                target.stop(handle)
                target.remove(handle)

    def _work(self, target: Target, handle: str, place: str) -> list[Sample]:
        expect(target.exec(handle, ("mkdir", "-p", place)))
        write = time_script(
            target, handle, f"dd if=/dev/zero of={place}/f bs=1M count={_SIZE_MB} conv=fsync"
        )
        read = time_script(target, handle, f"dd if={place}/f of=/dev/null bs=1M")
        small = time_script(
            target,
            handle,
            f"i=0; while [ $i -lt {_FILES} ]; do : >{place}/$i; i=$((i+1)); done",
        )
        figures = (_SIZE_MB * 1.048576 / write, _SIZE_MB * 1.048576 / read, _FILES / small)
        return [Sample(row.key, value) for row, value in zip(self.rows, figures, strict=True)]
