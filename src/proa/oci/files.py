"""Files of a sandbox that only the sandbox itself can reach: what is asked, and what is answered.

The engine reads and writes the files of processes on its own kernel by descriptors. Those of a
guest are behind another kernel: the same questions go to its agent.
"""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

from proa.oci.isolation import ProcessHandle, Stdio

Kind = Literal["pack", "unpack", "layer"]


class FileStat(msgspec.Struct, frozen=True, kw_only=True):
    """What is at a path; ``link_target`` of a symbolic link, as written."""

    size_bytes: int
    mode: int
    mtime_ns: int
    link_target: str = ""


class StatFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="stat-file"):
    """Look at a path of the container's root, as its processes see it.

    Attributes:
        follow: look at what a link leads to.
    """

    path: str
    follow: bool = False


class Transfer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="transfer"):
    """Move files as a tar.

    Attributes:
        kind: ``pack``: the archive of ``path`` goes to standard output; ``unpack``: the archive on
            standard input goes into the directory ``path``; ``layer``: the writable layer goes to
            standard output as an image's layer.
        follow: pack what a link leads to.
        name: of the packed file or directory in the archive; empty: the content of a directory.
        keep_owner: unpacked files belong to whom the archive says, else to root.
        number: the process' on the channel; set by whoever sends it there.
    """

    kind: Kind
    path: str = "/"
    follow: bool = False
    name: str = ""
    keep_owner: bool = True
    number: int = 0


class FileAccess(Protocol):
    """A sandbox that moves its files itself.

    A transfer is a process: exit code 0, or 1 and a message for people on standard error.
    """

    def stat_file(self, request: StatFile) -> FileStat:
        """Look at a path.

        Raises:
            NotFound: there is nothing.
        """

    def transfer(self, request: Transfer, stdio: Stdio) -> ProcessHandle:
        """Start moving files."""
