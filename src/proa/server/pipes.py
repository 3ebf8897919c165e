"""Pipes between the engine, which reads and writes descriptors, and bodies of HTTP, which are none.

One thread copies on one side while the request's thread works on the other; neither outlives the
block, and an error of either side is the request's.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from proa.errors import Corrupt
from proa.server.errors import HttpError

_PIECE_BYTES: Final = 1 << 18


@contextmanager
def readable(pieces: Iterator[bytes]) -> Iterator[int]:
    """Give a descriptor that the pieces can be read from.

    An error of the body (the client hung up) ends the stream early and is raised at the end of the
    block, unless the reader failed first for a reason of its own.
    """
    ours, theirs = os.pipe2(os.O_CLOEXEC)
    failed: list[BaseException] = []

    def copy() -> None:
        try:
            for piece in pieces:
                _write_all(theirs, piece)
        except BrokenPipeError:  # the reader has had enough
            pass
        except BaseException as error:  # noqa: BLE001 - told to the request's thread
            failed.append(error)
        finally:
            os.close(theirs)

    thread = threading.Thread(target=copy, name="body", daemon=True)
    thread.start()
    try:
        yield ours
        _drain(ours)
    except BaseException as error:
        if failed and not isinstance(failed[0], BrokenPipeError):
            raise failed[0] from error
        raise
    finally:
        os.close(ours)
        thread.join()
    if failed:
        raise failed[0]


@contextmanager
def sent_by_client() -> Iterator[None]:
    """Blame the client for data that is not what it claims to be."""
    try:
        yield
    except Corrupt as error:
        raise HttpError(400, str(error)) from error


def written(write: Callable[[int], None]) -> Iterator[bytes]:
    """Yield what a function writes to a descriptor; its error is raised here.

    Nothing is yielded before the function has written something, so that an early error is still
    an ordinary answer.
    """
    ours, theirs = os.pipe2(os.O_CLOEXEC)
    failed: list[BaseException] = []

    def run() -> None:
        try:
            write(theirs)
        except BaseException as error:  # noqa: BLE001 - told to the request's thread
            failed.append(error)
        finally:
            os.close(theirs)

    thread = threading.Thread(target=run, name="archive", daemon=True)
    thread.start()
    try:
        while piece := os.read(ours, _PIECE_BYTES):
            yield piece
    finally:
        os.close(ours)  # a writer that is still at work gets EPIPE
        thread.join()
    if failed:
        raise failed[0]


def _write_all(fd: int, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[os.write(fd, view) :]


def _drain(fd: int) -> None:
    """Read what is left (the padding of an archive), so that the client gets to its end."""
    while os.read(fd, _PIECE_BYTES):
        pass
