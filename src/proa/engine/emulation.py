"""Programs of other architectures: which emulator runs them, and where it is registered.

A container with a user namespace of its own gets a registry of its own on Linux 6.7 and later: the
host's is neither needed nor touched. Otherwise the host's must have an entry; ``proa system emulate
install`` makes such entries, all named ``proa-...``, and ``remove`` takes away those and no others.
Entries are fixed (flag F): the emulator is opened on the host when the entry is made, so nothing in
an image can take its place.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec

from proa.errors import Invalid, NotFound, Unavailable, from_os_error
from proa.linux import binfmt
from proa.oci.platform import Platform, host_platform, parse_platform

_PREFIX = "proa-"
_FLAGS = "OCF"
_FIRST_KERNEL = (6, 7)
_DIRECTORIES = ("/usr/bin", "/usr/local/bin", "/usr/libexec/qemu-binfmt")
_PACKAGE = "apt-get install qemu-user-static"


class Machine(NamedTuple):
    """An architecture as ELF and QEMU know it (elf(5), ``e_ident`` and ``e_machine``)."""

    qemu: str
    number: int
    bits: int = 64
    big_endian: bool = False


MACHINES = {
    "386": Machine("i386", 3, bits=32),
    "amd64": Machine("x86_64", 62),
    "arm": Machine("arm", 40, bits=32),
    "arm64": Machine("aarch64", 183),
    "loong64": Machine("loongarch64", 258),
    "mips64le": Machine("mips64el", 8),
    "ppc64le": Machine("ppc64le", 21),
    "riscv64": Machine("riscv64", 243),
    "s390x": Machine("s390x", 22, big_endian=True),
}


class Emulator(msgspec.Struct, frozen=True, kw_only=True):
    """How programs of an architecture run here.

    Attributes:
        architecture: as in a platform, ``arm64``.
        interpreter: the emulator's path; empty: none is installed.
        handler: the host's entry that runs them; empty: none does.
        ours: that entry was made by ``install``.
        own_registry: containers with a user namespace of their own need no entry of the host.
    """

    architecture: str
    interpreter: str = ""
    handler: str = ""
    ours: bool = False
    own_registry: bool = False

    @property
    def is_usable(self) -> bool:
        """Whether a container by default can run such programs."""
        return bool(self.handler) or (self.own_registry and bool(self.interpreter))


def is_native(architecture: str) -> bool:
    """Say whether this machine runs an architecture without an emulator."""
    host = host_platform().architecture
    return architecture == host or (host, architecture) == ("amd64", "386")


def find_emulator(architecture: str) -> Emulator:
    """Look for an emulator of an architecture."""
    header = _header(architecture)
    handlers = [one for one in _read_handlers() if one.enabled and "F" in one.flags]
    found = next((one for one in handlers if header and one.matches(header)), None)
    return Emulator(
        architecture=architecture,
        interpreter=_find_interpreter(architecture),
        handler=found.name if found else "",
        ours=bool(found and found.name.startswith(_PREFIX)),
        own_registry=has_own_registries(),
    )


def list_emulators() -> list[Emulator]:
    """Return what is known of every architecture that needs an emulator here."""
    return [find_emulator(name) for name in MACHINES if not is_native(name)]


def compose_registrations(platform: Platform) -> tuple[str, ...]:
    """Return the entries for a container's own registry; none where they are not needed or had."""
    architecture = platform.architecture
    if is_native(architecture) or not has_own_registries():
        return ()
    handler = _make_handler(architecture)
    return (handler.registration().decode("ascii"),) if handler else ()


def install(run_dir: str, architectures: Sequence[str] = ()) -> list[Emulator]:
    """Register emulators with the host's kernel.

    Args:
        run_dir: the engine's volatile root, which remembers that binfmt_misc was mounted here.
        architectures: empty: all that an emulator is installed for.

    Returns:
        Those that were registered now; others had an entry already.

    Raises:
        Invalid: no such architecture, or this machine's own.
        NotFound: no emulator is installed for one that was named.
        Forbidden: only root may do this.
        Unavailable: this kernel has no binfmt_misc.
    """
    chosen = [_parse(text) for text in architectures] or [
        one.architecture for one in list_emulators() if one.interpreter
    ]
    installed = []
    _ensure_mounted(run_dir)
    for architecture in chosen:
        if find_emulator(architecture).handler:
            continue
        handler = _make_handler(architecture)
        if handler is None:
            raise NotFound(f"no emulator for {architecture} is installed", _PACKAGE)
        try:
            binfmt.register(handler)
        except OSError as error:
            raise from_os_error(error, f"cannot register {handler.interpreter}") from error
        installed.append(find_emulator(architecture))
    return installed


