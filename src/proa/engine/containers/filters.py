"""``docker ps --filter``: words to a predicate over containers.

Values of one filter are alternatives (``label`` values must all match), different filters must all
match. Names and values are checked when the filter is made, before any container is looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol

from proa.engine.compose.ports import parse_exposed
from proa.engine.model import ContainerRecord
from proa.errors import Invalid

FILTERS: Final = (
    "ancestor", "before", "exited", "expose", "health", "id", "isolation", "label", "name",
    "network", "publish", "since", "status", "volume",
)  # fmt: skip
STATUSES: Final = ("created", "restarting", "running", "removing", "paused", "exited", "dead")
HEALTHS: Final = ("starting", "healthy", "unhealthy", "none")

_SHORT_ID = 12

_Test = Callable[[ContainerRecord], bool]


class Facts(Protocol):
    """What a filter may need to know beyond the record; asked only if it does."""

    def resolve_container(self, reference: str) -> ContainerRecord:
        """Return the container of ``before`` or ``since``.

        Raises:
            NotFound: there is none.
        """

    def image_ids(self, reference: str) -> set[str]:
        """Return the ids of an ``ancestor`` and of the images made from it; empty if unknown."""

    def labels(self, record: ContainerRecord) -> Mapping[str, str]:
        """Return a container's labels, the image's included."""

    def health(self, record: ContainerRecord) -> str:
        """Return ``starting``, ``healthy``, ``unhealthy`` or ``none``."""

    def networks(self, record: ContainerRecord) -> set[str]:
        """Return names and ids of the networks that a container is on, its mode included."""

    def ports(self, record: ContainerRecord, *, published: bool) -> set[tuple[str, int]]:
        """Return the ports of a container that it publishes, or exposes: protocol and number."""


def parse_filters(words: Iterable[str]) -> dict[str, list[str]]:
    """Return ``name=value`` words of the command line as the API's map.

    Raises:
        Invalid: a word without ``=``.
    """
    filters: dict[str, list[str]] = {}
    for word in words:
        name, separator, value = word.partition("=")
        if not separator:
            raise Invalid(f"invalid filter '{word}'", "write it as name=value")
        filters.setdefault(name.strip().lower(), []).append(value.strip())
    return filters


class ContainerFilter:
    """A checked filter."""

    def __init__(self, filters: Mapping[str, Sequence[str]], facts: Facts) -> None:
        """Check names and values.

        Args:
            filters: values by filter name, as in the API.
            facts: answers what records do not tell.

        Raises:
            Invalid: an unknown filter or a bad value.
            NotFound: a container of ``before`` or ``since`` does not exist.
        """
        self._tests: list[_Test] = []
        for name, values in filters.items():
            if name not in FILTERS:
                raise Invalid(f"invalid filter '{name}'", f"the filters are {', '.join(FILTERS)}")
            if values:
                self._tests.append(_make_test(name, values, facts))
        self.includes_stopped = bool(filters.get("status") or filters.get("exited"))
        """Stopped containers are asked for, also without ``--all`` (Docker's rule)."""

    def matches(self, record: ContainerRecord) -> bool:
        """Tell whether a container passes."""
        return all(test(record) for test in self._tests)


def _make_test(name: str, values: Sequence[str], facts: Facts) -> _Test:
    if name in ("id", "name"):
        return _pattern_test(name, values)
    if name in ("status", "exited", "health", "isolation"):
        return _value_test(name, values, facts)
    if name in ("before", "since"):
        return _order_test(name, values, facts)
    if name == "label":
        pairs = [value.partition("=") for value in values]

        def has_labels(record: ContainerRecord) -> bool:
            labels = facts.labels(record)
            return all(
                key in labels and (not equals or labels[key] == wanted)
                for key, equals, wanted in pairs
            )

        return has_labels
    if name == "ancestor":
        images = set().union(*(facts.image_ids(value) for value in values))
        return lambda record: record.image_id in images
    if name == "volume":
        return lambda record: any(
            value in (mount.source, mount.target)
            for mount in record.config.mounts
            for value in values
        )
    if name in ("publish", "expose"):
        return _port_test(name, values, facts)
    return lambda record: any(
        value in facts.networks(record) or _begins_an_id(value, facts.networks(record))
        for value in values
    )


def _begins_an_id(value: str, names: set[str]) -> bool:
    return len(value) >= _SHORT_ID and any(item.startswith(value) for item in names)


def _port_test(name: str, values: Sequence[str], facts: Facts) -> _Test:
    wanted = {port for value in values for port in parse_exposed(value)}
    return lambda record: not wanted.isdisjoint(facts.ports(record, published=name == "publish"))


def _pattern_test(name: str, values: Sequence[str]) -> _Test:
    try:
        patterns = [re.compile(value) for value in values]
    except re.error as error:
        raise Invalid(f"invalid filter '{name}': {error}", "give a regular expression") from error
    if name == "id":
        return lambda record: any(pattern.match(record.id) for pattern in patterns)
    # With and without the slash, so that both "^/web$" and "^web$" work.
    return lambda record: any(
        pattern.search(record.name) or pattern.search("/" + record.name) for pattern in patterns
    )


def _value_test(name: str, values: Sequence[str], facts: Facts) -> _Test:
    if name == "exited":
        codes = {_exit_code(value) for value in values}
        return lambda record: (
            record.state.status in ("exited", "dead") and record.state.exit_code in codes
        )
    known = {"status": STATUSES, "health": HEALTHS, "isolation": ("process", "vm")}[name]
    for value in values:
        if value not in known:
            raise Invalid(f"invalid filter '{name}={value}'", f"it is one of {', '.join(known)}")
    if name == "status":
        return lambda record: record.state.status in values
    if name == "health":
        return lambda record: facts.health(record) in values
    return lambda record: record.config.isolation in values


def _order_test(name: str, values: Sequence[str], facts: Facts) -> _Test:
    moments = [facts.resolve_container(value).created_at_ns for value in values]
    if name == "before":
        limit = min(moments)
        return lambda record: record.created_at_ns < limit
    limit = max(moments)
    return lambda record: record.created_at_ns > limit


def _exit_code(value: str) -> int:
    if not re.fullmatch(r"-?\d{1,9}", value, re.ASCII):
        raise Invalid(f"invalid filter 'exited={value}'", "give an exit code")
    return int(value)
