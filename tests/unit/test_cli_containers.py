"""The verbs on containers: what they ask the engine and what they show."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from proa.engine.config import ContainerConfig, ExecConfig, MountConfig
from proa.engine.model import ContainerRecord, ContainerState
from proa.errors import CommandNotExecutable, CommandNotFound, Conflict, NotFound
from tests.support.cli import CapturedIO, proa

ID = "0123456789abcdef" * 4
SECOND = 1_000_000_000


def outcome(exit_code: int = 0, warnings: tuple[str, ...] = ()) -> SimpleNamespace:
    return SimpleNamespace(id=ID, exit_code=exit_code, warnings=warnings)


def only_known(*known: str, answer: Any = None) -> Any:
    def act(name: str, *args: Any, **options: Any) -> Any:
        if name not in known:
            raise NotFound(f"no such container: {name}")
        return answer

    return act


class TestRun:
    def test_the_containers_exit_code(self) -> None:
        ended = proa("run", "img", "false", containers__run=outcome(exit_code=42))
        assert (ended.code, ended.stdout, ended.stderr) == (42, "", "")
        assert ended.call.args == (ContainerConfig(image="img", command=("false",)),)
        assert ended.call.options["name"] == ""
        assert ended.call.options["pull"] == "never"
        assert ended.call.options["detach"] is False

    def test_a_missing_image_is_pulled_where_the_user_sees_it(self) -> None:
        absent = NotFound("no such image: img")
        answers: dict[str, Any] = {"containers__ensure_image": None, "images__get": absent}
        ran = [outcome(exit_code=7), absent]
        ended = proa("run", "img", containers__run=lambda *_, **__: ran.pop(), **answers)
        assert (ended.code, ended.stderr) == (7, "Unable to find image 'img' locally\n")
        names = [call.name for call in ended.engine.calls]
        assert names == [
            "containers.run",
            "images.get",
            "containers.ensure_image",
            "containers.run",
        ]
        ended = proa("run", "--pull", "never", "img", containers__run=absent, **answers)
        assert (ended.code, len(ended.engine.calls)) == (125, 1)

    @pytest.mark.parametrize(
        ("words", "policy"),
        [
            (("--pull", "always"), "always"),
            (("--policy", "always"), "always"),
            (("--platform", "linux/arm64"), "missing"),
        ],
    )
    def test_what_has_to_be_asked_for_first(self, words: tuple[str, ...], policy: str) -> None:
        ended = proa("run", *words, "img", containers__run=outcome())
        first, second = ended.engine.calls
        assert (first.name, first.options["pull"]) == ("containers.ensure_image", policy)
        assert (second.name, second.options["pull"]) == ("containers.run", "never")

    def test_what_else_is_not_found_is_no_reason_to_pull(self) -> None:
        absent = NotFound("no such network: lan")
        ended = proa("run", "--network", "lan", "img", containers__run=absent, images__get=None)
        assert ended.code == 125
        assert "no such network: lan" in ended.stderr

    @pytest.mark.parametrize(
        ("words", "fds"),
        [
            ([], (-1, 1, 2)),
            (["-i"], (0, 1, 2)),
            (["-a", "stdout"], (-1, 1, -1)),
            (["-a", "STDIN", "-a", "stderr"], (0, -1, 2)),
            (["-i", "-a", "stdout"], (-1, 1, -1)),
        ],
    )
    def test_streams(self, words: list[str], fds: tuple[int, int, int]) -> None:
        streams = proa("run", *words, "img", containers__run=outcome()).call.options["streams"]
        assert (streams.stdin_fd, streams.stdout_fd, streams.stderr_fd) == fds

    def test_detached(self) -> None:
        ended = proa("run", "-d", "-i", "--name", "web", "img", containers__run=outcome())
        assert (ended.code, ended.stdout) == (0, f"{ID}\n")
        assert ended.call.options["streams"] is None
        assert ended.call.options["detach"] is True
        assert ended.call.options["name"] == "web"

    def test_warnings(self) -> None:
        io = CapturedIO()

        def start(config: ContainerConfig, **options: Any) -> SimpleNamespace:
            options["on_warning"]("no swap limit")
            assert io.written[2] == b"WARNING: no swap limit\n"
            return outcome(warnings=("no swap limit",))

        ended = proa("run", "img", io=io, containers__run=start)
        assert ended.stderr == "WARNING: no swap limit\n"

    def test_pull(self) -> None:
        ended = proa("run", "--pull", "never", "-d", "img", containers__run=outcome())
        assert ended.call.options["pull"] == "never"

    def test_detached_and_attached(self) -> None:
        ended = proa("run", "-d", "-a", "stdout", "img")
        assert ended.code == 1
        assert "cannot specify both --attach and --detach" in ended.stderr
        assert not ended.engine.calls

    def test_a_terminal_is_needed(self) -> None:
        ended = proa("run", "-it", "img")
        assert ended.code == 1
        assert "the input device is not a TTY" in ended.stderr
        io = CapturedIO(terminals=(0, 1, 2))
        assert proa("run", "-it", "img", io=io, containers__run=outcome()).code == 0

    def test_keys_and_signals(self) -> None:
        words = ("run", "--detach-keys", "ctrl-a,q", "img")
        streams = proa(*words, containers__run=outcome()).call.options["streams"]
        assert streams.detach_keys == "ctrl-a,q"
        streams = proa("run", "--sig-proxy=false", "img", containers__run=outcome()).call.options[
            "streams"
        ]
        assert not streams.sig_proxy
        streams = proa("run", "img", containers__run=outcome()).call.options["streams"]
        assert (streams.sig_proxy, streams.detach_keys) == (True, "")


class TestCidFile:
    def test_it_gets_the_id_when_there_is_one(self, tmp_path: Path) -> None:
        path = tmp_path / "cid"

        def start(config: ContainerConfig, **options: Any) -> SimpleNamespace:
            assert path.read_text() == ""
            options["on_created"](ID)
            assert path.read_text() == ID
            return outcome()

        io = CapturedIO(cwd=str(tmp_path))
        assert proa("run", "--cidfile", "cid", "i", io=io, containers__run=start).code == 0
        assert path.read_text() == ID

    def test_it_is_gone_when_there_is_none(self, tmp_path: Path) -> None:
        for verb in ("run", "create"):
            answers: dict[str, Any] = {f"containers__{verb}": NotFound("no such image: i")}
            proa(verb, "--cidfile", str(tmp_path / "c"), "i", **answers)
            assert list(tmp_path.iterdir()) == []

    def test_it_must_be_new(self, tmp_path: Path) -> None:
        path = tmp_path / "cid"
        path.write_text("old")
        ended = proa("create", "--cidfile", str(path), "i")
        assert ended.code == 125
        assert (
            f"container ID file found, make sure the other container isn't running or delete "
            f"{path}" in ended.stderr
        )
        assert path.read_text() == "old"
        assert not ended.engine.calls

    def test_it_must_be_possible(self) -> None:
        ended = proa("create", "--cidfile", "/nx/cid", "i")
        assert ended.code == 125
        assert "failed to create the container ID file /nx/cid: no such file" in ended.stderr


def test_create() -> None:
    created = SimpleNamespace(id=ID, warnings=("w",))
    ended = proa("create", "--name", "web", "-e", "A=1", "i", "x", containers__create=created)
    assert (ended.code, ended.stdout, ended.stderr) == (0, f"{ID}\n", "WARNING: w\n")
    assert ended.call.args == (ContainerConfig(image="i", command=("x",), env=("A=1",)),)
    assert ended.call.options == {"name": "web", "pull": "never"}


class TestStart:
    def test_each_is_started(self) -> None:
        ended = proa("start", "a", "nx", "b", containers__start=only_known("a", "b"))
        assert ended.code == 1
        assert ended.stdout == "a\nb\n"
        assert ended.stderr == "proa: no such container: nx\n"

    def test_attached(self) -> None:
        record = make_record(open_stdin=True)
        ended = proa("start", "-ai", "web", containers__get=record, containers__start=7)
        assert (ended.code, ended.stdout) == (7, "")
        streams = ended.engine.calls[-1].options["streams"]
        assert (streams.stdin_fd, streams.stdout_fd, streams.stderr_fd) == (0, 1, 2)

    def test_input_only_where_the_container_takes_it(self) -> None:
        ended = proa("start", "-i", "w", containers__get=make_record(), containers__start=0)
        assert ended.engine.calls[-1].options["streams"].stdin_fd == -1

    def test_one_at_a_time(self) -> None:
        ended = proa("start", "-a", "x", "y")
        assert ended.code == 1
        assert "you cannot start and attach multiple containers at once" in ended.stderr


class TestStop:
    @pytest.mark.parametrize(
        ("words", "options"),
        [
            ([], {"timeout_s": None, "signal": ""}),
            (["-t", "3"], {"timeout_s": 3, "signal": ""}),
            (["-t", "-1", "-s", "INT"], {"timeout_s": -1, "signal": "INT"}),
            (["--time", "4"], {"timeout_s": 4, "signal": ""}),
        ],
    )
    def test_options(self, words: list[str], options: dict[str, object]) -> None:
        ended = proa("stop", *words, "web")
        assert (ended.code, ended.stdout) == (0, "web\n")
        assert ended.call.args == ("web",)
        assert ended.call.options == options

    def test_the_old_flag_warns(self) -> None:
        assert "use --timeout instead" in proa("stop", "--time", "4", "web").stderr

    def test_several_wait_side_by_side(self) -> None:
        """Two containers that need 10 s each are down after 10 s, not after 20."""
        import threading

        both = threading.Barrier(2, timeout=10)

        def stop(name: str, **options: Any) -> None:
            both.wait()

        ended = proa("stop", "a", "b", containers__stop=stop)
        assert (ended.code, ended.stdout) == (0, "a\nb\n")

    def test_failures_do_not_spare_the_others(self) -> None:
        ended = proa("stop", "nx", "a", containers__stop=only_known("a"))
        assert (ended.code, ended.stdout) == (1, "a\n")
        assert ended.stderr == "proa: no such container: nx\n"


def test_kill() -> None:
    ended = proa("kill", "a", "b")
    assert ended.stdout == "a\nb\n"
    assert [call.args for call in ended.engine.calls] == [("a", "KILL"), ("b", "KILL")]
    assert proa("kill", "-s", "HUP", "a").call.args == ("a", "HUP")
    ended = proa("kill", "-s", "FOO", "a")
    assert ended.code == 125
    assert "invalid signal 'FOO'" in ended.stderr


class TestRm:
    def test_options(self) -> None:
        ended = proa("rm", "-fv", "/web")
        assert (ended.code, ended.stdout) == (0, "web\n")
        assert ended.call.args == ("web",)
        assert ended.call.options == {"force": True, "volumes": True}

    def test_a_missing_one(self) -> None:
        ended = proa("rm", "nx", "a", containers__remove=only_known("a"))
        assert (ended.code, ended.stdout) == (1, "a\n")
        ended = proa("rm", "-f", "nx", "a", containers__remove=only_known("a"))
        assert (ended.code, ended.stdout) == (0, "a\n")
        assert ended.stderr == "proa: no such container: nx\n"

    def test_a_running_one(self) -> None:
        error = Conflict("cannot remove container web: it is running", "use --force")
        ended = proa("rm", "web", containers__remove=error)
        assert (ended.code, ended.stdout) == (1, "")
        assert ended.stderr == "proa: cannot remove container web: it is running: use --force\n"

    def test_a_name_is_needed(self) -> None:
        ended = proa("rm", "/")
        assert (ended.code, ended.stderr) == (1, "proa: container name cannot be empty\n")


def test_wait() -> None:
    codes = {"a": 0, "b": 137}
    ended = proa("wait", "a", "b", containers__wait=codes.__getitem__)
    assert (ended.code, ended.stdout) == (0, "0\n137\n")


class TestLogs:
    LINES = (
        SimpleNamespace(stream="stdout", time_ns=1_700_000_000 * SECOND + 5, data=b"one\n"),
        SimpleNamespace(stream="stderr", time_ns=1_700_000_001 * SECOND, data=b"b\xc3\xa4d\n"),
        SimpleNamespace(stream="stdout", time_ns=1_700_000_002 * SECOND, data=b"no newline"),
    )

    def test_streams_stay_apart(self) -> None:
        io = CapturedIO()
        assert (
            proa("logs", "web", io=io, containers__logs=lambda *a, **o: iter(self.LINES)).code == 0
        )
        assert io.written == {1: b"one\nno newline", 2: b"b\xc3\xa4d\n"}

    def test_timestamps(self) -> None:
        io = CapturedIO()
        proa("logs", "-t", "web", io=io, containers__logs=lambda *a, **o: iter(self.LINES))
        assert io.written[1].splitlines()[0] == b"2023-11-14T22:13:20.000000005Z one"

    @pytest.mark.parametrize(
        ("words", "options"),
        [
            ([], {"follow": False, "since_ns": 0, "until_ns": 0, "tail": -1}),
            (["-f", "-n", "5"], {"follow": True, "tail": 5}),
            (["--tail", "all"], {"tail": -1}),
            (["--tail", "0"], {"tail": 0}),
            (["--tail=-3"], {"tail": -1}),
            (
                ["--since", "1700000000", "--until", "2023-11-14T22:13:21Z"],
                {"since_ns": 1_700_000_000 * SECOND, "until_ns": 1_700_000_001 * SECOND},
            ),
        ],
    )
    def test_options(self, words: list[str], options: dict[str, object]) -> None:
        ended = proa("logs", *words, "web", containers__logs=[])
        assert ended.call.args == ("web",)
        assert options.items() <= ended.call.options.items()

    def test_relative_times(self) -> None:
        ended = proa("logs", "--since", "10m", "web", containers__logs=[])
        ago_ns = time.time_ns() - ended.call.options["since_ns"]
        assert 600 <= ago_ns / SECOND < 660

    @pytest.mark.parametrize("words", [["--since", "soon"], ["--tail", "some"]])
    def test_wrong_values(self, words: list[str]) -> None:
        ended = proa("logs", *words, "web")
        assert ended.code == 125
        assert f'invalid argument "{words[1]}"' in ended.stderr


def make_record(
    name: str = "web", *, state: ContainerState | None = None, path: str = "sleep", **fields: Any
) -> ContainerRecord:
    return ContainerRecord(
        id=ID,
        name=name,
        image_id="sha256:" + "a" * 64,
        created_at_ns=time.time_ns() - 125 * SECOND,
        config=ContainerConfig(image="debian:bookworm", **fields),
        state=state or ContainerState(),
        path=path,
        args=("infinity",),
    )


class TestPs:
    def test_table(self) -> None:
        now = time.time_ns()
        up = ContainerState(status="running", started_at_ns=now - 61 * SECOND)
        gone = ContainerState(
            status="exited", started_at_ns=1, exit_code=3, finished_at_ns=now - 5 * SECOND
        )
        records = [
            make_record(state=up),
            make_record("long", state=gone, path="/usr/bin/some-program"),
        ]
        ended = proa("ps", "-a", containers__list=records)
        assert ended.stdout == (
            "CONTAINER ID   IMAGE             COMMAND                  CREATED         "
            "STATUS                     PORTS     NAMES\n"
            '0123456789ab   debian:bookworm   "sleep infinity"         2 minutes ago   '
            "Up About a minute                    web\n"
            '0123456789ab   debian:bookworm   "/usr/bin/some-progr…"   2 minutes ago   '
            "Exited (3) 5 seconds ago             long\n"
        )

    def test_no_containers(self) -> None:
        assert proa("ps", containers__list=[]).stdout == (
            "CONTAINER ID   IMAGE     COMMAND   CREATED   STATUS    PORTS     NAMES\n"
        )
        assert proa("ps", "-q", containers__list=[]).stdout == ""

    @pytest.mark.parametrize(
        ("words", "options"),
        [
            ([], {"all": False, "filters": {}, "last": 0}),
            (["-a"], {"all": True, "filters": {}, "last": 0}),
            (["-n", "3"], {"all": False, "filters": {}, "last": 3}),
            (["-l"], {"all": False, "filters": {}, "last": 1}),
            (
                ["-f", "name=a", "--filter", "name=b", "-f", "status=exited"],
                {"all": False, "filters": {"name": ["a", "b"], "status": ["exited"]}, "last": 0},
            ),
        ],
    )
    def test_options(self, words: list[str], options: dict[str, object]) -> None:
        assert proa("ps", *words, containers__list=[]).call.options == options

    def test_full_ids(self) -> None:
        records = [make_record()]
        assert proa("ps", "-q", containers__list=records).stdout == f"{ID[:12]}\n"
        assert proa("ps", "-q", "--no-trunc", containers__list=records).stdout == f"{ID}\n"

    def test_sizes(self) -> None:
        document = {"SizeRw": 1200, "SizeRootFs": 74_800_000}
        ended = proa("ps", "-s", containers__list=[make_record()], containers__inspect=document)
        header, row = ended.stdout.splitlines()
        assert header.endswith("NAMES     SIZE")
        assert row.endswith("web       1.2kB (virtual 74.8MB)")
        assert ended.engine.calls[-1].options == {"size": True}

    def test_json_lines(self) -> None:
        import json

        mounts = (
            MountConfig(type="bind", source="/a/rather/long/path", target="/b"),
            MountConfig(type="volume", source="data", target="/c"),
            MountConfig(type="tmpfs", target="/d"),
        )
        record = make_record(labels={"a": "1", "b": "2"}, mounts=mounts, network_mode="none")
        labels = {"from": "the image", **record.config.labels}
        ended = proa("ps", "--format", "json", containers__list=[record], containers__labels=labels)
        row = json.loads(ended.stdout)
        assert row["ID"] == ID[:12]
        assert row["Labels"] == "from=the image,a=1,b=2"
        assert row["Mounts"] == "/a/rather/long…,data"
        assert row["LocalVolumes"] == "1"
        assert row["Networks"] == "none"
        assert row["Status"] == "Created"
        assert row["State"] == "created"
        assert row["Command"] == '"sleep infinity"'

    def test_quiet_wins_over_format(self) -> None:
        ended = proa("ps", "-q", "--format", "{{.Names}}", containers__list=[make_record()])
        assert ended.stdout == f"{ID[:12]}\n"
        assert ended.stderr.startswith("WARNING: Ignoring custom format")

    def test_a_filter_needs_a_value(self) -> None:
        ended = proa("ps", "-f", "name")
        assert ended.code == 125
        assert "bad format of filter (expected name=value)" in ended.stderr


class TestInspect:
    def test_found_and_missing(self) -> None:
        inspect = only_known("a", "b", answer={"Id": ID, "Name": "/ä"})
        ended = proa("container", "inspect", "a", "nx", "b", containers__inspect=inspect)
        assert ended.code == 1
        assert ended.stdout == (
            "[\n"
            f'    {{\n        "Id": "{ID}",\n        "Name": "/ä"\n    }},\n'
            f'    {{\n        "Id": "{ID}",\n        "Name": "/ä"\n    }}\n'
            "]\n"
        )
        assert ended.stderr == "proa: no such container: nx\n"

    def test_nothing_found(self) -> None:
        ended = proa("container", "inspect", "nx", containers__inspect=only_known())
        assert (ended.code, ended.stdout) == (1, "[]\n")

    def test_size(self) -> None:
        ended = proa("container", "inspect", "-s", "a", containers__inspect={})
        assert ended.call.options == {"size": True}

    def test_any_object(self) -> None:
        answers = {
            "containers__inspect": only_known("both", answer={"Id": "container"}),
            "images__inspect": only_known("both", "img", answer={"Id": "image"}),
        }
        ended = proa("inspect", "--format", "json", "both", "img", **answers)
        assert ended.stdout == '[{"Id":"container"},{"Id":"image"}]\n'
        ended = proa("inspect", "--type", "image", "--format", "json", "both", **answers)
        assert ended.stdout == '[{"Id":"image"}]\n'
        ended = proa("inspect", "--type", "container", "img", **answers)
        assert (ended.code, ended.stderr) == (1, "proa: no such container: img\n")
        ended = proa("inspect", "nx", **answers)
        assert (ended.code, ended.stdout) == (1, "[]\n")
        assert ended.stderr.startswith("proa: no such object: nx: ")

    def test_unknown_type(self) -> None:
        ended = proa("inspect", "--type", "foo", "x")
        assert ended.code == 1
        assert 'unknown type: "foo": must be one of "container", "image"' in ended.stderr


class TestPsFormat:
    def ps(self, text: str) -> Any:
        records = [make_record("web", labels={"a": "1"}), make_record("database", labels={})]
        labels = [record.config.labels for record in records]
        return proa(
            "ps",
            "--format",
            text,
            containers__list=records,
            containers__labels=lambda _ref: labels.pop(0),
        )

    def test_template(self) -> None:
        assert self.ps("{{.Names}}: {{.Image}}").stdout == (
            "web: debian:bookworm\ndatabase: debian:bookworm\n"
        )

    def test_table_template(self) -> None:
        assert self.ps(r"table {{.Names}}\t{{.RunningFor}}").stdout == (
            "NAMES      CREATED\nweb        2 minutes ago\ndatabase   2 minutes ago\n"
        )

    def test_method(self) -> None:
        assert self.ps('{{.Label "a"}}/{{.State}}').stdout == "1/created\n/created\n"

    def test_sizes_are_read_when_asked_for(self) -> None:
        ended = proa(
            "ps", "--format", "{{.Size}}",
            containers__list=[make_record()],
            containers__inspect={"SizeRw": 0, "SizeRootFs": 5},
        )  # fmt: skip
        assert ended.stdout == "0B (virtual 5B)\n"
        assert len(self.ps("{{.ID}}").engine.calls) == 1

    @pytest.mark.parametrize("text", ["{{.Nope}}", "{{", "table {{.Nope}}"])
    def test_wrong_templates(self, text: str) -> None:
        ended = self.ps(text)
        assert ended.code == 1
        assert ended.stderr.startswith("proa: template")

    def test_inspect(self) -> None:
        document = {"State": {"Pid": 7}, "Config": {"Labels": {"a": "b"}}}
        ended = proa(
            "inspect",
            "-f",
            "{{.State.Pid}} {{json .Config.Labels}}",
            "a",
            "b",
            containers__inspect=document,
        )
        assert ended.stdout == '7 {"a":"b"}\n' * 2


class TestExec:
    def test_configuration(self) -> None:
        ended = proa(
            "exec", "-i", "-e", "A=1", "-e", "B", "-u", "5", "-w", "/w", "--privileged",
            "web", "sh", "-c", "x",
            io=CapturedIO(env={"B": "2"}), containers__exec=3,
        )  # fmt: skip
        assert ended.code == 3
        assert ended.call.args == (
            "web",
            ExecConfig(
                command=("sh", "-c", "x"),
                env=("A=1", "B=2"),
                user="5",
                working_dir="/w",
                open_stdin=True,
                privileged=True,
            ),
        )
        streams = ended.call.options["streams"]
        assert (streams.stdin_fd, streams.stdout_fd, streams.stderr_fd) == (0, 1, 2)

    def test_detached(self) -> None:
        ended = proa("exec", "-d", "web", "true", containers__exec=0)
        assert ended.call.options["streams"] is None
        assert ended.call.args[1].detach

    def test_flags_behind_the_container_are_the_commands(self) -> None:
        ended = proa("exec", "web", "ls", "-d", containers__exec=0)
        assert ended.call.args[1] == ExecConfig(command=("ls", "-d"))

    @pytest.mark.parametrize(
        ("error", "code"),
        [
            (CommandNotFound("no such command: x"), 127),
            (CommandNotExecutable("cannot execute: x"), 126),
            (NotFound("no such container: web"), 1),
            (Conflict("container web is not running"), 1),
        ],
    )
    def test_exit_codes(self, error: Exception, code: int) -> None:
        assert proa("exec", "web", "x", containers__exec=error).code == code

    def test_words_are_needed(self) -> None:
        ended = proa("exec", "web")
        assert ended.code == 1
        assert "'proa exec' requires at least 2 arguments" in ended.stderr
        assert "the input device is not a TTY" in proa("exec", "-it", "web", "sh").stderr


class TestAttach:
    @pytest.mark.parametrize(
        ("words", "open_stdin", "stdin_fd"),
        [([], True, 0), (["--no-stdin"], True, -1), ([], False, -1)],
    )
    def test_streams(self, words: list[str], open_stdin: bool, stdin_fd: int) -> None:
        record = make_record(open_stdin=open_stdin)
        ended = proa("attach", *words, "web", containers__get=record, containers__attach=7)
        assert ended.code == 7
        assert ended.engine.calls[-1].options["streams"].stdin_fd == stdin_fd

    def test_leaving_is_no_failure(self) -> None:
        words = ("attach", "--sig-proxy=false", "--detach-keys=ctrl-x", "web")
        ended = proa(*words, containers__get=make_record(), containers__attach=None)
        assert ended.code == 0
        options = ended.engine.calls[-1].options
        assert options["sig_proxy"] is False
        assert options["streams"].detach_keys == "ctrl-x"


@pytest.mark.parametrize("verb", ["pause", "unpause"])
def test_pause_and_unpause(verb: str) -> None:
    answers: dict[str, Any] = {f"containers__{verb}": only_known("aa", "bb")}
    ended = proa(verb, "aa", "nx", "bb", **answers)
    assert (ended.code, ended.stdout) == (1, "aa\nbb\n")
    assert ended.stderr == "proa: no such container: nx\n"
