"""``proa image bootstrap``: make a base image from Debian's packages."""

from __future__ import annotations

from proa import units
from proa.cli.invocation import Invocation
from proa.cli.kinds import BOOL, LIST, STRING
from proa.cli.parser import Command, Flag
from proa.cli.progress import progress_to
from proa.cli.render import familiar, short_id

ARCHITECTURE = Flag(
    "architecture", STRING, "Debian architecture (amd64, arm64 ...; default: this machine's)"
)
EXPIRED = Flag("allow-expired", BOOL, "Take package lists that have expired (snapshots have)")
INCLUDE = Flag("include", LIST, "Packages to install beside the base, comma separated")
MIRROR = Flag("mirror", STRING, "Address of the archive (default: the one this machine uses)")
QUIET = Flag("quiet", BOOL, "Only print the image ID", short="q")
VARIANT = Flag("variant", STRING, "Set of base packages (minbase, apt, essential, buildd ...)")

COMMAND = Command(
    words="image bootstrap",
    usage="[OPTIONS] REFERENCE",
    summary="Make a base image from Debian's packages",
    flags=(ARCHITECTURE, EXPIRED, INCLUDE, MIRROR, QUIET, VARIANT),
    least=1,
    most=1,
    details=(
        "The tag of REFERENCE names the suite: 'debian:bookworm', 'debian:trixie'. The packages "
        "come from Debian's archive; apt verifies their signatures with the keyring of this "
        "machine. Needs mmdebstrap. A second call with the same words is answered from the store."
    ),
)


def execute(call: Invocation) -> int:
    """Make the image and say what it is."""
    io, quiet = call.io, call[QUIET]
    packages = [name for text in call[INCLUDE] for name in text.split(",") if name]
    with progress_to(io, quiet=quiet) as progress:
        image = call.engine.images.bootstrap(
            call.arguments[0],
            variant=call[VARIANT],
            include=tuple(packages),
            architecture=call[ARCHITECTURE],
            mirror=call[MIRROR],
            allow_expired=call[EXPIRED],
            progress=progress,
        )
    if quiet:
        io.out(str(image.id))
    else:
        names = ", ".join(familiar(name) for name in image.references) or call.arguments[0]
        size = units.format_size(image.size_bytes)
        io.out(f"{names}: image {short_id(str(image.id))}, {size} unpacked")
    return 0
