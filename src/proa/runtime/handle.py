"""A process inside a container, as its supervisor holds it."""

from __future__ import annotations

import fcntl
import os
import struct
import termios
from typing import TYPE_CHECKING

from proa.errors import Conflict, from_os_error
from proa.linux.process import pidfd_send_signal, wait_pidfd
from proa.oci.isolation import ExitStatus

if TYPE_CHECKING:
    from proa.cgroups.cgroup import Cgroup

_SIGNAL_BASE = 128


class Handle:
    """Implements :class:`proa.oci.isolation.ProcessHandle` for a child of this process."""

    __slots__ = ("_cgroup", "_console", "_pid", "_pidfd", "_status")

    def __init__(self, pid: int, pidfd: int, console: int, cgroup: Cgroup | None) -> None:
        self._pid = pid
        self._pidfd = pidfd
        self._console = console
        self._cgroup = cgroup
        self._status: ExitStatus | None = None

    @property
    def pid(self) -> int:
        """Pid as the host sees it."""
        return self._pid

    @property
    def pidfd(self) -> int:
        """Pollable descriptor, readable once the process has ended; owned by this object."""
        return self._pidfd

    @property
    def console(self) -> int:
        """Master side of the pty, or -1; owned by this object."""
        return self._console

    def signal(self, number: int) -> None:
        """Send a signal; an ended process is not an error.

        Raises:
            ProaError: the number is no signal.
        """
        if self._status is not None or self._pidfd < 0:
            return
        try:
            pidfd_send_signal(self._pidfd, number)
        except ProcessLookupError:
            pass
        except OSError as error:
            raise from_os_error(error, f"cannot send signal {number} to pid {self._pid}") from error

    def resize(self, rows: int, columns: int) -> None:
        """Set the terminal's size; the foreground processes get SIGWINCH.

        Raises:
            Conflict: the process has no terminal.
        """
        if self._console < 0:
            raise Conflict(f"process {self._pid} has no terminal")
        try:
            fcntl.ioctl(self._console, termios.TIOCSWINSZ, struct.pack("<4H", rows, columns, 0, 0))
        except OSError as error:
            raise from_os_error(error, f"cannot resize the terminal of {self._pid}") from error

    def wait(self) -> ExitStatus:
        """Reap the process; blocks until it has ended. Idempotent."""
        if self._status is None:
            try:
                end = wait_pidfd(self._pidfd)
            except ChildProcessError:
                # Somebody reaped it: a SIGCHLD that is ignored does.
                end = (255, 0)
            code, signal = end if end is not None else (255, 0)
            self._status = ExitStatus(
                code=_SIGNAL_BASE + signal if signal else code,
                signal=signal,
                oom_killed=self._cgroup is not None and self._cgroup.oom_kills() > 0,
            )
        return self._status

    def ended(self) -> bool:
        """Whether it has been reaped."""
        return self._status is not None

    def close(self) -> None:
        """Close the descriptors. Idempotent."""
        for fd in (self._pidfd, self._console):
            if fd >= 0:
                os.close(fd)
        self._pidfd = self._console = -1
