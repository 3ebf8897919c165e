r"""Docker's json-file driver: writing.

One entry a line, ``{"log":"Hello\n","stream":"stdout","time":"2026-11-05T10:30:00.000000000Z"}``.
A line over 16 KiB becomes several entries, all but the last without the newline, as Docker does;
the cut never divides a UTF-8 sequence. Bytes that are not UTF-8 become U+FFFD.

The supervisor calls this between two reads of the container's pipe, so it bounds how fast a
container can write. Nothing here runs once a line: a chunk is encoded as one JSON string in which
the newlines were first replaced by DEL, which JSON leaves alone, and DEL is then replaced by the
text between two entries. (A chunk that contains DEL itself goes line by line.)

The file never keeps half an entry: a short or failed write is cut back to the last whole one, and
a file that a crash left with an incomplete last line is cut when it is opened. What cannot be
written is dropped and counted; the next entry that can be written is preceded by one that says so.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

import msgspec

from proa.engine.logs.driver import Stream
from proa.engine.logs.options import JsonFileOptions
from proa.engine.logs.rotation import create, rotate
from proa.errors import from_os_error
from proa.units import format_rfc3339_ns

ENTRY_BYTES: Final = 16 * 1024
_NEWLINE: Final = b"\n"
_STAND_IN: Final = b"\x7f"

_encoder = msgspec.json.Encoder()


class JsonFileWriter:
    """Appends to one container's log and rotates it. Implements :class:`LogWriter`."""

    def __init__(
        self,
        path: str,
        options: JsonFileOptions | None = None,
        attributes: Mapping[str, str] | None = None,
    ) -> None:
        """Prepare to write; :meth:`open` or the first entry makes the file.

        Args:
            path: the current file; rotated ones get suffixes.
            options: rotation; None for one unlimited file.
            attributes: what each entry carries as ``attrs``.
        """
        self._path = path
        self._options = options or JsonFileOptions()
        self._limit_bytes = self._options.max_size_bytes
        attrs = _encoder.encode(dict(attributes)) if attributes else b""
        self._tails = {
            stream: b'","stream":"%s"%s,"time":"'
            % (stream.encode(), b',"attrs":' + attrs if attrs else b"")
            for stream in ("stdout", "stderr")
        }
        self._pending: dict[Stream, bytes] = {"stdout": b"", "stderr": b""}
        self._dropped_bytes = 0
        self._unreported_bytes = 0
        self._error = ""
        self._descriptor = -1
        self._size_bytes = 0

    @property
    def error(self) -> str:
        """Why entries are being dropped right now, empty if all is well."""
        return self._error

    @property
    def dropped_bytes(self) -> int:
        """Bytes that could not be written since the log was opened."""
        return self._dropped_bytes

    def open(self) -> None:
        """Make the file; see :class:`LogWriter`."""
        if self._descriptor < 0:
            try:
                self._open()
            except OSError as error:
                raise from_os_error(error, f"cannot open the log {self._path}") from error

    def write(self, stream: Stream, data: bytes, time_ns: int) -> None:
        """Log what a container wrote; see :class:`LogWriter`."""
        pending = self._pending[stream]
        if pending:
            data = pending + data
            self._pending[stream] = b""
        start, end = 0, len(data)
        while start < end:
            # The longest run of whole lines that is one entry at most in size needs no look inside.
            stop = data.rfind(_NEWLINE, start, start + ENTRY_BYTES) + 1
            if stop:
                self._append(stream, data[start:stop], time_ns)
            elif end - start >= ENTRY_BYTES:
                stop = start + ENTRY_BYTES - _split_sequence_bytes(data, start + ENTRY_BYTES)
                self._append(stream, data[start:stop], time_ns)
            else:
                self._pending[stream] = data[start:]
                return
            start = stop

    def take_pending(self) -> dict[Stream, bytes]:
        """Give up incomplete lines; see :class:`LogWriter`."""
        pending = {stream: data for stream, data in self._pending.items() if data}
        self._pending = {"stdout": b"", "stderr": b""}
        return pending

    def restore_pending(self, pending: Mapping[Stream, bytes]) -> None:
        """Take incomplete lines over; see :class:`LogWriter`."""
        self._pending.update(pending)

    def flush(self, time_ns: int) -> None:
        """Write incomplete lines as they are (the streams have ended)."""
        for stream, pending in self._pending.items():
            if pending:
                self._pending[stream] = b""
                self._append(stream, pending, time_ns)

    def close(self) -> None:
        """Close the file; incomplete lines that were not flushed are lost. Idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _append(self, stream: Stream, data: bytes, time_ns: int) -> None:
        """Write the entries of at most ``ENTRY_BYTES`` that are whole lines or one piece."""
        if self._descriptor < 0:
            try:
                self._open()
            except OSError:
                pass  # writing tries again and says why not
        if 0 < self._limit_bytes <= self._size_bytes and self._descriptor >= 0:
            self._rotate()
        tail = self._tails[stream] + format_rfc3339_ns(time_ns).encode() + b'"}\n'
        entries = _encode(data, tail)
        if self._unreported_bytes:
            entries = self._gap_notice(time_ns) + entries
        self._write(entries, len(data))

    def _write(self, entries: bytes, payload_bytes: int) -> None:
        try:
            if self._descriptor < 0:
                self._open()
            written = os.write(self._descriptor, entries)
            if written < len(entries):
                # The disk is full now or the process is being killed; the rest tells which.
                written += os.write(self._descriptor, entries[written:])
        except OSError as error:
            written = -1
            self._error = os.strerror(error.errno or 0).lower()
        if written == len(entries):
            self._size_bytes += written
            if self._unreported_bytes:
                self._unreported_bytes = 0
                self._error = ""
            return
        self._error = self._error or "no space left on device"
        self._dropped_bytes += payload_bytes
        self._unreported_bytes += payload_bytes
        try:
            if self._descriptor >= 0:
                os.ftruncate(self._descriptor, self._size_bytes)
        except OSError:
            pass  # the reader skips an incomplete line, and the next opening cuts it

    def _open(self) -> None:
        self._descriptor = create(self._path)
        self._size_bytes = _cut_incomplete_line(self._descriptor)

    def _gap_notice(self, time_ns: int) -> bytes:
        text = f"proa: {self._unreported_bytes} bytes were not logged: {self._error}\n"
        tail = self._tails["stderr"] + format_rfc3339_ns(time_ns).encode() + b'"}\n'
        return _encode(text.encode(), tail)

    def _rotate(self) -> None:
        try:
            descriptor = rotate(
                self._path, self._options.max_files, compress=self._options.compress
            )
        except OSError:
            return  # no room for a new file: the current one grows, the next entry tries again
        os.close(self._descriptor)
        self._descriptor = descriptor
        self._size_bytes = 0


def _encode(data: bytes, tail: bytes) -> bytes:
    """Return the entries of lines; ``tail`` follows the text of each."""
    if _STAND_IN in data and data.count(_NEWLINE) > 1:
        return b"".join([_encode(line + _NEWLINE, tail) for line in data[:-1].split(_NEWLINE)])
    newline = b"\\n" if data.endswith(_NEWLINE) else b""
    body = data[:-1] if newline else data
    if _NEWLINE in body:
        quoted = _encoder.encode(body.replace(_NEWLINE, _STAND_IN).decode("utf-8", "replace"))
        quoted = quoted.replace(_STAND_IN, newline + tail + b'{"log":"')
    else:
        quoted = _encoder.encode(body.decode("utf-8", "replace"))
    return b'{"log":%s%s%s' % (quoted[:-1], newline, tail)


def _split_sequence_bytes(data: bytes, cut: int) -> int:
    """Return how many bytes before ``cut`` begin a UTF-8 sequence that goes on behind it."""
    if cut >= len(data) or data[cut] & 0xC0 != 0x80:
        return 0
    for back in (1, 2, 3):
        byte = data[cut - back]
        if byte >= 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return back if length > back else 0
        if byte < 0x80:
            return 0
    return 0


def _cut_incomplete_line(descriptor: int) -> int:
    """Cut what follows the last newline; return the size that remains."""
    size = end = os.fstat(descriptor).st_size
    while end > 0:
        start = max(end - 65536, 0)
        newline = os.pread(descriptor, end - start, start).rfind(_NEWLINE)
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    if end < size:
        os.ftruncate(descriptor, end)
    return end
