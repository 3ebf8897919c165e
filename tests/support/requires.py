"""What tests need from the machine: probes, skips and promises.

A test says ``@pytest.mark.requires("root", "cgroup1", "mmdebstrap")``. A capability that is absent
skips the test, unless ``PROA_TEST_PROMISES`` (names separated by commas, or ``ci`` for
:data:`CI_PROMISES`) promises it: then the test fails, so that CI never goes green by skipping.

Names are the keys of :data:`PROBES`, ``cgroup:<controller>`` (available in either version), or the
name of a program on PATH.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from functools import cache

from tests.support import clients, probes

CI_PROMISES = (
    "root",
    "userns",
    "idmap",
    "overlay",
    "seccomp",
    "loop",
    "cgroup:memory",
    "cgroup:cpu",
    "cgroup:cpuset",
    "cgroup:pids",
    "cgroup:blkio",
    "cgroup:devices",
    "busybox",
    "mmdebstrap",
    "mkfs.ext4",
    "qemu-aarch64-static",
    "qemu-system-x86_64",
    "qemu-img",
    "mkfs.erofs",
    "bwrap",
    "runc",
    "docker-registry",
    "skopeo",
    "openssl",
    "musl-gcc",
    "tmux",
    "vim",
    "top",
    "docker-cli",
    "compose",
    "python-clients",
)
"""What a CI machine has or ``scripts/setup --test`` installs; see ``.ci/run``."""

PROBES: dict[str, Callable[[], str]] = {
    "root": probes.root,
    "cgroup1": probes.cgroup1,
    "cgroup2": probes.cgroup2,
    "userns": probes.userns,
    "idmap": probes.idmap,
    "overlay": probes.overlay,
    "seccomp": probes.seccomp,
    "libseccomp": probes.libseccomp,
    "loop": probes.loop,
    "kvm": probes.kvm,
    "qemu": probes.qemu_system,
    "docker-cli": clients.missing,
    "compose": clients.compose_missing,
    "python-clients": clients.python_missing,
    "binfmt-arm64": probes.binfmt_arm64,
    "binfmt-userns": probes.binfmt_userns,
}


@cache
def missing(capability: str) -> str:
    """Return why ``capability`` is absent on this machine, empty when it is there."""
    if capability in PROBES:
        return PROBES[capability]()
    if capability.startswith("cgroup:"):
        return probes.cgroup_controller(capability.removeprefix("cgroup:"))
    if shutil.which(capability) is None:
        return f"no program named {capability} on PATH"
    return ""


def promised(environment: str | None = None) -> frozenset[str]:
    """Return the promised capabilities (``environment`` stands for ``PROA_TEST_PROMISES``)."""
    words = os.environ.get("PROA_TEST_PROMISES", "") if environment is None else environment
    names = {word.strip() for word in words.split(",") if word.strip()}
    if "ci" in names:
        names.remove("ci")
        names.update(CI_PROMISES)
    return frozenset(names)


def absent(capabilities: Iterable[str]) -> dict[str, str]:
    """Return each absent capability of ``capabilities`` with the reason."""
    reasons = {name: missing(name) for name in capabilities}
    return {name: reason for name, reason in reasons.items() if reason}
