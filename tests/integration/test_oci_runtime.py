"""``proa-runtime`` on bundles, and under those who call runtimes: podman, dockerd, ctr."""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from proa.cli.ociruntime import documents
from proa.oci import spec as oci
from tests.support.engines import temporary_root
from tests.support.ociruntime import write_launcher
from tests.support.sandboxes import make_root

pytestmark = pytest.mark.requires("root", "busybox", "seccomp")

Edit = Callable[[dict[str, Any]], None]
_TIMEOUT_S = 60


@pytest.fixture(scope="module")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The command as a file, as callers want it."""
    return write_launcher(tmp_path_factory.mktemp("bin") / "proa-runtime")


class Runtime:
    """The runtime with a root and a bundle of its own."""

    def __init__(self, launcher: str, directory: Path, env: dict[str, str]) -> None:
        self._env = {**os.environ, **env}
        self._command = [launcher, "--root", str(directory / "root")]
        self.bundle = directory / "bundle"
        self.root = directory / "root"
        make_root(str(self.bundle / "rootfs"))

    def configure(self, *args: str, edit: Edit | None = None) -> None:
        document = json.loads(oci.encode(documents.default_spec()))
        document["process"].update(terminal=False, args=list(args))
        document["process"]["rlimits"] = []
        if edit is not None:
            edit(document)
        (self.bundle / "config.json").write_text(json.dumps(document))

    def __call__(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._command, *words], capture_output=True, text=True, cwd=self.bundle,
            timeout=_TIMEOUT_S, check=False, env=self._env, **options,
        )  # fmt: skip

    def open(self, *words: str, **options: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*self._command, *words], cwd=self.bundle, env=self._env, **options)

    def create(self, name: str, *words: str) -> None:
        """Create with stdio at /dev/null: init would hold pipes of this process open."""
        subprocess.run(
            [*self._command, "create", *words, name], cwd=self.bundle, check=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            timeout=_TIMEOUT_S, env=self._env,
        )  # fmt: skip

    def state(self, name: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self("state", name).stdout)
        return document


@pytest.fixture(scope="module")
def zygote() -> Iterator[dict[str, str]]:
    """Where the commands of this module find warm workers."""
    with temporary_root() as proa:
        yield {"PROA_ROOT": proa.root, "PROA_RUN": proa.run_dir}


@pytest.fixture(params=["cold", "warm"])
def runtime(
    launcher: str, tmp_path: Path, zygote: dict[str, str], request: pytest.FixtureRequest
) -> Iterator[Runtime]:
    env = zygote if request.param == "warm" else {"PROA_ZYGOTE": "0"}
    made = Runtime(launcher, tmp_path, env)
    yield made
    for name in os.listdir(made.root) if made.root.exists() else []:
        made("delete", "--force", name)


def test_run_gives_back_output_and_exit_code_and_leaves_nothing(runtime: Runtime) -> None:
    runtime.configure("sh", "-c", "echo out; echo err >&2; exit 3")
    done = runtime("run", "web")
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")
    assert runtime("list", "-q").stdout == ""


def test_the_life_of_a_container_over_many_processes(runtime: Runtime, tmp_path: Path) -> None:
    runtime.configure("sleep", "1000")
    pid_file = tmp_path / "pid"
    runtime.create("web", "--pid-file", str(pid_file))
    state = runtime.state("web")
    assert (state["status"], state["pid"]) == ("created", int(pid_file.read_text()))
    assert runtime("start", "web").returncode == 0
    assert runtime.state("web")["status"] == "running"
    again = runtime("start", "web")
    assert (again.returncode, "already running" in again.stderr) == (1, True)
    assert runtime("pause", "web").returncode == 0
    assert runtime.state("web")["status"] == "paused"
    assert runtime("resume", "web").returncode == 0
    assert json.loads(runtime("ps", "--format", "json", "web").stdout) == [state["pid"]]
    refused = runtime("delete", "web")
    assert (refused.returncode, "not stopped" in refused.stderr) == (1, True)
    pidfd = os.pidfd_open(state["pid"])
    assert runtime("kill", "web", "KILL").returncode == 0
    assert select.select([pidfd], [], [], _TIMEOUT_S)[0]
    os.close(pidfd)
    assert runtime.state("web")["status"] == "stopped"
    assert "not running" in runtime("kill", "web", "TERM").stderr
    assert runtime("delete", "web").returncode == 0
    assert "does not exist" in runtime("state", "web").stderr


def test_exec_sees_the_containers_root_and_gives_back_its_code(runtime: Runtime) -> None:
    runtime.configure("sleep", "1000")
    runtime.create("web")
    runtime("start", "web")
    done = runtime("exec", "-e", "WORD=in", "--cwd", "/tmp", "web", "sh", "-c",
                   "echo $WORD $PWD; exit 7")  # fmt: skip
    assert (done.returncode, done.stdout) == (7, "in /tmp\n")
    missing = runtime("exec", "web", "nosuch")
    assert (missing.returncode, "executable file not found in $PATH" in missing.stderr) == (
        255,
        True,
    )
    terminal = runtime("exec", "-t", "web", "tty", stdin=subprocess.DEVNULL)
    assert terminal.stdout.strip() == "/dev/pts/0"


@pytest.mark.parametrize(
    ("command", "message"),
    [("nosuch", "executable file not found in $PATH"), ("/etc/passwd", "permission denied"),
     ("/nosuch", "no such file or directory")],
)  # fmt: skip
def test_a_command_that_cannot_be_fails_at_create(
    runtime: Runtime, command: str, message: str
) -> None:
    runtime.configure(command)
    done = runtime("create", "web")
    assert done.returncode == 1
    assert message in done.stderr
    assert runtime("list", "-q").stdout == ""


def test_hooks_run_in_order_with_the_state_on_stdin(runtime: Runtime, tmp_path: Path) -> None:
    log = tmp_path / "log"
    kinds = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"]

    def add(document: dict[str, Any]) -> None:
        script = f'printf "%s %s\\n" $0 "$(cat)" >> {log}'
        hook = {"path": "/bin/sh", "env": ["PATH=/bin:/usr/bin"], "timeout": 20}
        document["hooks"] = {kind: [{**hook, "args": ["sh", "-c", script, kind]}] for kind in kinds}
        inside = {"path": "/bin/sh", "args": ["sh", "-c", "cat > /dev/shm/state"]}
        document["hooks"]["startContainer"] = [{**inside, "env": ["PATH=/bin"]}]

    runtime.configure("cat", "/dev/shm/state", edit=add)
    done = runtime("run", "web")
    inside = json.loads(done.stdout)
    assert (inside["id"], inside["status"]) == ("web", "created")
    told = [line.split(" ", 1) for line in log.read_text().splitlines()]
    assert [name for name, _ in told] == kinds
    states = [json.loads(text) for _, text in told]
    assert [state["status"] for state in states] == [
        "creating", "creating", "creating", "running", "stopped",
    ]  # fmt: skip
    assert {state["bundle"] for state in states} == {str(runtime.bundle)}


@pytest.mark.parametrize(
    ("hook", "message"),
    [({"path": "/bin/false"}, "exit status 1"),
     ({"path": "/bin/sleep", "args": ["sleep", "100"], "timeout": 1}, "killed after 1 s"),
     ({"path": "/nosuch"}, "No such file")],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["createRuntime", "createContainer"])
def test_a_hook_that_fails_ends_the_creation(
    runtime: Runtime, kind: str, hook: dict[str, Any], message: str
) -> None:
    def add(document: dict[str, Any]) -> None:
        document["hooks"] = {kind: [hook]}

    runtime.configure("true", edit=add)
    done = runtime("run", "web")
    assert (done.returncode, message in done.stderr) == (1, True)
    assert runtime("list", "-q").stdout == ""


def test_the_console_goes_over_the_socket(runtime: Runtime, tmp_path: Path) -> None:
    def add(document: dict[str, Any]) -> None:
        document["process"]["terminal"] = True

    runtime.configure("tty", edit=add)
    path = str(tmp_path / "console")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        runtime.create("web", "--console-socket", path)
        peer, _ = listener.accept()
        with peer:
            name, fds, _, _ = socket.recv_fds(peer, 4096, 1)
    assert name
    runtime("start", "web")
    assert os.read(fds[0], 4096) == b"/dev/pts/0\r\n"
    os.close(fds[0])


def test_preserved_descriptors_reach_the_command(runtime: Runtime, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("through\n")
    runtime.configure("sh", "-c", "cat <&3; test ! -e /proc/self/fd/5")
    words = [*runtime._command, "run", "--preserve-fds", "1", "web"]
    done = subprocess.run(
        ["sh", "-c", 'exec 3<"$0" "$@"', str(tmp_path / "data"), *words],
        cwd=runtime.bundle, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "through\n")
    refused = runtime("create", "--preserve-fds", "2", "web")
    assert (refused.returncode, "descriptor 3" in refused.stderr) == (1, True)


def test_a_user_without_no_new_privileges_keeps_the_filter(runtime: Runtime) -> None:
    def add(document: dict[str, Any]) -> None:
        document["process"].update(user={"uid": 1000, "gid": 1000}, noNewPrivileges=False)
        document["process"]["capabilities"] = {"bounding": ["CAP_KILL"]}
        document["linux"]["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}],
        }

    runtime.configure("sh", "-c", "id -u; mkdir /tmp/x", edit=add)
    done = runtime("run", "web")
    assert done.stdout == "1000\n"
    assert "not permitted" in done.stderr.lower()


def test_the_program_of_a_created_container_is_sealed(runtime: Runtime) -> None:
    """CVE-2019-5736: until its execve a container's process is this program."""
    runtime.configure("sleep", "1000")
    runtime.create("web")
    path = f"/proc/{runtime.state('web')['pid']}/exe"
    assert os.readlink(path).startswith("/memfd:")
    copy = os.open(path, os.O_RDONLY)
    try:
        assert fcntl.fcntl(copy, fcntl.F_GET_SEALS) & fcntl.F_SEAL_WRITE
    finally:
        os.close(copy)


