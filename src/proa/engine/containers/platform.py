"""Which images can run here: containers share the host's kernel.

A foreign architecture runs where there is an emulator for it (:mod:`proa.engine.emulation`); a
foreign operating system never does. Both are found out before anything is made.
"""

from __future__ import annotations

import os

from proa.engine.config import ContainerConfig
from proa.errors import Invalid, Unsupported
from proa.image.model import Image
from proa.oci.platform import Platform, host_platform, matches, parse_platform


def check_platform(image: Image, config: ContainerConfig, *, own_userns: bool) -> tuple[str, ...]:
    """Make sure that this kernel can run the image; return warnings.

    Args:
        image: what is to run.
        config: as what.
        own_userns: the container gets a user namespace, and with it a registry of emulators.

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
    if config.isolation != "process" or made_for.architecture == host.architecture:
        return ()
    from proa.engine.emulation import find_emulator, is_native

    if is_native(made_for.architecture):
        return ()
    emulator = find_emulator(made_for.architecture)
    own = own_userns and emulator.own_registry and bool(emulator.interpreter)
    if not own and not emulator.handler:
        raise Unsupported(
            f"image {config.image} is for {_words(made_for)} and this machine is {_words(host)}: "
            "containers share the host's kernel, and it knows no emulator for that architecture",
            f"use an image for {_words(host)}, or install an emulator "
            "(apt-get install qemu-user-static)"
            + (
                ""
                if own_userns and emulator.own_registry
                else f" and register it (proa system emulate install {made_for.architecture})"
            ),
        )
    if config.platform:
        return ()
    name = os.path.basename(emulator.interpreter) if own else emulator.handler
    remark = (
        f"the image's platform ({_words(made_for)}) is not the host's ({_words(host)}): "
        f"it runs emulated by {name}"
    )
    return (remark,)


def _words(platform: Platform) -> str:
    return f"{platform.os}/{platform.architecture}"
