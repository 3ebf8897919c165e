"""Docker's filters of ``prune``: ``until``, ``label`` and ``label!``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from proa.errors import Invalid
from proa.units import parse_timestamp


class PruneFilter:
    """Says which of the unused things are meant."""

    __slots__ = ("_before_ns", "_with", "_without")

    def __init__(
        self,
        filters: Mapping[str, Sequence[str]] | None,
        known: Sequence[str] = ("until", "label", "label!"),
    ) -> None:
        """Read the filters.

        Args:
            filters: ``until`` (only what was made before: a point in time, or how long ago),
                ``label`` and ``label!`` (``name[=value]``, all of them).
            known: those that the kind of thing has.

        Raises:
            Invalid: another filter, or a malformed time.
        """
        wanted = filters or {}
        for name in wanted:
            if name not in known:
                raise Invalid(f"invalid filter '{name}'", "the filters are " + ", ".join(known))
        self._before_ns = [parse_timestamp(text) for text in wanted.get("until", ())]
        self._with = [text.partition("=") for text in wanted.get("label", ())]
        self._without = [text.partition("=") for text in wanted.get("label!", ())]

    def passes(self, labels: Mapping[str, str], created_at_ns: int) -> bool:
        """Say whether a thing with these labels, made at this time, is meant."""
        if any(created_at_ns >= limit_ns for limit_ns in self._before_ns):
            return False
        if not all(_has(labels, pair) for pair in self._with):
            return False
        return not any(_has(labels, pair) for pair in self._without)


def _has(labels: Mapping[str, str], pair: tuple[str, str, str]) -> bool:
    name, equals, value = pair
    return name in labels and (not equals or labels[name] == value)
