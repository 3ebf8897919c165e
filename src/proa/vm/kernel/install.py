"""Installing Debian's kernels for guests through apt: found, fetched and verified by it.

The package is not installed on the host: apt downloads it (and refuses what the keys of its
sources have not signed), ``dpkg-deb`` unpacks it beside its place, and kernel and modules are moved
into it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence

from proa.errors import Invalid, NotFound, Unavailable, from_os_error
from proa.fs.atomicfile import load_file, save_file
from proa.vm.kernel.store import RELEASE, Kernel, adopt, kernels_directory, list_kernels

META_PACKAGES = {"x86_64": "linux-image-cloud-amd64", "aarch64": "linux-image-cloud-arm64"}
_DEBIAN_NAMES = {"x86_64": "amd64", "aarch64": "arm64"}

_VERIFY = (
    "-o", "APT::Get::AllowUnauthenticated=false",
    "-o", "Acquire::AllowInsecureRepositories=false",
    "-o", "Acquire::AllowWeakRepositories=false",
)  # fmt: skip
_PACKAGE = re.compile(r"linux-image-[a-z0-9][a-z0-9.+-]*")
_TIMEOUT_S = 600
_STUBS = "/usr/lib/systemd/boot/efi"
_STUB_LIMIT_BYTES = 4 << 20


def install_kernel(
    root: str,
    wanted: str = "",
    *,
    architecture: str = "",
    progress: Callable[[str], None] = lambda _: None,
) -> Kernel:
    """Install a kernel beside those that are there; one that is there already is returned.

    Args:
        root: the engine's state root.
        wanted: a package (``linux-image-6.1.0-56-cloud-amd64``), a release
            (``6.1.0-56-cloud-amd64``); empty: Debian's current cloud kernel.
        architecture: as ``uname -m`` says it; empty: this machine's.
        progress: called with words for the user.

    Raises:
        Invalid: ``wanted`` is no name of a kernel.
        NotFound: apt's sources have no such package.
        Unavailable: apt or dpkg is missing, or a download or a signature failed.
    """
    architecture = architecture or os.uname().machine
    if architecture not in META_PACKAGES:
        raise Invalid(f"no guest kernels for {architecture}: only for {', '.join(META_PACKAGES)}")
    package = wanted or META_PACKAGES[architecture]
    if RELEASE.fullmatch(package):
        package = f"linux-image-{package}"
    if not _PACKAGE.fullmatch(package):
        raise Invalid(f"{wanted[:80]!r} is no kernel package", "see `apt-cache search linux-image`")
    import fcntl
    import tempfile

    directory = kernels_directory(root)
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with tempfile.TemporaryDirectory(prefix=".staging-", dir=directory) as staging:
                return _install(_Apt(staging, architecture), root, package, staging, progress)
        finally:
            os.close(lock)
    except OSError as error:
        raise from_os_error(error, f"cannot install a kernel in {directory}") from error


def ensure_efi_stub(root: str, architecture: str) -> bytes:
    """systemd's EFI stub for an architecture: the host's, or from Debian's package, kept.

    Raises:
        Unavailable: apt is missing, or a download or a signature failed.
    """
    import tempfile

    name = {"x86_64": "linuxx64.efi.stub", "aarch64": "linuxaa64.efi.stub"}[architecture]
    kept = f"{root}/vm/{name}"
    for path in (f"{_STUBS}/{name}", kept):
        try:
            return load_file(path, _STUB_LIMIT_BYTES)
        except OSError:
            continue
    try:
        os.makedirs(os.path.dirname(kept), mode=0o700, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".staging-", dir=os.path.dirname(kept)) as staging:
            apt = _Apt(staging, architecture)
            package, version = apt.resolve("systemd-boot-efi", lambda _: None)
            archive = apt.download(package, version)
            run(["dpkg-deb", "--extract", archive, f"{staging}/x"], f"cannot unpack {package}")
            stub = load_file(f"{staging}/x{_STUBS}/{name}", _STUB_LIMIT_BYTES)
        save_file(kept, stub)
    except OSError as error:
        raise from_os_error(error, f"cannot keep {kept}") from error
    return stub


def _install(
    apt: _Apt, root: str, package: str, staging: str, progress: Callable[[str], None]
) -> Kernel:
    package, version = apt.resolve(package, progress)
    release = package.removeprefix("linux-image-").removesuffix("-unsigned")
    for kernel in list_kernels(root):
        if kernel.release == release and kernel.package == f"{package} {version}":
            return kernel
    progress(f"downloading {package} {version}")
    archive = apt.download(package, version)
    unpacked = f"{staging}/unpacked"
    run(["dpkg-deb", "--extract", archive, unpacked], f"cannot unpack {package}")
    os.unlink(archive)
    new = f"{staging}/new"
    os.mkdir(new, 0o755)
    os.rename(f"{unpacked}/boot/vmlinuz-{release}", f"{new}/vmlinuz")
    for parent in ("lib", "usr/lib"):
        if os.path.isdir(f"{unpacked}/{parent}/modules/{release}"):
            os.rename(f"{unpacked}/{parent}/modules/{release}", f"{new}/modules")
            break
    progress(f"unpacking {release}")
    adopt(new, release, apt.architecture, f"{package} {version}")
    os.sync()
    final = f"{kernels_directory(root)}/{release}"
    if os.path.exists(final):
        from proa.fs.tree import remove_tree

        remove_tree(final)
    os.rename(new, final)
    return next(kernel for kernel in list_kernels(root) if kernel.release == release)


class _Apt:
    """apt-get with the host's sources and keys, and package lists of its own when it needs them."""

    def __init__(self, staging: str, architecture: str) -> None:
        self.architecture = architecture
        self._staging = staging
        self._options: list[str] = list(_VERIFY)
        if architecture != os.uname().machine:
            self._use_own_lists()

    def resolve(self, package: str, progress: Callable[[str], None]) -> tuple[str, str]:
        """Name and version of the package that has the kernel, through a package of packages.

        Raises:
            NotFound: there is none.
        """
        shown = self._show(package)
        if shown is None:
            # The host's lists may be absent (container images) or stale: fetch them for ourselves.
            progress("fetching the lists of packages")
            self._use_own_lists()
            run(["apt-get", *self._options, "update", "-qq"], "cannot fetch the lists of packages")
            shown = self._show(package)
        if shown is None:
            raise NotFound(
                f"apt has no package {package}", "see `apt-cache search linux-image cloud`"
            )
        version, depends = shown
        needed = next((name for name in depends if RELEASE.match(name[len("linux-image-") :])), "")
        return self.resolve(needed, progress) if needed else (package, version)

    def download(self, package: str, version: str) -> str:
        """Path of the verified archive."""
        run(
            ["apt-get", *self._options, "download", "-qq", f"{package}={version}"],
            f"cannot download {package}",
            directory=self._staging,
        )
        for name in os.listdir(self._staging):
            if name.endswith(".deb"):
                return f"{self._staging}/{name}"
        raise Unavailable(f"apt-get downloaded no {package}")

    def _show(self, package: str) -> tuple[str, list[str]] | None:
        """Candidate version and the kernel packages that it depends on; None: no such package."""
        try:
            text = run(
                ["apt-cache", *self._options, "show", "--no-all-versions", package], "cannot look"
            )
        except Unavailable:
            return None
        version = re.search(r"^Version: (\S+)$", text, re.MULTILINE)
        depends = re.search(r"^Depends: (.*)$", text, re.MULTILINE)
        if version is None:
            return None
        words = depends.group(1) if depends else ""
        return version.group(1), _PACKAGE.findall(words)

    def _use_own_lists(self) -> None:
        name = _DEBIAN_NAMES[self.architecture]
        state, cache = f"{self._staging}/state", f"{self._staging}/cache"
        for directory in (f"{state}/lists/partial", f"{cache}/archives/partial"):
            os.makedirs(directory, exist_ok=True)
        self._options = [
            *_VERIFY,
            "-o", f"Dir::State={state}",
            "-o", "Dir::State::status=/dev/null",
            "-o", f"Dir::Cache={cache}",
            "-o", f"APT::Architecture={name}",
            "-o", f"APT::Architectures={name}",
            "-o", "APT::Sandbox::User=root",
            "-o", "APT::Update::Error-Mode=any",
            "-o", "Acquire::Languages=none",
        ]  # fmt: skip


def run(arguments: Sequence[str], doing: str, *, directory: str = "/") -> str:
    """Run a tool of the distribution to its end; return what it wrote.

    Raises:
        Unavailable: it is not installed, fails or does not end.
    """
    import subprocess

    try:
        done = subprocess.run(
            list(arguments),
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd=directory,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
        )
    except FileNotFoundError as error:
        raise Unavailable(
            f"{doing}: {arguments[0]} is not installed", "guest kernels come as Debian packages"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{doing}: {arguments[0]} did not end in {_TIMEOUT_S} s") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("E:")]
        said = lines or done.stderr.splitlines()[-1:] or ["it gave no reason"]
        raise Unavailable(f"{doing}: {'; '.join(said[-3:])}")
    return done.stdout
