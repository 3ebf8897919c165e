"""Users' words about images: changes, bootstrap requests, apt sources, Release files, times."""

from __future__ import annotations

from pathlib import Path

import pytest

from proa.errors import Invalid, Unavailable, Unsupported
from proa.image.bootstrap import busybox, debian
from proa.image.bootstrap.release import parse_releases
from proa.image.bootstrap.request import make_request
from proa.image.bootstrap.sources import (
    parse_deb822,
    parse_one_line,
    public_sources,
    read_sources,
    source_lines,
)
from proa.image.bootstrap.tools import last_words, require_tool, run_tool
from proa.image.catalog import parse_time_ns
from proa.image.changes import apply_changes
from proa.oci.imageconfig import ContainerDefaults


class TestChanges:
    @pytest.mark.parametrize(
        ("line", "field", "expected"),
        [
            ('CMD ["a", "b c"]', "cmd", ("a", "b c")),
            ("cmd echo $HOME", "cmd", ("/bin/sh", "-c", "echo $HOME")),
            ('ENTRYPOINT ["x"]', "entrypoint", ("x",)),
            ("ENV A=1 B='2 3'", "env", ("P=0", "A=1", "B=2 3")),
            ("ENV P one two", "env", ("P=one two",)),
            ("EXPOSE 80 53/UDP", "exposed_ports", {"80/tcp": {}, "53/udp": {}}),
            ('LABEL a=b c="d e"', "labels", {"a": "b", "c": "d e"}),
            ("USER 1000:1000", "user", "1000:1000"),
            ("VOLUME /a /b", "volumes", {"/a": {}, "/b": {}}),
            ('VOLUME ["/a b"]', "volumes", {"/a b": {}}),
            ("WORKDIR /srv", "working_dir", "/srv"),
            ("WORKDIR sub", "working_dir", "/home/sub"),
            ("STOPSIGNAL SIGINT", "stop_signal", "SIGINT"),
        ],
    )
    def test_applied(self, line: str, field: str, expected: object) -> None:
        before = ContainerDefaults(env=("P=0",), working_dir="/home")
        assert getattr(apply_changes(before, [line]), field) == expected

    def test_in_turn(self) -> None:
        found = apply_changes(
            ContainerDefaults(), ["WORKDIR /a", "WORKDIR b", "ENV A=1", "ENV A=2"]
        )
        assert (found.working_dir, found.env) == ("/a/b", ("A=2",))

    @pytest.mark.parametrize(
        "line",
        [
            "",
            "RUN x",
            "CMD",
            'CMD ["a"',
            "CMD [1]",
            "ENV A",
            "ENV =1",
            "ENV A=1 B",
            "ENV 'A=1",
            "EXPOSE x",
            "EXPOSE 0",
            "EXPOSE 70000",
            "EXPOSE 1/x",
            "USER a b",
            "FROM x",
        ],
    )
    def test_refused(self, line: str) -> None:
        with pytest.raises(Invalid, match="cannot be applied"):
            apply_changes(ContainerDefaults(), [line])


class TestRequest:
    @pytest.mark.parametrize(
        ("target", "suite", "slim"),
        [
            ("debian:bookworm", "bookworm", False),
            ("debian:12-slim", "bookworm", True),
            ("debian", "stable", False),
            ("debian:sid", "sid", False),
            ("ubuntu:24.04", "noble", False),
        ],
    )
    def test_suites(self, target: str, suite: str, slim: bool) -> None:
        request = make_request(target)
        assert (request.suite, request.slim) == (suite, slim)

    @pytest.mark.parametrize(
        ("architecture", "debian_name"),
        [("arm64", "arm64"), ("arm", "armhf"), ("386", "i386"), ("ppc64le", "ppc64el")],
    )
    def test_architectures(self, architecture: str, debian_name: str) -> None:
        assert make_request("debian:sid", architecture=architecture).architecture == debian_name

    @pytest.mark.parametrize(
        ("target", "fields"),
        [
            ("fedora:40", {}),
            ("me/debian:12", {}),
            ("debian:Bookworm", {}),
            ("debian:bookworm", {"variant": "none"}),
            ("debian:bookworm", {"include": ("--force",)}),
            ("debian:bookworm", {"include": ("a b",)}),
            ("debian:bookworm", {"include": ("/etc/passwd",)}),
            ("debian:bookworm", {"components": ("main ]",)}),
            ("debian:bookworm", {"mirror": "/etc"}),
            ("debian:bookworm", {"mirror": "http://a b"}),
            ("debian:_x", {}),
        ],
    )
    def test_refused(self, target: str, fields: dict[str, str]) -> None:
        with pytest.raises(Invalid):
            make_request(target, **fields)  # type: ignore[arg-type]


