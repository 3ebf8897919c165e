"""What an archive holds right now: its signed Release files, fetched and verified by apt."""

from __future__ import annotations

import email.utils
import glob
import os
import re

import msgspec

from proa.errors import Unavailable
from proa.image.bootstrap.request import Request
from proa.image.bootstrap.tools import run_tool

_SHA256_LINE = re.compile(r"^ ([0-9a-f]{64})\s+\d+\s+(\S+)$", re.MULTILINE)
_DATE = re.compile(r"^Date: (.+)$", re.MULTILINE)


class Release(msgspec.Struct, frozen=True):
    """The state of an archive.

    Attributes:
        packages: digests of the indexes of packages that the request draws from, sorted. They
            change when a package does; a Release file changes several times a day without.
        epoch_s: when the suite itself was released; what files made here are dated with.
    """

    packages: tuple[str, ...]
    epoch_s: int


def fetch_release(request: Request, lines: list[str]) -> Release:
    """Let apt fetch and verify the Release files of a request, in a state directory of its own.

    Args:
        request: what is wanted.
        lines: the one-line sources.

    Raises:
        Unavailable: no network, no such suite, a bad signature; the message is apt's.
    """
    import tempfile

    with tempfile.TemporaryDirectory(prefix="proa-apt-") as directory:
        for name in ("state/lists/partial", "cache/archives/partial"):
            os.makedirs(f"{directory}/{name}")
        with open(f"{directory}/sources.list", "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
        with open(f"{directory}/apt.conf", "w", encoding="utf-8") as file:
            file.write(_configuration(directory, request.architecture))
        run_tool(
            ["apt-get", "--config-file", f"{directory}/apt.conf", "update", "-qq"],
            package="apt",
            doing=f"cannot fetch the Release files of {request.distribution.name} {request.suite}",
            failures=Unavailable,
            # Without it apt takes an unreachable archive for a warning.
            extra=["-o", "APT::Update::Error-Mode=any"],
        )
        texts = []
        for path in sorted(glob.glob(f"{directory}/state/lists/*Release")):
            with open(path, encoding="utf-8", errors="replace") as file:
                texts.append(file.read())
    return parse_releases(texts, request)


def parse_releases(texts: list[str], request: Request) -> Release:
    """Read verified Release files.

    Raises:
        Unavailable: they list no packages for the architecture.
    """
    wanted = {
        f"{component}/binary-{request.architecture}/Packages" for component in request.components
    }
    packages = sorted(
        f"{name}={digest}"
        for text in texts
        for digest, name in _SHA256_LINE.findall(text)
        if name in wanted
    )
    if not packages:
        raise Unavailable(
            f"{request.distribution.name} {request.suite} has no packages for"
            f" {request.architecture}",
            "choose another suite, architecture or component",
        )
    # The suite's own file carries its release; those of updates and security move all the time.
    dates = [
        email.utils.parsedate_to_datetime(match.group(1)).timestamp()
        for text in texts
        if (match := _DATE.search(text))
    ]
    return Release(tuple(packages), int(min(dates, default=0)))


def _configuration(directory: str, architecture: str) -> str:
    # Proxies and certificates stay the host's; its own sources, hooks and lists do not take part.
    return f"""\
Dir::State "{directory}/state";
Dir::State::status "/dev/null";
Dir::Cache "{directory}/cache";
Dir::Etc::sourcelist "{directory}/sources.list";
Dir::Etc::sourceparts "/dev/null";
APT::Architecture "{architecture}";
APT::Architectures "{architecture}";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "2";
Acquire::IndexTargets::deb::Packages::DefaultEnabled "false";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
"""
