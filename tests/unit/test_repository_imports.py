"""What importing Proa costs: modules that the short paths must not load.

Every module has a price at each cold start (the client) or in every container's supervisor (the
zygote, whose heap they share); the bounds are those of SPECIFICATION.md.
"""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from pathlib import Path

SRC = Path(__file__).parents[2] / "src"
HEAVY = frozenset(
    [
        "asyncio",
        "http.client",
        "logging",
        "pydoc",
        "rich",
        "ssl",
        "tarfile",
        "unittest",
        "urllib.request",
        "urllib3",
        "xml",
        "proa.image.registry.client",
    ]
)
SLOW = HEAVY | frozenset(
    [
        "argparse",
        "ctypes",
        "dataclasses",
        "enum",
        "http",
        "inspect",
        "json",
        "pathlib",
        "re",
        "shutil",
        "socket",
        "subprocess",
        "tempfile",
        "threading",
        "typing",
        "urllib",
    ]
)


def _loaded(statement: str) -> set[str]:
    """Return what a bare interpreter has loaded after ``statement``."""
    paths = [str(SRC), sysconfig.get_path("purelib")]
    code = f"import sys; sys.path += {paths!r}; {statement}; print(*sys.modules, sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_the_client_loads_next_to_nothing() -> None:
    bare = _loaded("import os")
    extra = _loaded("import os, proa.cli.client") - bare
    assert not extra & SLOW
    assert len(extra) <= 12, sorted(extra)


def test_the_zygote_loads_nothing_heavy() -> None:
    loaded = _loaded("import proa.cli.zygote, proa.cli.main; proa.cli.main.preload()")
    assert not loaded & HEAVY


def test_the_package_alone_is_cheap() -> None:
    assert not (_loaded("import proa") - _loaded("import os")) - {"proa"}


def test_the_zygote_is_small() -> None:
    paths = [str(SRC), sysconfig.get_path("purelib")]
    code = (
        f"import sys, json; sys.path += {paths!r}\n"
        "import proa.cli.zygote, proa.cli.main; proa.cli.main.preload()\n"
        "words = open('/proc/self/status').read().split()\n"
        "print(json.dumps(int(words[words.index('RssAnon:') + 1])))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    )
    anonymous_kb = json.loads(done.stdout)
    # fork(2) copies page tables: 0.5 ms at 10 MB, 1.3 ms at 24 MB.
    assert anonymous_kb < 20_000
