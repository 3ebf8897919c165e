"""Files on the instance's own root: one large, many small."""

from __future__ import annotations

from proa.compare.model import Row
from proa.compare.targets.base import Target
from proa.compare.workloads.base import Sample
from proa.compare.workloads.processor import time_script

_SIZE_MB = 64
_FILES = 300


class Files:
    """Writes, reads and removes below a directory of its own."""

    name = "files"
    rows: tuple[Row, ...] = (
        Row(
            key="files.write",
            title="Sequential write",
            definition=f"dd of {_SIZE_MB} MB to a new file on the root, with fsync.",
            unit="MB/s",
            lower_is_better=False,
        ),
        Row(
            key="files.read",
            title="Sequential read",
            definition="dd of that file, from the page cache.",
            unit="MB/s",
            lower_is_better=False,
        ),
        Row(
            key="files.small",
            title="Small files",
            definition=f"A shell makes {_FILES} empty files in a new directory on the root.",
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
        handle = target.start()
        place = f"/var/tmp/proa-compare-{handle[:12]}"
        try:
            target.exec(handle, ("mkdir", "-p", place))
            write = time_script(
                target, handle, f"dd if=/dev/zero of={place}/f bs=1M count={_SIZE_MB} conv=fsync"
            )
            read = time_script(target, handle, f"dd if={place}/f of=/dev/null bs=1M")
            small = time_script(
                target,
                handle,
                f"i=0; while [ $i -lt {_FILES} ]; do : >{place}/$i; i=$((i+1)); done",
            )
        finally:
            target.exec(handle, ("rm", "-rf", place))
            target.stop(handle)
            target.remove(handle)
        return [
            Sample("files.write", _SIZE_MB * 1.048576 / write),
            Sample("files.read", _SIZE_MB * 1.048576 / read),
            Sample("files.small", _FILES / small),
        ]