@pytest.mark.parametrize("users", [False, True])
def test_scheduling_is_the_bundles(runtime: Runtime, users: bool) -> None:
    def add(document: dict[str, Any]) -> None:
        document["process"]["scheduler"] = {"policy": "SCHED_BATCH", "nice": 5}
        document["process"]["ioPriority"] = {"class": "IOPRIO_CLASS_BE", "priority": 6}
        document["process"]["execCPUAffinity"] = {"final": "0"}
        document["linux"]["personality"] = {"domain": "LINUX32"}
        if users:
            mapping = [{"containerID": 0, "hostID": 300000, "size": 65536}]
            document["linux"].update(uidMappings=mapping, gidMappings=mapping)
            document["linux"]["namespaces"].append({"type": "user"})

    script = "read line < /proc/self/stat; set -- $line; echo ${19} ${41}; ionice -p $$; uname -m"
    runtime.configure("sh", "-c", script, edit=add)
    done = runtime("run", "web")
    machine = {"x86_64": "i686", "aarch64": "armv8l"}[os.uname().machine]
    assert done.stdout.splitlines() == ["5 3", "best-effort: prio 6", machine], done.stderr
    runtime.configure("sleep", "1000", edit=add)
    runtime.create("web")
    runtime("start", "web")
    done = runtime("exec", "web", "grep", "Cpus_allowed_list", "/proc/self/status")
    assert done.stdout.split()[1] == "0"


