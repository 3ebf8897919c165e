"""Where packages come from: the mirrors that the host's apt is set up with, or the distribution's.

A host behind a mirror or proxy reaches the archive only there. Its apt configuration is read in
both forms (sources.list(5): one-line and deb822); signatures are always checked with the
distribution's keyring, whatever the host trusts for its own sources.
"""

from __future__ import annotations

import glob
import os
import re

import msgspec

from proa.errors import Unavailable
from proa.image.bootstrap.request import Distribution, Request

_APT = "/etc/apt"
_OPTIONS = re.compile(r"\[[^\]]*\]")


class Source(msgspec.Struct, frozen=True):
    """A source of packages as the host has it."""

    uri: str
    suites: tuple[str, ...]


def source_lines(request: Request, apt_directory: str = _APT) -> list[str]:
    """Return the one-line sources of a request: the suite, its updates, its security updates.

    Raises:
        Unavailable: the keyring that signatures are checked with is not installed.
    """
    distribution = request.distribution
    if not os.path.exists(distribution.keyring):
        raise Unavailable(
            f"the signatures of {distribution.name} cannot be checked: {distribution.keyring} is"
            " missing",
            f"apt-get install {distribution.keyring_package}",
        )
    options = f"[signed-by={distribution.keyring}]"
    components = " ".join(request.components)
    return [
        f"deb {options} {uri} {suite} {components}"
        for uri, suite in _archives(request, read_sources(apt_directory))
    ]


def public_sources(request: Request) -> str:
    """Return the deb822 sources that the image keeps: the public mirrors, never the host's own."""
    distribution = request.distribution
    stanzas = []
    for uri, suites in _by_uri(_archives(request, [])).items():
        stanzas.append(
            "Types: deb\n"
            f"URIs: {uri}\n"
            f"Suites: {' '.join(suites)}\n"
            f"Components: {' '.join(request.components)}\n"
            f"Signed-By: {distribution.keyring}\n"
        )
    return "\n".join(stanzas)


def read_sources(apt_directory: str = _APT) -> list[Source]:
    """Read the host's binary sources; what cannot be understood is left out."""
    found = []
    for path in (
        f"{apt_directory}/sources.list",
        *sorted(glob.glob(f"{apt_directory}/sources.list.d/*.list")),
    ):
        found += parse_one_line(_read(path))
    for path in sorted(glob.glob(f"{apt_directory}/sources.list.d/*.sources")):
        found += parse_deb822(_read(path))
    return found


def parse_one_line(text: str) -> list[Source]:
    """Read ``deb [options] uri suite component...`` lines."""
    found = []
    for line in text.splitlines():
        words = _OPTIONS.sub(" ", line.partition("#")[0]).split()
        if len(words) >= 3 and words[0] == "deb":
            found.append(Source(words[1].rstrip("/"), (words[2],)))
    return found


def parse_deb822(text: str) -> list[Source]:
    """Read stanzas of ``Types``, ``URIs`` and ``Suites``; disabled ones are left out."""
    found = []
    for stanza in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        key = ""
        for line in stanza.splitlines():
            if line.startswith("#"):
                continue
            if line[:1].isspace():
                fields[key] = f"{fields.get(key, '')} {line.strip()}"
                continue
            name, colon, value = line.partition(":")
            if colon:
                key = name.strip().lower()
                fields[key] = value.strip()
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes") == "no":
            continue
        suites = tuple(fields.get("suites", "").split())
        found += [Source(uri.rstrip("/"), suites) for uri in fields.get("uris", "").split()]
    return found


def _archives(request: Request, host: list[Source]) -> list[tuple[str, str]]:
    """Return (URI, suite) of the archives that make up a suite."""
    distribution, suite = request.distribution, request.suite
    main = request.mirror or _host_mirror(distribution, host, suite, security=False)
    main = main or _public_mirror(distribution, request.architecture)
    if suite in distribution.rolling or request.mirror:
        return [(main, suite)]
    if distribution.name == "ubuntu":
        return [(main, suite), (main, f"{suite}-updates"), (main, f"{suite}-security")]
    security = _host_mirror(distribution, host, suite, security=True) or distribution.security
    return [(main, suite), (main, f"{suite}-updates"), (security, f"{suite}-security")]


def _host_mirror(
    distribution: Distribution, host: list[Source], suite: str, *, security: bool
) -> str:
    """Find the mirror that the host uses for this suite, or for any suite of the distribution."""
    directory = "debian-security" if security else distribution.name
    candidates = [
        source
        for source in host
        if source.uri.endswith(f"/{directory}") and source.uri.startswith(("http:", "https:"))
    ]
    wanted = f"{suite}-security" if security else suite
    exact = [source for source in candidates if wanted in source.suites]
    chosen = exact or candidates
    return chosen[0].uri if chosen else ""


def _public_mirror(distribution: Distribution, architecture: str) -> str:
    if distribution.ports and architecture not in ("amd64", "i386"):
        return distribution.ports
    return distribution.mirror


def _by_uri(archives: list[tuple[str, str]]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for uri, suite in archives:
        grouped.setdefault(uri, []).append(suite)
    return grouped


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
