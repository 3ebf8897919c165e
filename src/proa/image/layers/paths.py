"""Names of archives as paths inside a root: absolute ones are taken relative, ``..`` is refused."""

from __future__ import annotations

from proa.image.layers import whiteout
from proa.image.layers.entry import Refusal
from proa.image.limits import Limits

_SHORT_PATH = 100  # below NAME_MAX with room, so that no component of the path can exceed it


class PathSplitter:
    """Splits and checks paths; remembers the last directory, which is mostly the next one's too."""

    __slots__ = ("_last_head", "_last_parent", "_limits")

    def __init__(self, limits: Limits) -> None:
        """Apply the limits of a path and of its components."""
        self._limits = limits
        self._last_head: bytes | None = None
        self._last_parent = b""

    def split(self, path: bytes) -> tuple[bytes, bytes]:
        """Return the parent's path and the last component; both empty for the root itself.

        Raises:
            Refusal: what no honest archive has.
        """
        head, _, last = path.rpartition(b"/")
        plain = last.strip(b".") and len(path) < _SHORT_PATH and b"\0" not in last
        if plain and head == self._last_head:
            return self._last_parent, last
        parent, name = self._checked(path)
        if plain:
            self._last_head, self._last_parent = head, parent
        return parent, name

    def _checked(self, path: bytes) -> tuple[bytes, bytes]:
        limits = self._limits
        if len(path) > limits.path_bytes:
            raise Refusal(f"a path of {len(path)} bytes")
        if b"\0" in path:
            raise Refusal("a path with a NUL byte")
        parts = normalized(path)
        for part in parts:
            if part == b"..":
                raise Refusal("a path with '..'")
            if len(part) > limits.component_bytes:
                raise Refusal(f"a name of {len(part)} bytes")
        if not parts:
            return b"", b""
        name = parts.pop()
        for part in parts:
            if part.startswith(whiteout.PREFIX):
                raise Refusal("a whiteout as a directory")
        return b"/".join(parts), name


def normalized(path: bytes) -> list[bytes]:
    """Return the components of a path, without empty ones and ``.``."""
    return [part for part in path.split(b"/") if part not in (b"", b".")]
