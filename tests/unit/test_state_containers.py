"""proa.engine.state: the table of containers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from proa.engine.config import ContainerConfig, MountConfig, Resources
from proa.engine.model import ContainerState, ProcessIdentity
from proa.engine.state import State
from proa.engine.state.usernamespaces import FIRST_BASE, LAST_BASE, RANGE_SIZE, UserNamespaceRanges
from proa.errors import Conflict, Corrupt, Exhausted, Invalid, NotFound
from tests.support.records import NOW_NS, container, event


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    state = State(str(tmp_path))
    yield state
    state.close()


def test_a_container_is_found_by_id_name_and_prefix(state: State) -> None:
    stored = state.containers.insert(container("web"))
    for reference in (stored.id, "web", "/web", stored.id[:12], stored.id[:1]):
        assert state.containers.get(reference) == stored


def test_all_of_a_record_is_kept(state: State) -> None:
    config = ContainerConfig(
        image="debian",
        command=("echo", "ä€😀"),
        entrypoint=(),
        env=("A=1",),
        labels={"x": "y"},
        mounts=(MountConfig(type="bind", target="/t", source="/s", readonly=True),),
        resources=Resources(memory_bytes=1 << 29, pids_limit=-1),
        stop_timeout_s=0,
    )
    running = ContainerState(
        status="running",
        init=ProcessIdentity(7, 8, "boot"),
        supervisor=ProcessIdentity(9, 10, "boot"),
        started_at_ns=NOW_NS,
    )
    record = container("web", config=config, path="", args=("", "a b"), userns_base=-1)
    state.containers.insert(record)
    state.containers.update_state(record.id, running)
    state.close()
    assert state.containers.get("web") == msgspec.structs.replace(record, state=running)


def test_a_name_in_use_names_its_owner_and_stores_nothing(state: State) -> None:
    first = state.containers.insert(container("web"))
    with pytest.raises(Conflict, match=f"the name 'web' is in use by container {first.id}"):
        state.containers.insert(container("web"), [event()])
    assert state.containers.list() == [first]
    assert state.events.list() == []


def test_an_id_in_use_is_no_name_in_use(state: State) -> None:
    first = state.containers.insert(container("web"))
    with pytest.raises(Conflict, match=f"container {first.id} exists already"):
        state.containers.insert(container("other", id=first.id))


def test_a_name_beats_an_id_prefix_and_a_full_id_beats_a_name(state: State) -> None:
    first = state.containers.insert(container("one"))
    named_like_prefix = state.containers.insert(container(first.id[:12]))
    named_like_id = state.containers.insert(container(first.id))
    assert state.containers.get(first.id[:12]) == named_like_prefix
    assert state.containers.get(first.id) == first
    assert state.containers.get(first.id[:13]) == first
    assert named_like_id in state.containers.list()


def test_an_ambiguous_prefix_is_refused(state: State) -> None:
    state.containers.insert(container("one", id="ab" + "0" * 62))
    state.containers.insert(container("two", id="ab" + "1" * 62))
    with pytest.raises(Invalid, match="'ab' fits more than one container"):
        state.containers.find("ab")
    assert state.containers.get("ab0").name == "one"


@pytest.mark.parametrize(
    "reference", ["nobody", "", "/", "%", "ab*", "f" * 64, "' OR 1=1 --", "f" * 65]
)
def test_what_does_not_exist_is_not_found(state: State, reference: str) -> None:
    state.containers.insert(container("web", id="0" * 64))
    assert state.containers.find(reference) is None
    with pytest.raises(NotFound, match="no such container: "):
        state.containers.get(reference)


def test_bad_names_are_refused(state: State) -> None:
    with pytest.raises(Invalid, match="invalid container name 'a b'"):
        state.containers.insert(container("a b"))


def test_a_container_without_a_name_gets_one(state: State) -> None:
    stored = [state.containers.insert(container()) for _ in range(20)]
    assert len({record.name for record in stored}) == 20
    assert all("_" in record.name for record in stored)


def test_events_learn_the_generated_name(state: State) -> None:
    record = container()
    stored = state.containers.insert(record, [event(record.id), event("b" * 64, "other")])
    first, second = state.events.list()
    assert first.attributes == {"name": stored.name}
    assert second.attributes == {}


def test_update_state_wants_an_existing_container(state: State) -> None:
    with pytest.raises(NotFound):
        state.containers.update_state("0" * 64, ContainerState(), [event()])
    assert state.events.list() == []


def test_update_state_can_insist_on_the_status_before(state: State) -> None:
    record = state.containers.insert(container("web"))
    removing = ContainerState(status="removing")
    with pytest.raises(Conflict, match=f"container {record.id[:12]} is created"):
        state.containers.update_state(record.id, removing, [event()], expect=["exited"])
    assert state.containers.get("web") == record
    state.containers.update_state(record.id, removing, [event()], expect=("exited", "created"))
    assert state.containers.get("web").state == removing
    assert len(state.events.list()) == 1


def test_list_is_newest_first_and_filters_by_status(state: State) -> None:
    old = state.containers.insert(container("old", created_at_ns=1))
    new = state.containers.insert(container("new", created_at_ns=2))
    state.containers.update_state(old.id, ContainerState(status="running"))
    assert [record.name for record in state.containers.list()] == ["new", "old"]
    assert [record.name for record in state.containers.list(("running", "paused"))] == ["old"]
    assert state.containers.list(["created"]) == [new]
    assert state.containers.list(()) == []


def test_rename(state: State) -> None:
    first = state.containers.insert(container("one"))
    state.containers.insert(container("two"))
    state.containers.rename(first.id, "/three", [event(first.id, "rename")])
    assert state.containers.get("three").id == first.id
    assert state.containers.find("one") is None
    with pytest.raises(Conflict, match="the name 'two' is in use"):
        state.containers.rename(first.id, "two")
    with pytest.raises(NotFound):
        state.containers.rename("0" * 64, "four")
    with pytest.raises(Invalid):
        state.containers.rename(first.id, "-")


def test_set_config(state: State) -> None:
    record = state.containers.insert(container("web"))
    config = msgspec.structs.replace(record.config, labels={"a": "b"})
    state.containers.set_config(record.id, config)
    assert state.containers.get("web").config == config
    with pytest.raises(NotFound):
        state.containers.set_config("0" * 64, config)


def test_delete_tells_whether_it_did(state: State) -> None:
    record = state.containers.insert(container("web"))
    assert state.containers.delete(record.id, [event(record.id, "destroy")])
    assert not state.containers.delete(record.id, [event(record.id, "destroy")])
    assert [entry.action for entry in state.events.list()] == ["destroy"]
    state.containers.insert(container("web"))


def test_using_image(state: State) -> None:
    record = state.containers.insert(container("web"))
    assert state.containers.using_image(record.image_id) == [record.id]
    assert state.containers.using_image("sha256:" + "0" * 64) == []


def test_text_that_is_not_unicode_is_refused(state: State) -> None:
    config = ContainerConfig(image="debian", command=("\udcff",))
    with pytest.raises(Invalid, match=r"container web: .* is not valid UTF-8"):
        state.containers.insert(container("web", config=config))
    assert state.containers.list() == []


def test_a_damaged_record_is_named(state: State) -> None:
    record = state.containers.insert(container("web"))
    database = state._database
    with state.transaction():
        database.execute("UPDATE containers SET config = '{' WHERE id = ?", (record.id,))
    with pytest.raises(Corrupt, match=r"the record of container web in proa\.db is damaged"):
        state.containers.get("web")


# -- user namespaces -------------------------------------------------------------------------


def test_ranges_are_apart_aligned_and_inside_systemds(state: State) -> None:
    bases = [state.containers.insert(container()).userns_base for _ in range(100)]
    assert len(set(bases)) == 100
    assert all(FIRST_BASE <= base <= LAST_BASE and base % RANGE_SIZE == 0 for base in bases)
    assert LAST_BASE + RANGE_SIZE - 1 == 1879048191


def test_a_container_of_the_hosts_namespace_has_no_range(state: State) -> None:
    for _ in range(2):
        record = state.containers.insert(container(userns_base=-1))
        assert state.containers.get(record.id).userns_base == -1


def test_the_same_start_goes_on_to_the_next_free_range(state: State) -> None:
    ids = ["00000000" + f"{number:056x}" for number in range(12)]
    bases = [state.containers.insert(container(id=identity)).userns_base for identity in ids]
    assert bases == [FIRST_BASE + number * RANGE_SIZE for number in range(12)]
    state.containers.delete(ids[3])
    again = state.containers.insert(container(id="00000000" + "f" * 56))
    assert again.userns_base == bases[3]


def test_ranges_of_users_are_left_alone(state: State, tmp_path: Path) -> None:
    subuid = tmp_path / "subuid"
    subuid.write_text(
        f"a:{FIRST_BASE}:1\n# comment\nb:{FIRST_BASE + 2 * RANGE_SIZE - 1}:1\nbad\nx:y:z\n::\n"
    )
    ranges = UserNamespaceRanges((str(subuid), str(tmp_path / "missing")))
    assert ranges.find_free(state._database, "0" * 64) == FIRST_BASE + 2 * RANGE_SIZE
    subuid.write_text("")
    assert ranges.find_free(state._database, "0" * 64) == FIRST_BASE


def test_no_free_range_is_exhausted(state: State, tmp_path: Path) -> None:
    subuid = tmp_path / "subuid"
    subuid.write_text(f"a:{FIRST_BASE}:{LAST_BASE + RANGE_SIZE - FIRST_BASE}\n")
    ranges = UserNamespaceRanges((str(subuid),))
    with pytest.raises(Exhausted, match="no range of 65536 user ids is free"):
        ranges.find_free(state._database, "0" * 64)
