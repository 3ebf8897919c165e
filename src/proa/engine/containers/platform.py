"""Which images can run here: containers share the host's kernel.

A foreign architecture runs where the kernel knows an interpreter for it (binfmt_misc); a foreign
operating system never does. Both are found out before anything is made.
"""

from __future__ import annotations

import os

from proa.engine.config import ContainerConfig
from proa.errors import Invalid, Unsupported
from proa.image.model import Image
from proa.oci.platform import Platform, host_platform, matches, parse_platform

_QEMU_NAMES = {
    "amd64": "x86_64", "386": "i386", "arm64": "aarch64", "arm": "arm", "riscv64": "riscv64",
    "ppc64le": "ppc64le", "s390x": "s390x", "mips64le": "mips64el", "loong64": "loongarch64",
}  # fmt: skip
_REGISTRY = "/proc/sys/fs/binfmt_misc"


def check_platform(image: Image, config: ContainerConfig) -> tuple[str, ...]:
    """Make sure that this kernel can run the image; return warnings.

    Raises:
        Unsupported: it cannot; the sentence says why and what would work.
        Invalid: ``--platform`` asks for another one than the image's.
    """
    made_for = image.config.platform
    host = host_platform()
    if config.platform and not matches(made_for, parse_platform(config.platform)):
        raise Invalid(
            f"image {config.image} is for {_words(made_for)}, not for {config.platform}",
            "get the image for that platform, or leave out --platform",
        )
    if made_for.os != host.os:
        raise Unsupported(
            f"image {config.image} is for {made_for.os}: containers share the host's kernel, "
            f"which is {host.os}",
            f"use an image for {_words(host)}, or a virtual machine with {made_for.os}",
        )
    if config.isolation != "process" or _runs_natively(made_for, host):
        return ()
    interpreter = _find_interpreter(made_for.architecture)
    if not interpreter:
        raise Unsupported(
            f"image {config.image} is for {_words(made_for)} and this machine is {_words(host)}: "
            "containers share the host's kernel, and it knows no emulator for that architecture",
            f"use an image for {_words(host)}, or install qemu-user-static and register it "
            "(apt-get install qemu-user-static binfmt-support)",
        )
    if config.platform:
        return ()
    remark = (
        f"the image's platform ({_words(made_for)}) is not the host's ({_words(host)}): "
        f"it runs emulated by {interpreter}"
    )
    return (remark,)


def _runs_natively(made_for: Platform, host: Platform) -> bool:
    if made_for.architecture == host.architecture:
        return True
    return (host.architecture, made_for.architecture) == ("amd64", "386")


def _words(platform: Platform) -> str:
    return f"{platform.os}/{platform.architecture}"


def _find_interpreter(architecture: str) -> str:
    """Return the name of an enabled binfmt_misc entry that emulates ``architecture``.

    The entry must be fixed (flag F): the interpreter is then opened by the host at registration,
    and nothing in the image can take its place.
    """
    name = "qemu-" + _QEMU_NAMES.get(architecture, architecture)
    try:
        with open(os.path.join(_REGISTRY, name), encoding="ascii", errors="replace") as stream:
            lines = stream.read().splitlines()
    except OSError:
        return ""
    flags = next(
        (line.split()[1] for line in lines if line.startswith("flags:") and len(line) > 7), ""
    )
    return name if lines[:1] == ["enabled"] and "F" in flags else ""
