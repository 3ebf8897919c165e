"""The keys that leave a container running (``--detach-keys``, ctrl-p ctrl-q by default)."""

from __future__ import annotations

from proa.errors import Invalid

DEFAULT = "ctrl-p,ctrl-q"
_CONTROL = {"@": 0, "[": 27, "\\": 28, "]": 29, "^": 30, "_": 31}


def parse_detach_keys(text: str) -> bytes:
    """Return the byte sequence of ``a,ctrl-b,...``; empty text means the default keys.

    Raises:
        Invalid: an element is neither one character nor ``ctrl-`` and a letter or a sign.
    """
    sequence = bytearray()
    for key in (text or DEFAULT).split(","):
        name = key.removeprefix("ctrl-")
        if key == name and len(key.encode()) == 1:
            sequence += key.encode()
        elif key != name and len(name) == 1 and "a" <= name <= "z":
            sequence.append(ord(name) - 96)
        elif key != name and name in _CONTROL:
            sequence.append(_CONTROL[name])
        else:
            raise Invalid(f"invalid detach keys '{text}'", "write them as a,ctrl-b")
    return bytes(sequence)


class DetachScanner:
    """Finds the sequence in a stream that arrives in pieces, and holds back what may begin it."""

    def __init__(self, sequence: bytes) -> None:
        self._sequence = sequence
        self._held = b""

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """Return what to pass on, and whether the sequence came (what follows it is dropped)."""
        data = self._held + data
        at = data.find(self._sequence)
        if at >= 0:
            self._held = b""
            return data[:at], True
        keep = next(
            (
                size
                for size in range(min(len(self._sequence) - 1, len(data)), 0, -1)
                if data.endswith(self._sequence[:size])
            ),
            0,
        )
        self._held = data[len(data) - keep :]
        return data[: len(data) - keep], False
