"""What a worker still does per container that the zygote could have done once."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.support import engines, images

_RECORD_IMPORTS = """
import proa.engine.zygote.worker as worker
serve = worker.Worker._serve
def record(self, context, kind, payload, fds):
    before = set(sys.modules)
    try:
        serve(self, context, kind, payload, fds)
    finally:
        import json, os
        words = payload.decode().split(chr(0))[2:4]
        name = {folder!r} + "/" + str(os.getpid())
        with open(name + ".new", "w") as file:
            json.dump([words, sorted(set(sys.modules) - before)], file)
        os.rename(name + ".new", name + ".json")
worker.Worker._serve = record
"""


@pytest.mark.requires("root", "userns", "overlay", "busybox")
def test_a_container_costs_its_worker_no_import(fresh_proa: engines.Proa, tmp_path: Path) -> None:
    engines.start_zygote(fresh_proa, _RECORD_IMPORTS.format(folder=str(tmp_path)))
    images.ensure_busybox(fresh_proa)
    fresh_proa.ok("run", "--rm", "--network", "none", "busybox", "true")
    late = [name for name in _imports_of("run", tmp_path) if name.startswith("proa.")]
    assert not late, "preload these in the zygote: each is paid by every container"


def _imports_of(verb: str, folder: Path) -> list[str]:
    """Wait for the worker's record: it is written after the client has its answer."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        for path in folder.glob("*.json"):
            words, modules = json.loads(path.read_text())
            if words[0] == verb:
                return [str(name) for name in modules]
        time.sleep(0.01)
    raise AssertionError(f"no worker served {verb}")