def test_all_processes_are_signalled(runtime: Runtime) -> None:
    runtime.configure("sh", "-c", "sleep 1000 & sleep 1000")
    runtime.create("web")
    runtime("start", "web")
    pidfd = os.pidfd_open(runtime.state("web")["pid"])
    assert runtime("kill", "--all", "web", "KILL").returncode == 0
    assert select.select([pidfd], [], [], _TIMEOUT_S)[0]
    os.close(pidfd)
    assert runtime("ps", "--format", "json", "web").stdout.strip() == "[]"


def test_ambient_capabilities_that_cannot_be_are_left_out(runtime: Runtime) -> None:
    def add(document: dict[str, Any]) -> None:
        document["process"]["capabilities"]["ambient"] = ["CAP_KILL"]

    runtime.configure("grep", "CapAmb", "/proc/self/status", edit=add)
    done = runtime("run", "web")
    assert (done.returncode, done.stdout.split()[1]) == (0, "0" * 16)
    assert "CAP_KILL" in done.stderr


def test_signals_reach_the_command(runtime: Runtime) -> None:
    runtime.configure("sh", "-c", "trap 'echo told; exit 7' USR1; echo up; while :; do :; done")
    with runtime.open("run", "web", stdout=subprocess.PIPE) as running:
        assert running.stdout.readline() == b"up\n"
        running.send_signal(signal.SIGUSR1)
        assert running.stdout.read() == b"told\n"
    assert running.returncode == 7


