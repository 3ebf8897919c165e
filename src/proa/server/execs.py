"""Commands that were created in containers, until they are started, and a while after their end.

Docker keeps them in its daemon's memory, and so does this server: an id is good for as long as the
server lives. What runs already is not affected by the server's end.
"""

from __future__ import annotations

import os
import secrets
import select
import threading
import time
from typing import Final

from proa.engine.config import ExecConfig
from proa.engine.containers.handles import ExecHandle
from proa.errors import Conflict, NotFound, ProaError

KEPT_S: Final = 300.0
"""How long an exit code can be asked for."""

_MOST: Final = 10_000
_REAP_EVERY_S: Final = 0.5


class Exec:
    """One command.

    Attributes:
        id: 64 hex digits.
        container_id: where it runs.
        config: what it is.
        detach_keys: wanted by whoever created it.
        pid: as the host sees it; 0 before it was started.
        exit_code: None until it has ended.
        started: it may be started once.
    """

    def __init__(self, container_id: str, config: ExecConfig, detach_keys: str) -> None:
        self.id = secrets.token_hex(32)
        self.container_id = container_id
        self.config = config
        self.detach_keys = detach_keys
        self.pid = 0
        self.exit_code: int | None = None
        self.started = False
        self.touched_s = time.monotonic()
        self.handle: ExecHandle | None = None
        self._attended = True
        self._lock = threading.Lock()

    @property
    def running(self) -> bool:
        """It was started and has not ended."""
        self.look()
        return self.started and self.exit_code is None

    def begin(self) -> None:
        """Note that it is being started.

        Raises:
            Conflict: it was started already.
        """
        with self._lock:
            if self.started:
                raise Conflict(f"exec command {self.id[:12]} is already running or has ended")
            self.started = True

    def detach(self) -> None:
        """Nobody waits for its end from now on: it is noticed when somebody asks."""
        self._attended = False

    def run(self, handle: ExecHandle) -> None:
        """Note that it runs."""
        self.handle, self.pid = handle, handle.pid

    def finish(self, code: int | None = None) -> int:
        """Wait for its end, close what belongs to it, return the exit code.

        Args:
            code: of a command that never ran; None: ask.
        """
        with self._lock:
            if self.exit_code is None and code is None and self.handle is not None:
                try:
                    code = self.handle.wait()
                except (ProaError, OSError):
                    code = 137  # it died with its container
            if self.exit_code is None:
                self.exit_code = code if code is not None else 0
            if self.handle is not None:
                self.handle.close()
                self.handle = None
            self.touched_s = time.monotonic()
            return self.exit_code

    def look(self) -> None:
        """Notice the end of a command that nobody waits for."""
        with self._lock:
            handle = self.handle
            if handle is None or self._attended:
                return
            poll = select.poll()
            poll.register(handle.fileno(), select.POLLIN)
            ended = bool(poll.poll(0))
        if ended:
            self.finish()


class Execs:
    """All of them; safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, Exec] = {}
        self._left: list[Exec] = []
        self._reaper: threading.Thread | None = None

    def create(self, container_id: str, config: ExecConfig, detach_keys: str) -> Exec:
        """Remember a command; those that ended long ago are forgotten."""
        new = Exec(container_id, config, detach_keys)
        with self._lock:
            self._forget_old()
            self._known[new.id] = new
        return new

    def get(self, exec_id: str) -> Exec:
        """Return a command by its id or its first digits.

        Raises:
            NotFound: there is none.
        """
        with self._lock:
            found = self._known.get(exec_id)
            if found is None and len(exec_id) >= 12:
                matches = [item for key, item in self._known.items() if key.startswith(exec_id)]
                found = matches[0] if len(matches) == 1 else None
        if found is None:
            raise NotFound(f"No such exec instance: {exec_id}")
        return found

    def leave(self, found: Exec) -> None:
        """Nobody is attached to a command any more: its end is noticed here."""
        found.detach()
        with self._lock:
            self._left.append(found)
            if self._reaper is None:
                self._reaper = threading.Thread(target=self._reap, name="proa-execs", daemon=True)
                self._reaper.start()

    def _reap(self) -> None:
        """Close what belongs to commands that have ended, until none is left."""
        while True:
            with self._lock:
                self._left = [item for item in self._left if item.running]
                if not self._left:
                    self._reaper = None
                    return
            time.sleep(_REAP_EVERY_S)

    def ids_of(self, container_id: str) -> list[str]:
        """Return the ids of the commands that run in a container."""
        with self._lock:
            known = [item for item in self._known.values() if item.container_id == container_id]
        return [item.id for item in known if item.running]

    def _forget_old(self) -> None:
        now_s = time.monotonic()
        for item in list(self._known.values()):
            stale = now_s - item.touched_s > KEPT_S and not item.running
            if stale or (len(self._known) >= _MOST and item.exit_code is not None):
                del self._known[item.id]


def drain(fd: int) -> None:
    """Read a terminal that nobody looks at until its last process closes it."""
    copy = os.dup(fd)

    def read() -> None:
        try:
            while os.read(copy, 65536):
                pass
        except OSError:
            pass
        finally:
            os.close(copy)

    threading.Thread(target=read, name="proa-drain", daemon=True).start()
