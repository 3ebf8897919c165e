"""What a comparison measured, every sample of it: the content of ``report.json``.

``schema()`` gives the JSON schema that ``docs/reference/compare-report.schema.json`` publishes.
``VERSION`` changes when a reader of older reports would misunderstand a newer one.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

VERSION = 1

ERROR = "standard error"
"""The part of a sample that is a slope."""

Unit = Literal["ms", "us", "MB", "MB/s", "1/s", "s", "count"]


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """The machine, as far as figures depend on it; empty where it cannot be known.

    Attributes:
        virtualization: of this machine itself (``kvm``, ``none`` ...).
        accelerator: what virtual machines of Proa run on here, and why.
        mitigations: the kernel's word for each processor vulnerability.
        filesystem: type of the filesystem that images and containers are on.
    """

    kernel: str = ""
    architecture: str = ""
    processor: str = ""
    processors: int = 0
    memory_mb: int = 0
    virtualization: str = ""
    accelerator: str = ""
    mitigations: dict[str, str] = {}
    governor: str = ""
    filesystem: str = ""
    cgroups: str = ""
    versions: dict[str, str] = {}


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is measured of every target.

    Attributes:
        key: stable name, ``start.whole``.
        title: for people.
        definition: what exactly is timed or counted, from where to where.
        unit: of all samples.
        lower_is_better: whether a small figure is the good one.
        phases: for a row whose samples are sums: their parts' names, in order.
    """

    key: str
    title: str
    definition: str
    unit: Unit
    lower_is_better: bool = True
    phases: tuple[str, ...] = ()


class Series(msgspec.Struct, kw_only=True):
    """All that was measured of one row on one target.

    Attributes:
        samples: in the row's unit, in the order of measuring.
        failures: one sentence for each attempt that failed; they count.
        absent: why the row does not apply or could not be measured, empty otherwise.
        parts: samples of each phase, as long as ``samples``; of slopes, their :data:`ERROR`.
    """

    row: str
    target: str
    samples: list[float] = []
    failures: list[str] = []
    absent: str = ""
    parts: dict[str, list[float]] = {}


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is so, not a figure: ``isolation.kernel`` of ``vm`` is ``own, 6.1.0``."""

    key: str
    title: str
    target: str
    value: str


class Report(msgspec.Struct, kw_only=True):
    """A comparison, finished or not.

    Attributes:
        started_at: RFC 3339, UTC.
        complete: whether every planned sample was taken.
        options: what was asked for.
        image: digest of the image that all targets ran.
        targets: names in the order of the tables, with their titles.
    """

    version: int = VERSION
    started_at: str = ""
    complete: bool = False
    options: dict[str, Any] = {}
    machine: Machine = Machine()
    image: str = ""
    targets: dict[str, str] = {}
    rows: list[Row] = []
    series: list[Series] = []
    facts: list[Fact] = []

    def find(self, row: str, target: str) -> Series | None:
        """Return what was measured of a row on a target, if anything was."""
        return next(
            (item for item in self.series if (item.row, item.target) == (row, target)), None
        )

    def get_row(self, key: str) -> Row:
        """Return a row's definition.

        Raises:
            KeyError: the report has no such row.
        """
        for row in self.rows:
            if row.key == key:
                return row
        raise KeyError(key)


def encode(report: Report) -> bytes:
    """Return ``report.json``."""
    return msgspec.json.format(msgspec.json.encode(report), indent=1)


def decode(document: bytes) -> Report:
    """Read ``report.json``.

    Raises:
        msgspec.DecodeError: it is none.
    """
    report = msgspec.json.decode(document, type=Report)
    if report.version != VERSION:
        raise msgspec.ValidationError(f"version {report.version} of a report, not {VERSION}")
    return report


def schema() -> dict[str, Any]:
    """Return the JSON schema of ``report.json``."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Report of proa compare",
        **msgspec.json.schema(Report),
    }
