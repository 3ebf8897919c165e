"""The facts of the machine that figures depend on."""

from __future__ import annotations

import os
import shutil
import subprocess

from proa import __version__
from proa.compare.model import Machine
from proa.engine.facade import Engine
from proa.errors import ProaError

_VULNERABILITIES = "/sys/devices/system/cpu/vulnerabilities"
_GOVERNOR = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
_TOOLS = ("qemu-system-x86_64", "docker", "podman")
_TIMEOUT_S = 20


def describe(engine: Engine, root: str) -> Machine:
    """Read them.

    Args:
        engine: whose accelerator and cgroups count.
        root: directory whose filesystem counts.
    """
    facts = engine.system.info()
    uname = os.uname()
    return Machine(
        kernel=uname.release,
        architecture=uname.machine,
        processor=_processor(),
        processors=len(os.sched_getaffinity(0)),
        memory_mb=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 1_000_000,
        virtualization=_run("systemd-detect-virt") or "",
        accelerator=find_accelerator(engine),
        mitigations=_mitigations(),
        governor=_read(_GOVERNOR),
        filesystem=_filesystem(root),
        cgroups=_find(facts, "cgroup"),
        versions={"proa": __version__, **_versions()},
    )


def _find(facts: object, word: str) -> str:
    """Return the first fact of the engine whose name has a word in it."""
    import msgspec

    plain = msgspec.to_builtins(facts)
    for name, value in plain.items() if isinstance(plain, dict) else ():
        if word in name.lower() and isinstance(value, str):
            return value
    return ""


def find_accelerator(engine: Engine) -> str:
    """What is known of it without booting a guest."""
    from proa.vm.accel import find_acceleration
    from proa.vm.kernel import find_kernel

    try:
        kernel = find_kernel(engine.roots[0])
    except ProaError:
        kernel = None
    found = find_acceleration(engine.roots[0], kernel)
    return (
        f"{found.accelerator.upper()}: {found.reason}"
        if found
        else "KVM, if it works: no guest ran yet"
    )


def available_mb() -> int:
    """Memory that can be had without swapping, in millions of bytes."""
    for line in _read("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024 // 1_000_000
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 1_000_000


def _processor() -> str:
    for line in _read("/proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return ""


def _mitigations() -> dict[str, str]:
    try:
        names = sorted(os.listdir(_VULNERABILITIES))
    except OSError:
        return {}
    return {name: _read(f"{_VULNERABILITIES}/{name}") for name in names}


def _filesystem(path: str) -> str:
    """Type of the mount that a path is on: the longest mount point above it, the last of equals."""
    best, kind = "", ""
    path = os.path.realpath(path)
    for line in _read("/proc/self/mountinfo").splitlines():
        fields = line.split()
        point = fields[4]
        if len(point) >= len(best) and (path + "/").startswith(point.rstrip("/") + "/"):
            best, kind = point, fields[fields.index("-") + 1]
    return kind


def _versions() -> dict[str, str]:
    found = {}
    for tool in _TOOLS:
        if shutil.which(tool):
            lines = (_run(tool, "--version") or "").splitlines()
            found[tool] = lines[0] if lines else ""
    return found


def _run(*argv: str) -> str | None:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip()


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read().strip()
    except OSError:
        return ""
