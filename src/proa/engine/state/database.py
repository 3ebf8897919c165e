"""The connection to ``proa.db``: transactions, waiting, durability, forks and damage.

::

    <root>/proa.db          the database, WAL mode; several processes of Proa have it open at once
    <root>/proa.db-wal,-shm SQLite's own; they stay when a process ends without closing
    <root>/proa.db-events   empty; touched after each commit that appended events
    <root>/proa.db-reserve  room for the moment when the disk is full

Rules, with the fact that forces each:

* Every write transaction is ``BEGIN IMMEDIATE``. A deferred one that reads first and then writes
  fails with SQLITE_BUSY at once, whatever the timeout, when somebody wrote in between.
* Waiting for the write lock is done here and not by SQLite's busy handler, which doubles its sleeps
  up to 100 ms: the longer one has waited the less often it looks, and newcomers win. The loop looks
  every 0.1 to 3 ms at random, so that all waiters have the same chance.
* A commit is on disk when it returns (``synchronous=FULL``). A transaction with ``durable=False``
  (``NORMAL``) may be undone by a power cut, never by a crash of the process, and never torn.
* A connection must not cross a fork: SQLite tracks its POSIX locks, which are per process, in
  memory. Before any ``os.fork`` the connection is closed; both sides open their own when needed.
* On a full disk what gives room back (removals) and what must not be lost (ends) is still recorded:
  log and database have blocks ahead of their content, and a transaction with ``spare=True`` gives
  the reserve back first.
* Lock order: the database's write lock is innermost. No other lock is taken and no container file
  is touched inside a transaction.
"""

from __future__ import annotations

import os
import sqlite3
import time
import weakref
from _thread import RLock
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from proa.engine.state.migrations import migrate, read_version
from proa.engine.state.schema import MIGRATIONS
from proa.errors import (
    Corrupt,
    Exhausted,
    Forbidden,
    Internal,
    ProaError,
    TimedOut,
    Unavailable,
    from_os_error,
)
from proa.fs.reserve import Reserve, allocated_bytes, is_nearly_full, preallocate

T = TypeVar("T")

DATABASE_NAME: Final = "proa.db"
BUSY_TIMEOUT_S: Final = 30.0
_SHORTEST_PAUSE_S: Final = 0.0001
_LONGEST_PAUSE_S: Final = 0.003
# 1 MiB of log at most: opening after a crash reads it whole (0.3 ms), and checkpoints stay short.
_CHECKPOINT_PAGES: Final = 256
_LOG_BYTES: Final = 1280 * 1024
"""Room of the log: up to a checkpoint, and beyond it for one that readers hold up."""
_INDEX_BYTES: Final = 32 * 1024
_AHEAD_BYTES: Final = 256 * 1024
_RESERVE_BYTES: Final = 1024 * 1024
_SCARCE_BYTES: Final = 128 * 1024
"""With less room than this a transaction may fail."""

_open_databases: weakref.WeakSet[Database] = weakref.WeakSet()


