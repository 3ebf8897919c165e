"""The verbs on images: what they ask the engine and what they show."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec
import pytest

from proa.errors import Conflict, NotFound
from proa.image.filters import choose_images
from proa.image.model import HistoryEntry, Image, Removal
from proa.oci.digest import parse_diff_id, parse_digest
from proa.oci.imageconfig import ContainerDefaults, ImageConfig, RootFS
from tests.support.cli import CapturedIO, proa

SECOND = 1_000_000_000
DAY = 86400 * SECOND


def make_image(digit: str, *references: str, age_ns: int = DAY, **labels: str) -> Image:
    digest = parse_digest("sha256:" + digit * 64)
    return Image(
        id=digest,
        manifest_digest=parse_digest("sha256:" + "f" * 64),
        config=ImageConfig(
            architecture="amd64",
            os="linux",
            rootfs=RootFS(type="layers", diff_ids=(parse_diff_id(str(digest)),)),
            config=ContainerDefaults(labels=labels),
        ),
        layers=(),
        lowers=(),
        size_bytes=74_800_000,
        content_bytes=30_000_000,
        created_at_ns=time.time_ns() - age_ns,
        references=references,
    )


DEBIAN = make_image("a", "docker.io/library/debian:bookworm", "docker.io/library/debian:12")
OTHER = make_image("b", "quay.io/team/app:v1", age_ns=3 * DAY, role="web")
NAMELESS = make_image("c", age_ns=2 * 3600 * SECOND)
IMAGES = [NAMELESS, DEBIAN, OTHER]


def listed(wanted: Mapping[str, Sequence[str]]) -> list[Image]:
    """Answer as ``engine.images.list`` does; the image of before= and since= is Debian's."""
    return choose_images(IMAGES, wanted, lambda _name: DEBIAN)


class TestLs:
    def test_table(self) -> None:
        ended = proa("images", images__list=IMAGES)
        assert ended.stdout == (
            "REPOSITORY         TAG        IMAGE ID       CREATED        SIZE\n"
            "<none>             <none>     cccccccccccc   2 hours ago    74.8MB\n"
            "debian             bookworm   aaaaaaaaaaaa   24 hours ago   74.8MB\n"
            "debian             12         aaaaaaaaaaaa   24 hours ago   74.8MB\n"
            "quay.io/team/app   v1         bbbbbbbbbbbb   3 days ago     74.8MB\n"
        )

    def test_digests(self) -> None:
        """Each name has its own repository's: what came from elsewhere has another, or none."""
        here, there = "sha256:" + "d" * 64, "sha256:" + "e" * 64
        pulled = msgspec.structs.replace(
            DEBIAN,
            references=("docker.io/library/debian:12", "quay.io/a:1", "quay.io/b:1"),
            repo_digests=(f"docker.io/library/debian@{here}", f"quay.io/a@{there}"),
        )
        header, *rows = proa("images", "--digests", images__list=[pulled]).stdout.splitlines()
        assert header.split() == ["REPOSITORY", "TAG", "DIGEST", "IMAGE", "ID", "CREATED", "SIZE"]
        assert [row.split()[2] for row in rows] == [here, there, "<none>"]

    def test_quiet_shows_each_image_once(self) -> None:
        ended = proa("images", "-q", images__list=IMAGES)
        assert ended.stdout.split() == ["c" * 12, "a" * 12, "b" * 12]
        ended = proa("image", "ls", "-q", "--no-trunc", images__list=[DEBIAN])
        assert ended.stdout == f"sha256:{'a' * 64}\n"

    @pytest.mark.parametrize(
        ("words", "digits"),
        [
            (["debian"], "aa"),
            (["debian:12"], "a"),
            (["debian:nx"], ""),
            (["quay.io/*/app"], "b"),
            (["-f", "reference=*:v*"], ""),
            (["-f", "reference=deb*:b*"], "a"),
            (["-f", "reference=debian:12", "-f", "reference=quay.io/team/app"], "ab"),
            (["-f", "dangling=true"], "c"),
            (["-f", "dangling=false"], "aab"),
            (["-f", "label=role"], "b"),
            (["-f", "label=role=web"], "b"),
            (["-f", "label=role=db"], ""),
            (["-f", "label=role", "debian"], ""),
            (["-f", "before=x"], "b"),
            (["-f", "since=x"], "c"),
        ],
    )
    def test_filters(self, words: list[str], digits: str) -> None:
        ended = proa("images", "--format", "{{.ID}}", *words, images__list=listed)
        assert "".join(line[0] for line in ended.stdout.splitlines()) == digits

    def test_unknown_filter(self) -> None:
        ended = proa("images", "-f", "foo=bar", images__list=listed)
        assert (ended.code, ended.stdout) == (1, "")
        assert "invalid filter 'foo'" in ended.stderr

    def test_json(self) -> None:
        ended = proa("images", "--format", "json", images__list=[OTHER])
        row = json.loads(ended.stdout)
        assert (row["Repository"], row["Tag"], row["Size"]) == ("quay.io/team/app", "v1", "74.8MB")


