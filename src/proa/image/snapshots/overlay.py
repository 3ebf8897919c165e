"""Snapshots for overlayfs: every layer unpacked once, read-only, shared by all containers on it.

On disk, below ``<root>/snapshots`` (0700)::

    <chain hex>/fs           the layer's own files, with overlayfs' whiteouts (see layers.whiteout)
    <chain hex>/layer        what is known of it (:class:`Snapshot`), JSON
    l/<short>                -> ../<chain hex>/fs; 13 characters, so that 127 of them fit mount(2)
    staging/<chain hex>/     being unpacked; locked (flock on the directory) by whoever does

``fs`` holds only what this layer adds, so it would be the same on any parent; its key is the chain
id all the same, because directories without an entry take their attributes from the parents.

Commit: all layers of an image are staged, then one syncfs(2) makes their files durable, then each
is renamed, lowest first, and the directory fsynced. A snapshot that has its name is therefore
whole. Two processes that need the same layer meet at the lock on the staged directory: the second
finds the snapshot when it gets it. A crash leaves staged directories that nobody locks; the next to
unpack that layer empties its own, the collector removes all.

Lock order: the image store's lock (shared), then staged directories in the order of the layers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

import msgspec

from proa.errors import Conflict
from proa.fs import lock
from proa.fs.atomicfile import load_file, save_file, sync_directory
from proa.fs.tree import empty_tree, remove_tree
from proa.linux.openat2 import syncfs
from proa.oci.digest import ChainID, DiffID, encoded, parse_chain_id

_SHORT_BYTES = 8  # 13 characters of base 32


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A committed layer.

    Attributes:
        size_bytes: file content that it unpacks to, as the archive has it.
        entries: directory entries.
        opaque_root: nothing below this layer is visible.
    """

    chain_id: ChainID
    diff_id: DiffID
    parent: ChainID | None
    size_bytes: int
    entries: int
    opaque_root: bool = False


class Snapshots:
    """All snapshots of one state root. Making one touches no disk."""

    def __init__(self, root: str) -> None:
        """Use ``<root>/snapshots``."""
        self.root = root
        self.path = f"{root}/snapshots"

    def find(self, chain_id: ChainID) -> Snapshot | None:
        """Return a committed snapshot."""
        try:
            data = load_file(f"{self.path}/{encoded(chain_id)}/layer")
        except FileNotFoundError:
            return None
        return msgspec.json.decode(data, type=Snapshot)

    def directory(self, chain_id: ChainID) -> str:
        """Return the absolute path of the layer's files."""
        return f"{self.path}/{encoded(chain_id)}/fs"

    def lower(self, chain_id: ChainID) -> str:
        """Return the short name of the layer's files, relative to the state root."""
        return f"snapshots/l/{_short(chain_id)}"

    def stage(self, chain_id: ChainID) -> Staged:
        """Begin a snapshot, waiting for whoever is at the same one.

        Returns:
            A staged directory, locked and empty; ``committed`` when the snapshot came to be while
            we waited.
        """
        self._prepare()
        return Staged(self, chain_id)

    @contextmanager
    def scratch(self) -> Iterator[str]:
        """Give a directory for a layer whose chain id is not known yet; ``Staged.adopt`` takes it.

        It is removed at the end with what is still in it.
        """
        path = f"{self.path}/staging/{os.urandom(16).hex()}"
        self._prepare()
        os.mkdir(path, 0o700)
        held = lock.acquire(path)
        try:
            _make_root(f"{path}/fs")
            yield f"{path}/fs"
        finally:
            remove_tree(path)
            held.release()

    def sync_files(self) -> None:
        """Make everything that was staged durable; before any of it is committed."""
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            syncfs(fd)
        finally:
            os.close(fd)

    def sync_names(self) -> None:
        """Make commits durable; before anything refers to them."""
        sync_directory(f"{self.path}/l")
        sync_directory(self.path)

    def remove(self, chain_id: ChainID) -> None:
        """Remove a snapshot; one that is not there is fine.

        Only for the collector, under the image store's exclusive lock, uppermost layers first. The
        name goes first: what is half removed has no name.
        """
        gone = f"{self.path}/staging/{encoded(chain_id)}"
        remove_tree(gone)
        try:
            os.rename(f"{self.path}/{encoded(chain_id)}", gone)
        except FileNotFoundError:
            return
        # After the name: a snapshot that has its name has its link, too.
        os.unlink(f"{self.path}/l/{_short(chain_id)}")
        remove_tree(gone)

    def chain_ids(self) -> list[ChainID]:
        """Return the chain id of every committed snapshot."""
        found = []
        try:
            names = os.listdir(self.path)
        except FileNotFoundError:
            return []
        for name in names:
            if name not in ("l", "staging"):
                algorithm = "sha256" if len(name) == 64 else "sha512"
                found.append(parse_chain_id(f"{algorithm}:{name}"))
        return found

    def staged_paths(self) -> list[str]:
        """Return the directories of layers that are being unpacked, or that a crash left."""
        directory = f"{self.path}/staging"
        try:
            return [f"{directory}/{name}" for name in os.listdir(directory)]
        except FileNotFoundError:
            return []

    def remove_garbage(self) -> None:
        """Remove what crashed writers left. Under the image store's exclusive lock."""
        if not os.path.isdir(f"{self.path}/staging"):
            return
        empty_tree(f"{self.path}/staging")
        for name in os.listdir(f"{self.path}/l"):
            if not os.path.exists(f"{self.path}/l/{name}"):
                os.unlink(f"{self.path}/l/{name}")

    def _prepare(self) -> None:
        for name in ("", "/l", "/staging"):
            path = f"{self.path}{name}"
            if os.path.isdir(path):
                continue
            os.makedirs(path, 0o700, exist_ok=True)
            if name == "/staging":
                _spread(path)


