"""Progress on a terminal and without one."""

from __future__ import annotations

import os
import pty
import threading

from proa.cli.io import IO
from proa.cli.progress import progress_to
from proa.image.model import silent

STEPS = ("layer 1", "layer [2]")


def on_a_terminal(steps: tuple[str, str] = STEPS, **env: str) -> tuple[str, str]:
    """Report some progress; return what the terminal got and who was told."""
    master, slave = pty.openpty()
    got = bytearray()

    def read() -> None:
        while True:
            try:
                data = os.read(master, 65536)
            except OSError:  # EIO: nobody has the other side open any more
                return
            got.extend(data)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        with progress_to(IO(stderr_fd=slave, env=env, cwd="/")) as progress:
            progress(steps[0], 5_000_000, 10_000_000)
            progress(steps[1])
            progress(steps[0], 10_000_000, 10_000_000)
        kind = type(progress).__name__
    finally:
        os.close(slave)
        reader.join()
        os.close(master)
    return got.decode(), kind


def test_bars() -> None:
    text, _ = on_a_terminal(TERM="xterm")
    assert "layer 1" in text
    assert "layer [2]" in text
    assert "10.0/10.0 MB" in text
    assert "✓" in text


def test_a_digest_leaves_room_for_its_bar() -> None:
    """On a terminal of 80 columns, which a pty without a size is taken for."""
    text, _ = on_a_terminal((f"layer sha256:{'a' * 64}", "resolving"), TERM="xterm")
    assert "…" not in text
    lines = [line for line in text.splitlines() if "layer " in line]
    assert all(f"layer {'a' * 12} " in line and "MB" in line for line in lines)


def test_a_dumb_terminal_gets_lines() -> None:
    for env in ({}, {"TERM": "dumb"}):
        text, kind = on_a_terminal(STEPS, **env)
        assert kind == "LineProgress"
        assert text == "layer 1\r\nlayer [2]\r\n"


def test_quiet() -> None:
    with progress_to(IO(env={}, cwd="/"), quiet=True) as progress:
        assert progress is silent