class TestRm:
    def test_what_is_gone_is_said(self) -> None:
        removals = [
            Removal(action="untagged", target="debian:12"),
            Removal(action="deleted", target="sha256:" + "a" * 64),
        ]
        ended = proa("rmi", "-f", "debian:12", images__remove=removals)
        assert ended.stdout == f"Untagged: debian:12\nDeleted: sha256:{'a' * 64}\n"
        assert ended.call.args == ("debian:12",)
        assert ended.call.options == {"force": True}

    def test_failures(self) -> None:
        ended = proa("rmi", "nx", images__remove=NotFound("no such image: nx"))
        assert (ended.code, ended.stderr) == (1, "proa: no such image: nx\n")
        ended = proa("rmi", "-f", "nx", images__remove=NotFound("no such image: nx"))
        assert (ended.code, ended.stderr) == (0, "proa: no such image: nx\n")
        ended = proa("rmi", "-f", "a", images__remove=Conflict("a container uses it"))
        assert ended.code == 1


def test_tag() -> None:
    ended = proa("tag", "debian", "mine:1")
    assert (ended.code, ended.stdout) == (0, "")
    assert ended.call.args == ("debian", "mine:1")
    assert proa("tag", "debian").code == 1


def test_inspect() -> None:
    ended = proa("image", "inspect", "-f", "{{.Os}}", "debian", images__inspect={"Os": "linux"})
    assert (ended.code, ended.stdout) == (0, "linux\n")


class TestHistory:
    ENTRIES = (
        HistoryEntry(
            id="sha256:" + "a" * 64,
            created_at_ns=time.time_ns() - 3 * 3600 * SECOND,
            created_by='/bin/sh -c #(nop)  CMD ["bash"] and some more words',
            comment="",
            size_bytes=0,
        ),
        HistoryEntry(
            id="", created_at_ns=0, created_by="mmdebstrap", comment="base", size_bytes=1_500_000
        ),
    )

    def test_table(self) -> None:
        ended = proa("history", "debian", images__history=list(self.ENTRIES))
        assert ended.stdout == (
            "IMAGE          CREATED       CREATED BY                                      "
            "SIZE      COMMENT\n"
            'aaaaaaaaaaaa   3 hours ago   /bin/sh -c #(nop) CMD ["bash"] and some more…   '
            "0B        \n"
            "<missing>      N/A           mmdebstrap                                      "
            "1.5MB     base\n"
        )

    def test_raw_numbers(self) -> None:
        ended = proa(
            "history", "--human=false", "--no-trunc", "debian", images__history=[self.ENTRIES[1]]
        )
        assert "CREATED AT" in ended.stdout
        assert ended.stdout.splitlines()[1].split()[-2:] == ["1500000", "base"]


class TestImport:
    @pytest.mark.parametrize(
        ("words", "args"),
        [
            (["-", "mine:1"], (0, "mine:1")),
            (["root.tar"], ("/home/user/root.tar", "")),
            (["/tmp/root.tar", "x"], ("/tmp/root.tar", "x")),
        ],
    )
    def test_source(self, words: list[str], args: tuple[Any, ...]) -> None:
        ended = proa("import", *words, images__import_=DEBIAN)
        assert (ended.code, ended.stdout) == (0, f"sha256:{'a' * 64}\n")
        assert ended.call.args == args

    def test_options(self) -> None:
        ended = proa(
            "import", "-c", "CMD a", "-c", "USER b", "-m", "why", "--platform", "linux/arm64", "-",
            images__import_=DEBIAN,
        )  # fmt: skip
        assert ended.call.options == {
            "changes": ("CMD a", "USER b"),
            "message": "why",
            "platform": "linux/arm64",
        }

    def test_addresses_are_not_fetched(self) -> None:
        ended = proa("import", "https://example.com/root.tar")
        assert ended.code == 1
        assert "download it first" in ended.stderr
        assert not ended.engine.calls


class TestLoad:
    def test_names(self) -> None:
        ended = proa("load", "-q", images__load=[DEBIAN, NAMELESS])
        assert ended.stdout == (
            "Loaded image: debian:bookworm\nLoaded image: debian:12\n"
            f"Loaded image ID: sha256:{'c' * 64}\n"
        )
        assert ended.call.args == (0,)

    def test_input(self) -> None:
        ended = proa("load", "-i", "a.tar", "--platform", "linux/arm64", images__load=[])
        assert ended.call.args == ("/home/user/a.tar",)
        assert ended.call.options["platform"] == "linux/arm64"

    def test_nothing_to_read(self) -> None:
        ended = proa("load", io=CapturedIO(terminals=(0,)))
        assert ended.code == 1
        assert "requested load from stdin, but stdin is empty" in ended.stderr

    def test_progress_is_lines_without_a_terminal(self) -> None:
        def load(source: object, *, platform: str, progress: Any) -> list[Image]:
            progress("layer 1", 0, 10)
            progress("layer 1", 10, 10)
            progress("layer 2")
            return []

        assert proa("load", images__load=load).stderr == "layer 1\nlayer 2\n"
        assert proa("load", "-q", images__load=load).stderr == ""


