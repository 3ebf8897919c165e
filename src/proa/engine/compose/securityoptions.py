"""``--security-opt``: what the words beside ``seccomp`` and ``no-new-privileges`` mean here."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

_APPARMOR = "/sys/kernel/security/apparmor"
_SELINUX = "/sys/fs/selinux"
_UNLABELED = ("disable", "unconfined", "")


def split_options(options: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield names and values of ``name=value`` and the older ``name:value``."""
    for option in options:
        name, _, value = option.partition("=" if "=" in option else ":")
        yield name, value


def shows_system_paths(options: Sequence[str]) -> bool:
    """Whether ``systempaths=unconfined`` takes masks and read-only paths away."""
    return ("systempaths", "unconfined") in split_options(options)


def find_ineffective(options: Sequence[str]) -> list[str]:
    """Return a sentence for each profile or label that has no effect: Proa sets none."""
    found = []
    for name, value in split_options(options):
        if value in _UNLABELED:
            continue
        if name == "apparmor":
            where = "Proa does not apply" if os.path.isdir(_APPARMOR) else "this host does not have"
            found.append(f"the AppArmor profile {value} has no effect: {where} AppArmor")
        elif name == "label":
            where = "Proa does not apply" if os.path.isdir(_SELINUX) else "this host does not have"
            found.append(f"the SELinux label {value} has no effect: {where} SELinux")
    return found
