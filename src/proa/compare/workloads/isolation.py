"""What holds an instance: not figures but facts, read inside."""

from __future__ import annotations

import math
import os

from proa.compare.model import Fact
from proa.compare.targets.base import CompareError, Target, expect

_SECCOMP = {"0": "none", "1": "strict", "2": "filter"}
_NOTHING_MB = 0.05
_SCRIPT = (
    "uname -r; grep -E '^(CapEff|Seccomp|NoNewPrivs):' /proc/self/status; echo uid_map"
    " $(cat /proc/self/uid_map); echo devices $(ls /dev | wc -l);"
    " echo processes $(ls -d /proc/[0-9]* | wc -l)"
)


def gather(target: Target) -> list[Fact]:
    """Read them in a fresh instance.

    Raises:
        CompareError: it could not be run.
    """
    lines = expect(target.run(("sh", "-c", _SCRIPT))).output.splitlines()
    if len(lines) < 4:
        raise CompareError(f"isolation facts: unexpected output {lines!r}")
    release = lines[0]
    words = {
        key.rstrip(":"): rest
        for key, _, rest in (
            line.partition(" ") for line in (line.replace("\t", " ") for line in lines[1:])
        )
    }
    own = release != os.uname().release or target.name == "vm"
    mapping = words.get("uid_map", "").split()
    userns = bool(mapping) and mapping[:2] != ["0", "0"]
    capabilities = int(words.get("CapEff", "0").strip() or "0", 16)

    def fact(key: str, title: str, value: str) -> Fact:
        return Fact(key=f"isolation.{key}", title=title, target=target.name, value=value)

    return [
        fact("kernel", "Kernel", f"{'own' if own else 'shared with the host'}, {release}"),
        fact(
            "systems", "What can run in it",
            "Linux userspaces, kernels of choice" if own else "Linux userspaces of this kernel",
        ),
        fact("capabilities", "Capabilities of root", f"{capabilities.bit_count()} of 41"),
        fact("seccomp", "System call filter", _SECCOMP.get(words.get("Seccomp", "").strip(), "?")),
        fact(
            "no_new_privs", "May gain privileges",
            "no" if words.get("NoNewPrivs", "").strip() == "1" else "yes",
        ),
        fact("userns", "Root is root on the host", "no" if userns or own else "yes"),
        *(
            []
            if math.isnan(target.image_mb)
            else [fact("image", "Disk of the image", _describe(target.image_mb))]
        ),
        fact("devices", "Entries in /dev", words.get("devices", "?")),
        fact("processes", "Processes that it sees", words.get("processes", "?")),
    ]  # fmt: skip


def _describe(image_mb: float) -> str:
    """What loading the image took; its layers may be there already, from another target."""
    return f"{image_mb:.2f} MB" if image_mb > _NOTHING_MB else "shared with what was there"
