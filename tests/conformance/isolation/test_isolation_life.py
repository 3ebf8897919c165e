"""Lifecycle, stdio and exit statuses of any isolation."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import msgspec
import pytest

from proa.errors import CommandNotExecutable, CommandNotFound, Conflict, Invalid, ProaError
from proa.oci.isolation import OverlayRoot, Stdio
from tests.support.sandboxes import Boxes, Pipes, make_process, make_spec, wait
from tests.support.signals import ignored

pytestmark = pytest.mark.requires("root", "userns", "idmap", "overlay", "busybox")


def test_output_input_and_error_are_apart(boxes: Boxes) -> None:
    spec = make_spec(make_process("sh", "-c", "cat; echo wrong >&2; exit 3"))
    outcome = boxes.run(spec, text=b"hello\n")
    assert (outcome.out, outcome.err) == ("hello\n", "wrong\n")
    assert (outcome.status.code, outcome.status.signal) == (3, 0)


def test_death_by_a_signal_is_128_plus_its_number(boxes: Boxes) -> None:
    with boxes.running() as sandbox:
        sandbox.kill(signal.SIGKILL)
        status = wait(sandbox.init)
    assert (status.code, status.signal, status.oom_killed) == (137, 9, False)


def test_wait_is_idempotent_and_signals_after_the_end_are_no_errors(boxes: Boxes) -> None:
    with boxes.running() as sandbox:
        sandbox.init.signal(signal.SIGKILL)
        assert sandbox.init.wait() == sandbox.init.wait()
        sandbox.init.signal(signal.SIGTERM)
        sandbox.kill(signal.SIGTERM)


def test_a_created_sandbox_runs_nothing_until_started(boxes: Boxes) -> None:
    pipes = Pipes()
    spec = make_spec(make_process("sh", "-c", "echo ran"))
    sandbox = boxes.create(spec, pipes.stdio, start=False)
    pipes.started()
    assert sandbox.processes() == [sandbox.init.pid]
    with pytest.raises(Conflict):
        sandbox.exec(make_process("true"), Stdio(0, 1, 2))
    sandbox.start()
    with pytest.raises(Conflict):
        sandbox.start()
    assert pipes.finish(sandbox.init).out == "ran\n"
    pipes.close()


def test_a_created_sandbox_can_be_deleted(boxes: Boxes) -> None:
    spec = make_spec(make_process("true"))
    sandbox = boxes.create(spec, Stdio(0, 1, 2), start=False)
    sandbox.delete()
    assert sandbox.processes() == []


def test_delete_kills_and_is_idempotent(boxes: Boxes) -> None:
    with boxes.running() as sandbox:
        pid = sandbox.init.pid
        sandbox.delete()
        sandbox.delete()
        assert not os.path.exists(f"/proc/{pid}")
        with pytest.raises(Conflict):
            sandbox.exec(make_process("true"), Stdio(0, 1, 2))


@pytest.mark.parametrize("start", [True, False])
@pytest.mark.parametrize(
    ("command", "kind"),
    [
        ("missing", CommandNotFound),
        ("/bin/missing", CommandNotFound),
        ("/etc", CommandNotExecutable),
        ("/etc/passwd", CommandNotExecutable),
    ],
)
def test_commands_that_cannot_run(
    boxes: Boxes, command: str, kind: type[ProaError], start: bool
) -> None:
    spec = make_spec(make_process(command))
    with pytest.raises(kind) as caught:
        boxes.create(spec, Stdio(0, 1, 2), start=start).start()
    assert command in caught.value.message


def test_a_command_that_exists_and_may_not_run_hides_a_missing_one(boxes: Boxes) -> None:
    """execvp(3): EACCES is what is told when a later directory has nothing."""
    env = ("PATH=/etc:/bin:/nowhere",)
    with pytest.raises(CommandNotExecutable):
        boxes.run(make_spec(make_process("passwd.txt", env=env)), make_text_root(boxes))


def make_text_root(boxes: Boxes) -> OverlayRoot:
    root = boxes.overlay()
    os.mkdir(f"{boxes.directory}/{root.upper}/etc", 0o755)
    with open(f"{boxes.directory}/{root.upper}/etc/passwd.txt", "w") as file:
        file.write("text")
    return root


def test_a_script_runs_by_its_first_line(boxes: Boxes) -> None:
    root = boxes.overlay()
    path = f"{boxes.directory}/{root.upper}/run"
    with open(path, "w") as file:
        file.write("#!/bin/sh\necho script $1\n")
    os.chmod(path, 0o755)
    assert boxes.run(make_spec(make_process("/run", "one")), root).out == "script one\n"


def test_what_cannot_be_meant_is_refused_before_anything_starts(boxes: Boxes) -> None:
    spec = make_spec(make_process())
    with pytest.raises(Invalid):
        boxes.create(spec, Stdio(0, 1, 2))


def test_signals_reach_init(boxes: Boxes) -> None:
    pipes = Pipes()
    script = "trap 'echo got; exit 5' TERM; echo ready; while :; do sleep 0.01; done"
    sandbox = boxes.create(make_spec(make_process("sh", "-c", script)), pipes.stdio)
    pipes.started()
    os.read(pipes._out_r, 6)
    sandbox.init.signal(signal.SIGTERM)
    outcome = pipes.finish(sandbox.init)
    assert (outcome.out, outcome.status.code) == ("got\n", 5)
    pipes.close()


def test_init_has_no_ignored_or_blocked_signals(boxes: Boxes) -> None:
    spec = make_spec(make_process("grep", "-E", "SigIgn|SigBlk", "/proc/self/status"))
    out = boxes.run(spec).out
    assert out.split() == ["SigBlk:", "0" * 16, "SigIgn:", "0" * 16]


@pytest.mark.parametrize("number", [signal.SIGPIPE, 32, 33, signal.SIGRTMAX])
def test_what_the_caller_ignores_init_does_not(boxes: Boxes, number: int) -> None:
    spec = make_spec(make_process("grep", "SigIgn", "/proc/self/status"))
    with ignored(number):
        assert boxes.run(spec).out.split() == ["SigIgn:", "0" * 16]


def test_the_host_path_of_the_root_may_be_private(boxes: Boxes) -> None:
    os.chmod(boxes.directory, 0o700)
    os.chmod(os.path.dirname(boxes.directory), 0o700)
    assert boxes.shell("touch /new && ls -ln /new | awk '{print $3, $4}'").out == "0 0\n"


def test_changes_stay_in_the_writable_layer(boxes: Boxes) -> None:
    root = boxes.overlay()
    spec = make_spec(make_process("sh", "-c", "echo x > /etc/passwd; mkdir /new; chown 5:6 /new"))
    assert boxes.run(spec, root).status.code == 0
    again = make_spec(make_process("sh", "-c", "cat /etc/passwd; stat -c %u:%g /new"))
    assert boxes.run(again, root).lines == ["x", "5:6"]
    assert "root" in Path(f"{boxes.directory}/layers/busybox/etc/passwd").read_text()


def test_a_root_can_be_used_again(boxes: Boxes) -> None:
    root = msgspec.structs.replace(boxes.overlay(), volatile=True)
    boxes.run(make_spec(make_process("touch", "/kept")), root)
    assert boxes.run(make_spec(make_process("ls", "/kept")), root).out == "/kept\n"


def test_a_read_only_root(boxes: Boxes) -> None:
    spec = make_spec(make_process("sh", "-c", "touch /x; touch /dev/shm/x && echo shm"))
    assert spec.root is not None
    spec = msgspec.structs.replace(spec, root=msgspec.structs.replace(spec.root, readonly=True))
    outcome = boxes.run(spec)
    assert "Read-only" in outcome.err
    assert outcome.out == "shm\n"


def test_127_layers(boxes: Boxes) -> None:
    names = []
    for index in range(126):
        name = f"layers/{index}"
        os.makedirs(f"{boxes.directory}/{name}/files")
        with open(f"{boxes.directory}/{name}/files/{index}", "w"):
            pass
        names.append(name)
    spec = make_spec(make_process("sh", "-c", "ls /files | wc -l"))
    assert boxes.run(spec, boxes.overlay(*names)).out == "126\n"


def test_closing_a_handle_is_idempotent(boxes: Boxes) -> None:
    with boxes.running() as sandbox:
        handle = sandbox.exec(make_process("true"), Stdio(0, 1, 2))
        handle.wait()
        handle.close()
        handle.close()
        assert handle.pidfd == -1
