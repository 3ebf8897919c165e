"""The zygote: a warm process that keeps workers ready to be a command or a supervisor.

It imports everything once, listens on one unix socket and keeps a few forked *workers* parked in
``accept``. The kernel hands a connection straight to a worker, so nothing of the zygote is on the
way of a request; a worker that was taken tells its pid on a pipe and the zygote forks another.
Workers live on as supervisors of containers; the zygote itself holds no state and may be killed at
any time.

It stays small and single-threaded (fork costs grow with the forker, measured.md section 1), leaves
by itself when nothing asked for a while, and leaves at once when the code it was loaded from
changes.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import time

from proa.engine.ipc.connect import socket_name
from proa.engine.layout import Layout, SocketPath
from proa.engine.zygote.worker import DISMISSAL, RETURNED, RunCommand, Worker, ZygoteEnds
from proa.linux import inotify

PARKED_WORKERS = 2
MOST_PARKED = 8
"""Workers that came back stay while there is much to do: no fork, no page to copy."""

SURPLUS_S = 5.0
_MESSAGE_BYTES = 5
_BACKLOG = 512
_RESPAWN_PAUSE_S = 0.05


class Zygote:
    """The server's loop; one instance a process."""

    def __init__(self, layout: Layout, run_command: RunCommand, idle_s: float) -> None:
        """Prepare to serve.

        Args:
            layout: the roots that workers open before they are asked.
            run_command: what a worker does with a command line: words in, exit code out.
            idle_s: seconds without a request after which the zygote leaves.
        """
        self._layout = layout
        self._run_command = run_command
        self._idle_s = idle_s
        self._path = os.path.join(layout.run, socket_name(layout.root))
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._notify_r, self._notify_w = os.pipe2(os.O_CLOEXEC)
        self._wake_r, self._wake_w = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._parked: set[int] = set()
        self._watch = -1

    def listen(self) -> None:
        """Bind the socket, replacing that of a dead zygote (the caller holds the start lock)."""
        with SocketPath(self._path) as path:
            try:
                os.unlink(path)
            except FileNotFoundError:
                pass
            self._listener.bind(path)
        os.chmod(self._path, 0o600)
        self._listener.listen(_BACKLOG)

    def serve(self) -> None:
        """Keep workers parked until idle, told to end, or outdated."""
        signal.signal(signal.SIGCHLD, _ignore)
        signal.signal(signal.SIGTERM, _leave)
        signal.set_wakeup_fd(self._wake_w, warn_on_full_buffer=False)
        self._watch = _watch_code()
        gc.collect()
        gc.freeze()
        gc.disable()
        poll = select.poll()
        for fd in (self._notify_r, self._wake_r, self._watch):
            if fd >= 0:
                poll.register(fd, select.POLLIN)
        try:
            self._loop(poll)
        finally:
            self._leave()

    def _loop(self, poll: select.poll) -> None:
        surplus_since = time.monotonic()
        deadline = surplus_since + self._idle_s
        while True:
            while len(self._parked) < PARKED_WORKERS:
                self._fork_worker()
            until = deadline
            if len(self._parked) > PARKED_WORKERS:
                until = min(until, surplus_since + SURPLUS_S)
            ready = {fd for fd, _ in poll.poll(max(0.0, until - time.monotonic()) * 1000)}
            if self._wake_r in ready:
                os.read(self._wake_r, 4096)
            if self._notify_r in ready:
                self._note(os.read(self._notify_r, _MESSAGE_BYTES * 512))
                deadline = time.monotonic() + self._idle_s
                surplus_since = time.monotonic()
            self._reap()
            if self._watch in ready or time.monotonic() >= deadline:
                return
            if time.monotonic() >= surplus_since + SURPLUS_S:
                self._dismiss(len(self._parked) - PARKED_WORKERS)

    def _note(self, messages: bytes) -> None:
        """Take what workers told: who was taken, who came back."""
        for at in range(0, len(messages), _MESSAGE_BYTES):
            pid = int.from_bytes(messages[at + 1 : at + _MESSAGE_BYTES], "little")
            if messages[at : at + 1] == RETURNED:
                self._parked.add(pid)
            else:
                self._parked.discard(pid)
        self._dismiss(len(self._parked) - MOST_PARKED)

    def _dismiss(self, count: int) -> None:
        """End parked workers; one that was taken at this very moment takes no notice."""
        for _ in range(count):
            _end(self._parked.pop())

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self._parked:
                # A parked worker that cannot live must not make the zygote fork as fast as it can.
                self._parked.discard(pid)
                if status:
                    time.sleep(_RESPAWN_PAUSE_S)

    def _fork_worker(self) -> None:
        parent = os.getpid()
        try:
            pid = os.fork()
        except BlockingIOError:
            time.sleep(_RESPAWN_PAUSE_S)
            return
        if pid:
            self._parked.add(pid)
            return
        code = 70
        try:
            signal.set_wakeup_fd(-1)
            for fd in (self._notify_r, self._wake_r, self._wake_w, self._watch):
                if fd >= 0:
                    os.close(fd)
            ends = ZygoteEnds(parent, self._listener.detach(), self._notify_w)
            code = Worker(self._layout, self._run_command, ends).run()
        finally:
            os._exit(code)

    def _leave(self) -> None:
        # Unlink first: who finds no socket starts a new zygote; who is already in the backlog gets
        # a reset before any answer and tries again.
        try:
            os.unlink(self._path)
        except OSError:
            pass
        self._listener.close()
        for pid in self._parked:
            _end(pid)


def _end(pid: int) -> None:
    try:
        os.kill(pid, DISMISSAL)
    except ProcessLookupError:
        pass


def _ignore(_number: int, _frame: object) -> None:
    """Only the wake-up descriptor matters."""


def _leave(_number: int, _frame: object) -> None:
    raise SystemExit(0)


def _watch_code() -> int:
    """Watch the package's folders, so that a zygote never outlives the code it was loaded from.

    Returns -1 where inotify is exhausted: then only a new version's socket name protects.
    """
    package = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    mask = inotify.IN_CLOSE_WRITE | inotify.IN_MOVED_TO | inotify.IN_DELETE | inotify.IN_DELETE_SELF
    try:
        fd = inotify.init()
    except OSError:
        return -1
    try:
        for folder, folders, _ in os.walk(package):
            folders[:] = [name for name in folders if name != "__pycache__"]
            inotify.add_watch(fd, folder, mask)
    except OSError:
        os.close(fd)
        return -1
    return fd
