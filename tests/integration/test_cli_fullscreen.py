"""Programs that paint the whole terminal, as a person sees them: vim and top through tmux."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.support.engines import Proa, launcher
from tests.support.images import ensure_busybox
from tests.support.tmux import Tmux

pytestmark = pytest.mark.requires("root", "userns", "overlay", "busybox", "tmux", "vim", "top")

# The host's programs on the image's root: real ones, without a download.
HOST = ["-v", "/usr:/usr:ro", "-v", "/usr/lib:/lib:ro"]
if os.path.exists("/usr/lib64"):
    HOST += ["-v", "/usr/lib64:/lib64:ro"]
RUN = [*launcher(), "run", "-it", "--name", "paint", "--network", "none", "-e",
       "TERM=screen-256color", *HOST, "busybox"]  # fmt: skip
SGR = "\x1b\\[[0-9;]*m"
COLOUR = "\x1b\\[([0-9;]*;)?3[0-7]m"


@pytest.fixture
def box(proa: Proa) -> Iterator[Proa]:
    ensure_busybox(proa)
    yield proa
    proa("rm", "-f", "paint")


@pytest.fixture
def tmux(box: Proa) -> Iterator[Tmux]:
    with Tmux(box.environment()) as window:
        window.expect("^ready>")
        yield window


def test_vim_edits(tmux: Tmux) -> None:
    vim = os.path.realpath("/usr/bin/vim")
    tmux.run([*RUN, vim, "-u", "NONE", "-N", "/tmp/greeting.py"])
    tmux.expect("greeting.py")
    tmux.type("i", "def greet(): return 'hello'", "Escape")
    tmux.type(":set number ruler | syntax on", "Enter")
    tmux.expect("^ +1 def greet")
    tmux.expect(f"{SGR}greet", colours=True)
    tmux.type(":autocmd VimResized * put =&columns.'x'.&lines.' now'", "Enter")
    tmux.type(":put ='armed'", "Enter")
    tmux.expect("^ +2 armed")
    tmux.resize(120, 40)
    tmux.expect("120x40 now")
    tmux.type("o", "C-c", "C-c")
    tmux.expect("Type +:qa")
    tmux.type(":wq", "Enter")
    tmux.expect("^ready>$")
    tmux.run(["echo", "left"])
    tmux.expect("^left")


def test_top_paints_and_ends(tmux: Tmux) -> None:
    tmux.run([*RUN, "/usr/bin/top", "-d", "0.2"])
    tmux.expect("PID USER.*COMMAND")
    tmux.expect("^ +1 root.* top$")
    tmux.type("z")
    # It reads two keys at a time as one that it does not know.
    tmux.expect(COLOUR, colours=True)
    tmux.type("q")
    tmux.expect("^ready>$")


def test_keys_interrupt_and_detach(box: Proa, tmux: Tmux) -> None:
    tmux.run(
        [
            *RUN,
            "sh",
            "-c",
            "trap 'echo cau''ght' INT; echo begun; while :; do sleep 0.1; echo tick; done",
        ]
    )
    tmux.expect("^begun")
    tmux.type("C-c")
    tmux.expect("^.*caught")
    tmux.type("C-p", "C-q")
    tmux.expect("^ready>$")
    assert box.ok("inspect", "-f", "{{.State.Running}}", "paint") == "true"
    tmux.wipe()
    tmux.run([*launcher(), "attach", "--detach-keys", "ctrl-x,x", "paint"])
    tmux.expect("^tick")
    tmux.type("C-c")
    tmux.expect("^.*caught")
    tmux.type("C-x", "x")
    tmux.expect("^ready>$")
    tmux.run(["stty", "-a"])
    tmux.expect("icanon")
    assert "-icanon" not in tmux.screen()
