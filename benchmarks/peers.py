"""The engines that Proa is measured against, as far as they are installed.

Each peer works in a directory of its own (data, sockets, pid files), runs the same busybox root,
and is ended by the pids it started. Nothing of the machine's own Docker or Podman is touched.
"""

from __future__ import annotations

import glob
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from benchmarks import measure, rootfs
from benchmarks.measure import MeasurementError

PROBE = ("sh", "-c", "echo $((6*7)); exit 7")
_START_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 30.0
WITHOUT_NETWORK = ("--bridge=none", "--iptables=false", "--ip6tables=false")
"""dockerd's options for leaving the machine's network alone."""


class Peer:
    """A way to run the busybox root in a whole process.

    Attributes:
        name: row of the tables.
        version: as the program states it.
    """

    name = ""
    version = ""

    def run_argv(self, *command: str) -> list[str]:
        """Return the argv that runs ``command`` without network and leaves nothing behind."""
        raise NotImplementedError

    def verify(self) -> None:
        """Check that output and exit code come through.

        Raises:
            MeasurementError: they do not.
        """
        done = subprocess.run(self.run_argv(*PROBE), capture_output=True, text=True, check=False)
        if (done.returncode, done.stdout) != (7, "42\n"):
            raise MeasurementError(
                f"{self.name}: {done.returncode} {done.stdout!r} {done.stderr.strip()!r}"
            )

    def close(self) -> None:
        """End what the peer started and remove its files."""


class Bubblewrap(Peer):
    """bwrap: namespaces and mounts, no cgroups, no overlay, no image."""

    name = "bwrap"

    def __init__(self, root: str) -> None:
        self.version = _first_line("bwrap", "--version")
        self._root = root

    def run_argv(self, *command: str) -> list[str]:
        """As :meth:`Peer.run_argv`."""
        mounts = ["--ro-bind", self._root, "/", "--proc", "/proc", "--dev", "/dev"]
        return ["bwrap", "--unshare-all", *mounts, *command]


class OciRuntime(Peer):
    """runc or crun on a ready bundle: an OCI runtime alone, no image, no overlay, no logs."""

    def __init__(self, name: str, root: str, base: str) -> None:
        self.name = name
        self.version = _first_line(name, "--version")
        self._state = os.path.join(base, "state")
        self._base = base
        self._spec = self._default_spec(root)
        self._bundles = 0

    def _default_spec(self, root: str) -> dict[str, object]:
        os.makedirs(self._base)
        _checked([self.name, "spec", "--bundle", self._base])
        with open(os.path.join(self._base, "config.json")) as file:
            spec: dict[str, object] = json.load(file)
        spec["root"] = {"path": root, "readonly": True}
        return spec

    def run_argv(self, *command: str) -> list[str]:
        """As :meth:`Peer.run_argv`; each command gets a bundle, each run the same container id."""
        self._bundles += 1
        bundle = os.path.join(self._base, f"bundle{self._bundles}")
        os.mkdir(bundle)
        process = self._spec["process"]
        assert isinstance(process, dict)
        process = {**process, "terminal": False, "args": list(command)}
        with open(os.path.join(bundle, "config.json"), "w") as file:
            json.dump({**self._spec, "process": process}, file)
        name = f"proa-bench-{os.getpid()}-{self._bundles}"
        return [self.name, "--root", self._state, "run", "--bundle", bundle, name]


class Crun(OciRuntime):
    """crun, which refuses hybrid cgroups whose unified hierarchy has a controller.

    There it runs in a mount namespace without that hierarchy: nsenter(1) costs it about 1 ms.
    """

    def __init__(self, root: str, base: str) -> None:
        super().__init__("crun", root, base)
        self._holder: subprocess.Popen[bytes] | None = None
        if measure.cgroup_mode() == "hybrid":
            self.name = "crun (nsenter)"
            script = "umount /sys/fs/cgroup/unified && echo && exec sleep infinity"
            self._holder = subprocess.Popen(
                ["unshare", "--mount", "sh", "-c", script], stdout=subprocess.PIPE
            )
            assert self._holder.stdout is not None
            self._holder.stdout.readline()

    def run_argv(self, *command: str) -> list[str]:
        """As :meth:`Peer.run_argv`."""
        argv = super().run_argv(*command)
        argv[0] = "crun"
        if self._holder is None:
            return argv
        return ["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", *argv]

    def close(self) -> None:
        """As :meth:`Peer.close`."""
        if self._holder is not None:
            self._holder.kill()
            self._holder.communicate()


