"""Bad input, as a user of a shell meets it: one sentence, Docker's exit code, nothing left.

Whole processes on a root of their own; what is in the root is compared before and after.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import engines, remains
from tests.support.engines import Completed, Proa, launcher
from tests.support.images import busybox_archive, ensure_busybox
from tests.support.layers import LayerBuilder, OciLayout, digest, docker_archive

pytestmark = pytest.mark.requires("root", "userns", "overlay", "busybox")

NOBODY = 65534
RUN = ("run", "--rm", "--network", "none")


@pytest.fixture
def box(proa: Proa) -> Iterator[Proa]:
    """The command line on a root with the busybox image; a command must leave it as it was."""
    ensure_busybox(proa)
    before = remains.holdings(proa)
    yield proa
    left = remains.settled(lambda: sorted(remains.holdings(proa) - before))
    assert not left, "left in the root:\n" + "\n".join(left)
    assert not before - remains.holdings(proa)


def refused(done: Completed, code: int, *named: str) -> None:
    """Check a refusal: exit code, nothing on standard output, a sentence that names the object."""
    assert (done.code, done.stdout) == (code, ""), done
    sentence = done.stderr.splitlines()[-1] if code == 1 else done.stderr.splitlines()[0]
    assert len(sentence) < 400
    assert "Traceback" not in done.stderr
    assert "internal error" not in done.stderr
    for word in named:
        assert word in sentence, f"{word!r} is not in: {sentence}"


class TestWords:
    """Mistakes in the words of a command: what is shown begins with the mistake."""

    @pytest.mark.parametrize(
        ("words", "code", "named"),
        [
            (("frobnicate",), 1, ("--help",)),
            (("run", "--frobnicate", "busybox"), 125, ("unknown flag: --frobnicate",)),
            (("ps", "--frobnicate"), 125, ("unknown flag: --frobnicate",)),
            ((*RUN, "Bad//Name", "true"), 125, ("Bad//Name", "[registry/]name[:tag]")),
            ((*RUN, "--stop-signal", "NOPE", "busybox", "true"), 125, ("NOPE", "--stop-signal")),
            (("kill", "-s", "NOPE", "web"), 125, ("NOPE", "TERM")),
            (("kill", "-s", "65", "web"), 125, ("65", "1 to 64")),
            ((*RUN, "-m", "12q", "busybox", "true"), 125, ("12q", "--memory", "512m")),
            ((*RUN, "-m", "9999999999t", "busybox", "true"), 125, ("--memory", "64 bits")),
            ((*RUN, "--shm-size", "1z", "busybox", "true"), 125, ("1z", "--shm-size")),
            ((*RUN, "--pids-limit", "many", "busybox", "true"), 125, ("many", "--pids-limit")),
            ((*RUN, "--cpus", "two", "busybox", "true"), 125, ("two", "1.5")),
            ((*RUN, "--tmpfs", "/t:size=x", "busybox", "true"), 125, ("--tmpfs", "size")),
            ((*RUN, "--ulimit", "nofile=9:3", "busybox", "true"), 125, ("9 > 3",)),
            ((*RUN, "-v", "some where:/x", "busybox", "true"), 125, ("some where", "absolute")),
            ((*RUN, "--mount", "type=odd,dst=/x", "busybox", "true"), 125, ("odd", "bind")),
            ((*RUN, "--restart", "perhaps", "busybox"), 125, ("perhaps", "unless-stopped")),
        ],
        ids=lambda value: " ".join(value)[-40:] if isinstance(value, tuple) else None,
    )
    def test_mistaken(
        self, box: Proa, words: tuple[str, ...], code: int, named: tuple[str, ...]
    ) -> None:
        refused(box(*words), code, *named)


class TestObjects:
    """Things that are not there, or are somebody's already."""

    @pytest.mark.parametrize(
        ("words", "code", "named"),
        [
            ((*RUN, "--pull", "never", "nx-image", "true"), 125, ("nx-image", "proa pull")),
            ((*RUN, "busybox", "nx-command"), 127, ("nx-command", "$PATH")),
            ((*RUN, "busybox", "/nx/command"), 127, ("/nx/command", "no such file")),
            ((*RUN, "busybox", "/etc/passwd"), 126, ("/etc/passwd", "permission denied")),
            ((*RUN, "-w", "/etc/passwd", "busybox", "true"), 126, ("/etc/passwd", "-w")),
            ((*RUN, "-u", "nx-user", "busybox", "true"), 125, ("nx-user", "/etc/passwd")),
            ((*RUN, "-u", "0:nx-group", "busybox", "true"), 125, ("nx-group", "/etc/group")),
            ((*RUN, "--group-add", "nx-group", "busybox", "true"), 125, ("nx-group",)),
            ((*RUN, "-u", "4294967296", "busybox", "true"), 125, ("4294967296", "range")),
            (
                (*RUN, "--mount", "type=bind,src=/nx/source,dst=/x", "busybox", "true"),
                125,
                ("/nx/source", "-v"),
            ),
            ((*RUN, "--env-file", "/nx/env", "busybox", "true"), 125, ("/nx/env",)),
            (("run", "--rm", "--network", "nx-net", "busybox"), 125, ("nx-net", "network ls")),
            ((*RUN, "--network", "nx-net", "busybox", "true"), 125, ("nx-net", "none")),
            ((*RUN, "--volumes-from", "nx-web", "busybox", "true"), 125, ("nx-web", "ps -a")),
            ((*RUN, "--device", "/dev/nx", "busybox", "true"), 125, ("/dev/nx",)),
            (
                (*RUN, "--isolation", "vm", "busybox", "true"),
                125,
                ("kernel", "proa vm kernel install"),
            ),
            (("start", "nx-web"), 1, ("nx-web", "ps -a")),
            (("stop", "nx-web"), 1, ("nx-web", "ps -a")),
            (("rm", "nx-web"), 1, ("nx-web", "ps -a")),
            (("exec", "nx-web", "true"), 1, ("nx-web", "ps -a")),
            (("logs", "nx-web"), 1, ("nx-web", "ps -a")),
            (("rmi", "nx-image"), 1, ("nx-image",)),
            (("tag", "nx-image", "y"), 1, ("nx-image",)),
            (("save", "-o", "/nx/out.tar", "nx-image"), 1, ("nx-image",)),
        ],
        ids=lambda value: " ".join(value)[-40:] if isinstance(value, tuple) else None,
    )
    def test_absent(
        self, box: Proa, words: tuple[str, ...], code: int, named: tuple[str, ...]
    ) -> None:
        refused(box(*words), code, *named)

    @pytest.mark.parametrize(("verb", "code"), [("run", 125), ("create", 1)])
    def test_no_command(self, fresh_proa: Proa, tmp_path: Path, verb: str, code: int) -> None:
        (tmp_path / "root.tar").write_bytes(LayerBuilder().file("file", b"x").tar())
        fresh_proa.ok("import", str(tmp_path / "root.tar"), "bare:1")
        before = remains.holdings(fresh_proa)
        refused(fresh_proa(verb, "bare:1"), code, "bare:1", "after the image")
        assert remains.holdings(fresh_proa) == before

    @pytest.mark.parametrize(("verb", "code"), [("run", 125), ("create", 1)])
    def test_a_name_in_use(self, box: Proa, verb: str, code: int) -> None:
        first = box.ok("create", "--name", "taken", "busybox")
        refused(box(verb, "--name", "taken", "busybox", "true"), code, "taken", first[:12])
        assert box.containers() == [first]
        box.ok("rm", "taken")