def test_a_container_outlives_the_command_that_is_killed(runtime: Runtime) -> None:
    runtime.configure("sh", "-c", "echo up; exec sleep 1000")
    with runtime.open("run", "web", stdout=subprocess.PIPE) as running:
        assert running.stdout.readline() == b"up\n"
        running.kill()
    assert runtime.state("web")["status"] == "running"
    assert runtime("exec", "web", "sh", "-c", "exit 4").returncode == 4


def test_a_container_inherits_what_its_caller_has(runtime: Runtime) -> None:
    runtime.configure("sh", "-c", "ulimit -n; grep Cpus_allowed_list /proc/self/status;"
                      "read line < /proc/self/stat; set -- $line; echo ${19}")  # fmt: skip
    few = (
        "import os,resource,sys; resource.setrlimit(resource.RLIMIT_NOFILE, (444, 444));"
        "os.sched_setaffinity(0, [0]); os.nice(3); os.execv(sys.argv[1], sys.argv[1:])"
    )
    done = subprocess.run(
        [sys.executable, "-c", few, *runtime._command, "run", "web"], cwd=runtime.bundle,
        env=runtime._env, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False,
    )  # fmt: skip
    assert done.stdout.split() == ["444", "Cpus_allowed_list:", "0", "3"], done.stderr


PODMAN_CONFIG = """[engine]
cgroup_manager="cgroupfs"
events_logger="none"
[containers]
log_driver="k8s-file"
"""


@pytest.fixture
def archive(tmp_path: Path) -> str:
    """A busybox root as a tar archive."""
    make_root(str(tmp_path / "image"))
    subprocess.run(["tar", "-C", str(tmp_path / "image"), "-cf", str(tmp_path / "image.tar"), "."],
                   check=True)  # fmt: skip
    return str(tmp_path / "image.tar")


@pytest.fixture
def short_path() -> Iterator[str]:
    """A directory whose name podman takes as its runroot (50 characters)."""
    with tempfile.TemporaryDirectory(prefix="proa-") as directory:
        yield directory