_PODMAN_LIMITS = ("--ulimit=nofile=4096:4096", "--ulimit=nproc=4096:4096")


class Podman(Peer):
    """podman with storage and run directories of its own, on runc."""

    name = "podman"

    def __init__(self, archive: str, base: str, prefix: Sequence[str] = ()) -> None:
        """Make the storage.

        Args:
            archive: the root as a tar.
            base: directory of its own.
            prefix: words in front of every command line, to run it in another network namespace.
        """
        self.version = _first_line("podman", "--version")
        self._storage = os.path.join(base, "root")
        places = {"root": "root", "runroot": "run", "tmpdir": "tmp", "network-config-dir": "net"}
        options = [f"--{word}={os.path.join(base, name)}" for word, name in places.items()]
        drivers = ["--storage-driver=overlay", "--cgroup-manager=cgroupfs", "--events-backend=none"]
        self._argv = [*prefix, "podman", *options, *drivers, "--runtime=runc"]
        _checked(self.argv("import", "-q", archive, "busybox"))

    def argv(self, *words: str) -> list[str]:
        """Return the argv of ``podman <words>`` on this storage."""
        return [*self._argv, *words]

    def run_argv(self, *command: str) -> list[str]:
        """As :meth:`Peer.run_argv`.

        The limits are low ones: podman's defaults are above the host's, and raising them needs
        CAP_SYS_RESOURCE, which not every root has.
        """
        return self.argv("run", "--rm", "--network=none", *_PODMAN_LIMITS, "busybox", *command)

    def bridged_argv(self, *command: str) -> list[str]:
        """As :meth:`run_argv`, with the default bridge."""
        return self.argv("run", "--rm", "--network=podman", *_PODMAN_LIMITS, "busybox", *command)

    def idle_argv(self, name: str, *options: str) -> list[str]:
        """Return the argv that starts an idle container on the default bridge."""
        words = ("--network=podman", *_PODMAN_LIMITS, "--name", name, *options)
        return self.argv("run", "-d", *words, "busybox", "sleep", "100000")

    def remove_all(self) -> None:
        """Remove every container."""
        _checked(self.argv("rm", "-af", "-t", "0"))

    def close(self) -> None:
        """As :meth:`Peer.close`: removes containers and the storage's mount of itself."""
        self.remove_all()
        overlay = os.path.join(self._storage, "overlay")
        if os.path.ismount(overlay):
            _checked(["umount", overlay])


