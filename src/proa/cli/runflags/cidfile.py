"""``--cidfile``: a new file that gets the container's id as soon as there is one."""

from __future__ import annotations

import os
from types import TracebackType

from proa.cli.parser import UsageError


class CidFile:
    """Made empty before the container is, filled by :meth:`write`, removed if that never came.

    A context manager; with an empty path nothing happens at all.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd = -1
        self._written = False

    def __enter__(self) -> CidFile:
        """Make the file.

        Raises:
            UsageError: it is there already, or cannot be made.
        """
        if self.path:
            try:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                self._fd = os.open(self.path, flags, 0o644)
            except FileExistsError:
                raise UsageError(
                    "container ID file found, make sure the other container isn't running "
                    f"or delete {self.path}"
                ) from None
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
                raise UsageError(
                    f"failed to create the container ID file {self.path}: {reason}"
                ) from None
        return self

    def write(self, container_id: str) -> None:
        """Write the id; the file is complete when this returns."""
        if self._fd >= 0:
            os.write(self._fd, container_id.encode())
            self._written = True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the file, and remove it if it stayed empty."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            if not self._written:
                os.unlink(self.path)
