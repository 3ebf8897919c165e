"""Engines for tests: their own root and run directory, the command line as a subprocess.

State goes on a real disk under a short path: overlayfs refuses a tmpfs upper with some features,
and a unix socket's path has 107 bytes. ``PROA_TEST_DIR`` overrides the place.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

COMMAND_TIMEOUT_S = 60.0
_END_TIMEOUT_S = 5.0


class Completed(NamedTuple):
    """A finished command; output is decoded as UTF-8 with surrogate escapes."""

    code: int
    stdout: str
    stderr: str


def launcher() -> list[str]:
    """Return the argv in front of the command line's words, as a user's shell would run it."""
    installed = os.path.join(os.path.dirname(sys.executable), "proa")
    if os.access(installed, os.X_OK):
        return [installed]
    return [sys.executable, os.path.join(os.getcwd(), "scripts", "proa")]


class CommandLine:
    """A program that tests run with words, to its end or beside them.

    Attributes:
        name: in messages.
        timeout_s: of a command that is given none.
    """

    name = ""
    timeout_s = COMMAND_TIMEOUT_S

    def argv(self) -> list[str]:
        """Return what stands in front of the words."""
        raise NotImplementedError

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the environment of a command."""
        raise NotImplementedError

    def __call__(
        self,
        *words: str,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
        cwd: str | os.PathLike[str] | None = None,
    ) -> Completed:
        """Run it with ``words`` to its end.

        Raises:
            subprocess.TimeoutExpired: it did not end in time; it was killed.
        """
        done = subprocess.run(
            [*self.argv(), *words],
            input=stdin,
            capture_output=True,
            env=self.environment(env),
            timeout=self.timeout_s if timeout_s is None else timeout_s,
            cwd=cwd,
            check=False,
        )
        return Completed(
            done.returncode,
            done.stdout.decode("utf-8", "surrogateescape"),
            done.stderr.decode("utf-8", "surrogateescape"),
        )

    def ok(self, *words: str, **options: Any) -> str:
        """Run it with ``words``, assert exit code 0, return its output without the last newline."""
        done = self(*words, **options)
        assert done.code == 0, f"{self.name} {' '.join(words)} gave {done.code}: {done.stderr}"
        return done.stdout.removesuffix("\n")

    def spawn(self, *words: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start it with ``words`` with pipes on 0, 1, 2; use it as a context manager."""
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        env = self.environment(options.pop("env", None))
        return subprocess.Popen([*self.argv(), *words], **{**pipes, **options}, env=env)


class Proa(CommandLine):
    """The command line on one engine root.

    Attributes:
        root: state directory (``PROA_ROOT``).
        run_dir: volatile directory (``PROA_RUN``).
        prefix: words in front of every command line, to run it in another network namespace.
    """

    name = "proa"

    def __init__(self, root: str, run_dir: str, prefix: Sequence[str] = ()) -> None:
        self.root = root
        self.run_dir = run_dir
        self.prefix = list(prefix)

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the environment of a command on this engine."""
        return {**os.environ, "PROA_ROOT": self.root, "PROA_RUN": self.run_dir, **(extra or {})}

    def argv(self) -> list[str]:
        """Return what stands in front of the words."""
        return [*self.prefix, *launcher()]

    def containers(self) -> list[str]:
        """Return the ids of all containers, running or not; none where no state exists yet."""
        if not os.path.exists(os.path.join(self.root, "proa.db")):
            return []
        return self.ok("ps", "-a", "-q", "--no-trunc").split()

    def remove_all(self) -> list[str]:
        """Remove every container; return the ids that were there."""
        ids = self.containers()
        if ids:
            self.ok("rm", "-f", *ids)
        return ids


@contextmanager
def temporary_root(prefix: Sequence[str] = ()) -> Iterator[Proa]:
    """Give an engine with an empty root; its processes are ended and its files removed after.

    Args:
        prefix: see :class:`Proa`.
    """
    base = tempfile.mkdtemp(prefix="proa-t-", dir=os.environ.get("PROA_TEST_DIR", "/var/tmp"))
    proa = Proa(os.path.join(base, "root"), os.path.join(base, "run"), prefix)
    try:
        yield proa
    finally:
        take_down_network(proa)
        end_processes(proa.run_dir)
        shutil.rmtree(base)


def take_down_network(proa: Proa) -> None:
    """Remove an engine's bridge and firewall table from the host, if there is such an engine."""
    from proa.network.names import default_link

    if not proa.prefix and os.path.exists(f"/sys/class/net/{default_link(proa.root)}"):
        proa.remove_all()
        proa.ok("network", "prune", "--force")


def processes(run_dir: str) -> list[int]:
    """Return the pids of the engine's own processes (zygote, workers, supervisors) on ``run_dir``.

    They are forks of one zygote, whose command line names its directories.
    """
    marker = repr(run_dir).encode()
    found = []
    for name in os.listdir("/proc"):
        if not name.isdecimal() or int(name) == os.getpid():
            continue
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                if marker in file.read():
                    found.append(int(name))
        except OSError:  # it ended
            continue
    return sorted(found)


def supervisors(proa: Proa) -> list[int]:
    """Return the pids that hold something open below ``containers/``."""
    prefix = os.path.join(proa.root, "containers") + os.sep
    return [pid for pid in processes(proa.run_dir) if _holds_below(pid, prefix)]


def _holds_below(pid: int, prefix: str) -> bool:
    try:
        fds = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return False
    for fd in fds:
        try:
            if os.readlink(f"/proc/{pid}/fd/{fd}").startswith(prefix):
                return True
        except OSError:
            continue
    return False


def await_teardown(proa: Proa) -> None:
    """Wait, bounded, until supervisors have removed what their containers had.

    They do so after the answer; ended by force meanwhile, they would leave it to a next command
    that a root about to be removed never sees.
    """
    deadline = time.monotonic() + _END_TIMEOUT_S
    while supervisors(proa) and time.monotonic() < deadline:
        time.sleep(0.01)  # not our children: their end can only be seen in /proc


def end_processes(run_dir: str) -> None:
    """Kill the engine's processes on ``run_dir`` and wait for their end, bounded."""
    deadline = time.monotonic() + _END_TIMEOUT_S
    while (pids := processes(run_dir)) and time.monotonic() < deadline:
        handles = []
        for pid in pids:
            try:
                handles.append(os.pidfd_open(pid))
            except ProcessLookupError:
                continue
        for handle in handles:
            try:
                signal.pidfd_send_signal(handle, signal.SIGKILL)
            except ProcessLookupError:
                pass
            os.close(handle)
        time.sleep(0.01)  # not our children: their end can only be seen in /proc


def start_zygote(proa: Proa, prelude: str) -> None:
    """Start the engine's zygote by hand, with the statements ``prelude`` executed before it.

    For tests and benchmarks that look into workers, or give them a default no user can choose.

    Raises:
        RuntimeError: it did not start.
    """
    os.makedirs(os.path.join(proa.run_dir, "c"), mode=0o700, exist_ok=True)
    os.makedirs(proa.root, mode=0o700, exist_ok=True)
    ready_r, ready_w = os.pipe()
    code = (
        f"import sys; sys.path[:] = {[path for path in sys.path if path]!r}\n{prelude}\n"
        "from proa.cli.zygote import main\n"
        f"main({ready_w}, {proa.root!r}, {proa.run_dir!r}, 3600.0)"
    )
    argv = [sys.executable, "-I", "-S", "-c", code]
    subprocess.run(argv, pass_fds=[ready_w], check=True, stdin=subprocess.DEVNULL)
    os.close(ready_w)
    with os.fdopen(ready_r, "rb") as ready:
        if ready.read(1) != b"1":
            raise RuntimeError("the zygote did not start")
