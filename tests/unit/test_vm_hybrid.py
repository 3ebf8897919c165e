"""``proa machine``: how the machine is reached, without starting one."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest

from proa.cli.io import IO
from proa.cli.main import run
from proa.engine.config import PortConfig
from proa.engine.facade import Engine
from proa.engine.vmmodel import VmConfig, VmRecord, VmState
from proa.engine.vms.machine import NAME, HybridMachine
from proa.engine.vms.machineimage import version_key
from proa.errors import Conflict
from proa.fs.lock import acquire


@pytest.fixture
def machine(tmp_path: Path) -> HybridMachine:
    return Engine(str(tmp_path / "root"), str(tmp_path / "run")).machine


def record_running(machine: HybridMachine) -> VmRecord:
    ssh = PortConfig(container_port=22, host_ip="127.0.0.1", host_port=40022)
    record = VmRecord(
        id="0" * 64, name=NAME, uid=0, created_at_ns=1, config=VmConfig(ports=(ssh,)),
        state=VmState(status="running", accelerator="tcg"),
    )  # fmt: skip
    context = machine._context
    context.layout.ensure()
    os.makedirs(context.layout.vm(record.id))
    return context.state.virtual_machines.insert(record)


def test_a_machine_that_is_not_there(machine: HybridMachine) -> None:
    assert machine.status().status == "absent"
    with pytest.raises(Conflict, match="not running"):
        machine.ssh_command("true")


def test_ssh_is_told_the_machines_own_key_and_port(machine: HybridMachine) -> None:
    record = record_running(machine)
    with acquire(machine._context.layout.vm(record.id)):
        command = machine.ssh_command("echo 'a b'")
        assert command[0] == "ssh"
        assert command[command.index("-p") + 1] == "40022"
        assert command[command.index("-i") + 1].endswith("/vm/machine/id_ed25519")
        assert command[-3:] == ["root@127.0.0.1", "--", "echo 'a b'"]
        assert machine.ssh_command(terminal=True)[-2:] == ["-t", "root@127.0.0.1"]
        status = machine.status()
        assert status.docker_host == f"unix://{machine._context.layout.run}/machine.sock"
        assert status.ssh_port == 40022
    # Nobody holds the lock: its supervisor is gone.
    assert machine.status().status == "exited"


def test_the_flag_machine_hands_the_words_over_as_they_are(
    machine: HybridMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []

    class Fake:
        def ssh_command(self, line: str, *, terminal: bool) -> list[str]:
            lines.append(line)
            return ["true"]

    class FakeEngine:
        machine = Fake()

    null = os.open(os.devnull, os.O_RDWR)
    io = IO(stdin_fd=null, stdout_fd=null, stderr_fd=null, env={})
    words = ["run", "--rm", "busybox", "sh", "-c", "echo 'a  b' $HOME; ls | wc"]
    assert run(["--machine", *words], io, open_engine=lambda *_: FakeEngine()) == 0  # type: ignore[arg-type]
    assert run(["machine", "ssh", "uname -a; id"], io, open_engine=lambda *_: FakeEngine()) == 0  # type: ignore[arg-type]
    os.close(null)
    assert shlex.split(lines[0]) == ["proa", *words]
    assert lines[1] == "uname -a; id"


def test_the_disk_of_another_engine_is_another_disk() -> None:
    assert version_key() == version_key()
    assert len(version_key()) == 16