ONE_LINE = """\
# deb http://old.example/debian bookworm main
deb [arch=amd64 signed-by=/x] http://mirror.example/debian/ bookworm main contrib
deb-src http://mirror.example/debian bookworm main
deb http://mirror.example/debian-security bookworm-security main
"""
DEB822 = """\
Types: deb deb-src
URIs: http://one.example/debian http://two.example/debian
Suites: trixie
 trixie-updates
Components: main
# a comment

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: trixie
"""


class TestSources:
    def test_one_line(self) -> None:
        assert [(one.uri, one.suites) for one in parse_one_line(ONE_LINE)] == [
            ("http://mirror.example/debian", ("bookworm",)),
            ("http://mirror.example/debian-security", ("bookworm-security",)),
        ]

    def test_deb822(self) -> None:
        assert [(one.uri, one.suites) for one in parse_deb822(DEB822)] == [
            ("http://one.example/debian", ("trixie", "trixie-updates")),
            ("http://two.example/debian", ("trixie", "trixie-updates")),
        ]

    def apt(self, tmp_path: Path) -> str:
        (tmp_path / "sources.list.d").mkdir(parents=True)
        (tmp_path / "sources.list").write_text(ONE_LINE)
        (tmp_path / "sources.list.d" / "x.sources").write_text(DEB822)
        (tmp_path / "sources.list.d" / "y.list").write_text("deb https://else.example/x y z\n")
        return str(tmp_path)

    @pytest.fixture(autouse=True)
    def _keyring(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        keyring = tmp_path / "keyring.gpg"
        keyring.touch()
        for distribution in ("DEBIAN", "UBUNTU"):
            module = "proa.image.bootstrap.request"
            import msgspec

            from proa.image.bootstrap import request

            changed = msgspec.structs.replace(getattr(request, distribution), keyring=str(keyring))
            monkeypatch.setattr(f"{module}.{distribution}", changed)
            monkeypatch.setitem(request._DISTRIBUTIONS, changed.name, changed)

    def uris(self, target: str, apt: str, **fields: str) -> list[tuple[str, str]]:
        lines = source_lines(make_request(target, **fields), apt)  # type: ignore[arg-type]
        words = [line.split() for line in lines]
        assert all(one[1].startswith("[signed-by=") for one in words)
        return [(one[2], one[3]) for one in words]

    def test_the_hosts_mirror(self, tmp_path: Path) -> None:
        apt = self.apt(tmp_path / "apt")
        assert len(read_sources(apt)) == 5
        assert self.uris("debian:bookworm", apt) == [
            ("http://mirror.example/debian", "bookworm"),
            ("http://mirror.example/debian", "bookworm-updates"),
            ("http://mirror.example/debian-security", "bookworm-security"),
        ]
        assert self.uris("debian:trixie", apt)[0] == ("http://one.example/debian", "trixie")
        # Not set up on the host, but the same archive.
        assert self.uris("debian:sid", apt) == [("http://mirror.example/debian", "sid")]

    def test_without_any(self, tmp_path: Path) -> None:
        apt = str(tmp_path / "none")
        assert self.uris("debian:bookworm", apt)[2] == (
            "http://deb.debian.org/debian-security",
            "bookworm-security",
        )
        assert self.uris("ubuntu:noble", apt)[2] == (
            "http://archive.ubuntu.com/ubuntu",
            "noble-security",
        )
        assert self.uris("ubuntu:noble", apt, architecture="arm64")[0] == (
            "http://ports.ubuntu.com/ubuntu-ports",
            "noble",
        )

    def test_given(self, tmp_path: Path) -> None:
        found = self.uris("debian:bookworm", str(tmp_path), mirror="http://x.example/d")
        assert found == [("http://x.example/d", "bookworm")]

    def test_the_image_keeps_public_mirrors(self) -> None:
        text = public_sources(make_request("debian:bookworm"))
        assert "URIs: http://deb.debian.org/debian\nSuites: bookworm bookworm-updates\n" in text
        assert "mirror.example" not in text

    def test_without_keyring(self, tmp_path: Path) -> None:
        (tmp_path / "keyring.gpg").unlink()
        with pytest.raises(Unavailable) as caught:
            source_lines(make_request("ubuntu:noble"))
        assert caught.value.hint == "apt-get install ubuntu-keyring"


RELEASE = """\
-----BEGIN PGP SIGNED MESSAGE-----
Date: Sat, 11 Jul 2026 10:16:37 UTC
MD5Sum:
 f230d61720e789abf5df55d6026230c6 50060337 main/binary-amd64/Packages
SHA256:
 {digest} 50060337 main/binary-amd64/Packages
 {other} 1 main/binary-arm64/Packages
 {other} 1 main/binary-amd64/Packages.xz
"""


class TestRelease:
    def test_what_decides_the_content(self) -> None:
        request = make_request("debian:bookworm", architecture="amd64")
        text = RELEASE.format(digest="a" * 64, other="b" * 64)
        moved = text.replace("11 Jul", "12 Jul")
        found = parse_releases([moved, text], request)
        assert found.packages == (f"main/binary-amd64/Packages={'a' * 64}",) * 2
        assert found.epoch_s == 1_783_764_997

    def test_no_packages(self) -> None:
        request = make_request("debian:bookworm", architecture="s390x")
        with pytest.raises(Unavailable, match="no packages for s390x"):
            parse_releases([RELEASE.format(digest="a" * 64, other="b" * 64)], request)


class TestTools:
    def test_missing(self) -> None:
        with pytest.raises(Unavailable) as caught:
            require_tool("no-such-tool", "some-package")
        assert caught.value.hint == "apt-get install some-package"

    def test_failure_carries_the_reason(self) -> None:
        with pytest.raises(Unsupported, match="cannot x: E: two"):
            run_tool(
                ["sh", "-c", "echo I: one >&2; echo E: two >&2; exit 3"],
                package="sh",
                doing="cannot x",
                failures=Unsupported,
            )
        assert run_tool(["echo", "a"], package="x", doing="x", failures=Invalid) == "a\n"
        assert last_words([]) == "it gave no reason"
        assert last_words(["a", "b"]) == "b"

    def test_foreign_architecture(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(debian, "_BINFMT", str(tmp_path))
        host = make_request("debian:sid").architecture
        debian.check_architecture(host)
        foreign = "arm64" if host == "amd64" else "amd64"
        with pytest.raises(Unsupported, match="do not run on this") as caught:
            debian.check_architecture(foreign)
        assert "qemu-user-static" in caught.value.hint
        (tmp_path / f"qemu-{debian._EMULATORS[foreign]}").touch()
        debian.check_architecture(foreign)


class TestBusybox:
    def test_same_program_same_tar(self) -> None:
        one = b"".join(busybox.rootfs_chunks(b"program", ["bin/sh", "bin/busybox", "sbin/init"]))
        two = b"".join(busybox.rootfs_chunks(b"program", ["sbin/init", "bin/sh", "bin/sh"]))
        assert one == two
        assert b"nobody:x:65534" in one


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-01-02T03:04:05Z", 1_704_164_645_000_000_000),
        ("2024-01-02T03:04:05.123456789Z", 1_704_164_645_123_456_789),
        ("2024-01-02T04:04:05.5+01:00", 1_704_164_645_500_000_000),
        ("0001-01-01T00:00:00Z", 0),
        ("", 0),
        ("yesterday", 0),
        ("9999-99-99T00:00:00Z", 0),
    ],
)
def test_times(text: str, expected: int) -> None:
    assert parse_time_ns(text) == expected