class TestLimits:
    """Limits that no kernel, or not this machine, can hold."""

    @pytest.mark.parametrize(
        ("words", "named"),
        [
            (("-m", "1k"), ("--memory", "6m")),
            (("-m", "100m", "--memory-swap", "50m"), ("--memory-swap", "--memory")),
            (("-m", "100m", "--memory-reservation", "1g"), ("--memory-reservation",)),
            (("--cpus", "0.0001"), ("--cpus", "0.01")),
            (("--cpus", "9999"), ("--cpus", "this machine")),
            (("--cpuset-cpus", "9999"), ("--cpuset-cpus", "this machine")),
            (("--cpuset-mems", "999"), ("--cpuset-mems", "this machine")),
            (("--cpu-shares", "999999999"), ("--cpu-shares", "262144")),
            (("--cpu-period", "5"), ("--cpu-period", "1000000")),
            (("--pids-limit", "99999999999"), ("--pids-limit", "4194304")),
            (("--ulimit", "nofile=9999999999"), ("nofile", "fs.nr_open")),
            (("--ulimit", "nofile=-1"), ("nofile", "fs.nr_open")),
            (("--device-read-bps", "/dev/null:1m"), ("/dev/null", "disk")),
            (("--device-read-bps", "/dev/nx:1m"), ("/dev/nx", "disk")),
            (("--oom-score-adj", "5000"), ("5000", "-1000 and 1000")),
            (("--blkio-weight", "5"), ("5", "10 and 1000")),
            (("--sysctl", "net.nx=1"), ("net.nx",)),
            (("--cgroup-parent", "../../outside"), ("..",)),
        ],
        ids=lambda value: " ".join(value)[:30],
    )
    def test_refused(self, box: Proa, words: tuple[str, ...], named: tuple[str, ...]) -> None:
        refused(box(*RUN, *words, "busybox", "true"), 125, *named)

    def test_the_greatest_memory_that_a_kernel_holds(self, box: Proa) -> None:
        assert box(*RUN, "-m", "8000000t", "busybox", "true") == (0, "", "")


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def with_another_byte(data: bytes) -> bytes:
    """Change a byte in the middle of the greatest member: it is content, not a header."""
    at = len(data) // 2
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


