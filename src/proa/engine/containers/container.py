"""A container as an object: what is known of it, and what can be done with it.

It is the record as it was when it was asked for (:meth:`Container.reload` asks again) with the
verbs of ``engine.containers`` bound to its id.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from proa.engine.config import (
    ContainerUpdate,
    ExecConfig,
    MountConfig,
    PortConfig,
    Resources,
    RestartPolicy,
)
from proa.engine.containers import lifecycle, query, run, stats
from proa.engine.containers import update as updating
from proa.engine.containers.archive import changes as comparing
from proa.engine.containers.archive import copy, local
from proa.engine.containers.archive.changes import Changes
from proa.engine.containers.execution import Execution
from proa.engine.containers.logs import LogLine, read_logs
from proa.engine.containers.stats import StatsSample
from proa.engine.context import Context
from proa.engine.logs.reader import LogSelection
from proa.engine.model import ContainerRecord, Status
from proa.errors import Invalid, NotFound
from proa.image.layers.entry import REGULAR, Entry
from proa.image.layers.reader import TarReader
from proa.image.layers.stream import ByteStream
from proa.image.layers.writer import TarWriter

if TYPE_CHECKING:
    from proa.engine.containers.top import ProcessTable
    from proa.image.model import Image


class Container(ContainerRecord, frozen=True, kw_only=True):
    """One container.

    A context manager: leaving it ends and removes the container and its anonymous volumes.

    Attributes:
        context: the engine that it belongs to.
        warnings: after ``create``: what was asked for and this machine cannot do.
    """

    context: Context
    warnings: tuple[str, ...] = ()

    @property
    def short_id(self) -> str:
        """The first twelve digits of the id."""
        return self.id[:12]

    @property
    def status(self) -> Status:
        """As it was when this object was made; see :meth:`reload`."""
        return self.state.status

    @property
    def labels(self) -> Mapping[str, str]:
        """The container's own labels, without the image's."""
        return self.config.labels

    def reload(self) -> Container:
        """Return the container as it is now."""
        return bind(lifecycle.get(self.context, self.id), self.context)

    def inspect(self, *, size: bool = False) -> dict[str, object]:
        """Return what ``docker inspect`` shows."""
        return query.inspect(self.context, self.id, size=size)

    def start(self) -> None:
        """Start it; one that runs is left alone."""
        run.start(self.context, self.id)

    def stop(self, *, timeout_s: float | None = None, signal: str = "") -> None:
        """End it: its stop signal, then SIGKILL after the timeout."""
        lifecycle.stop(self.context, self.id, timeout_s=timeout_s, signal=signal)

    def restart(self, *, timeout_s: float | None = None, signal: str = "") -> None:
        """Stop it and start it again."""
        run.restart(self.context, self.id, timeout_s=timeout_s, signal=signal)

    def kill(self, signal: str = "KILL") -> None:
        """Send a signal to its init."""
        lifecycle.kill(self.context, self.id, signal)

    def pause(self) -> None:
        """Freeze all its processes."""
        lifecycle.pause(self.context, self.id)

    def unpause(self) -> None:
        """Thaw all its processes."""
        lifecycle.unpause(self.context, self.id)

    def wait(self) -> int:
        """Wait for its end and return its exit code."""
        return lifecycle.wait(self.context, self.id)

    def remove(self, *, force: bool = False, volumes: bool = False) -> None:
        """Remove it and its files."""
        lifecycle.remove(self.context, self.id, force=force, with_volumes=volumes)

    def rename(self, name: str) -> None:
        """Give it another name."""
        lifecycle.rename(self.context, self.id, name)

    def update(
        self,
        *,
        resources: Resources | None = None,
        restart: RestartPolicy | None = None,
        labels: Mapping[str, str] | None = None,
        label_rm: Sequence[str] = (),
        mount_add: Sequence[MountConfig] = (),
        mount_rm: Sequence[str] = (),
        publish_add: Sequence[PortConfig] = (),
        publish_rm: Sequence[PortConfig] = (),
    ) -> None:
        """Change limits, restart policy, labels, mounts or published ports, at once if it runs."""
        changes = ContainerUpdate(
            resources=resources or Resources(),
            restart=restart,
            labels=dict(labels or {}),
            label_rm=tuple(label_rm),
            mount_add=tuple(mount_add),
            mount_rm=tuple(mount_rm),
            publish_add=tuple(publish_add),
            publish_rm=tuple(publish_rm),
        )
        updating.update(self.context, self.id, changes)

    def exec(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        user: str = "",
        working_dir: str = "",
        stdin: bool = False,
        tty: bool = False,
        privileged: bool = False,
    ) -> Execution:
        """Start a command in it.

        Args:
            command: arguments.
            env: variables on top of the container's.
            user, working_dir: empty: the container's.
            stdin: give it a standard input; otherwise it reads nothing.
            tty: give it a terminal; its output is one stream.
            privileged: all capabilities of the container's user namespace.

        Returns:
            The running command: iterate over it for output, or call ``result()``.
        """
        config = ExecConfig(
            command=tuple(command),
            env=tuple([f"{name}={value}" for name, value in (env or {}).items()]),
            user=user,
            working_dir=working_dir,
            tty=tty,
            open_stdin=stdin,
            privileged=privileged,
        )
        return Execution(self.context, self.id, config)

    def logs(
        self, *, follow: bool = False, since_ns: int = 0, until_ns: int = 0, tail: int = -1,
        stdout: bool = True, stderr: bool = True,
    ) -> Iterator[LogLine]:  # fmt: skip
        """Yield what it wrote, oldest first; with ``follow`` until it has ended."""
        selection = LogSelection(
            stdout=stdout, stderr=stderr, since_ns=since_ns, until_ns=until_ns, tail=tail
        )
        return read_logs(self.context, self.id, selection, follow=follow)

    def top(self, ps_options: Sequence[str] = ()) -> ProcessTable:
        """Return its processes."""
        from proa.engine.containers.top import top

        return top(self.context, self.id, ps_options)

    def stats(self) -> StatsSample:
        """Read what it uses; two readings give rates."""
        return stats.sample(self.context, self.id)

    def diff(self) -> Changes:
        """Return what it changed of its image's files, by path."""
        return comparing.diff(self.context, self.id)

    def commit(
        self, name: str = "", *, author: str = "", message: str = "",
        changes: Sequence[str] = (), pause: bool = True,
    ) -> Image:  # fmt: skip
        """Make an image of its files and configuration."""
        from proa.engine.containers.archive.commit import commit

        return commit(
            self.context, self.id, name, author=author, message=message, changes=changes,
            pause=pause,
        )  # fmt: skip

    def export(self) -> Iterator[bytes]:
        """Yield the tar of its whole root, without its volumes."""
        return copy.export(self.context, self.id)

    def get_archive(self, path: str, *, follow_link: bool = False) -> Iterator[bytes]:
        """Yield the tar of one of its files or directories."""
        return copy.get_archive(self.context, self.id, path, follow_link=follow_link)

    def put_archive(self, path: str, pieces: Iterable[bytes], *, keep_owner: bool = True) -> None:
        """Unpack a tar into one of its directories."""
        copy.put_archive(self.context, self.id, path, pieces, keep_owner=keep_owner)

    def copy_from(
        self, path: str, host_path: str, *, follow_link: bool = False, archive: bool = False
    ) -> None:
        """Copy one of its files or directories to the host, by the rules of ``docker cp``."""
        local.copy_from(
            self.context, self.id, path, host_path, follow_link=follow_link, archive=archive
        )

    def copy_to(
        self, host_path: str, path: str, *, follow_link: bool = False, archive: bool = False
    ) -> None:
        """Copy a file or directory of the host into it, by the rules of ``docker cp``."""
        local.copy_to(
            self.context, self.id, host_path, path, follow_link=follow_link, archive=archive
        )

    def read_file(self, path: str, *, limit_bytes: int = 64 * 1024 * 1024) -> bytes:
        """Return the content of one of its files; links are followed inside the container.

        Raises:
            NotFound: there is none.
            Invalid: it is no regular file, or larger than ``limit_bytes``.
        """
        pieces = self.get_archive(path, follow_link=True)
        reader = TarReader(ByteStream(pieces, path), f"the file {path}")
        for entry in reader:
            if entry.kind != REGULAR:
                break
            return reader.read_data(limit_bytes)
        raise Invalid(f"{path} of container {self.name} is not a regular file")

    def write_file(
        self, path: str, data: bytes, *, mode: int = 0o644, uid: int = 0, gid: int = 0
    ) -> None:
        """Make or replace one of its files; the directory exists.

        Raises:
            NotFound: the directory does not exist.
            Conflict: a directory is there.
        """
        directory, name = os.path.split(path)
        pieces: list[bytes] = []
        writer = TarWriter(lambda piece: pieces.append(bytes(piece)))
        entry = Entry(
            os.fsencode(name), REGULAR, mode=mode, uid=uid, gid=gid, size=len(data),
            mtime_ns=time.time_ns(),
        )  # fmt: skip
        writer.add(entry, (data,))
        writer.close()
        self.put_archive(directory or "/", pieces)

    def __enter__(self) -> Container:
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            self.remove(force=True, volumes=True)
        except NotFound:
            pass

    def __repr__(self) -> str:
        return f"<Container {self.short_id} {self.name} {self.status}>"


def bind(record: ContainerRecord, context: Context, warnings: tuple[str, ...] = ()) -> Container:
    """Return a record with the verbs."""
    fields = {name: getattr(record, name) for name in ContainerRecord.__struct_fields__}
    return Container(**fields, context=context, warnings=warnings)