@pytest.mark.requires("podman")
def test_podman_runs_containers_with_it(
    launcher: str, tmp_path: Path, short_path: str, archive: str
) -> None:
    (tmp_path / "containers.conf").write_text(PODMAN_CONFIG)
    env = {**os.environ, "CONTAINERS_CONF": str(tmp_path / "containers.conf")}
    words = ["podman", "--root", f"{tmp_path}/p", "--runroot", f"{short_path}/r", "--tmpdir",
             f"{short_path}/t", "--storage-driver", "vfs", "--runtime", launcher]  # fmt: skip

    def podman(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*words, *more], env=env, capture_output=True, text=True,
                              timeout=_TIMEOUT_S, check=False)  # fmt: skip

    assert podman("import", archive, "box:1").returncode == 0
    base = ("--network", "none", "box:1")
    done = podman("run", "--rm", *base, "sh", "-c", "echo hi; exit 3")
    assert (done.returncode, done.stdout) == (3, "hi\n"), done.stderr
    assert podman("run", "--rm", *base, "nosuch").returncode == 127
    assert podman("run", "--rm", *base, "/etc/passwd").returncode == 126
    assert podman("run", "--rm", "-t", *base, "tty").stdout.strip() == "/dev/pts/0"
    assert podman("run", "-d", "--name", "web", *base, "sleep", "1000").returncode == 0
    assert podman("exec", "web", "sh", "-c", "exit 5").returncode == 5
    assert podman("pause", "web").returncode == 0
    assert podman("unpause", "web").returncode == 0
    assert podman("kill", "web").returncode == 0
    assert podman("wait", "web").stdout.strip() == "137"
    assert podman("rm", "web").returncode == 0


@pytest.fixture
def daemon(launcher: str, tmp_path: Path) -> Iterator[Path]:
    """The directory of a dockerd of the test's own whose default runtime this is."""
    directory = tmp_path / "d"
    directory.mkdir()
    with open(directory / "log", "wb") as log:
        process = subprocess.Popen(
            ["dockerd", f"--host=unix://{directory}/s", f"--data-root={directory}/root",
             f"--exec-root={directory}/x", f"--pidfile={directory}/pid", "--bridge=none",
             "--iptables=false", "--ip6tables=false", "--storage-driver=vfs",
             f"--add-runtime=proa={launcher}", "--default-runtime=proa"],
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            _connect(probe, f"{directory}/s", process)
        yield directory
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(_TIMEOUT_S)


def _connect(probe: socket.socket, path: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _TIMEOUT_S
    while True:
        try:
            probe.connect(path)
        except OSError:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)  # dockerd tells nobody but systemd when it listens
        else:
            return


@pytest.mark.requires("dockerd", "docker", "ctr")
def test_dockerd_and_ctr_run_containers_with_it(
    launcher: str, daemon: Path, archive: str, tmp_path: Path
) -> None:
    def docker(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["docker", "-H", f"unix://{daemon}/s", *more], capture_output=True,
                              text=True, timeout=_TIMEOUT_S, check=False)  # fmt: skip

    def ctr(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["ctr", "-a", f"{daemon}/x/containerd/containerd.sock", *more],
                              capture_output=True, text=True, timeout=_TIMEOUT_S,
                              check=False)  # fmt: skip

    assert docker("import", archive, "box:1").returncode == 0
    base = ("--network", "none", "box:1")
    done = docker("run", "--rm", "-u", "1000", *base, "sh", "-c", "id -u; exit 3")
    assert (done.returncode, done.stdout) == (3, "1000\n"), done.stderr
    assert docker("run", "--rm", *base, "nosuch").returncode == 127
    assert docker("run", "--rm", *base, "/etc/passwd").returncode == 126
    assert docker("run", "--rm", "--privileged", *base, "true").returncode == 0
    docker("run", "-d", "--name", "web", "--init", *base, "sleep", "1000")
    assert docker("exec", "web", "sh", "-c", "exit 5").returncode == 5
    assert docker("pause", "web").returncode == 0
    assert docker("unpause", "web").returncode == 0
    assert docker("stop", "web").returncode == 0
    assert docker("inspect", "-f", "{{.State.ExitCode}}", "web").stdout.strip() == "143"
    assert docker("rm", "web").returncode == 0
    image = str(tmp_path / "saved.tar")
    assert docker("save", "box:1", "-o", image).returncode == 0
    assert ctr("images", "import", image).returncode == 0
    done = ctr("run", "--rm", "--snapshotter", "native", "--runc-binary", launcher,
               "docker.io/library/box:1", "one", "sh", "-c", "echo ctr; exit 4")  # fmt: skip
    assert (done.returncode, done.stdout) == (4, "ctr\n"), done.stderr
    shutil.rmtree(tmp_path / "image")
