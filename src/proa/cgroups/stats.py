"""Parse the kernel's statistics formats and assemble :class:`proa.oci.isolation.Stats`."""

from __future__ import annotations

from proa.oci.isolation import Stats

Reading = dict[str, "int | dict[str, int]"]
"""Fields of :class:`Stats` as the controllers fill them in."""

_V1_UNLIMITED = 1 << 62
"""v1 shows "no limit" as the largest page-aligned number, a little below 2**63."""


def to_stats(reading: Reading) -> Stats:
    """Make the reading; fields of absent controllers stay -1."""
    return Stats(**reading)  # type: ignore[arg-type]


def parse_number(text: str) -> int:
    """A single number; -1 for ``max`` and for v1's idea of unlimited."""
    word = text.strip()
    if word == "max":
        return -1
    value = int(word)
    return -1 if value >= _V1_UNLIMITED else value


def parse_flat_keyed(text: str) -> dict[str, int]:
    """``key value`` lines (``memory.stat``, ``cpu.stat``, ``memory.events``)."""
    result: dict[str, int] = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if value.lstrip("-").isdigit():
            result[key] = int(value)
    return result


def parse_nested_keyed(text: str) -> dict[str, dict[str, int]]:
    """``name key=value ...`` lines (``io.stat``); values that are no numbers are left out."""
    result: dict[str, dict[str, int]] = {}
    for line in text.splitlines():
        name, *pairs = line.split(" ")
        fields = result.setdefault(name, {})
        for pair in pairs:
            key, _, value = pair.partition("=")
            if value.isdigit():
                fields[key] = int(value)
    return result


def sum_by_operation(text: str) -> dict[str, int]:
    """Sums over devices of ``major:minor Operation value`` lines (v1's ``blkio.*``)."""
    result: dict[str, int] = {}
    for line in text.splitlines():
        fields = line.split(" ")
        if len(fields) == 3:
            result[fields[1]] = result.get(fields[1], 0) + int(fields[2])
    return result
