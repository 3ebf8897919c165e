"""proa.engine.state: image names, volumes and events."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import msgspec
import pytest

from proa.engine.state import State, VolumeRecord
from proa.engine.state.event_filters import event_matches
from proa.engine.state.events import RETAINED_EVENTS
from proa.engine.state.migrations import migrate
from proa.engine.state.schema import MIGRATIONS
from proa.errors import Conflict, Invalid, NotFound
from proa.image.references import ImageRecord, References
from tests.support.records import NOW_NS, container, event


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    state = State(str(tmp_path))
    yield state
    state.close()


def image(reference: str, number: int = 1) -> ImageRecord:
    return ImageRecord(
        reference=reference,
        target=f"sha256:{number:064x}",
        image_id=f"sha256:{number + 100:064x}",
        updated_at_ns=NOW_NS + number,
    )


def test_image_names_are_put_moved_and_removed(state: State) -> None:
    names: References = state.images
    first, moved = image("docker.io/library/a:1"), image("docker.io/library/a:1", 2)
    assert names.put(first) is None
    assert names.put(moved) == first
    assert names.find("docker.io/library/a:1") == moved
    assert names.find("docker.io/library/a") is None
    assert names.remove("docker.io/library/a:1")
    assert not names.remove("docker.io/library/a:1")


def test_an_image_name_remembers_its_index(state: State) -> None:
    record = msgspec.structs.replace(image("a"), index=f"sha256:{'f' * 64}")
    state.images.put(record)
    assert state.images.find("a") == record
    assert state.images.list() == [record]


def test_image_names_of_before_there_were_indexes() -> None:
    """A database of the third schema version: its names point at manifests."""
    connection = sqlite3.connect(":memory:")
    migrate(connection, "proa.db", MIGRATIONS[:3])
    connection.execute("INSERT INTO image_names VALUES ('a', 't', 'i', 1)")
    migrate(connection, "proa.db")
    assert list(connection.execute("SELECT * FROM image_names")) == [("a", "t", "i", 1, "")]


def test_image_names_are_listed_by_their_last_move(state: State) -> None:
    for number, reference in ((3, "c"), (1, "b"), (2, "a")):
        state.images.put(image(reference, number))
    assert [record.reference for record in state.images.list()] == ["b", "a", "c"]


def test_volumes(state: State) -> None:
    data = VolumeRecord(
        name="data",
        created_at_ns=NOW_NS,
        labels={"a": "b"},
        options={"type": "tmpfs"},
        anonymous=True,
    )
    state.volumes.insert(data)
    state.volumes.insert(VolumeRecord(name="cache", created_at_ns=NOW_NS))
    assert state.volumes.get("data") == data
    assert [volume.name for volume in state.volumes.list()] == ["cache", "data"]
    with pytest.raises(Conflict, match="volume data exists already"):
        state.volumes.insert(data)
    assert state.volumes.delete("data")
    assert not state.volumes.delete("data")
    with pytest.raises(NotFound, match="no such volume: data"):
        state.volumes.get("data")


def test_events_are_numbered_in_order(state: State) -> None:
    state.events.append(event(action="create"), event(action="start", attributes={"a": "ä"}))
    first, second = state.events.list()
    assert (first.action, second.action) == ("create", "start")
    assert first.sequence < second.sequence == state.events.last_sequence()
    assert second.attributes == {"a": "ä"}
    assert state.events.list(after_sequence=first.sequence) == [second]


def test_events_are_chosen_by_time(state: State) -> None:
    state.events.append(*(event(time_ns=moment) for moment in (10, 20, 30)))
    assert [entry.time_ns for entry in state.events.list(since_ns=20)] == [20, 30]
    assert [entry.time_ns for entry in state.events.list(until_ns=20)] == [10, 20]


def test_old_events_are_forgotten_but_numbers_go_on(state: State) -> None:
    with state.transaction(durable=False):
        for _ in range(RETAINED_EVENTS + 600):
            state.events.append_inside(event())
    kept = state.events.list()
    assert RETAINED_EVENTS <= len(kept) < RETAINED_EVENTS + 256
    assert kept[-1].sequence == RETAINED_EVENTS + 600


def test_followers_see_what_was_and_what_comes(state: State, tmp_path: Path) -> None:
    state.events.append(event(action="old", time_ns=1), event(action="recent", time_ns=5))
    stream = state.events.follow(since_ns=5)
    assert next(stream).action == "recent"
    other = State(str(tmp_path))
    began = time.monotonic()
    other.events.append(event(action="new"), event(action="newer"))
    other.close()
    assert next(stream).action == "new"
    assert next(stream).action == "newer"
    # Woken by the commit, not by the look once a second.
    assert time.monotonic() - began < 0.9
    stream.close()


def test_followers_miss_nothing_of_a_busy_writer(state: State, tmp_path: Path) -> None:
    def write() -> None:
        other = State(str(tmp_path))
        for number in range(200):
            other.events.append(event(action=str(number)), durable=False)
        other.close()

    stream = state.events.follow(since_ns=0)
    thread = Thread(target=write)
    thread.start()
    seen = [next(stream).action for _ in range(200)]
    thread.join()
    assert seen == [str(number) for number in range(200)]


def test_following_ends_by_time_and_by_descriptor(state: State) -> None:
    state.events.append(event(time_ns=1))
    now = time.time_ns()
    assert len(list(state.events.follow(since_ns=0, until_ns=now))) == 1
    reader, writer = os.pipe()
    os.close(writer)
    try:
        assert list(state.events.follow(stop_fd=reader)) == []
    finally:
        os.close(reader)


def test_following_filters(state: State) -> None:
    state.events.append(event(action="create", time_ns=1), event(action="start", time_ns=2))
    filters = {"event": ["start"]}
    stream = state.events.follow(since_ns=0, until_ns=time.time_ns(), filters=filters)
    assert [entry.action for entry in stream] == ["start"]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, True),
        ({"type": ["container"]}, True),
        ({"type": ["image"]}, False),
        ({"type": ["image", "container"]}, True),
        ({"event": ["die"]}, False),
        ({"event": ["exec_start"]}, True),
        ({"container": ["web"]}, True),
        ({"container": ["aaaa"]}, True),
        ({"container": ["a" * 64]}, True),
        ({"container": ["we"]}, False),
        ({"image": ["debian"]}, True),
        ({"image": ["busybox"]}, False),
        ({"volume": ["data"]}, False),
        ({"label": ["tier"]}, True),
        ({"label": ["tier=front", "image=debian"]}, True),
        ({"label": ["tier=front", "nope"]}, False),
        ({"label": ["tier=back"]}, False),
        ({"scope": ["local"]}, True),
        ({"scope": ["swarm"]}, False),
        ({"daemon": ["x"]}, True),
        ({"type": ["container"], "event": ["die"]}, False),
        ({"type": []}, True),
    ],
)
def test_event_filters(filters: dict[str, list[str]], expected: bool) -> None:
    attributes = {"name": "web", "image": "debian", "tier": "front"}
    subject = event(action="exec_start: sh -c true", attributes=attributes)
    assert event_matches(subject, filters) is expected


def test_unknown_event_filters_are_refused() -> None:
    with pytest.raises(Invalid, match="invalid event filter 'color'"):
        event_matches(event(), {"color": ["red"]})


def test_a_transaction_is_all_or_nothing(state: State) -> None:
    def fail_late() -> None:
        with state.transaction():
            state.images.put(image("a"))
            state.volumes.insert(VolumeRecord(name="v", created_at_ns=1))
            state.containers.insert(container("web"), [event()])
            raise KeyError

    with pytest.raises(KeyError):
        fail_late()
    assert (state.images.list(), state.volumes.list(), state.containers.list()) == ([], [], [])
    assert state.events.list() == []
    with state.transaction():
        state.images.put(image("a"))
        state.containers.insert(container("web"))
    assert len(state.images.list()) == len(state.containers.list()) == 1


def test_a_failed_call_inside_a_transaction_can_be_caught(state: State) -> None:
    with state.transaction():
        state.containers.insert(container("web"))
        with pytest.raises(Conflict):
            state.containers.insert(container("web"))
        state.images.put(image("a"))
    assert len(state.images.list()) == len(state.containers.list()) == 1