class TestArchives:
    """Archives that are cut, damaged, or something else: named, and nothing of them stays."""

    @pytest.fixture
    def empty(self, fresh_proa: Proa) -> Proa:
        assert fresh_proa("images").code == 0
        return fresh_proa

    def check(self, proa: Proa, words: tuple[str, ...], *named: str, stdin: bytes = b"") -> None:
        before = remains.holdings(proa)
        refused(proa(*words, stdin=stdin), 1, *named)
        assert remains.holdings(proa) == before
        assert proa.ok("images", "-q") == ""

    @pytest.mark.parametrize("verb", [("load", "-i"), ("import",)])
    @pytest.mark.parametrize(
        ("data", "why"),
        [
            (b"", "cut short"),
            (b"\0" * 300, "cut short"),
            (b"no archive at all" * 100, "not a tar archive"),
            (b"\x1f\x8b\x08\0\0\0\0\0" + bytes(64), "gzip"),
            (b"\x28\xb5\x2f\xfd" + bytes(range(1, 65)), "zstd"),
        ],
        ids=["empty", "short", "text", "gzip", "zstd"],
    )
    def test_something_else(
        self, empty: Proa, tmp_path: Path, verb: tuple[str, ...], data: bytes, why: str
    ) -> None:
        path = tmp_path / "what.tar"
        path.write_bytes(data)
        self.check(empty, (*verb, str(path)), str(path), why, "again")

    def test_a_load_that_is_cut_short(self, empty: Proa, tmp_path: Path) -> None:
        path = tmp_path / "cut.tar"
        path.write_bytes(cut(Path(busybox_archive()).read_bytes()))
        self.check(empty, ("load", "-i", str(path)), str(path), "cut short", "again")

    def test_a_load_from_standard_input_that_is_cut_short(self, empty: Proa) -> None:
        data = cut(Path(busybox_archive()).read_bytes())
        self.check(empty, ("load",), "standard input", "cut short", stdin=data)

    def test_a_load_of_damaged_content(self, empty: Proa, tmp_path: Path) -> None:
        path = tmp_path / "damaged.tar"
        path.write_bytes(with_another_byte(Path(busybox_archive()).read_bytes()))
        self.check(empty, ("load", "-i", str(path)), "sha256:", "again")

    def test_a_load_of_a_layer_that_is_another(self, empty: Proa, tmp_path: Path) -> None:
        path = tmp_path / "other.tar"
        tar = LayerBuilder().file("file", b"one").tar()
        other = LayerBuilder().file("file", b"two").tar()
        layout = OciLayout()
        layout.add(layout.image([tar], rootfs={"type": "layers", "diff_ids": [digest(other)]}))
        path.write_bytes(layout.tar())
        self.check(empty, ("load", "-i", str(path)), "sha256:", "again")

    def test_a_load_without_a_layer(self, empty: Proa, tmp_path: Path) -> None:
        path = tmp_path / "without.tar"
        layout = OciLayout()
        layout.add(layout.image([LayerBuilder().file("file", b"x" * 9000).tar()]))
        del layout.members[max(layout.members, key=lambda name: len(layout.members[name]))]
        path.write_bytes(layout.tar())
        self.check(empty, ("load", "-i", str(path)), "sha256:", "lacks it", "again")

    def test_a_load_of_a_hostile_layer(self, empty: Proa, tmp_path: Path) -> None:
        canary = tmp_path / "canary"
        canary.write_text("untouched")
        tar = LayerBuilder().symlink("out", str(tmp_path)).file("out/canary", b"changed").tar()
        path = tmp_path / "hostile.tar"
        path.write_bytes(docker_archive([tar], names=["hostile:1"]))
        done = empty("load", "-i", str(path))
        assert canary.read_text() == "untouched"
        if done.code:
            assert "out/canary" in done.stderr
            assert empty.ok("images", "-q") == ""

    def test_an_import_that_is_cut_short(self, empty: Proa, tmp_path: Path) -> None:
        path = tmp_path / "cut.tar"
        path.write_bytes(cut(LayerBuilder().file("file", bytes(200_000)).tar()))
        self.check(empty, ("import", str(path), "cut:1"), str(path), "cut short", "again")

    @pytest.mark.parametrize(
        ("words", "named"),
        [
            (("load", "-i", "/nx/archive.tar"), ("/nx/archive.tar", "check the path")),
            (("import", "/nx/root.tar"), ("/nx/root.tar", "check the path")),
            (("import", "{root}", "BAD NAME"), ("BAD NAME", "lower case")),
            (("import", "-c", "RUN true", "{root}"), ("RUN true", "CMD")),
            (("load", "-i", "{root}"), ("root.tar", "proa import")),
        ],
    )
    def test_the_wrong_words(
        self, empty: Proa, tmp_path: Path, words: tuple[str, ...], named: tuple[str, ...]
    ) -> None:
        root = tmp_path / "root.tar"
        root.write_bytes(LayerBuilder().file("file", b"x").tar())
        self.check(empty, tuple(word.format(root=root) for word in words), *named)