def remove(run_dir: str, architectures: Sequence[str] = ()) -> list[str]:
    """Take away what :func:`install` made; what others registered stays.

    Args:
        run_dir: as for :func:`install`; binfmt_misc is unmounted if it was mounted there.
        architectures: empty: all.

    Returns:
        The architectures whose entries are gone.

    Raises:
        Invalid, Forbidden: as :func:`install`.
    """
    chosen = {_name(_parse(text)) for text in architectures}
    removed = []
    try:
        for handler in binfmt.read_handlers():
            if handler.name.startswith(_PREFIX) and (not chosen or handler.name in chosen):
                binfmt.unregister(handler.name)
                removed.append(handler.name)
        if not any(one.name.startswith(_PREFIX) for one in binfmt.read_handlers()):
            _unmount(run_dir)
    except OSError as error:
        raise from_os_error(error, "cannot remove emulators") from error
    return [name for name in MACHINES if _name(name) in removed]


def has_own_registries() -> bool:
    """Say whether this kernel gives user namespaces registries of their own."""
    numbers = os.uname().release.split("-")[0].split(".")[:2]
    return tuple(int(number) for number in numbers if number.isdigit()) >= _FIRST_KERNEL


def _make_handler(architecture: str) -> binfmt.Handler | None:
    interpreter, header = _find_interpreter(architecture), _header(architecture)
    if not interpreter or not header:
        return None
    # EI_OSABI is not looked at, and both kinds of programs (ET_EXEC 2, ET_DYN 3) are taken.
    mask = bytearray(b"\xff" * len(header))
    mask[7] = 0
    mask[17 if MACHINES[architecture].big_endian else 16] = 0xFE
    return binfmt.Handler(
        name=_name(architecture),
        magic=header,
        mask=bytes(mask),
        interpreter=interpreter,
        flags=_FLAGS,
    )


def _header(architecture: str) -> bytes:
    """Return the first 20 bytes of a program (elf(5): e_ident, e_type, e_machine)."""
    machine = MACHINES.get(architecture)
    if machine is None:
        return b""
    order: Literal["big", "little"] = "big" if machine.big_endian else "little"
    identity = bytes((1 if machine.bits == 32 else 2, 2 if machine.big_endian else 1, 1))
    kind = (2).to_bytes(2, order)
    number = machine.number.to_bytes(2, order)
    return b"\x7fELF" + identity + bytes(9) + kind + number


def _find_interpreter(architecture: str) -> str:
    machine = MACHINES.get(architecture)
    if machine is None:
        return ""
    for directory in _DIRECTORIES:
        path = f"{directory}/qemu-{machine.qemu}-static"
        if os.access(path, os.X_OK):
            return path
    return ""


def _name(architecture: str) -> str:
    return f"{_PREFIX}{MACHINES[architecture].qemu}"


def _parse(text: str) -> str:
    architecture = parse_platform(text).architecture
    if architecture not in MACHINES:
        raise Invalid(f"unknown architecture {text!r}", "there are " + ", ".join(MACHINES))
    if is_native(architecture):
        raise Invalid(f"{architecture} is this machine's own architecture", "it needs no emulator")
    return architecture


def _read_handlers() -> list[binfmt.Handler]:
    try:
        return binfmt.read_handlers()
    except OSError as error:
        raise from_os_error(error, f"cannot read {binfmt.DIRECTORY}") from error


def _ensure_mounted(run_dir: str) -> None:
    if binfmt.is_mounted():
        return
    from proa.linux.mount import mount

    try:
        mount("binfmt_misc", binfmt.DIRECTORY, "binfmt_misc")
        with open(_marker(run_dir), "w", encoding="ascii"):
            pass
    except OSError as error:
        if error.errno in (errno.ENODEV, errno.ENOENT):
            raise Unavailable(
                "this kernel has no binfmt_misc", "modprobe binfmt_misc, if it has that module"
            ) from error
        raise from_os_error(error, f"cannot mount {binfmt.DIRECTORY}") from error


def _unmount(run_dir: str) -> None:
    """Undo the mount, if it was made by :func:`_ensure_mounted` and nobody has entries there."""
    if not os.path.exists(_marker(run_dir)) or binfmt.read_handlers():
        return
    from proa.linux.mount import unmount

    unmount(binfmt.DIRECTORY)
    os.unlink(_marker(run_dir))


def _marker(run_dir: str) -> str:
    return f"{run_dir}/binfmt_misc"
