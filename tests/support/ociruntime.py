"""``proa-runtime`` as a file, as callers of OCI runtimes want it."""

from __future__ import annotations

import sys
from pathlib import Path

_SCRIPTS = Path(__file__).parents[2] / "scripts"


def write_launcher(path: Path) -> str:
    """Write an executable that runs this tree's ``proa-runtime``; return its path."""
    lines = (_SCRIPTS / "proa-runtime").read_text().splitlines()[1:]
    paths = [str(_SCRIPTS.parent / "src"), *[p for p in sys.path if p.endswith("site-packages")]]
    head = [f"#!{sys.executable} -IS", "import sys", f"sys.path += {paths!r}"]
    path.write_text("\n".join([*head, *lines]) + "\n")
    path.chmod(0o755)
    return str(path)