class TestWithoutRoot:
    """Containers need root; whoever is somebody else is told so, and harms nothing."""

    @pytest.fixture
    def theirs(self) -> Iterator[Proa]:
        """An engine on directories of nobody's, run as nobody.

        The capability to read lets that user reach an interpreter and a checkout below /root; it
        is no right to write, and not what the engine asks for.
        """
        reader = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
        user = (f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
        with engines.temporary_root(("setpriv", *user, *reader)) as proa:
            base = os.path.dirname(proa.root)
            os.chown(base, NOBODY, NOBODY)
            yield proa

    @pytest.mark.parametrize(
        ("words", "code"),
        [
            (("run", "--rm", "busybox", "true"), 125),
            (("run", "-d", "--network", "none", "busybox", "true"), 125),
            (("create", "busybox"), 1),
        ],
    )
    def test_containers(self, theirs: Proa, words: tuple[str, ...], code: int) -> None:
        done = theirs(*words)
        refused(done, code, "by root", "sudo")
        assert len(done.stderr.splitlines()) == 1
        assert theirs.ok("ps", "-a", "-q") == ""

    def test_layers_that_belong_to_root(self, theirs: Proa, tmp_path: Path) -> None:
        theirs.ok("images")
        before = remains.holdings(theirs)
        with open(busybox_archive(), "rb") as file:
            done = theirs("load", stdin=file.read())
        refused(done, 1, "sha256:", "run as root")
        assert remains.holdings(theirs) == before

    def test_looking_needs_no_root(self, theirs: Proa) -> None:
        assert theirs.ok("images", "-q") == ""
        assert "Version" in theirs.ok("version")
        assert "Isolation" in theirs.ok("info")

    def test_the_state_of_root_is_closed(self, box: Proa, theirs: Proa) -> None:
        done = subprocess.run(
            [*theirs.prefix, *launcher(), "ps"],
            env=box.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert re.fullmatch(rf"proa: .*{re.escape(box.root)}.*root.*\n", done.stderr)