class Staged:
    """A snapshot in the making. A context manager: what was not committed is removed at its end.

    Attributes:
        committed: the snapshot exists.
        fs_path: where the layer's files go.
    """

    def __init__(self, snapshots: Snapshots, chain_id: ChainID) -> None:
        """Lock and empty the staged directory, or find that there is no need to."""
        self._snapshots = snapshots
        self._chain_id = chain_id
        self._path = f"{snapshots.path}/staging/{encoded(chain_id)}"
        self.fs_path = f"{self._path}/fs"
        self._lock: lock.Lock | None = None
        while True:
            self.committed = os.path.lexists(f"{snapshots.path}/{encoded(chain_id)}/layer")
            if self.committed:
                if self._lock:
                    remove_tree(self._path)  # made anew while the other committed
                self._close()
                return
            if self._lock:
                break
            self._lock = self._acquire()
        empty_tree(self._path)
        _make_root(self.fs_path)

    def adopt(self, fs_path: str) -> None:
        """Take the files of a scratch directory."""
        os.rename(fs_path, self.fs_path)

    def describe(self, snapshot: Snapshot) -> None:
        """Write what is known of the layer; made durable with its files."""
        save_file(f"{self._path}/layer", msgspec.json.encode(snapshot), durable=False)

    def commit(self) -> None:
        """Give the snapshot its name; its files are durable already (``Snapshots.sync_files``).

        Raises:
            Conflict: another layer has the same short name.
        """
        link = f"{self._snapshots.path}/l/{_short(self._chain_id)}"
        target = f"../{encoded(self._chain_id)}/fs"
        try:
            os.symlink(target, link)
        except FileExistsError:
            # Left by a crash; or, one in 2**64, another layer of the same short name.
            if os.readlink(link) != target:
                raise Conflict(f"snapshot {self._chain_id} has the short name of another") from None
        os.rename(self._path, f"{self._snapshots.path}/{encoded(self._chain_id)}")
        self.committed = True
        self._close()

    def __enter__(self) -> Staged:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._lock and not self.committed:
            # While locked: whoever waits for it notices that the name has gone.
            remove_tree(self._path)
        self._close()

    def _acquire(self) -> lock.Lock | None:
        """Lock the directory; None when the one that was locked has lost its name meanwhile."""
        try:
            os.mkdir(self._path, 0o700)
        except FileExistsError:
            pass
        try:
            held = lock.acquire(self._path, create=False)
        except FileNotFoundError:
            return None
        own = os.fstat(held.fd)
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            held.release()
            return None
        if (own.st_dev, own.st_ino) != (found.st_dev, found.st_ino):
            held.release()
            return None
        return held

    def _close(self) -> None:
        if self._lock:
            self._lock.release()
            self._lock = None


def _spread(path: str) -> None:
    """Unpack no layer where the inodes of another have just been given back."""
    from proa.linux.inodeflags import spread_children

    try:
        spread_children(path)
    except OSError:
        return  # not ext4


def _make_root(path: str) -> None:
    os.mkdir(path, 0o755)
    os.chmod(path, 0o755)  # whatever the umask


def _short(chain_id: ChainID) -> str:
    import base64

    raw = bytes.fromhex(encoded(chain_id)[: 2 * _SHORT_BYTES])
    return base64.b32encode(raw).decode().rstrip("=").lower()
