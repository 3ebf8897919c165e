"""The how-to pages that say of themselves that their commands run as a test."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.engines import Proa
from tests.support.images import ensure_busybox

pytestmark = pytest.mark.requires("root", "userns", "overlay", "busybox")

PAGES = ("copy-files", "check-health", "follow-events")
HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"


@pytest.fixture
def box(fresh_proa: Proa) -> Iterator[Proa]:
    """The command line on a root of its own that has the busybox image."""
    ensure_busybox(fresh_proa)
    yield fresh_proa
    fresh_proa.remove_all()


def commands(page: str) -> list[str]:
    text = (HOW_TO / f"{page}.md").read_text()
    assert "run as a test" in text
    blocks = re.findall(r"^```console\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    return [
        line.removeprefix("$ ")
        for block in blocks
        for line in block.splitlines()
        if line[:1] == "$"
    ]


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_the_page(box: Proa, tmp_path: Path, page: str) -> None:
    path = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
    output = {}
    for command in commands(page):
        done = subprocess.run(
            ["sh", "-c", command], cwd=tmp_path, env=box.environment({"PATH": path}),
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}: {done.stderr}"
        output[command] = done.stdout
    for command, expected in EXPECTED[page].items():
        (said,) = [text for line, text in output.items() if line.startswith(command)]
        assert said == expected


EXPECTED = {
    "copy-files": {
        "proa exec files cat /etc/site.conf": "listen 80\n",
        "proa cp files:/srv out": "hello\n",
        "proa cp files:/tmp/pages -": "pages/\npages/index.html\n",
        "proa run --rm --network none site:1": "listen 80\n",
    },
    "check-health": {"proa wait frail": "137\n"},
    "follow-events": {
        'proa events --since "$(cat began)"': "create\nstart\ndie\n",
        "proa events --since 10m": "3\n",
    },
}
