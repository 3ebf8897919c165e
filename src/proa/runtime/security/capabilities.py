"""Which capabilities a container gets: Docker's default set, ``--cap-add``, ``--cap-drop``.

Source: moby ``daemon/pkg/oci/caps`` (the words and their arithmetic), capabilities(7).
"""

from __future__ import annotations

from collections.abc import Iterable

from proa.errors import Invalid
from proa.linux import capability
from proa.oci.spec import LinuxCapabilities

ALL = "ALL"

DEFAULT = frozenset(
    {
        "CAP_AUDIT_WRITE",
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FOWNER",
        "CAP_FSETID",
        "CAP_KILL",
        "CAP_MKNOD",
        "CAP_NET_BIND_SERVICE",
        "CAP_NET_RAW",
        "CAP_SETFCAP",
        "CAP_SETGID",
        "CAP_SETPCAP",
        "CAP_SETUID",
        "CAP_SYS_CHROOT",
    }
)
"""What a container has when nothing is said, exactly as in Docker."""

_supported: frozenset[str] | None = None


def supported() -> frozenset[str]:
    """Return all capabilities that the running kernel knows (read once)."""
    global _supported
    if _supported is None:
        try:
            last = capability.read_last_capability()
        except OSError:
            last = len(capability.NAMES) - 1
        _supported = frozenset(capability.NAMES[: last + 1])
    return _supported


def normalize(name: str) -> str:
    """Return ``CAP_*`` for a name in any case, with or without its prefix; ``ALL`` stays.

    Raises:
        Invalid: no capability has that name.
    """
    upper = name.strip().upper()
    if upper == ALL:
        return ALL
    full = upper if upper.startswith("CAP_") else f"CAP_{upper}"
    # Upper-casing turns some letters of other scripts into ASCII ones.
    if full not in capability.NUMBERS or not name.isascii():
        raise Invalid(
            f"unknown capability {name!r}", "use a name from capabilities(7), or ALL"
        ) from None
    return full


def tweak(
    add: Iterable[str] = (),
    drop: Iterable[str] = (),
    *,
    privileged: bool = False,
    basis: frozenset[str] = DEFAULT,
) -> frozenset[str]:
    """Apply ``--cap-add`` and ``--cap-drop`` as Docker does.

    ``--cap-add ALL`` gives every capability of the kernel but those dropped by name;
    ``--cap-drop ALL`` leaves only those added; otherwise drops come first, then adds.

    Args:
        add: names for ``--cap-add``.
        drop: names for ``--cap-drop``.
        privileged: give everything that the kernel knows, whatever the lists say.
        basis: what to start from.

    Raises:
        Invalid: a name is unknown, or one added is unknown to the running kernel.
    """
    adds = frozenset(map(normalize, add))
    drops = frozenset(map(normalize, drop))
    for name in sorted(adds - supported() - {ALL}):
        raise Invalid(f"capability {name} is not known to this kernel", "leave it out of --cap-add")
    if privileged:
        return supported()
    if ALL in adds:
        return supported() - drops
    if ALL in drops:
        return adds
    return (basis - drops) | adds


def sets(names: frozenset[str], *, ambient: bool = False) -> LinuxCapabilities:
    """Return the OCI sets for a process: bounding, permitted and effective.

    Inheritable stays empty (CVE-2022-24769): a file's inheritable capabilities must not come to
    life for processes that are not root.

    Args:
        names: ``CAP_*`` names.
        ambient: let a process that is not root keep them through execve; the kernel then wants them
            inheritable too. Docker never does.
    """
    ordered = tuple(sorted(names, key=capability.NUMBERS.__getitem__))
    kept = ordered if ambient else ()
    return LinuxCapabilities(
        bounding=ordered, effective=ordered, permitted=ordered, inheritable=kept, ambient=kept
    )


def masks(sets: LinuxCapabilities) -> capability.CapabilitySets:
    """Return the OCI sets as bit masks for the launch plan.

    Raises:
        Invalid: a name is unknown (a hand-written ``config.json``).
    """

    def mask(names: tuple[str, ...]) -> int:
        return capability.mask_of(map(_get_exact, names))

    return capability.CapabilitySets(
        inheritable=mask(sets.inheritable),
        permitted=mask(sets.permitted),
        effective=mask(sets.effective),
        bounding=mask(sets.bounding),
        ambient=mask(sets.ambient),
    )


def missing(names: Iterable[str], bounding: int) -> list[str]:
    """Return those names that are not in a bounding set: the ones a host cannot give.

    Only for containers that stay in the host's user namespace: a new one has them all again.
    """
    return capability.names_of(capability.mask_of(names) & ~bounding)


def _get_exact(name: str) -> str:
    full = normalize(name)
    if full == ALL:
        raise Invalid("capability 'ALL' in a runtime spec", "list the capabilities by name")
    return full
