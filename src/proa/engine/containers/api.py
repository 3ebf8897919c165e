"""``engine.containers``: the verbs on containers, bound to an engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from proa.engine.config import (
    ContainerConfig,
    ContainerUpdate,
    ExecConfig,
    MountConfig,
    PortConfig,
    Pull,
    Resources,
    RestartPolicy,
)
from proa.engine.containers import create as creating
from proa.engine.containers import lifecycle, query, run, stats
from proa.engine.containers import prune as pruning
from proa.engine.containers import update as updating
from proa.engine.containers.archive import changes as comparing
from proa.engine.containers.archive import copy, local
from proa.engine.containers.archive.changes import Changes
from proa.engine.containers.archive.copy import PathStat
from proa.engine.containers.attach import attach
from proa.engine.containers.container import Container, bind
from proa.engine.containers.exec import exec_in
from proa.engine.containers.execution import Execution
from proa.engine.containers.logs import LogLine, read_logs
from proa.engine.containers.pending import Pending, RunOutcome
from proa.engine.containers.prune import Pruned
from proa.engine.containers.stats import StatsSample
from proa.engine.containers.streams import Streams
from proa.engine.context import Context
from proa.engine.ipc import wire
from proa.engine.logs.reader import LogSelection
from proa.image.model import Image, Progress, silent

if TYPE_CHECKING:
    from proa.engine.containers.handles import AttachHandle, ExecHandle
    from proa.engine.containers.top import ProcessTable

ContainerList = list[Container]
Summaries = list[dict[str, object]]


class Containers:
    """Verbs on the containers of one engine."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def create(
        self, config: ContainerConfig, *, name: str = "", pull: Pull = "missing"
    ) -> Container:
        """Make a container and leave it; see :func:`proa.engine.containers.create.create`."""
        created = creating.create(self._context, config, name=name, pull=pull)
        record = self._context.state.containers.get(created.id)
        return bind(record, self._context, created.warnings)

    def ensure_image(
        self, config: ContainerConfig, *, pull: Pull = "missing", progress: Progress = silent
    ) -> Image:
        """Make sure that the image of a container to be is here, for its platform.

        Args:
            config: what the container is to be.
            pull: when to ask the registry.
            progress: told the bytes of each layer, from several threads.

        Raises:
            NotFound: it is not here (``never``) or not in its registry.
            Unavailable: its registry does not answer.
        """
        return creating.find_image(self._context, config, pull, progress)

    def launch(
        self, config: ContainerConfig, *, name: str = "", pull: Pull = "missing"
    ) -> Container:
        """Create and start a container in the background; errors as ``run``."""
        outcome = self.run(config, name=name, pull=pull, detach=True)
        record = self._context.state.containers.get(outcome.id)
        return bind(record, self._context, outcome.warnings)

    def run(
        self,
        config: ContainerConfig,
        *,
        name: str = "",
        pull: Pull = "missing",
        streams: Streams | None = None,
        detach: bool = False,
        on_created: Callable[[str], None] | None = None,
        on_warning: Callable[[str], None] | None = None,
    ) -> RunOutcome:
        """Create and start a container; wait for its end unless ``detach``.

        Args:
            config: what to run.
            name: empty: a generated one.
            pull: whether to look for the image in a registry.
            streams: descriptors of the caller to attach.
            detach: return once it runs.
            on_created: told the id when the container runs.
            on_warning: told what was asked for and this machine cannot do, at the same time.
        """
        return run.run(
            self._context, config, name=name, pull=pull, streams=streams, detach=detach,
            on_started=_tell(on_created, on_warning),
        )  # fmt: skip

    def begin(
        self,
        config: ContainerConfig,
        *,
        name: str = "",
        pull: Pull = "missing",
        streams: Streams | None = None,
    ) -> Pending:
        """Ask for a foreground run and go on; ``finish`` of what is returned waits for its end."""
        return run.begin(self._context, config, name=name, pull=pull, streams=streams)

    def start(
        self, ref: str, *, streams: Streams | None = None, detach: bool | None = None
    ) -> int | None:
        """Start a container; with ``streams`` wait for its end and return its exit code.

        Args:
            ref: the container.
            streams: descriptors of the caller to attach.
            detach: return once it runs; by default without ``streams``. Those stay attached.
        """
        return run.start(self._context, ref, streams=streams, detach=detach)

    def stop(self, ref: str, *, timeout_s: float | None = None, signal: str = "") -> None:
        """End a container: its stop signal, then SIGKILL after the timeout."""
        lifecycle.stop(self._context, ref, timeout_s=timeout_s, signal=signal)

    def restart(self, ref: str, *, timeout_s: float | None = None, signal: str = "") -> None:
        """Stop a container and start it again; see ``stop`` for the arguments."""
        run.restart(self._context, ref, timeout_s=timeout_s, signal=signal)

    def rename(self, ref: str, name: str) -> None:
        """Give a container another name."""
        lifecycle.rename(self._context, ref, name)

    def update(
        self,
        ref: str,
        *,
        resources: Resources | None = None,
        restart: RestartPolicy | None = None,
        labels: Mapping[str, str] | None = None,
        label_rm: Sequence[str] = (),
        mount_add: Sequence[MountConfig] = (),
        mount_rm: Sequence[str] = (),
        publish_add: Sequence[PortConfig] = (),
        publish_rm: Sequence[PortConfig] = (),
        rate_in_bytes: int | None = None,
        rate_out_bytes: int | None = None,
        egress: Sequence[str] | None = None,
    ) -> None:
        """Change limits, restart policy, labels, mounts or network, at once if it runs.

        Args:
            ref: the container.
            resources: limits that are 0, empty or None stay as they are.
            restart: None: as it is.
            labels: set on top of the container's.
            label_rm: names of labels that go.
            mount_add: binds and volumes; a running container sees them at once.
            mount_rm: the places of binds and volumes that go; open files stay open.
            publish_add: ports to publish.
            publish_rm: ports to take back; the host's port and address may be left out.
            rate_in_bytes: bandwidth to the container, bytes a second; 0: no limit; None: as it is.
            rate_out_bytes: bandwidth from it.
            egress: where it may connect to; ``["any"]`` lifts the policy; None: as it is.
        """
        changes = ContainerUpdate(
            resources=resources or Resources(),
            restart=restart,
            labels=dict(labels or {}),
            label_rm=tuple(label_rm),
            mount_add=tuple(mount_add),
            mount_rm=tuple(mount_rm),
            publish_add=tuple(publish_add),
            publish_rm=tuple(publish_rm),
            rate_in_bytes=rate_in_bytes,
            rate_out_bytes=rate_out_bytes,
            egress=None if egress is None else tuple(egress),
        )
        updating.update(self._context, ref, changes)

    def labels(self, ref: str) -> dict[str, str]:
        """Return a container's labels, those of its image included."""
        return dict(query.StoredFacts(self._context).labels(lifecycle.get(self._context, ref)))

    def prune(self, filters: Mapping[str, Sequence[str]] | None = None) -> Pruned:
        """Remove every container that does not run; filters ``until``, ``label``, ``label!``."""
        return pruning.prune(self._context, filters)

    def top(self, ref: str, ps_options: Sequence[str] = ()) -> ProcessTable:
        """Return the processes of a running container; columns as ``ps`` would show them."""
        from proa.engine.containers import top

        return top.top(self._context, ref, ps_options)

    def stats(self, ref: str) -> StatsSample:
        """Read what a running container uses; two readings give rates."""
        return stats.sample(self._context, ref)

    def stat_path(self, ref: str, path: str, *, follow_link: bool = False) -> PathStat:
        """Look at a path of a container, running or not."""
        return copy.stat_path(self._context, ref, path, follow_link=follow_link)

    def get_archive(self, ref: str, path: str, *, follow_link: bool = False) -> Iterator[bytes]:
        """Yield the tar of a file or directory of a container, with the container's owners."""
        return copy.get_archive(self._context, ref, path, follow_link=follow_link)

    def put_archive(
        self, ref: str, path: str, pieces: Iterable[bytes], *, keep_owner: bool = True
    ) -> None:
        """Unpack a tar into a directory of a container."""
        copy.put_archive(self._context, ref, path, pieces, keep_owner=keep_owner)

    def copy_from(
        self, ref: str, path: str, host_path: str, *, follow_link: bool = False,
        archive: bool = False,
    ) -> None:  # fmt: skip
        """Copy a file or directory of a container to the host, by the rules of ``docker cp``.

        Args:
            ref: the container.
            path: inside it; ``/.`` at its end means the content of a directory.
            host_path: a directory, or what the copy is to be called.
            follow_link: copy what a link leads to.
            archive: keep owners, setuid bits and attributes.
        """
        local.copy_from(
            self._context, ref, path, host_path, follow_link=follow_link, archive=archive
        )

    def copy_to(
        self, ref: str, host_path: str, path: str, *, follow_link: bool = False,
        archive: bool = False,
    ) -> None:  # fmt: skip
        """Copy a file or directory of the host into a container; as :meth:`copy_from`."""
        local.copy_to(self._context, ref, host_path, path, follow_link=follow_link, archive=archive)

    def diff(self, ref: str) -> Changes:
        """Return what a container changed of its image's files, by path."""
        return comparing.diff(self._context, ref)

    def export(self, ref: str) -> Iterator[bytes]:
        """Yield the tar of a container's whole root, without its volumes."""
        return copy.export(self._context, ref)

    def commit(
        self,
        ref: str,
        name: str = "",
        *,
        author: str = "",
        message: str = "",
        changes: Sequence[str] = (),
        pause: bool = True,
    ) -> Image:
        """Make an image of a container's files and configuration.

        Args:
            ref: the container, running or not.
            name: of the image; empty: nameless.
            author, message: of the image's history.
            changes: Dockerfile lines on top of the configuration.
            pause: freeze a running container meanwhile.
        """
        from proa.engine.containers.archive.commit import commit

        return commit(
            self._context, ref, name, author=author, message=message, changes=changes, pause=pause
        )

    def kill(self, ref: str, signal: str = "KILL") -> None:
        """Send a signal to a container's init."""
        lifecycle.kill(self._context, ref, signal)

    def remove(self, ref: str, *, force: bool = False, volumes: bool = False) -> None:
        """Remove a container and its files."""
        lifecycle.remove(self._context, ref, force=force, with_volumes=volumes)

    def wait(self, ref: str) -> int:
        """Wait for a container's end and return its exit code."""
        return lifecycle.wait(self._context, ref)

    def exec(self, ref: str, config: ExecConfig, *, streams: Streams | None = None) -> int:
        """Run one more process in a running container; returns its exit code."""
        return exec_in(self._context, ref, config, streams=streams)

    def start_exec(self, ref: str, config: ExecConfig) -> Execution:
        """Start one more process in a running container; its output and exit code are read here."""
        return Execution(self._context, ref, config)

    def open_exec(
        self, ref: str, config: ExecConfig, *, size: tuple[int, int] | None = None
    ) -> ExecHandle:
        """Start one more process in a running container and return its descriptors.

        Args:
            ref: the container.
            config: what is executed.
            size: rows and columns that its terminal has from the beginning.
        """
        from proa.engine.containers.handles import ExecHandle

        return ExecHandle(self._context, ref, config, size)

    def open_attachment(self, ref: str, streams: Streams) -> AttachHandle:
        """Join a running container's streams and return at once."""
        from proa.engine.containers.handles import AttachHandle

        return AttachHandle(self._context, ref, streams)

    def resize(self, ref: str, *, rows: int, columns: int) -> None:
        """Set the size of a running container's terminal, in characters."""
        from proa.engine.containers import handles

        handles.resize(self._context, ref, rows, columns)

    def attach(self, ref: str, *, streams: Streams, sig_proxy: bool = True) -> int | None:
        """Join a running container's streams; its exit code, None when the user detached."""
        return attach(self._context, ref, streams=streams, sig_proxy=sig_proxy)

    def pause(self, ref: str) -> None:
        """Freeze all processes of a container."""
        lifecycle.pause(self._context, ref)

    def unpause(self, ref: str) -> None:
        """Thaw all processes of a container."""
        lifecycle.unpause(self._context, ref)

    def get(self, ref: str) -> Container:
        """Return a container by name, id or prefix of an id."""
        return bind(lifecycle.get(self._context, ref), self._context)

    def list(
        self,
        *,
        all: bool = False,  # noqa: A002 - Docker's word
        filters: Mapping[str, Sequence[str]] | None = None,
        last: int = 0,
    ) -> ContainerList:
        """Return containers, newest first.

        Args:
            all: also those that do not run.
            filters: Docker's filters of ``ps``.
            last: only the newest so many, whatever their state.
        """
        records = query.list_containers(self._context, everything=all, filters=filters, last=last)
        return [bind(record, self._context) for record in records]

    def summaries(
        self,
        *,
        all: bool = False,  # noqa: A002 - Docker's word
        filters: Mapping[str, Sequence[str]] | None = None,
        last: int = 0,
        size: bool = False,
    ) -> Summaries:
        """Return what ``GET /containers/json`` shows; arguments as :meth:`list`.

        Args:
            all: also those that do not run.
            filters: Docker's filters of ``ps``.
            last: only the newest so many, whatever their state.
            size: also what their files take.
        """
        from proa.engine.containers.summaries import list_summaries

        return list_summaries(self._context, everything=all, filters=filters, last=last, size=size)

    def inspect(self, ref: str, *, size: bool = False) -> dict[str, object]:
        """Return what ``docker inspect`` shows of a container."""
        return query.inspect(self._context, ref, size=size)

    def logs(
        self,
        ref: str,
        *,
        follow: bool = False,
        since_ns: int = 0,
        until_ns: int = 0,
        tail: int = -1,
        stdout: bool = True,
        stderr: bool = True,
        stop_fd: int = -1,
    ) -> Iterator[LogLine]:
        """Yield what a container wrote, oldest first; with ``follow`` until it has ended.

        Args:
            ref: the container.
            follow: go on with what it writes.
            since_ns, until_ns: nanoseconds since the epoch; 0: no bound.
            tail: begin this many entries before the end; -1: at the beginning.
            stdout, stderr: which streams.
            stop_fd: a descriptor that becomes readable when the caller wants the end.
        """
        selection = LogSelection(
            stdout=stdout, stderr=stderr, since_ns=since_ns, until_ns=until_ns, tail=tail
        )
        return read_logs(self._context, ref, selection, follow=follow, stop_fd=stop_fd)


def _tell(
    on_created: Callable[[str], None] | None, on_warning: Callable[[str], None] | None
) -> Callable[[wire.Started], None]:
    def tell(started: wire.Started) -> None:
        if on_created is not None:
            on_created(started.id)
        if on_warning is not None:
            for warning in started.warnings:
                on_warning(warning)

    return tell
