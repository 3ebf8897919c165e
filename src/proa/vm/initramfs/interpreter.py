"""The running Python, as files of the guest: interpreter, shared libraries, modules as bytecode.

Everything keeps its place in the filesystem, so the interpreter finds its parts as it does here.
Only what the guest's program imports goes along (:mod:`proa.vm.initramfs.survey` asks): the whole
standard library would cost a guest a quarter of a second and 70 MB.
"""

from __future__ import annotations

import os
import sys

import msgspec

from proa.errors import Internal, from_os_error
from proa.vm.initramfs import elf
from proa.vm.initramfs.cpio import CpioWriter

LIBRARY = "/proa"
"""Where the guest finds this package and those it depends on; on ``sys.path`` there."""

_OMITTED_MODULES = frozenset({"_hashlib", "_uuid", "typing_extensions", "_ssl"})
"""Optional parts of others that would bring large libraries or slow imports along."""

_OMITTED_LIBRARIES = ("libcrypto", "libssl", "libuuid")

_SURVEY_TIMEOUT_S = 60


class _Survey(msgspec.Struct, frozen=True):
    """What ``survey.py`` wrote: name, file and kind of modules; paths of libraries."""

    modules: tuple[tuple[str, str, bool], ...]
    libraries: tuple[str, ...]


def executable() -> str:
    """Path of the interpreter without a virtual environment around it."""
    return os.path.realpath(getattr(sys, "_base_executable", sys.executable))


def add_interpreter(archive: CpioWriter, packages: tuple[str, ...]) -> None:
    """Add the interpreter with what these packages import, themselves included.

    Raises:
        Internal: the interpreter cannot import them.
        ProaError: a file cannot be read.
    """
    survey = _survey(packages)
    try:
        program = _read(executable())
        archive.add_file(executable(), elf.strip(program), 0o755)
        loader = elf.find_interpreter(program)
        for path in survey.libraries:
            _add_library(archive, path, loader)
        for name, path, is_package in survey.modules:
            _add_module(archive, name, path, is_package=is_package)
    except OSError as error:
        raise from_os_error(error, "cannot put the Python interpreter into the guest") from error


def _survey(packages: tuple[str, ...]) -> _Survey:
    import subprocess

    script = f"{os.path.dirname(__file__)}/survey.py"
    search = os.pathsep.join([os.path.dirname(_package_directory(name)) for name in _ROOTS])
    command = [executable(), "-I", "-S", script, search, *packages]
    try:
        ended = subprocess.run(command, capture_output=True, timeout=_SURVEY_TIMEOUT_S, env={})
    except OSError as error:
        raise from_os_error(error, f"cannot run {executable()}") from error
    if ended.returncode != 0:
        reason = ended.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise Internal(f"the guest's program cannot be collected: {reason}")
    return msgspec.json.decode(ended.stdout, type=_Survey)


_ROOTS = ("proa", "msgspec")


def _package_directory(name: str) -> str:
    module = sys.modules[name]
    return os.path.dirname(os.path.abspath(str(module.__file__)))


def _add_library(archive: CpioWriter, path: str, loader: str) -> None:
    name = os.path.basename(path)
    if name.startswith(_OMITTED_LIBRARIES) or "/site-packages/" in path or ".cpython-" in name:
        return
    data = _read(path)
    soname = elf.find_soname(data) or name
    stripped = elf.strip(data)
    if soname == os.path.basename(loader):
        archive.add_file(loader, stripped, 0o755)
    else:
        archive.add_file(f"{os.path.dirname(path)}/{soname}", stripped, 0o755)


def _add_module(archive: CpioWriter, name: str, path: str, *, is_package: bool) -> None:
    if not path or name in _OMITTED_MODULES:
        return
    root = name.partition(".")[0]
    place = path
    if root in _ROOTS:
        place = f"{LIBRARY}/{root}{path.removeprefix(_package_directory(root))}"
    if path.endswith(".py"):
        archive.add_file(f"{place}c", compile_module(path))
    elif ".so" in os.path.basename(path):
        archive.add_file(place, elf.strip(_read(path)), 0o755)
    elif not is_package:
        raise Internal(f"the module {name} is neither source nor a shared object: {path}")


def compile_module(path: str) -> bytes:
    """Return the bytecode file of a module, without docstrings and assertions.

    The name in it is short: nobody has the source in the guest.
    """
    import py_compile
    import tempfile

    name = f"<{os.path.basename(os.path.dirname(path))}/{os.path.basename(path)}>"
    with tempfile.TemporaryDirectory(prefix="proa-bytecode-") as directory:
        made = f"{directory}/module.pyc"
        py_compile.compile(
            path, made, name, doraise=True, optimize=2,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )  # fmt: skip
        return _read(made)


def _read(path: str) -> bytes:
    with open(path, "rb") as stream:
        return stream.read()
