"""An iterator that runs ahead in a thread of its own.

Reading, hashing and decompressing release the interpreter's lock, so they overlap with the system
calls of the consumer.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import queue
    import threading

_AHEAD = 16  # pieces in flight: enough to ride out a slow file creation, 4 MiB of memory


class Prefetch:
    """Iterates ``chunks`` ahead of its consumer; ``close`` ends the thread, also half-way."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        """Start at once."""
        import queue
        import threading

        self._chunks = chunks
        self._queue: queue.Queue[bytes | BaseException | None] = queue.Queue(_AHEAD)
        self._stopped = False
        self._thread: threading.Thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[bytes]:
        while True:
            item = self._queue.get()
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item

    def close(self) -> None:
        """Stop the thread and wait for it; idempotent."""
        import queue

        self._stopped = True
        # The thread may stand in put(): make room until it has seen the flag.
        while self._thread.is_alive():
            try:
                self._queue.get(timeout=0.01)
            except queue.Empty:
                continue
        self._thread.join()

    def _run(self) -> None:
        end: BaseException | None = None
        try:
            for chunk in self._chunks:
                if self._stopped:
                    return
                self._queue.put(chunk)
        except BaseException as error:  # noqa: BLE001 - raised again by the consumer
            end = error
        finally:
            # What it holds (a process, a pipe) goes with it, not when memory is next collected.
            if isinstance(self._chunks, Generator):
                self._chunks.close()
        self._queue.put(end)
