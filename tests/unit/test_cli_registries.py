"""The verbs on registries: what they ask the engine and what they show."""

from __future__ import annotations

import json
import os
import pty
import threading
from typing import Any

import pytest

from proa.cli.io import IO
from proa.cli.main import run
from proa.cli.progress import JsonProgress, progress_to
from proa.errors import NotFound, Unauthorized
from proa.image.push import Pushed
from proa.image.registry.manifests import Fetched
from proa.image.registry.session import Found
from proa.oci.descriptor import Descriptor
from proa.oci.digest import digest_of, parse_digest
from tests.support.cli import CapturedIO, FakeEngine, proa
from tests.unit.test_cli_images import make_image

DIGEST = parse_digest("sha256:" + "d" * 64)
NAME = "docker.io/library/debian:bookworm"


def _pulled() -> Any:
    import msgspec

    image = make_image("a", NAME)
    return msgspec.structs.replace(image, repo_digests=(f"docker.io/library/debian@{DIGEST}",))


class TestPull:
    def test_a_newer_image(self) -> None:
        ended = proa(
            "pull", "debian:bookworm", images__pull=_pulled(), images__get=NotFound("no such image")
        )
        assert ended.code == 0
        assert ended.stdout == (
            f"Digest: {DIGEST}\nStatus: Downloaded newer image for debian:bookworm\n{NAME}\n"
        )
        call = ended.engine.calls[-1]
        assert (call.name, call.args) == ("images.pull", ("debian:bookworm",))
        assert (call.options["platform"], call.options["policy"]) == ("", "always")

    def test_what_is_up_to_date(self) -> None:
        ended = proa("pull", "debian:bookworm", images__pull=_pulled(), images__get=_pulled())
        assert "Status: Image is up to date for debian:bookworm\n" in ended.stdout

    def test_quiet_shows_the_name_only(self) -> None:
        ended = proa("pull", "-q", "debian:bookworm", images__pull=_pulled())
        assert ended.stdout == f"{NAME}\n"
        assert ended.stderr == ""

    def test_platform_and_policy(self) -> None:
        words = ("--platform", "linux/arm64", "--policy", "missing", "debian:bookworm")
        ended = proa("image", "pull", *words, images__pull=_pulled(), images__get=_pulled())
        options = ended.engine.calls[-1].options
        assert (options["platform"], options["policy"]) == ("linux/arm64", "missing")

    def test_by_digest(self) -> None:
        name = f"docker.io/library/debian@{DIGEST}"
        ended = proa("pull", "-q", f"debian@{DIGEST}", images__pull=_pulled())
        assert ended.stdout == f"{name}\n"

    def test_by_id(self) -> None:
        ended = proa(
            "pull", "-q", "--policy", "never", "sha256:" + "a" * 64, images__pull=_pulled()
        )
        assert ended.stdout == f"{NAME}\n"

    def test_all_tags(self) -> None:
        images = [make_image("a", "x.lan/y:1"), make_image("b", "x.lan/y:2")]
        ended = proa("pull", "-a", "x.lan/y", images__pull_all_tags=images)
        assert ended.stdout == "x.lan/y:1\nx.lan/y:2\n"

    @pytest.mark.parametrize(
        "words", [("--policy", "newer"), ("--progress", "tty"), ("--platform",)]
    )
    def test_wrong_words(self, words: tuple[str, ...]) -> None:
        ended = proa("pull", "debian", *words)
        assert ended.code != 0
        assert ended.engine.calls == []

    def test_content_trust_is_accepted(self) -> None:
        assert proa("pull", "-q", "--disable-content-trust", "x", images__pull=_pulled()).code == 0


class TestPush:
    PUSHED = (Pushed(reference="x.lan/y:1", digest=DIGEST, size_bytes=528),)

    def test_the_manifest_is_named(self) -> None:
        ended = proa("push", "x.lan/y:1", images__push=list(self.PUSHED))
        assert ended.stdout == f"1: digest: {DIGEST} size: 528\n"
        assert ended.call.options["compression"] == ""

    def test_quiet(self) -> None:
        ended = proa("push", "-q", "x.lan/y:1", images__push=list(self.PUSHED))
        assert ended.stdout == "x.lan/y:1\n"

    def test_compression_and_all_tags(self) -> None:
        words = ("-a", "--compression", "zstd", "x.lan/y")
        ended = proa("push", *words, images__push=list(self.PUSHED))
        assert ended.call.options["compression"] == "zstd"
        assert ended.call.options["all_tags"] is True

    def test_an_unknown_compression(self) -> None:
        ended = proa("push", "--compression", "xz", "x.lan/y:1")
        assert ended.code == 1
        assert 'must be "gzip" or "zstd"' in ended.stderr


class _Typed(CapturedIO):
    """Standard input that holds ``typed``."""

    def __init__(self, typed: str) -> None:
        super().__init__()
        reader, writer = os.pipe()
        os.write(writer, typed.encode())
        os.close(writer)
        self.stdin_fd = reader


