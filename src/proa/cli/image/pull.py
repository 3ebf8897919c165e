"""``proa pull``: bring an image from its registry."""

from __future__ import annotations

from proa.cli.image.trust import DISABLE_CONTENT_TRUST
from proa.cli.invocation import Invocation
from proa.cli.kinds import BOOL, STRING
from proa.cli.parser import EXIT_FAILURE, Command, Flag, UsageError
from proa.cli.progress import PROGRESS, progress_style, progress_to
from proa.cli.render import familiar
from proa.engine.config import Pull
from proa.errors import NotFound
from proa.image.model import Image

ALL_TAGS = Flag("all-tags", BOOL, "Download all tagged images in the repository", short="a")
PLATFORM = Flag("platform", STRING, "Pull the image for this platform, os/arch[/variant]")
POLICY = Flag(
    "policy", STRING, 'When to ask the registry ("always", "missing", "never")', default="always"
)
QUIET = Flag("quiet", BOOL, "Suppress verbose output", short="q")

COMMAND = Command(
    words="image pull",
    usage="[OPTIONS] NAME[:TAG|@DIGEST]",
    summary="Download an image from a registry",
    flags=(ALL_TAGS, DISABLE_CONTENT_TRUST, PLATFORM, POLICY, PROGRESS, QUIET),
    least=1,
    most=1,
    details=(
        "Layers are fetched, verified and unpacked as one stream each, several at a time; what is "
        "here already is not fetched. An interrupted pull is continued by the next. Settings of "
        "registries are in registries.toml, credentials where 'proa login' keeps them."
    ),
)


def execute(call: Invocation) -> int:
    """Pull, and say what came of it."""
    io, name = call.io, call.arguments[0]
    style = progress_style(call[PROGRESS])
    if call[ALL_TAGS]:
        with progress_to(io, quiet=call[QUIET], style=style) as progress:
            images = call.engine.images.pull_all_tags(
                name, platform=call[PLATFORM], progress=progress
            )
        for image in images:
            for reference in image.references:
                io.out(reference)
        return 0
    policy = _policy(call[POLICY])
    before = None if call[QUIET] else _find(call, name)
    with progress_to(io, quiet=call[QUIET], style=style) as progress:
        image = call.engine.images.pull(
            name, platform=call[PLATFORM], policy=policy, progress=progress
        )
    full_name = _name_of(image, name)
    if not call[QUIET]:
        if image.repo_digests:
            io.out(f"Digest: {image.repo_digests[-1].rpartition('@')[2]}")
        what = "Image is up to date" if before == image.id else "Downloaded newer image"
        io.out(f"Status: {what} for {familiar(full_name)}")
    io.out(full_name)
    return 0


def _policy(word: str) -> Pull:
    for policy in ("always", "missing", "never"):
        if word == policy:
            return policy
    raise UsageError(
        f'invalid policy: \'{word}\': must be one of "always", "missing" or "never"',
        exit_code=EXIT_FAILURE,
    )


def _find(call: Invocation, name: str) -> str | None:
    try:
        return call.engine.images.get(name).id
    except NotFound:
        return None


def _name_of(image: Image, name: str) -> str:
    """Return the image's name that the user's words mean, normalized; an id means any."""
    from proa.errors import Invalid
    from proa.oci.reference import parse_reference

    known = (*image.repo_digests, *image.references)
    try:
        full_name = str(parse_reference(name))
    except Invalid:  # 64 digits
        full_name = ""
    if full_name in known:
        return full_name
    return known[-1] if known else str(image.id)
