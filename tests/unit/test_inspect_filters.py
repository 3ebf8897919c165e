"""proa.engine.containers.filters: docker ps --filter."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from proa.engine.config import ContainerConfig, MountConfig
from proa.engine.containers.filters import ContainerFilter, parse_filters
from proa.engine.model import ContainerRecord, ContainerState
from proa.errors import Invalid, NotFound
from tests.support.records import IMAGE_ID, container

WEB = container(
    "web-front",
    id="abc" + "0" * 61,
    created_at_ns=20,
    config=ContainerConfig(
        image="debian",
        labels={"tier": "front"},
        network_mode="none",
        mounts=(MountConfig(type="volume", source="data", target="/d"),),
    ),
    state=ContainerState(status="exited", exit_code=3),
)
OTHER = container("other", id="def" + "0" * 61, created_at_ns=10)


class StubFacts:
    """Answers as an engine with two containers would."""

    def resolve_container(self, reference: str) -> ContainerRecord:
        for record in (WEB, OTHER):
            if record.name == reference:
                return record
        raise NotFound(f"no such container: {reference}")

    def image_ids(self, reference: str) -> set[str]:
        return {IMAGE_ID} if reference == "debian" else set()

    def labels(self, record: ContainerRecord) -> Mapping[str, str]:
        return {"maker": "debian", **record.config.labels}

    def health(self, record: ContainerRecord) -> str:
        return "none"

    def networks(self, record: ContainerRecord) -> set[str]:
        return {record.config.network_mode, *(("lan", "0123456789abcdef") if record is WEB else ())}

    def ports(self, record: ContainerRecord, *, published: bool) -> set[tuple[str, int]]:
        if record is not WEB:
            return set()
        return {("tcp", 80)} if published else {("tcp", 80), ("tcp", 90)}


def passes(**filters: str | list[str]) -> list[str]:
    wanted = {name: [v] if isinstance(v, str) else v for name, v in filters.items()}
    chosen = ContainerFilter(wanted, StubFacts())
    return [record.name for record in (WEB, OTHER) if chosen.matches(record)]


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("name", "web", ["web-front"]),
        ("name", "^/?other$", ["other"]),
        ("name", "/web", ["web-front"]),
        ("name", ["web", "other"], ["web-front", "other"]),
        ("name", "nobody", []),
        ("id", "abc", ["web-front"]),
        ("id", "bc0", []),
        ("label", "tier", ["web-front"]),
        ("label", "tier=front", ["web-front"]),
        ("label", "tier=back", []),
        ("label", "maker", ["web-front", "other"]),
        ("label", ["maker", "tier"], ["web-front"]),
        ("status", "exited", ["web-front"]),
        ("status", ["exited", "created"], ["web-front", "other"]),
        ("exited", "3", ["web-front"]),
        ("exited", "0", []),
        ("ancestor", "debian", ["web-front", "other"]),
        ("ancestor", "busybox", []),
        ("before", "web-front", ["other"]),
        ("since", "other", ["web-front"]),
        ("since", "web-front", []),
        ("volume", "data", ["web-front"]),
        ("volume", "/d", ["web-front"]),
        ("volume", "/x", []),
        ("network", "none", ["web-front"]),
        ("network", "lan", ["web-front"]),
        ("network", "0123456789ab", ["web-front"]),
        ("network", "0123", []),
        ("publish", "80", ["web-front"]),
        ("publish", "79-81/tcp", ["web-front"]),
        ("publish", "80/udp", []),
        ("publish", "90", []),
        ("expose", "90/tcp", ["web-front"]),
        ("health", "none", ["web-front", "other"]),
        ("health", "healthy", []),
        ("isolation", "process", ["web-front", "other"]),
        ("isolation", "vm", []),
        ("name", [], ["web-front", "other"]),
    ],
)
def test_filters(name: str, values: str | list[str], expected: list[str]) -> None:
    assert passes(**{name: values}) == expected


def test_different_filters_must_all_pass() -> None:
    assert passes(name=["web", "other"], status="exited") == ["web-front"]
    assert passes(name="other", status="exited") == []


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("color", "red", "invalid filter 'color'"),
        ("publish", "web", "invalid port 'web'"),
        ("status", "asleep", "invalid filter 'status=asleep': it is one of created"),
        ("exited", "three", "invalid filter 'exited=three'"),
        ("health", "fine", "invalid filter 'health=fine'"),
        ("isolation", "hyperv", "invalid filter 'isolation=hyperv'"),
        ("name", "(", "invalid filter 'name'"),
    ],
)
def test_bad_filters_are_refused_before_any_container_is_seen(
    name: str, value: str, message: str
) -> None:
    with pytest.raises(Invalid, match=message):
        passes(**{name: value})


def test_an_unknown_reference_point_is_not_found() -> None:
    with pytest.raises(NotFound, match="no such container: nobody"):
        passes(before="nobody")


def test_asking_for_a_status_includes_stopped_containers() -> None:
    assert ContainerFilter({"status": ["exited"]}, StubFacts()).includes_stopped
    assert ContainerFilter({"exited": ["0"]}, StubFacts()).includes_stopped
    assert not ContainerFilter({"name": ["x"]}, StubFacts()).includes_stopped


def test_words_of_the_command_line() -> None:
    words = ["name=a", "label=x=y", "NAME = b"]
    assert parse_filters(words) == {"name": ["a", "b"], "label": ["x=y"]}
    with pytest.raises(Invalid, match="invalid filter 'name'"):
        parse_filters(["name"])
