"""proa.engine.state: opening, migrating, damage, forks."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from proa.engine.state import State
from proa.engine.state.database import Database
from proa.engine.state.migrations import migrate, read_version
from proa.engine.state.schema import MIGRATIONS
from proa.errors import Corrupt, Internal, ProaError, TimedOut, Unavailable, Unsupported
from tests.support.records import container, event


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    state = State(str(tmp_path))
    yield state
    state.close()


def connect(directory: Path) -> sqlite3.Connection:
    return sqlite3.connect(directory / "proa.db", isolation_level=None)


def test_nothing_is_made_before_the_first_call(tmp_path: Path) -> None:
    State(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_new_database_is_private_and_in_wal_mode(state: State, tmp_path: Path) -> None:
    assert state.containers.list() == []
    assert (tmp_path / "proa.db").stat().st_mode & 0o777 == 0o600
    assert state._database.query("PRAGMA journal_mode") == [("wal",)]
    assert state._database.query("PRAGMA user_version") == [(len(MIGRATIONS),)]


def test_commits_are_synced_unless_they_need_not(state: State) -> None:
    with state.transaction():
        assert state._database.query("PRAGMA synchronous") == [(2,)]
    with state.transaction(durable=False):
        assert state._database.query("PRAGMA synchronous") == [(1,)]
    with state.transaction():
        assert state._database.query("PRAGMA synchronous") == [(2,)]


def test_a_missing_root_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=f"cannot open {tmp_path}/gone/proa.db"):
        State(str(tmp_path / "gone")).containers.list()


def test_a_newer_schema_is_refused_untouched(state: State, tmp_path: Path) -> None:
    state.containers.list()
    state.close()
    connection = connect(tmp_path)
    connection.execute("PRAGMA user_version = 999")
    connection.close()
    before = (tmp_path / "proa.db").read_bytes()
    with pytest.raises(Unsupported, match=r"schema version 999, this proa knows up to \d"):
        state.containers.list()
    assert (tmp_path / "proa.db").read_bytes() == before


def test_migrations_run_in_order_and_only_the_missing_ones() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    scripts = ["CREATE TABLE a (x);", "INSERT INTO a VALUES (';');\nINSERT INTO a VALUES (2);"]
    assert migrate(connection, "db", scripts[:1]) == 0
    assert migrate(connection, "db", scripts) == 1
    assert migrate(connection, "db", scripts) == 2
    assert connection.execute("SELECT x FROM a").fetchall() == [(";",), (2,)]
    connection.close()


def test_a_failed_migration_leaves_the_old_version() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection, "db", ["CREATE TABLE a (x);", "CREATE TABLE b (x);\nBROKEN;"])
    connection.execute("ROLLBACK")
    assert read_version(connection) == 0
    assert connection.execute("SELECT * FROM sqlite_master").fetchall() == []
    connection.close()


@pytest.mark.parametrize("damage", [b"this is no database " * 300, b"\0" * 8192])
def test_a_file_that_is_no_database_is_corrupt(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "proa.db").write_bytes(damage)
    state = State(str(tmp_path))
    with pytest.raises(Corrupt, match=r"proa.db is damaged") as caught:
        state.containers.insert(container("web"))
    assert "backup" in caught.value.hint
    assert (tmp_path / "proa.db").read_bytes() == damage


def test_a_damaged_page_is_corrupt(state: State, tmp_path: Path) -> None:
    for _ in range(50):
        state.containers.insert(container(), durable=False)
    state._database.query("PRAGMA wal_checkpoint(TRUNCATE)")
    state.close()
    path = tmp_path / "proa.db"
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (path.stat().st_size - 4096))
    with pytest.raises(Corrupt):
        state.containers.list()
    with pytest.raises(Corrupt):
        state.check()


def test_a_sound_database_passes_the_check(state: State) -> None:
    state.containers.insert(container("web"))
    state.checkpoint()
    state.check()


def test_waiting_for_a_stuck_writer_ends(tmp_path: Path) -> None:
    state = State(str(tmp_path), busy_timeout_s=0.05)
    state.containers.list()
    stuck = connect(tmp_path)
    stuck.execute("BEGIN IMMEDIATE")
    with pytest.raises(TimedOut, match=r"proa.db was locked by other processes for 0.05 seconds"):
        state.containers.insert(container("web"))
    assert state.containers.list() == []
    stuck.execute("ROLLBACK")
    stuck.close()
    state.containers.insert(container("web"))
    state.close()


def test_writing_needs_a_transaction(tmp_path: Path) -> None:
    database = Database(str(tmp_path))
    with pytest.raises(Internal, match="outside of a transaction"):
        database.execute("DELETE FROM containers")


def test_threads_share_a_state(state: State) -> None:
    errors: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(20):
                record = state.containers.insert(container(), durable=False)
                assert state.containers.get(record.id) == record
                assert state.containers.delete(record.id, durable=False)
        except BaseException as error:
            errors.append(error)

    threads = [Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert state.containers.list() == []


def in_child(function: object) -> int:
    """Run a function in a forked child; return the child's exit code."""
    pid = os.fork()
    if pid == 0:
        try:
            function()  # type: ignore[operator]
        except ProaError:
            os._exit(3)
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_fork_uses_the_database_on_both_sides(state: State) -> None:
    state.containers.insert(container("before"))

    def child() -> None:
        assert state.containers.get("before")
        state.containers.insert(container("child"))

    assert in_child(child) == 0
    state.containers.insert(container("parent"))
    assert {record.name for record in state.containers.list()} == {"before", "child", "parent"}
    state.check()


def test_a_fork_inside_a_transaction_leaves_the_child_without_database(state: State) -> None:
    with state.transaction():
        state.containers.insert(container("web"))
        assert in_child(state.containers.list) == 3
    assert len(state.containers.list()) == 1


def test_descriptors_are_not_inherited(state: State) -> None:
    state.containers.insert(container("web"), [event()])
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
        if "proa.db" in target:
            assert not os.get_inheritable(int(name)), target
