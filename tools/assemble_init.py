"""Assemble the init of ``--init`` and write it into the tree.

    python tools/assemble_init.py          rewrite src/proa/runtime/init/program.py

Needs binutils of x86-64 and aarch64. The unit tests use :func:`assemble` to compare the bytes in
the tree with what the sources give.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

SOURCES = Path(__file__).parent.parent / "src/proa/runtime/init"
TOOLS = {
    "x86_64": ("x86_64-linux-gnu-as", "x86_64-linux-gnu-objcopy"),
    "aarch64": ("aarch64-linux-gnu-as", "aarch64-linux-gnu-objcopy"),
}
_LINE_BYTES = 24


def available(machine: str) -> bool:
    """Whether the assembler for a machine is installed."""
    return all(shutil.which(tool) for tool in TOOLS[machine])


def assemble(machine: str) -> bytes:
    """Bytes of the text section of ``<machine>.s``."""
    assembler, objcopy = TOOLS[machine]
    with tempfile.TemporaryDirectory() as scratch:
        built, text = f"{scratch}/code.o", f"{scratch}/code.bin"
        subprocess.run([assembler, "-o", built, SOURCES / f"{machine}.s"], check=True)
        subprocess.run([objcopy, "-O", "binary", "-j", ".text", built, text], check=True)
        return Path(text).read_bytes()


def render(codes: dict[str, bytes]) -> str:
    """Text of ``program.py``."""
    lines = [
        '"""Machine code of the init of ``--init``, assembled from ``x86_64.s`` and ``aarch64.s``.',
        "",
        "Written by tools/assemble_init.py; a unit test assembles the sources and compares.",
        '"""',
        "",
        "CODE = {",
    ]
    for machine, code in codes.items():
        lines.append(f'    "{machine}": (')
        starts = range(0, len(code), _LINE_BYTES)
        lines += [f'        "{code[start : start + _LINE_BYTES].hex()}"' for start in starts]
        lines.append("    ),")
    lines.append("}")
    lines.append('"""Hexadecimal, by machine as uname(2) names it."""')
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    built = {machine: assemble(machine) for machine in TOOLS}
    (SOURCES / "program.py").write_text(render(built))
