"""``proa vm kernel``: the kernels that guests boot."""

from __future__ import annotations

from proa.cli.invocation import Invocation
from proa.cli.kinds import STRING
from proa.cli.parser import Command, Flag, UsageError
from proa.cli.render import FORMAT, Listing, show_listing
from proa.oci.platform import parse_platform

PLATFORM = Flag("platform", STRING, "Platform of the guests (linux/amd64, linux/arm64)")

COMMAND = Command(
    words="vm kernel",
    usage="install [NAME] | ls | rm RELEASE [RELEASE...]",
    summary="Install, list or remove kernels for guests",
    flags=(FORMAT, PLATFORM),
    least=1,
    most=None,
    details="NAME is a release (6.1.0-56-cloud-amd64) or a package of Debian; without it, the"
    " current cloud kernel is installed. Packages are verified by apt.",
)

_HEADINGS: dict[str, object] = {
    "Release": "RELEASE",
    "Architecture": "ARCHITECTURE",
    "Package": "PACKAGE",
    "Path": "PATH",
}


def execute(call: Invocation) -> int:
    """Do what the first word says."""
    action, *names = call.arguments
    if action == "ls" and not names:
        rows = [
            {
                "Release": kernel.release,
                "Architecture": kernel.architecture,
                "Package": kernel.package,
                "Path": kernel.image,
            }
            for kernel in call.engine.vms.kernels()
        ]
        shown = ("Release", "Architecture", "Package")
        listing = Listing(headings=_HEADINGS, shown=shown, rows=rows, identity="Release")
        show_listing(call.io, listing, call[FORMAT])
    elif action == "install" and len(names) < 2:
        kernel = call.engine.vms.install_kernel(
            names[0] if names else "", architecture=_architecture(call[PLATFORM])
        )
        call.io.out(kernel.release)
    elif action == "rm" and names:
        for name in names:
            call.engine.vms.remove_kernel(name)
            call.io.out(name)
    else:
        raise UsageError(f"usage: proa vm kernel {COMMAND.usage}")
    return 0


def _architecture(platform: str) -> str:
    """The kernel's word for a platform's architecture; empty: this machine's."""
    if not platform:
        return ""
    architecture = parse_platform(platform).architecture
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(architecture, architecture)