class TestSave:
    @pytest.mark.parametrize(
        ("words", "destination", "options"),
        [
            ([], 1, {"format": "docker", "compression": "none"}),
            (["-o", "a.tar"], "/home/user/a.tar", {"format": "docker", "compression": "none"}),
            (
                ["--platform", "linux/arm64"],
                1,
                {"format": "docker", "compression": "none", "platform": "linux/arm64"},
            ),
            (
                ["--format", "oci-archive", "--compression=zstd"],
                1,
                {"format": "oci", "compression": "zstd"},
            ),
            (
                ["--format=oci-dir", "-o", "out"],
                "/home/user/out/",
                {"format": "oci", "compression": "none"},
            ),
        ],
    )
    def test_forms(self, words: list[str], destination: object, options: dict[str, str]) -> None:
        ended = proa("save", *words, "a", "b")
        assert ended.code == 0
        assert ended.call.args == (("a", "b"), destination)
        assert ended.call.options == {"platform": "", **options}

    @pytest.mark.parametrize(
        ("words", "code", "message"),
        [
            (["--format", "zip"], 125, "unknown format 'zip': use docker-archive, oci-archive"),
            (["--compression", "xz"], 125, "unknown compression 'xz': use none, gzip, zstd"),
            (["--format", "oci-dir"], 125, "the format oci-dir needs a folder"),
        ],
    )
    def test_wrong_words(self, words: list[str], code: int, message: str) -> None:
        ended = proa("save", *words, "a")
        assert ended.code == code
        assert message in ended.stderr
        assert not ended.engine.calls

    def test_not_to_a_terminal(self) -> None:
        ended = proa("save", "a", io=CapturedIO(terminals=(1,)))
        assert ended.code == 1
        assert "cowardly refusing to save to a terminal" in ended.stderr


class TestBootstrap:
    def test_options(self) -> None:
        def bootstrap(reference: str, **options: Any) -> Image:
            options["progress"]("fetching packages")
            return DEBIAN

        ended = proa(
            "image", "bootstrap", "--variant", "minbase", "--include", "curl,git", "--include=vim",
            "--architecture", "arm64", "--mirror", "http://m", "debian:bookworm",
            images__bootstrap=bootstrap,
        )  # fmt: skip
        assert ended.stdout == "debian:bookworm, debian:12: image aaaaaaaaaaaa, 74.8MB unpacked\n"
        assert ended.stderr == "fetching packages\n"
        assert ended.call.args == ("debian:bookworm",)
        assert ended.call.options["include"] == ("curl", "git", "vim")
        assert ended.call.options["variant"] == "minbase"
        assert ended.call.options["architecture"] == "arm64"
        assert ended.call.options["mirror"] == "http://m"

    def test_quiet(self) -> None:
        ended = proa("image", "bootstrap", "-q", "debian:bookworm", images__bootstrap=DEBIAN)
        assert (ended.stdout, ended.stderr) == (f"sha256:{'a' * 64}\n", "")


class TestSystem:
    INFO: ClassVar[dict[str, object]] = {
        "Containers": 2,
        "NCPU": 2,
        "OSType": "linux",
        "DockerRootDir": "/var/lib/proa",
        "SecurityOptions": ["name=seccomp", "name=userns"],
        "Plugins": {"Log": ["json-file"], "Debug": False},
        "Runtimes": [{"Name": "proa"}],
        "Warnings": ["no AppArmor"],
    }

    def test_info(self) -> None:
        ended = proa("info", system__info=self.INFO)
        assert ended.stdout == (
            "Containers: 2\n"
            "NCPU: 2\n"
            "OS Type: linux\n"
            "Docker Root Dir: /var/lib/proa\n"
            "Security Options: name=seccomp name=userns\n"
            "Plugins:\n Log: json-file\n Debug: false\n"
            "Runtimes:\n Name: proa\n"
        )
        assert ended.stderr == "WARNING: no AppArmor\n"

    def test_info_formats(self) -> None:
        ended = proa("system", "info", "-f", "json", system__info=self.INFO)
        assert json.loads(ended.stdout) == self.INFO
        assert proa("info", "-f", "{{.NCPU}}", system__info=self.INFO).stdout == "2\n"

    def test_version(self) -> None:
        facts = {"Version": "0.1.0", "KernelVersion": "6.1"}
        ended = proa("version", system__version=facts)
        assert ended.stdout == (
            "Client:\n Version: 0.1.0\nServer:\n Version: 0.1.0\n Kernel Version: 6.1\n"
        )
        asked = proa("version", "-f", "{{.Server.Version}}", system__version=facts)
        assert asked.stdout == "0.1.0\n"