class Database:
    """One process' connection to the database, opened on first use.

    Safe for threads (one at a time) and across forks; see the module's rules.
    """

    def __init__(self, root: str, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> None:
        """Remember where the database is; nothing is opened yet.

        Args:
            root: the engine's state root, an existing directory.
            busy_timeout_s: longest wait for other writers.
        """
        self.root = root
        self.path = os.path.join(root, DATABASE_NAME)
        self._busy_timeout_s = busy_timeout_s
        self._connection: sqlite3.Connection | None = None
        self._pid = 0
        self._depth = 0
        self._synchronous = ""
        self._lock = RLock()
        self._reserve = Reserve(self.path + "-reserve", _RESERVE_BYTES)
        self._after_commit: list[Callable[[], None]] = []
        _open_databases.add(self)

    def close(self) -> None:
        """Close the connection; the next call opens a new one. Idempotent."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None and self._pid == os.getpid():
                connection.close()

    def query(self, sql: str, parameters: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        """Run a read-only statement and return all its rows, in or outside of a transaction."""
        with self._lock:
            connection = self._connect()
            try:
                return connection.execute(sql, parameters).fetchall()
            except sqlite3.Error as error:
                if not _is_busy(error):
                    raise self._translate(error) from error
            return self._retry(lambda: connection.execute(sql, parameters).fetchall())

    def execute(self, sql: str, parameters: tuple[object, ...] = ()) -> sqlite3.Cursor:
        """Run a writing statement inside :meth:`transaction`.

        Raises:
            sqlite3.IntegrityError: a uniqueness rule; the caller knows which object to name.
            ProaError: any other failure.
        """
        if not self._depth or self._connection is None:
            raise Internal(f"a write to {self.path} outside of a transaction")
        try:
            return self._connection.execute(sql, parameters)
        except sqlite3.IntegrityError:
            raise
        except sqlite3.Error as error:
            raise self._translate(error) from error

    @contextmanager
    def transaction(self, *, durable: bool = True, spare: bool = False) -> Iterator[None]:
        """Hold the write lock; commit at the end, roll back when an exception passes.

        A transaction inside another joins it (and its durability).

        Args:
            durable: on disk when it returns. False where a power cut may undo it: the state of
                containers that are removed at their end.
            spare: use the reserve when the disk is full.

        Raises:
            TimedOut: other processes kept the write lock for the whole busy timeout.
            Exhausted: the disk is full; nothing was changed.
            Corrupt: the file is damaged.
        """
        with self._lock:
            if self._depth:
                self._depth += 1
                try:
                    yield
                finally:
                    self._depth -= 1
                return
            connection = self._connect()
            if spare:
                self._make_room()
            self._begin(connection, "FULL" if durable else "NORMAL")
            self._depth = 1
            try:
                yield
                connection.execute("COMMIT")
            except sqlite3.IntegrityError:
                self._roll_back(connection)
                raise
            except sqlite3.Error as error:
                self._roll_back(connection)
                raise self._translate(error) from error
            except BaseException:
                self._roll_back(connection)
                raise
            finally:
                self._depth = 0
            callbacks, self._after_commit = self._after_commit, []
            for callback in callbacks:
                callback()

    def on_commit(self, callback: Callable[[], None]) -> None:
        """Call once after the running transaction has committed; forgotten if it does not."""
        if callback not in self._after_commit:
            self._after_commit.append(callback)

    def checkpoint(self) -> None:
        """Move the log into the database file, as far as readers allow; for idle moments."""
        self.query("PRAGMA wal_checkpoint(PASSIVE)")

    def check(self) -> None:
        """Verify the file's structure (reads all of it).

        Raises:
            Corrupt: with the first finding.
        """
        rows = self.query("PRAGMA quick_check(1)")
        if rows != [("ok",)]:
            raise self._corrupt(str(rows[0][0]).replace("\n", " ") if rows else "no answer")

    # -- opening -----------------------------------------------------------------------------

    def _connect(self) -> sqlite3.Connection:
        connection = self._connection
        if connection is not None:
            if self._pid == os.getpid():
                return connection
            # Only a fork that bypassed os.fork, or one inside a transaction, gets here.
            raise Internal(f"{self.path} was open when this process was forked")
        self._pid = os.getpid()
        self._make_room()
        return self._retry(self._open)

    def _make_room(self) -> None:
        """On a full disk: give the reserve back, unless the log has its room already."""
        has_room = not is_nearly_full(self.root, _SCARCE_BYTES)
        if not has_room and allocated_bytes(self.path + "-wal") < _LOG_BYTES // 2:
            self._reserve.release()

    def _open(self) -> sqlite3.Connection:
        # Before the connection: SQLite's POSIX locks on these two files are lost when any other
        # descriptor of them is closed, and the log is then removed under other processes.
        if os.path.exists(self.path):
            # SQLite writes a byte a page of it; a hole that cannot be filled is a SIGBUS.
            preallocate(self.path + "-shm", _INDEX_BYTES)
            preallocate(self.path, os.stat(self.path).st_size + _AHEAD_BYTES)
        try:
            connection = sqlite3.connect(
                self.path, timeout=0, isolation_level=None, check_same_thread=False
            )
        except sqlite3.Error as error:
            if _is_busy(error):
                raise
            raise self._translate(error) from error
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        # Reading the version first finds damage and a new file with one statement.
        if read_version(connection) != len(MIGRATIONS):
            self._create_or_migrate(connection)
        connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        # Its other place would be a directory on a disk that may be full.
        connection.execute("PRAGMA temp_store = MEMORY")
        self._synchronous = ""
        self._keep_room()

    def _keep_room(self) -> None:
        self._reserve.ensure()
        scarce = is_nearly_full(self.root, _LOG_BYTES)
        preallocate(self.path + "-wal", _LOG_BYTES // 2 if scarce else _LOG_BYTES)

    def _create_or_migrate(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        os.chmod(self.path, 0o600)
        connection.execute("BEGIN IMMEDIATE")
        try:
            migrate(connection, self.path)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    # -- transactions ------------------------------------------------------------------------

    def _begin(self, connection: sqlite3.Connection, synchronous: str) -> None:
        try:
            if synchronous != self._synchronous:
                connection.execute(f"PRAGMA synchronous = {synchronous}")
                self._synchronous = synchronous
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            if not _is_busy(error):
                raise self._translate(error) from error
            self._retry(lambda: connection.execute("BEGIN IMMEDIATE"))

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        self._after_commit.clear()
        # SQLite rolls back by itself on some failures (disk full, I/O error).
        if connection.in_transaction:
            try:
                connection.execute("ROLLBACK")
            except sqlite3.Error:
                self.close()

    def _retry(self, attempt: Callable[[], T]) -> T:
        deadline = 0.0
        while True:
            try:
                return attempt()
            except sqlite3.Error as error:
                if not _is_busy(error):
                    raise self._translate(error) from error
                now = time.monotonic()
                deadline = deadline or now + self._busy_timeout_s
                if now >= deadline:
                    raise TimedOut(
                        f"{self.path} was locked by other processes for "
                        f"{self._busy_timeout_s:g} seconds",
                        "look for a stopped or hanging proa process",
                    ) from error
            except OSError as error:
                raise from_os_error(error, f"cannot open {self.path}") from error
            time.sleep(_random_pause_s())

    # -- errors ------------------------------------------------------------------------------

    def _translate(self, error: sqlite3.Error) -> ProaError:
        code = getattr(error, "sqlite_errorcode", 0)
        primary = code & 0xFF
        detail = str(error).lower()
        if primary == sqlite3.SQLITE_FULL or (
            primary in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)
            and is_nearly_full(self.root, _SCARCE_BYTES)
        ):
            return Exhausted(
                f"cannot write {self.path}: no space left on device",
                "free disk space or inodes on that filesystem, then try again",
            )
        if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return self._corrupt(detail)
        if primary in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
            return Forbidden(f"cannot write {self.path}: {detail}", "run as root or check --root")
        if primary == sqlite3.SQLITE_CANTOPEN:
            return Unavailable(
                f"cannot open {self.path}: {detail}", "check that --root is a writable directory"
            )
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        return Internal(f"{self.path}: {detail} ({name})")

    def _corrupt(self, detail: str) -> Corrupt:
        return Corrupt(
            f"{self.path} is damaged: {detail}",
            f"move it away together with its -wal and -shm files and restore a backup, or let "
            f"`sqlite3 {self.path} .recover` rescue what is readable",
        )


def _random_pause_s() -> float:
    # The random module would load hashlib and with it libcrypto.
    return _SHORTEST_PAUSE_S + (_LONGEST_PAUSE_S - _SHORTEST_PAUSE_S) * os.urandom(1)[0] / 255


def _is_busy(error: sqlite3.Error) -> bool:
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
    )


def _before_fork() -> None:
    for database in list(_open_databases):
        database._lock.acquire()
        if not database._depth:
            database.close()


def _after_fork_in_parent() -> None:
    for database in list(_open_databases):
        database._lock.release()


def _after_fork_in_child() -> None:
    for database in list(_open_databases):
        database._lock = RLock()


os.register_at_fork(
    before=_before_fork,
    after_in_parent=_after_fork_in_parent,
    after_in_child=_after_fork_in_child,
)
