"""``proa run`` and ``proa create`` as whole processes: what a user of a shell sees."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.engines import Proa
from tests.support.images import ensure_busybox

pytestmark = pytest.mark.requires("root", "userns", "overlay", "busybox")

ID = re.compile(r"[0-9a-f]{64}")


@pytest.fixture
def box(proa: Proa) -> Proa:
    """The command line on a root that has the busybox image."""
    ensure_busybox(proa)
    return proa


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory that containers may see: pytest's own is closed to their users."""
    import shutil
    import tempfile

    path = Path(tempfile.mkdtemp(prefix="proa-shared-", dir="/var/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def run(box: Proa, *words: str, stdin: bytes = b"") -> tuple[int, str, str]:
    return box("run", "--rm", "--network", "none", *words, stdin=stdin)


class TestWhatRuns:
    def test_hello(self, box: Proa) -> None:
        assert run(box, "busybox", "echo", "Hello") == (0, "Hello\n", "")
        assert box.containers() == []

    @pytest.mark.parametrize("code", [0, 1, 42, 125, 255])
    def test_exit_code(self, box: Proa, code: int) -> None:
        assert run(box, "busybox", "sh", "-c", f"exit {code}") == (code, "", "")

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
    def test_death_by_signal(self, box: Proa, number: int) -> None:
        # Init ignores signals that it sends to itself; its child does not.
        code, _, _ = run(box, "busybox", "sh", "-c", f"sh -c 'kill -{number} $$'; exit $?")
        assert code == 128 + number

    def test_streams_stay_apart(self, box: Proa) -> None:
        words = ("busybox", "sh", "-c", "echo out; echo err >&2")
        assert run(box, *words) == (0, "out\n", "err\n")

    def test_standard_input(self, box: Proa) -> None:
        data = bytes(range(256)) * 1000
        code, out, _ = run(box, "-i", "busybox", "sha256sum", stdin=data)
        import hashlib

        assert (code, out.split()[0]) == (0, hashlib.sha256(data).hexdigest())

    def test_without_i_there_is_no_input(self, box: Proa) -> None:
        assert run(box, "busybox", "wc", "-c", stdin=b"unread") == (0, "0\n", "")

    def test_attach_chooses_streams(self, box: Proa) -> None:
        words = ("busybox", "sh", "-c", "echo out; echo err >&2")
        assert run(box, "-a", "stderr", *words) == (0, "", "err\n")

    def test_environment(self, box: Proa, shared: Path) -> None:
        (shared / "env").write_text("FROM_FILE=1\nHANDED_ON\n# no\n")
        done = box(
            "run", "--rm", "--network", "none", "--env-file", str(shared / "env"),
            "-e", "A=b c", "-e", "TAKEN", "-e", "ABSENT", "busybox", "env",
            env={"TAKEN": "t", "HANDED_ON": "h"},
        )  # fmt: skip
        lines = set(done.stdout.splitlines())
        assert {"FROM_FILE=1", "HANDED_ON=h", "A=b c", "TAKEN=t"} <= lines
        assert not [line for line in lines if line.startswith(("ABSENT", "PROA_"))]

    @pytest.mark.parametrize(
        ("user", "shown"),
        [
            ("1000:100", "1000 100"),
            ("1234", "1234 0"),
            ("daemon", "1 1"),
            ("daemon:tty", "1 5"),
            ("nobody", "65534 65534"),
        ],
    )
    def test_user(self, box: Proa, user: str, shown: str) -> None:
        script = "echo $(id -u) $(id -g)"
        assert run(box, "-u", user, "busybox", "sh", "-c", script) == (0, f"{shown}\n", "")

    def test_working_directory(self, box: Proa) -> None:
        assert run(box, "-w", "/made/for/it", "busybox", "pwd") == (0, "/made/for/it\n", "")

    def test_entrypoint(self, box: Proa) -> None:
        assert run(box, "--entrypoint", "echo", "busybox", "a", "b") == (0, "a b\n", "")
        assert run(box, "--entrypoint", "", "busybox", "echo", "c") == (0, "c\n", "")

    def test_host_name(self, box: Proa) -> None:
        assert run(box, "-h", "web", "busybox", "hostname") == (0, "web\n", "")
        assert run(box, "-h", "web", "busybox", "grep", "-c", "web", "/etc/hosts")[0] == 0

    def test_flags_behind_the_image_are_the_commands(self, box: Proa) -> None:
        assert run(box, "busybox", "echo", "--rm", "-it", "--") == (0, "--rm -it --\n", "")


class TestFiles:
    def test_bind(self, box: Proa, shared: Path) -> None:
        (shared / "in").write_text("from the host\n")
        (shared / "in").chmod(0o644)
        shared.chmod(0o777)
        code, out, err = run(
            box, "-v", f"{shared}:/s", "busybox", "sh", "-c", "cat /s/in; echo back > /s/out"
        )
        assert (code, out, err) == (0, "from the host\n", "")
        assert (shared / "out").read_text() == "back\n"

    @pytest.mark.parametrize(
        "flag", ["-v={}:/s:ro", "--mount=type=bind,src={},dst=/s,readonly"], ids=["-v", "--mount"]
    )
    def test_bind_read_only(self, box: Proa, shared: Path, flag: str) -> None:
        shared.chmod(0o777)
        code, _, err = run(box, flag.format(shared), "busybox", "touch", "/s/x")
        assert code == 1
        assert "Read-only file system" in err
        assert list(shared.iterdir()) == []

    def test_relative_source(self, box: Proa, shared: Path) -> None:
        (shared / "in").mkdir()
        words = ("run", "--rm", "--network", "none", "-v", "./in:/s", "busybox", "test", "-d", "/s")
        assert box(*words, cwd=str(shared)).code == 0

    def test_missing_source(self, box: Proa, shared: Path) -> None:
        gone = shared / "gone"
        code, _, err = run(box, f"--mount=type=bind,src={gone},dst=/s", "busybox", "true")
        assert code == 125
        assert str(gone) in err
        assert not gone.exists()
        assert run(box, "-v", f"{gone}:/s", "busybox", "true")[0] == 0
        assert gone.is_dir()

    def test_tmpfs(self, box: Proa) -> None:
        for flag in ("--tmpfs=/t:size=1m,mode=700", "--mount=type=tmpfs,dst=/t,tmpfs-size=1m"):
            code, out, _ = run(box, flag, "busybox", "sh", "-c", "df -k /t | tail -1")
            assert code == 0
            assert out.split()[:2] == ["tmpfs", "1024"]

    def test_read_only_root(self, box: Proa) -> None:
        code, _, err = run(box, "--read-only", "busybox", "touch", "/x")
        assert code == 1
        assert "Read-only file system" in err
        words = ("--read-only", "--tmpfs", "/tmp", "busybox", "touch", "/tmp/x")
        assert run(box, *words)[0] == 0

    def test_a_named_volume_keeps_what_it_gets(self, box: Proa) -> None:
        words = ("-v", "keeping:/v", "busybox", "sh", "-c")
        assert run(box, *words, "echo kept > /v/file")[0] == 0
        assert run(box, *words, "cat /v/file") == (0, "kept\n", "")


class TestNetwork:
    def test_none_has_only_loopback(self, box: Proa) -> None:
        code, out, _ = run(box, "busybox", "ls", "/sys/class/net")
        assert (code, out.split()) == (0, ["lo"])

    def test_host(self, box: Proa) -> None:
        done = box("run", "--rm", "--network", "host", "busybox", "ls", "/sys/class/net")
        assert set(done.stdout.split()) == set(os.listdir("/sys/class/net"))


class TestRefusals:
    """One sentence that names the object, Docker's exit code, nothing left behind."""

    @pytest.mark.parametrize(
        ("words", "code", "named"),
        [
            (["nx-image", "true"], 125, "nx-image"),
            (["busybox", "nx-command"], 127, "nx-command"),
            (["busybox", "/nx/command"], 127, "/nx/command"),
            (["busybox", "/etc"], 126, "/etc"),
            (["-u", "nobody-here", "busybox", "true"], 125, "nobody-here"),
            (["-u", "0:no-group", "busybox", "true"], 125, "no-group"),
            (["-m", "1k", "busybox", "true"], 125, "memory"),
            (["--network", "nx-network", "busybox", "true"], 125, "nx-network"),
            (["--cap-add", "CAP_NX", "busybox", "true"], 125, "CAP_NX"),
            (["--name", "a name", "busybox", "true"], 125, "a name"),
            (["--isolation", "vm", "busybox", "true"], 125, "vm"),
        ],
    )
    def test_refused(self, box: Proa, words: list[str], code: int, named: str) -> None:
        done = box("run", "--rm", *words)
        assert (done.code, done.stdout) == (code, "")
        *before, last = done.stderr.splitlines()
        assert last.startswith("proa: ")
        assert named.lower() in last.lower()
        # An image that is not here is looked for, and that is said, as Docker does.
        assert before in ([], [f"Unable to find image '{named}' locally"])
        assert box.containers() == []

    def test_a_name_in_use(self, box: Proa) -> None:
        first = box.ok("create", "--name", "taken", "busybox")
        done = box("create", "--name", "taken", "busybox")
        assert (done.code, done.stdout) == (1, "")
        assert "taken" in done.stderr
        assert box.containers() == [first]
        box.ok("rm", "taken")

    def test_unknown_flag(self, box: Proa) -> None:
        done = box("run", "--frobnicate", "busybox")
        assert done.code == 125
        assert done.stderr.startswith("unknown flag: --frobnicate\n")


class TestDetached:
    def test_id_and_removal(self, box: Proa) -> None:
        container = box.ok("run", "-d", "--rm", "--network", "none", "busybox", "sleep", "60")
        assert ID.fullmatch(container)
        assert box.ok("ps", "-q", "--no-trunc") == container
        assert box.ok("stop", "-t", "0", container) == container
        assert box.containers() == []

    def test_cidfile(self, box: Proa, tmp_path: Path) -> None:
        path = tmp_path / "cid"
        container = box.ok("create", "--cidfile", str(path), "busybox")
        assert path.read_text() == container
        assert box("create", "--cidfile", str(path), "busybox").code == 125
        box.ok("rm", container)

    def test_a_failing_start_says_so(self, box: Proa) -> None:
        done = box("run", "-d", "--rm", "--network", "none", "busybox", "nx-command")
        assert (done.code, done.stdout) == (127, "")
        assert box.containers() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_signals_reach_the_container(box: Proa, number: signal.Signals) -> None:
    name = number.name.removeprefix("SIG")
    script = f"trap 'echo got {name}; exit 9' {name}; echo ready; while :; do sleep 0.1; done"
    with box.spawn("run", "--rm", "--network", "none", "busybox", "sh", "-c", script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        assert process.stdout.readline() == f"got {name}\n".encode()
        assert process.wait(timeout=10) == 9
    assert box.containers() == []


def test_a_reader_that_leaves_does_not_keep_the_container(box: Proa) -> None:
    with box.spawn("run", "--rm", "--network", "none", "busybox", "yes") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"y\n"
        process.stdout.close()
        assert process.wait(timeout=20) != 0
    assert box.containers() == []
