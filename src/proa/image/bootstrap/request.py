"""What a user asks ``proa image bootstrap`` for, and which archive serves it."""

from __future__ import annotations

import re

import msgspec

from proa.errors import Invalid
from proa.oci.platform import Platform, host_platform, parse_platform
from proa.oci.reference import parse_reference

_SLIM = "-slim"
_WORD = re.compile(r"[a-z0-9][a-z0-9+.-]*\Z")
_MIRROR = re.compile(r"(?:https?|file|copy)://[!-~]+\Z")
VARIANTS = (
    "extract",
    "custom",
    "essential",
    "apt",
    "minbase",
    "required",
    "buildd",
    "important",
    "standard",
)

# Docker's architecture -> Debian's, where they differ.
_DEBIAN_ARCHITECTURES = {
    "386": "i386",
    "arm/v7": "armhf",
    "arm/v6": "armel",
    "ppc64le": "ppc64el",
    "mips64le": "mips64el",
}


class Distribution(msgspec.Struct, frozen=True, kw_only=True):
    """An archive of packages.

    Attributes:
        name: repository of its images.
        mirror: where it is when the host's apt does not say.
        ports: where its other architectures are, if elsewhere.
        security: where its security updates are.
        components: enabled unless the user says otherwise.
        aliases: tag -> suite.
        rolling: suites without updates and security beside them.
        keyring: what its signatures are checked with; ``keyring_package`` brings it.
    """

    name: str
    mirror: str
    security: str
    components: tuple[str, ...]
    aliases: dict[str, str]
    keyring: str
    keyring_package: str
    ports: str = ""
    rolling: tuple[str, ...] = ()


DEBIAN = Distribution(
    name="debian",
    mirror="http://deb.debian.org/debian",
    security="http://deb.debian.org/debian-security",
    components=("main",),
    aliases={
        "latest": "stable",
        "10": "buster",
        "11": "bullseye",
        "12": "bookworm",
        "13": "trixie",
        "14": "forky",
    },
    keyring="/usr/share/keyrings/debian-archive-keyring.gpg",
    keyring_package="debian-archive-keyring",
    rolling=("sid", "unstable", "experimental"),
)
UBUNTU = Distribution(
    name="ubuntu",
    mirror="http://archive.ubuntu.com/ubuntu",
    ports="http://ports.ubuntu.com/ubuntu-ports",
    security="http://security.ubuntu.com/ubuntu",
    components=("main", "universe"),
    aliases={"latest": "noble", "20.04": "focal", "22.04": "jammy", "24.04": "noble"},
    keyring="/usr/share/keyrings/ubuntu-archive-keyring.gpg",
    keyring_package="ubuntu-keyring",
)
_DISTRIBUTIONS = {one.name: one for one in (DEBIAN, UBUNTU)}


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A checked request.

    Attributes:
        reference: normalized name of the image.
        distribution: whose packages.
        suite: e.g. ``bookworm``.
        slim: leave out documentation and translations.
        variant: mmdebstrap's set of packages.
        include: more packages, sorted.
        platform: what the image is made for.
        mirror: where the packages come from; empty: the host's mirror or the distribution's.
        components: sections of the archive.
        allow_expired: take package lists whose date of expiry has passed.
    """

    reference: str
    distribution: Distribution
    suite: str
    slim: bool
    variant: str
    include: tuple[str, ...]
    platform: Platform
    mirror: str
    components: tuple[str, ...]
    allow_expired: bool = False

    @property
    def architecture(self) -> str:
        """The distribution's name of the architecture."""
        platform = self.platform
        full = f"{platform.architecture}/{platform.variant}"
        return _DEBIAN_ARCHITECTURES.get(full) or _DEBIAN_ARCHITECTURES.get(
            platform.architecture, platform.architecture
        )


def make_request(
    target: str,
    *,
    variant: str = "minbase",
    include: tuple[str, ...] = (),
    architecture: str = "",
    mirror: str = "",
    components: tuple[str, ...] = (),
    allow_expired: bool = False,
) -> Request:
    """Check a user's words.

    Args:
        target: ``debian:bookworm``, ``debian:12-slim``, ``ubuntu:24.04``: name and suite in one.
        variant: of mmdebstrap.
        include: more packages.
        architecture: e.g. ``arm64``; empty: the host's.
        mirror: a URL.
        components: e.g. ``main``, ``contrib``.
        allow_expired: as in :class:`Request`.

    Raises:
        Invalid: what no archive could serve.
    """
    reference = parse_reference(target)
    distribution = _DISTRIBUTIONS.get(reference.familiar_repository)
    if distribution is None or reference.digest:
        raise Invalid(
            f"{target!r} cannot be bootstrapped",
            "give debian:SUITE, ubuntu:SUITE or busybox, e.g. debian:bookworm",
        )
    tag = reference.tag
    slim = tag.endswith(_SLIM)
    suite = tag.removesuffix(_SLIM)
    if variant not in VARIANTS:
        raise Invalid(f"{variant!r} is no variant", "choose one of: " + ", ".join(VARIANTS))
    for what, words in (("suite", (suite,)), ("package", include), ("component", components)):
        for word in words:
            # They become arguments of apt, where a leading dash or a space means something else.
            if not _WORD.match(word):
                raise Invalid(f"{word!r} is no {what}", "use lower-case letters, digits, + . -")
    if mirror and not _MIRROR.match(mirror):
        raise Invalid(f"{mirror!r} is no mirror", "give a URL such as http://deb.debian.org/debian")
    platform = parse_platform(f"linux/{architecture}") if architecture else host_platform()
    return Request(
        reference=str(reference),
        distribution=distribution,
        suite=distribution.aliases.get(suite, suite),
        slim=slim,
        variant=variant,
        include=tuple(sorted(set(include))),
        platform=platform,
        mirror=mirror,
        components=components or distribution.components,
        allow_expired=allow_expired,
    )
