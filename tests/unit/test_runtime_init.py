"""The init of ``--init``: assembled from its source, and what it does as an ordinary process."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from proa.errors import Unsupported
from proa.runtime.init.image import build_init
from proa.runtime.init.program import CODE

ROOT = Path(__file__).parents[2]
MACHINE = os.uname().machine


@pytest.fixture(scope="module")
def assembler() -> ModuleType:
    spec = importlib.util.spec_from_file_location("assemble_init", ROOT / "tools/assemble_init.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("machine", sorted(CODE))
def test_the_code_is_what_the_source_gives(machine: str, assembler: ModuleType) -> None:
    if not assembler.available(machine):
        pytest.skip(f"no assembler for {machine}")
    assert assembler.assemble(machine).hex() == CODE[machine]


def test_it_is_small() -> None:
    assert all(len(build_init(machine)) < 1024 for machine in CODE)


def test_an_unknown_machine() -> None:
    with pytest.raises(Unsupported, match="no init for vax"):
        build_init("vax")


pytestmark = pytest.mark.skipif(MACHINE not in CODE, reason=f"no init for {MACHINE}")


@pytest.fixture
def init(tmp_path: Path) -> str:
    path = tmp_path / "init"
    path.write_bytes(build_init())
    path.chmod(0o755)
    return str(path)


def run(init: str, *words: str, **options: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([init, *words], capture_output=True, timeout=10, check=False, **options)  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("sh", "-c", "exit 7"), 7),
        (("/bin/sh", "-c", "kill -9 $$"), 137),
        (("no-such-command",), 127),
        (("/no/such/command",), 127),
        (("/etc/passwd/below",), 127),
        (("/etc",), 126),
    ],
)
def test_exit_codes(init: str, words: tuple[str, ...], code: int) -> None:
    done = run(init, *words)
    assert done.returncode == code
    assert (b"cannot be executed" in done.stderr) is (code in (126, 127))


def test_arguments_and_environment_pass_through(init: str) -> None:
    script = "import os, sys; print(sys.argv[1:], os.environ['X'])"
    done = run(init, sys.executable, "-c", script, "a b", "", env={"X": "y" * 5000})
    assert done.stdout.decode() == f"['a b', ''] {'y' * 5000}\n"


@pytest.mark.parametrize(
    "path", ["/nope:/bin", ":/usr/bin:/bin", "/etc/passwd:/bin", "x" * 3000 + ":/bin"]
)
def test_path_is_searched(init: str, path: str) -> None:
    assert run(init, "true", env={"A": "1", "PATH": path}).returncode == 0


@pytest.mark.parametrize("environment", [{}, {"PATH": ""}, {"PATH": "/" + "x" * 5000}])
def test_a_path_without_the_command(init: str, environment: dict[str, str]) -> None:
    assert run(init, "true", env=environment).returncode == 127


def test_nothing_is_blocked_in_the_command(init: str) -> None:
    done = run(init, "grep", "SigBlk", "/proc/self/status")
    assert done.stdout.split() == [b"SigBlk:", b"0000000000000000"]


def test_signals_are_passed_on(init: str) -> None:
    script = "trap 'echo got; exit 5' TERM; echo ready; while :; do sleep 0.01; done"
    with subprocess.Popen([init, "sh", "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == b"got\n"
        assert process.wait(10) == 5


def test_orphans_are_reaped(init: str) -> None:
    """As a subreaper it gets the orphans that process 1 of a container would get."""
    prelude = (
        "import ctypes, os, sys; ctypes.CDLL(None).prctl(36, 1, 0, 0, 0); "
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    script = "for i in 1 2 3 4 5 6 7 8; do (sleep 0.01 &) ; done; echo made; read line; exit 0"
    words = [sys.executable, "-c", prelude, init, "sh", "-c", script]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        deadline = time.monotonic() + 10
        while len(children.read_text().split()) > 1:
            assert time.monotonic() < deadline, "orphans stay zombies"
            time.sleep(0.005)  # nobody tells of a reaped stranger
        process.stdin.close()
        assert process.wait(10) == 0
