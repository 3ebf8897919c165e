"""The modules of a guest's kernel, in the order in which they have to be loaded.

Debian's packages have no ``modules.dep`` (depmod makes it when they are configured), so what a
module depends on is read from the module itself.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from proa.errors import NotFound, from_os_error
from proa.vm.initramfs import elf

_SUFFIXES = (".ko", ".ko.xz", ".ko.gz", ".ko.zst")


class Module(NamedTuple):
    """A kernel module, and those that have to be loaded before it."""

    name: str
    needs: tuple[str, ...]
    data: bytes


class KernelModules:
    """The modules below ``/lib/modules/<release>``."""

    def __init__(self, directory: str) -> None:
        """List them.

        Args:
            directory: has ``modules.builtin`` and ``kernel/``.

        Raises:
            ProaError: it cannot be read.
        """
        self._directory = directory
        self._paths: dict[str, str] = {}
        for parent, _, names in os.walk(f"{directory}/kernel"):
            for name in names:
                if name.endswith(_SUFFIXES):
                    self._paths[_name_of(name)] = f"{parent}/{name}"
        try:
            with open(f"{directory}/modules.builtin", encoding="utf-8") as stream:
                self._builtin = {_name_of(os.path.basename(line.strip())) for line in stream}
        except OSError as error:
            raise from_os_error(error, f"cannot read the kernel modules in {directory}") from error

    def collect(self, names: tuple[str, ...]) -> list[Module]:
        """Return these modules and all they depend on, dependencies first; built-in ones need none.

        Raises:
            NotFound: the kernel has no such module.
            Corrupt: a file is not a module.
        """
        collected: dict[str, Module] = {}
        visiting: set[str] = set()

        def visit(name: str) -> None:
            name = _name_of(name)
            if name in self._builtin or name in collected or name in visiting:
                return
            visiting.add(name)
            data = self._load(name)
            listed = ",".join(elf.parse_modinfo(data).get("depends", [])).split(",")
            needs = [_name_of(needed) for needed in listed if needed]
            for needed in needs:
                visit(needed)
            loaded = tuple([needed for needed in needs if needed in collected])
            collected[name] = Module(name, loaded, elf.strip_module(data))

        for name in names:
            visit(name)
        return list(collected.values())

    def _load(self, name: str) -> bytes:
        path = self._paths.get(name)
        if path is None:
            raise NotFound(
                f"the kernel in {self._directory} has no module {name}",
                "VM isolation needs virtio, erofs and overlay: use a distribution's kernel",
            )
        try:
            with open(path, "rb") as stream:
                data = stream.read()
        except OSError as error:
            raise from_os_error(error, f"cannot read the kernel module {path}") from error
        if path.endswith(".xz"):
            import lzma

            return lzma.decompress(data)
        if path.endswith(".gz"):
            import gzip

            return gzip.decompress(data)
        if path.endswith(".zst"):
            from backports import zstd

            return zstd.decompress(data)
        return data


def _name_of(name: str) -> str:
    return name.partition(".ko")[0].replace("-", "_")