class Docker(Peer):
    """A dockerd of our own beside any other, without bridge and packet filter rules."""

    name = "docker"

    def __init__(self, archive: str, base: str, network: Sequence[str] = WITHOUT_NETWORK) -> None:
        os.makedirs(base)
        self._socket = f"unix://{base}/docker.sock"
        self._client = [_docker_client(), "--host", self._socket]
        self._log = open(os.path.join(base, "log"), "w")  # noqa: SIM115 (lives as long as the daemon)
        self._daemon = subprocess.Popen(
            [
                "dockerd",
                f"--host={self._socket}",
                f"--data-root={base}/root",
                f"--exec-root={base}/exec",
                f"--pidfile={base}/pid",
                *network,
            ],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env={**os.environ, "DOCKER_CONFIG": base},
        )
        try:
            self._await_start()
            _checked(self.argv("import", archive, "busybox"))
        except BaseException:
            self.close()
            raise

    @property
    def path(self) -> str:
        """The daemon's socket."""
        return self._socket.removeprefix("unix://")

    def argv(self, *words: str) -> list[str]:
        """Return the argv of ``docker <words>`` on this daemon."""
        return [*self._client, *words]

    def _await_start(self) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        ask = [*self._client, "version", "--format", "{{.Server.Version}}"]
        while time.monotonic() < deadline and self._daemon.poll() is None:
            done = subprocess.run(ask, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                self.version = f"Docker {done.stdout.strip()}"
                return
            time.sleep(0.1)  # the daemon creates its socket before it can answer
        with open(self._log.name) as file:
            raise MeasurementError(f"dockerd did not start: {file.read()[-500:]}")

    def run_argv(self, *command: str) -> list[str]:
        """As :meth:`Peer.run_argv`."""
        return [*self._client, "run", "--rm", "--network=none", "busybox", *command]

    def bridged_argv(self, *command: str) -> list[str]:
        """As :meth:`run_argv`, on the default bridge of a daemon that has one."""
        return [*self._client, "run", "--rm", "busybox", *command]

    def idle_argv(self, name: str, *options: str) -> list[str]:
        """Return the argv that starts an idle container on the default bridge."""
        return self.argv("run", "-d", "--name", name, *options, "busybox", "sleep", "100000")

    def detached_argv(self) -> list[str]:
        """Return the argv that starts an idle container."""
        return [*self._client, "run", "-d", "--network=none", "busybox", "sleep", "100000"]

    def remove_all(self) -> None:
        """Kill and remove every container."""
        ids = _checked([*self._client, "ps", "-aq"]).split()
        if ids:
            _checked([*self._client, "rm", "-f", *ids])

    def processes(self) -> dict[str, list[int]]:
        """Return the daemon's pids (dockerd, containerd) and the shims'."""
        daemons = [self._daemon.pid, *_children(self._daemon.pid)]
        shims = [pid for pid in _pids_named("containerd-shim") if self._is_ours(pid)]
        return {"daemons": daemons, "shims": shims}

    def _is_ours(self, pid: int) -> bool:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return os.path.dirname(self._socket.removeprefix("unix://")).encode() in file.read()

    def close(self) -> None:
        """As :meth:`Peer.close`."""
        if self._daemon.poll() is None and self.version:
            self.remove_all()
        self._daemon.send_signal(signal.SIGTERM)
        try:
            self._daemon.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._daemon.kill()
            self._daemon.wait()
        self._log.close()


@contextmanager
def installed(base: str, only: Sequence[str] = ()) -> Iterator[list[Peer]]:
    """Give the peers that are installed and work, set up below the new directory ``base``.

    A peer that is installed but does not work here is named on stdout and left out.

    Args:
        base: short path on a disk; removed by the caller.
        only: names to consider; empty for all.
    """
    os.makedirs(base)
    root = os.path.join(base, "rootfs")
    rootfs.make_directory(root)
    archive = os.path.join(base, "rootfs.tar")
    with open(archive, "wb") as file:
        file.write(rootfs.pack(root))
    with ExitStack() as stack:
        stack.callback(_remove_groups, _peer_groups())
        found: list[Peer] = []
        for name in ("bwrap", "crun", "runc", "podman", "docker"):
            wanted = not only or name in only
            if not wanted or shutil.which("dockerd" if name == "docker" else name) is None:
                continue
            try:
                peer = _make(name, root, archive, os.path.join(base, name))
                stack.callback(peer.close)
                peer.verify()
            except (MeasurementError, subprocess.CalledProcessError) as error:
                print(f"{name} is installed but does not work here: {error}")
                continue
            found.append(peer)
        yield found


def _make(name: str, root: str, archive: str, base: str) -> Peer:
    if name == "bwrap":
        return Bubblewrap(root)
    if name == "podman":
        return Podman(archive, base)
    if name == "docker":
        return Docker(archive, base)
    if name == "crun":
        return Crun(root, base)
    return OciRuntime(name, root, base)


def _docker_client() -> str:
    client = shutil.which("docker")
    if client is None:
        raise MeasurementError("dockerd is there, the docker command is not")
    return client


def _peer_groups() -> set[str]:
    """Return the top-level groups that Docker and Podman leave behind."""
    names = ("docker", "libpod_parent")
    return {path for name in names for path in glob.glob(f"/sys/fs/cgroup/*/{name}")}


def _remove_groups(keep: set[str]) -> None:
    for top in _peer_groups() - keep:
        for path, _, _ in os.walk(top, topdown=False):
            try:
                os.rmdir(path)
            except OSError:  # somebody else's containers are in it
                break


def _first_line(*argv: str) -> str:
    return _checked(argv).splitlines()[0]


def _checked(argv: Sequence[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MeasurementError(
            f"{' '.join(argv)} gave {done.returncode}: {done.stderr.strip()[-300:]}"
        )
    return done.stdout


def _children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        direct = [int(word) for word in file.read().split()]
    for task in os.listdir(f"/proc/{pid}/task"):
        if task != str(pid):
            with open(f"/proc/{pid}/task/{task}/children") as file:
                direct += [int(word) for word in file.read().split()]
    return direct


def _pids_named(prefix: str) -> list[int]:
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/comm") as file:
                if file.read().startswith(prefix):
                    found.append(int(name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found
