"""Platforms: operating system, architecture and variant of an image, and what this host runs.

Names follow Go's GOOS and GOARCH (OCI image spec, "platform"); ``normalize`` accepts the names that
uname and Debian use. Variants matter on arm only: ``arm64`` is ``arm64/v8``, ``arm`` is ``arm/v7``.
"""

from __future__ import annotations

import os
import re

import msgspec

from proa.errors import Invalid

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}\Z")
_OS = {"macos": "darwin"}
_ARCHITECTURES = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "amd64": ("amd64", ""),
    "i386": ("386", ""),
    "i486": ("386", ""),
    "i586": ("386", ""),
    "i686": ("386", ""),
    "aarch64": ("arm64", ""),
    "arm64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armv7l": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv6l": ("arm", "v6"),
    "ppc64el": ("ppc64le", ""),
    "mips64el": ("mips64le", ""),
    "mipsel": ("mipsle", ""),
}
_DEFAULT_VARIANT = {"arm64": "v8", "arm": "v7", "amd64": "v1"}


class Platform(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A platform as a descriptor or an image config names it."""

    os: str = "linux"
    architecture: str = "amd64"
    variant: str = ""
    os_version: str = msgspec.field(default="", name="os.version")
    os_features: tuple[str, ...] = msgspec.field(default=(), name="os.features")

    def __str__(self) -> str:
        text = f"{self.os}/{self.architecture}"
        return f"{text}/{self.variant}" if self.variant else text


def parse_platform(text: str) -> Platform:
    """Read ``os``, ``arch``, ``os/arch`` or ``os/arch/variant``; the rest is the host's.

    Raises:
        Invalid: empty or malformed.
    """
    parts = text.split("/")
    if len(parts) > 3 or not all(_WORD.match(part) for part in parts):
        raise Invalid(f"platform {text[:80]!r} is malformed", "write it as linux/amd64")
    host = host_platform()
    if len(parts) == 1:
        word = parts[0].lower()
        if word in ("linux", "windows", "freebsd", "darwin", "macos"):
            return normalize(Platform(os=word, architecture=host.architecture))
        return normalize(Platform(os=host.os, architecture=word))
    variant = parts[2] if len(parts) == 3 else ""
    return normalize(Platform(os=parts[0], architecture=parts[1], variant=variant))


def normalize(platform: Platform) -> Platform:
    """Return the platform in the words of the spec, without a variant that is the default."""
    system = platform.os.lower()
    name = platform.architecture.lower()
    architecture, variant = _ARCHITECTURES.get(name, (name, ""))
    variant = platform.variant.lower() or variant
    if variant and variant[0].isdigit():
        variant = f"v{variant}"
    if architecture in ("arm64", "amd64") and variant == _DEFAULT_VARIANT[architecture]:
        variant = ""
    if architecture == "arm" and not variant:
        variant = _DEFAULT_VARIANT["arm"]
    return msgspec.structs.replace(
        platform, os=_OS.get(system, system), architecture=architecture, variant=variant
    )


def host_platform() -> Platform:
    """Return what this kernel runs without an emulator."""
    return normalize(Platform(os="linux", architecture=os.uname().machine))


def rank(wanted: Platform, offered: Platform) -> int:
    """Say how well ``offered`` serves ``wanted``: 0 not at all, higher is better.

    The same architecture serves when its variant is not newer than the wanted one; 32-bit arm
    serves no arm64, because not every arm64 CPU executes it.
    """
    want, have = normalize(wanted), normalize(offered)
    if (want.os, want.architecture) != (have.os, have.architecture):
        return 0
    level, limit = _level(have), _level(want)
    return 0 if level > limit else 1 + level


def matches(wanted: Platform, offered: Platform) -> bool:
    """Say whether ``offered`` can stand for ``wanted``."""
    return rank(wanted, offered) > 0


def _level(platform: Platform) -> int:
    variant = platform.variant or _DEFAULT_VARIANT.get(platform.architecture, "")
    digits = variant.lstrip("v").partition(".")[0]
    return int(digits) if digits.isdigit() and len(digits) < 4 else 0
