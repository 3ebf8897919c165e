"""Waiting for a file or a directory to change, or for a descriptor to say stop."""

from __future__ import annotations

import os
import select
from types import TracebackType
from typing import Final

from proa.linux import inotify

# How often to look where the kernel gives no inotify instance (max_user_instances used up).
_POLL_S: Final = 0.1


class Watch:
    """An inotify watch on one path; a context manager that owns its descriptor."""

    def __init__(self, path: str, mask: int) -> None:
        """Begin to watch; changes from here on are not missed.

        Args:
            path: what to watch; must exist.
            mask: ``IN_*`` bits of :mod:`proa.linux.inotify`.

        Raises:
            FileNotFoundError: it does not exist.
        """
        self._descriptor = -1
        try:
            self._descriptor = inotify.init()
            inotify.add_watch(self._descriptor, path, mask)
        except FileNotFoundError:
            self.close()
            raise
        except OSError:
            self.close()

    def __enter__(self) -> Watch:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the watch."""
        self.close()

    def wait(self, timeout_s: float, stop_fd: int = -1) -> bool:
        """Wait for a change, for ``stop_fd`` or for the timeout.

        Returns:
            True when ``stop_fd`` is readable or hung up.
        """
        poller = select.poll()
        if self._descriptor >= 0:
            poller.register(self._descriptor, select.POLLIN)
        else:
            timeout_s = min(timeout_s, _POLL_S)
        if stop_fd >= 0:
            poller.register(stop_fd, select.POLLIN)
        ready = poller.poll(max(timeout_s, 0) * 1000)
        stopped = False
        for descriptor, _ in ready:
            if descriptor == stop_fd:
                stopped = True
            else:
                inotify.read(descriptor)
        return stopped

    def close(self) -> None:
        """Give the descriptor back. Idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