class TestLogin:
    def test_the_password_comes_from_stdin(self) -> None:
        io = _Typed("open sesame\n")
        words = ("login", "-u", "ali", "--password-stdin", "x.lan:5000")
        ended = proa(*words, io=io, registries__log_in="cave")
        os.close(io.stdin_fd)
        assert ended.code == 0
        assert ended.call.args == ("x.lan:5000", "ali", "open sesame")
        assert ended.stdout == "Login Succeeded\n"
        assert ended.stderr == ""

    def test_the_hub_is_the_default_and_plain_storage_is_said(self) -> None:
        ended = proa("login", "-u", "ali", "-p", "sesame", registries__log_in="")
        assert ended.call.args == ("", "ali", "sesame")
        assert "insecure" in ended.stderr
        assert "unencrypted" in ended.stderr

    def test_refused_credentials(self) -> None:
        error = Unauthorized("cannot log in to x.lan: the user name or password is wrong")
        ended = proa("login", "-u", "ali", "-p", "guess", "x.lan", registries__log_in=error)
        assert ended.code == 1
        assert "Login Succeeded" not in ended.stdout
        assert "guess" not in ended.stderr

    @pytest.mark.parametrize(
        "words",
        [
            ("-u", "ali"),
            ("--password-stdin",),
            ("-u", "a", "-p", "b", "--password-stdin"),
        ],
    )
    def test_without_a_terminal_everything_must_be_given(self, words: tuple[str, ...]) -> None:
        io = _Typed("")
        ended = proa("login", *words, io=io)
        os.close(io.stdin_fd)
        assert ended.code == 1
        assert ended.engine.calls == []

    def test_on_a_terminal_it_is_asked_for_and_the_password_not_shown(self) -> None:
        master, slave = pty.openpty()
        shown = bytearray()
        asked = threading.Event()

        def type_answers() -> None:
            for question, answer in ((b"Username", b"ali\n"), (b"Password: ", b"sesame\n")):
                while question not in shown:
                    shown.extend(os.read(master, 1000))
                os.write(master, answer)
            asked.set()

        typist = threading.Thread(target=type_answers)
        typist.start()
        engine = FakeEngine({"registries.log_in": "", "registries.find_user": "morgiana"})
        io = IO(stdin_fd=slave, stdout_fd=slave, stderr_fd=slave, env={}, cwd="/")
        code = run(("login", "x.lan"), io, open_engine=lambda root, run_root: engine)  # type: ignore[arg-type,return-value]
        typist.join()
        shown.extend(os.read(master, 10_000))
        os.close(master)
        os.close(slave)
        assert code == 0
        assert engine.calls[-1].args == ("x.lan", "ali", "sesame")
        assert b"Username (morgiana): " in shown
        assert b"sesame" not in shown


class TestLogout:
    def test_known(self) -> None:
        ended = proa("logout", "x.lan", registries__log_out=True)
        assert ended.stdout == "Removing login credentials for x.lan\n"

    def test_unknown(self) -> None:
        ended = proa("logout", registries__log_out=False)
        assert ended.code == 0
        assert ended.stdout == "Not logged in to https://index.docker.io/v1/\n"


class TestSearch:
    FOUND = (
        Found(name="debian", description="A distribution " * 5, stars=5000, is_official=True),
        Found(name="x.lan/y"),
    )

    def test_table(self) -> None:
        ended = proa("search", "--limit", "7", "deb", registries__search=list(self.FOUND))
        assert ended.call.options == {"limit": 7}
        header, first, second = ended.stdout.splitlines()
        assert header.split() == ["NAME", "DESCRIPTION", "STARS", "OFFICIAL"]
        assert first.split()[0] == "debian"
        assert "…" in first
        assert first.endswith("[OK]")
        assert second.split() == ["x.lan/y", "0"]

    def test_format(self) -> None:
        words = ("search", "--no-trunc", "--format", "{{.Name}} {{.StarCount}}", "deb")
        ended = proa(*words, registries__search=list(self.FOUND))
        assert ended.stdout == "debian 5000\nx.lan/y 0\n"


class TestManifestInspect:
    DATA = b'{"schemaVersion":2,"layers":[]}'
    FETCHED = Fetched(
        descriptor=Descriptor(
            media_type="application/vnd.oci.image.manifest.v1+json",
            digest=digest_of(DATA),
            size=len(DATA),
        ),
        data=DATA,
    )

    def test_the_document(self) -> None:
        ended = proa("manifest", "inspect", "debian", registries__get_manifest=self.FETCHED)
        assert json.loads(ended.stdout) == {"schemaVersion": 2, "layers": []}

    def test_verbose_has_the_descriptor(self) -> None:
        ended = proa("manifest", "inspect", "-v", "debian", registries__get_manifest=self.FETCHED)
        shown = json.loads(ended.stdout)
        assert shown["Ref"] == "docker.io/library/debian:latest"
        assert shown["Descriptor"]["digest"] == digest_of(self.DATA)
        assert shown["Manifest"] == {"schemaVersion": 2, "layers": []}

    def test_referrers(self) -> None:
        words = ("--referrers", "--artifact-type", "a/b", "debian")
        ended = proa(
            "manifest", "inspect", *words, registries__list_referrers=(self.FETCHED.descriptor,)
        )
        assert ended.call.args == ("debian", "a/b")
        (entry,) = json.loads(ended.stdout)
        assert entry["digest"] == digest_of(self.DATA)


def test_json_progress_is_an_object_a_line_and_not_too_many() -> None:
    io = CapturedIO()
    with progress_to(io, style="json") as progress:
        progress("resolving x")
        for done in range(1000):
            progress("layer 1", done, 1000)
        progress("layer 1", 1000, 1000)
    lines = [json.loads(line) for line in io.written[2].splitlines()]
    assert lines[0] == {"step": "resolving x"}
    assert lines[1] == {"step": "layer 1", "done_bytes": 0, "total_bytes": 1000}
    assert lines[-1] == {"step": "layer 1", "done_bytes": 1000, "total_bytes": 1000}
    assert len(lines) < 100
    assert isinstance(progress, JsonProgress)


def test_plain_progress_on_a_terminal() -> None:
    io = CapturedIO(env={"TERM": "xterm"}, terminals=(2,))
    with progress_to(io, style="plain") as progress:
        progress("layer 1", 1, 2)
    assert io.written[2] == b"layer 1\n"
