"""The engine for asyncio: ``proa.AsyncEngine``, ``proa.Engine`` with ``await``.

Written by tools/write_async_api.py from the engine's source; do not edit. Every call, and every
step of an iteration, runs in a thread of its own.
"""

# ruff: noqa: A002 - parameters are called as in the source, with Docker's words

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Any

from proa.engine.containers.container import Container
from proa.engine.containers.execution import Execution
from proa.engine.facade import Engine
from proa.engine.threadcalls import call, iterate
from proa.image.model import silent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

    from proa.engine.config import (
        ContainerConfig,
        EndpointConfig,
        ExecConfig,
        IsolationName,
        MountConfig,
        PortConfig,
        Pull,
        Resources,
        RestartPolicy,
    )
    from proa.engine.containers.api import Containers, Summaries
    from proa.engine.containers.archive.changes import Changes
    from proa.engine.containers.archive.copy import PathStat
    from proa.engine.containers.execution import ExecResult, Output
    from proa.engine.containers.logs import LogLine
    from proa.engine.containers.pending import RunOutcome
    from proa.engine.containers.prune import Pruned
    from proa.engine.containers.restore import Restored
    from proa.engine.containers.stats import StatsSample
    from proa.engine.containers.streams import Streams
    from proa.engine.containers.top import ProcessTable
    from proa.engine.diskusage import DiskUsage
    from proa.engine.events import EventList, Events
    from proa.engine.facade import Result
    from proa.engine.images import (
        HistoryList,
        ImageList,
        Images,
        ImagesPruned,
        PushedList,
        RemovalList,
    )
    from proa.engine.model import EventRecord, Status
    from proa.engine.networks import NetworkOptions, Networks
    from proa.engine.pruning import SystemPruned
    from proa.engine.registries import Registries
    from proa.engine.state import Endpoint, VolumeRecord
    from proa.engine.system import Architectures, EmulatorList, System
    from proa.engine.vmmodel import VmConfig, VmRecord
    from proa.engine.vms.api import KernelList, Names, VmList, Vms
    from proa.engine.vms.machine import HybridMachine, MachineStatus
    from proa.engine.volumes import VolumeList, Volumes
    from proa.image.model import ArchiveFormat, Image, Progress
    from proa.image.push import PushCompression
    from proa.image.registry.credentials import Credentials
    from proa.image.registry.manifests import Fetched
    from proa.image.registry.session import Found
    from proa.network.model import Network, PortMapping
    from proa.oci.descriptor import Descriptor
    from proa.oci.mediatype import Compression
    from proa.oci.platform import Platform
    from proa.vm.kernel import Kernel


class AsyncExecution:
    """A running command; iterate over its output, or ask for its :meth:`result`."""

    def __init__(self, synchronous: Execution) -> None:
        self._it = synchronous

    @property
    def exit_code(self) -> int | None:
        """The exit code; None while it runs, or before anybody has waited."""
        return self._it.exit_code

    async def write(self, data: bytes) -> None:
        """Write to its standard input, all of it."""
        await call(self._it.write, data)

    async def close_stdin(self) -> None:
        """End its standard input. Idempotent."""
        await call(self._it.close_stdin)

    async def wait(self) -> int:
        """Wait for its end, passing over output that nobody took; return the exit code."""
        return await call(self._it.wait)

    async def result(self, stdin: bytes = b"") -> ExecResult:
        """Write ``stdin``, collect all output, wait for the end."""
        return await call(self._it.result, stdin)

    async def close(self) -> None:
        """Close its pipes and the connection. Idempotent."""
        await call(self._it.close)

    def __aiter__(self) -> AsyncIterator[Output]:
        """Yield output until both streams have ended; :meth:`wait` then has the exit code."""
        return iterate(lambda: iter(self._it))

    async def __aenter__(self) -> AsyncExecution:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await call(self._it.__exit__, *exc)


class AsyncContainer:
    """One container."""

    def __init__(self, synchronous: Container) -> None:
        self._it = synchronous

    def __getattr__(self, name: str) -> Any:
        """Data of the container as it was when this object was made."""
        return getattr(self._it, name)

    def __repr__(self) -> str:
        return f"<Async{self._it!r}".replace("<Async<", "<Async", 1)

    @property
    def short_id(self) -> str:
        """The first twelve digits of the id."""
        return self._it.short_id

    @property
    def status(self) -> Status:
        """As it was when this object was made; see :meth:`reload`."""
        return self._it.status

    @property
    def labels(self) -> Mapping[str, str]:
        """The container's own labels, without the image's."""
        return self._it.labels

    async def reload(self) -> AsyncContainer:
        """Return the container as it is now."""
        bound: AsyncContainer = _bind(await call(self._it.reload))
        return bound

    async def inspect(self, *, size: bool = False) -> dict[str, object]:
        """Return what ``docker inspect`` shows."""
        return await call(self._it.inspect, size=size)

    async def start(self) -> None:
        """Start it; one that runs is left alone."""
        await call(self._it.start)

    async def stop(self, *, timeout_s: float | None = None, signal: str = "") -> None:
        """End it: its stop signal, then SIGKILL after the timeout."""
        await call(self._it.stop, timeout_s=timeout_s, signal=signal)

    async def restart(self, *, timeout_s: float | None = None, signal: str = "") -> None:
        """Stop it and start it again."""
        await call(self._it.restart, timeout_s=timeout_s, signal=signal)

    async def kill(self, signal: str = "KILL") -> None:
        """Send a signal to its init."""
        await call(self._it.kill, signal)

    async def pause(self) -> None:
        """Freeze all its processes."""
        await call(self._it.pause)

    async def unpause(self) -> None:
        """Thaw all its processes."""
        await call(self._it.unpause)

    async def wait(self) -> int:
        """Wait for its end and return its exit code."""
        return await call(self._it.wait)

    async def remove(self, *, force: bool = False, volumes: bool = False) -> None:
        """Remove it and its files."""
        await call(self._it.remove, force=force, volumes=volumes)

    async def rename(self, name: str) -> None:
        """Give it another name."""
        await call(self._it.rename, name)

    async def update(
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
        await call(
            self._it.update,
            resources=resources,
            restart=restart,
            labels=labels,
            label_rm=label_rm,
            mount_add=mount_add,
            mount_rm=mount_rm,
            publish_add=publish_add,
            publish_rm=publish_rm,
        )

    async def exec(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        user: str = "",
        working_dir: str = "",
        stdin: bool = False,
        tty: bool = False,
        privileged: bool = False,
    ) -> AsyncExecution:
        """Start a command in it."""
        bound: AsyncExecution = _bind(
            await call(
                self._it.exec,
                command,
                env=env,
                user=user,
                working_dir=working_dir,
                stdin=stdin,
                tty=tty,
                privileged=privileged,
            )
        )
        return bound

    def logs(
        self,
        *,
        follow: bool = False,
        since_ns: int = 0,
        until_ns: int = 0,
        tail: int = -1,
        stdout: bool = True,
        stderr: bool = True,
    ) -> AsyncIterator[LogLine]:
        """Yield what it wrote, oldest first; with ``follow`` until it has ended."""
        return iterate(
            lambda: self._it.logs(
                follow=follow,
                since_ns=since_ns,
                until_ns=until_ns,
                tail=tail,
                stdout=stdout,
                stderr=stderr,
            )
        )

    async def top(self, ps_options: Sequence[str] = ()) -> ProcessTable:
        """Return its processes."""
        return await call(self._it.top, ps_options)

    async def stats(self) -> StatsSample:
        """Read what it uses; two readings give rates."""
        return await call(self._it.stats)

    async def diff(self) -> Changes:
        """Return what it changed of its image's files, by path."""
        return await call(self._it.diff)

    async def commit(
        self,
        name: str = "",
        *,
        author: str = "",
        message: str = "",
        changes: Sequence[str] = (),
        pause: bool = True,
    ) -> Image:
        """Make an image of its files and configuration."""
        return await call(
            self._it.commit, name, author=author, message=message, changes=changes, pause=pause
        )

    def export(self) -> AsyncIterator[bytes]:
        """Yield the tar of its whole root, without its volumes."""
        return iterate(self._it.export)

    def get_archive(self, path: str, *, follow_link: bool = False) -> AsyncIterator[bytes]:
        """Yield the tar of one of its files or directories."""
        return iterate(lambda: self._it.get_archive(path, follow_link=follow_link))

    async def put_archive(
        self, path: str, pieces: Iterable[bytes], *, keep_owner: bool = True
    ) -> None:
        """Unpack a tar into one of its directories."""
        await call(self._it.put_archive, path, pieces, keep_owner=keep_owner)

    async def copy_from(
        self, path: str, host_path: str, *, follow_link: bool = False, archive: bool = False
    ) -> None:
        """Copy one of its files or directories to the host, by the rules of ``docker cp``."""
        await call(self._it.copy_from, path, host_path, follow_link=follow_link, archive=archive)

    async def copy_to(
        self, host_path: str, path: str, *, follow_link: bool = False, archive: bool = False
    ) -> None:
        """Copy a file or directory of the host into it, by the rules of ``docker cp``."""
        await call(self._it.copy_to, host_path, path, follow_link=follow_link, archive=archive)

    async def read_file(self, path: str, *, limit_bytes: int = 64 * 1024 * 1024) -> bytes:
        """Return the content of one of its files; links are followed inside the container."""
        return await call(self._it.read_file, path, limit_bytes=limit_bytes)

    async def write_file(
        self, path: str, data: bytes, *, mode: int = 420, uid: int = 0, gid: int = 0
    ) -> None:
        """Make or replace one of its files; the directory exists."""
        await call(self._it.write_file, path, data, mode=mode, uid=uid, gid=gid)

    async def __aenter__(self) -> AsyncContainer:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await call(self._it.__exit__, *exc)


class AsyncContainers:
    """Verbs on the containers of one engine."""

    def __init__(self, synchronous: Containers) -> None:
        self._it = synchronous

    async def create(
        self, config: ContainerConfig, *, name: str = "", pull: Pull = "missing"
    ) -> AsyncContainer:
        """Make a container and leave it; see :func:`proa.engine.containers.create.create`."""
        bound: AsyncContainer = _bind(await call(self._it.create, config, name=name, pull=pull))
        return bound

    async def ensure_image(
        self, config: ContainerConfig, *, pull: Pull = "missing", progress: Progress = silent
    ) -> Image:
        """Make sure that the image of a container to be is here, for its platform."""
        return await call(self._it.ensure_image, config, pull=pull, progress=progress)

    async def launch(
        self, config: ContainerConfig, *, name: str = "", pull: Pull = "missing"
    ) -> AsyncContainer:
        """Create and start a container in the background; errors as ``run``."""
        bound: AsyncContainer = _bind(await call(self._it.launch, config, name=name, pull=pull))
        return bound

    async def run(
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
        """Create and start a container; wait for its end unless ``detach``."""
        return await call(
            self._it.run,
            config,
            name=name,
            pull=pull,
            streams=streams,
            detach=detach,
            on_created=on_created,
            on_warning=on_warning,
        )

    async def start(
        self, ref: str, *, streams: Streams | None = None, detach: bool | None = None
    ) -> int | None:
        """Start a container; with ``streams`` wait for its end and return its exit code."""
        return await call(self._it.start, ref, streams=streams, detach=detach)

    async def stop(self, ref: str, *, timeout_s: float | None = None, signal: str = "") -> None:
        """End a container: its stop signal, then SIGKILL after the timeout."""
        await call(self._it.stop, ref, timeout_s=timeout_s, signal=signal)

    async def restart(self, ref: str, *, timeout_s: float | None = None, signal: str = "") -> None:
        """Stop a container and start it again; see ``stop`` for the arguments."""
        await call(self._it.restart, ref, timeout_s=timeout_s, signal=signal)

    async def rename(self, ref: str, name: str) -> None:
        """Give a container another name."""
        await call(self._it.rename, ref, name)

    async def update(
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
        """Change limits, restart policy, labels, mounts or network, at once if it runs."""
        await call(
            self._it.update,
            ref,
            resources=resources,
            restart=restart,
            labels=labels,
            label_rm=label_rm,
            mount_add=mount_add,
            mount_rm=mount_rm,
            publish_add=publish_add,
            publish_rm=publish_rm,
            rate_in_bytes=rate_in_bytes,
            rate_out_bytes=rate_out_bytes,
            egress=egress,
        )

    async def labels(self, ref: str) -> dict[str, str]:
        """Return a container's labels, those of its image included."""
        return await call(self._it.labels, ref)

    async def prune(self, filters: Mapping[str, Sequence[str]] | None = None) -> Pruned:
        """Remove every container that does not run; filters ``until``, ``label``, ``label!``."""
        return await call(self._it.prune, filters)

    async def top(self, ref: str, ps_options: Sequence[str] = ()) -> ProcessTable:
        """Return the processes of a running container; columns as ``ps`` would show them."""
        return await call(self._it.top, ref, ps_options)

    async def stats(self, ref: str) -> StatsSample:
        """Read what a running container uses; two readings give rates."""
        return await call(self._it.stats, ref)

    async def stat_path(self, ref: str, path: str, *, follow_link: bool = False) -> PathStat:
        """Look at a path of a container, running or not."""
        return await call(self._it.stat_path, ref, path, follow_link=follow_link)

    def get_archive(
        self, ref: str, path: str, *, follow_link: bool = False
    ) -> AsyncIterator[bytes]:
        """Yield the tar of a file or directory of a container, with the container's owners."""
        return iterate(lambda: self._it.get_archive(ref, path, follow_link=follow_link))

    async def put_archive(
        self, ref: str, path: str, pieces: Iterable[bytes], *, keep_owner: bool = True
    ) -> None:
        """Unpack a tar into a directory of a container."""
        await call(self._it.put_archive, ref, path, pieces, keep_owner=keep_owner)

    async def copy_from(
        self,
        ref: str,
        path: str,
        host_path: str,
        *,
        follow_link: bool = False,
        archive: bool = False,
    ) -> None:
        """Copy a file or directory of a container to the host, by the rules of ``docker cp``."""
        await call(
            self._it.copy_from, ref, path, host_path, follow_link=follow_link, archive=archive
        )

    async def copy_to(
        self,
        ref: str,
        host_path: str,
        path: str,
        *,
        follow_link: bool = False,
        archive: bool = False,
    ) -> None:
        """Copy a file or directory of the host into a container; as :meth:`copy_from`."""
        await call(self._it.copy_to, ref, host_path, path, follow_link=follow_link, archive=archive)

    async def diff(self, ref: str) -> Changes:
        """Return what a container changed of its image's files, by path."""
        return await call(self._it.diff, ref)

    def export(self, ref: str) -> AsyncIterator[bytes]:
        """Yield the tar of a container's whole root, without its volumes."""
        return iterate(lambda: self._it.export(ref))

    async def commit(
        self,
        ref: str,
        name: str = "",
        *,
        author: str = "",
        message: str = "",
        changes: Sequence[str] = (),
        pause: bool = True,
    ) -> Image:
        """Make an image of a container's files and configuration."""
        return await call(
            self._it.commit, ref, name, author=author, message=message, changes=changes, pause=pause
        )

    async def kill(self, ref: str, signal: str = "KILL") -> None:
        """Send a signal to a container's init."""
        await call(self._it.kill, ref, signal)

    async def remove(self, ref: str, *, force: bool = False, volumes: bool = False) -> None:
        """Remove a container and its files."""
        await call(self._it.remove, ref, force=force, volumes=volumes)

    async def wait(self, ref: str) -> int:
        """Wait for a container's end and return its exit code."""
        return await call(self._it.wait, ref)

    async def exec(self, ref: str, config: ExecConfig, *, streams: Streams | None = None) -> int:
        """Run one more process in a running container; returns its exit code."""
        return await call(self._it.exec, ref, config, streams=streams)

    async def start_exec(self, ref: str, config: ExecConfig) -> AsyncExecution:
        """Start one more process in a running container; its output and exit code are read here."""
        bound: AsyncExecution = _bind(await call(self._it.start_exec, ref, config))
        return bound

    async def resize(self, ref: str, *, rows: int, columns: int) -> None:
        """Set the size of a running container's terminal, in characters."""
        await call(self._it.resize, ref, rows=rows, columns=columns)

    async def attach(self, ref: str, *, streams: Streams, sig_proxy: bool = True) -> int | None:
        """Join a running container's streams; its exit code, None when the user detached."""
        return await call(self._it.attach, ref, streams=streams, sig_proxy=sig_proxy)

    async def pause(self, ref: str) -> None:
        """Freeze all processes of a container."""
        await call(self._it.pause, ref)

    async def unpause(self, ref: str) -> None:
        """Thaw all processes of a container."""
        await call(self._it.unpause, ref)

    async def get(self, ref: str) -> AsyncContainer:
        """Return a container by name, id or prefix of an id."""
        bound: AsyncContainer = _bind(await call(self._it.get, ref))
        return bound

    async def list(
        self,
        *,
        all: bool = False,
        filters: Mapping[str, Sequence[str]] | None = None,
        last: int = 0,
    ) -> list[AsyncContainer]:
        """Return containers, newest first."""
        bound: list[AsyncContainer] = _bind(
            await call(self._it.list, all=all, filters=filters, last=last)
        )
        return bound

    async def summaries(
        self,
        *,
        all: bool = False,
        filters: Mapping[str, Sequence[str]] | None = None,
        last: int = 0,
        size: bool = False,
    ) -> Summaries:
        """Return what ``GET /containers/json`` shows; arguments as :meth:`list`."""
        return await call(self._it.summaries, all=all, filters=filters, last=last, size=size)

    async def inspect(self, ref: str, *, size: bool = False) -> dict[str, object]:
        """Return what ``docker inspect`` shows of a container."""
        return await call(self._it.inspect, ref, size=size)

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
    ) -> AsyncIterator[LogLine]:
        """Yield what a container wrote, oldest first; with ``follow`` until it has ended."""
        return iterate(
            lambda: self._it.logs(
                ref,
                follow=follow,
                since_ns=since_ns,
                until_ns=until_ns,
                tail=tail,
                stdout=stdout,
                stderr=stderr,
                stop_fd=stop_fd,
            )
        )


class AsyncImages:
    """Verbs on the images of one engine."""

    def __init__(self, synchronous: Images) -> None:
        self._it = synchronous

    async def list(self, filters: Mapping[str, Sequence[str]] | None = None) -> ImageList:
        """Return every image once, newest first."""
        return await call(self._it.list, filters)

    async def get(self, ref: str) -> Image:
        """Return an image by name, digest, id or first digits of its id."""
        return await call(self._it.get, ref)

    async def inspect(self, ref: str, *, platform: str = "") -> dict[str, object]:
        """Return what ``docker image inspect`` shows."""
        return await call(self._it.inspect, ref, platform=platform)

    async def history(self, ref: str) -> HistoryList:
        """Return how an image came to be, newest step first."""
        return await call(self._it.history, ref)

    async def tag(self, source: str, target: str) -> str:
        """Give an image another name; returns the normalized name."""
        return await call(self._it.tag, source, target)

    async def remove(self, ref: str, *, force: bool = False) -> RemovalList:
        """Remove a name of an image, and the image with its last name."""
        return await call(self._it.remove, ref, force=force)

    async def prune(
        self, *, every: bool = False, filters: Mapping[str, Sequence[str]] | None = None
    ) -> ImagesPruned:
        """Remove images without a tag (``every``: all) that no container uses, and all garbage."""
        return await call(self._it.prune, every=every, filters=filters)

    async def load(
        self, source: str | int, *, platform: str = "", progress: Progress = silent
    ) -> ImageList:
        """Take in the images of an archive (path or descriptor)."""
        return await call(self._it.load, source, platform=platform, progress=progress)

    async def save(
        self,
        refs: Sequence[str],
        destination: str | int,
        *,
        platform: str = "",
        format: ArchiveFormat = "docker",
        compression: Compression = "none",
        progress: Progress = silent,
    ) -> None:
        """Write images as an archive (path, folder or descriptor)."""
        await call(
            self._it.save,
            refs,
            destination,
            platform=platform,
            format=format,
            compression=compression,
            progress=progress,
        )

    async def pull(
        self,
        ref: str,
        *,
        platform: str = "",
        policy: Pull = "always",
        credentials: Credentials | None = None,
        progress: Progress = silent,
    ) -> Image:
        """Make sure that an image is here, as new as the policy asks."""
        return await call(
            self._it.pull,
            ref,
            platform=platform,
            policy=policy,
            credentials=credentials,
            progress=progress,
        )

    async def pull_all_tags(
        self,
        ref: str,
        *,
        platform: str = "",
        credentials: Credentials | None = None,
        progress: Progress = silent,
    ) -> ImageList:
        """Pull every tag of a repository; arguments and errors as :meth:`pull`."""
        return await call(
            self._it.pull_all_tags,
            ref,
            platform=platform,
            credentials=credentials,
            progress=progress,
        )

    async def push(
        self,
        ref: str,
        *,
        platform: str = "",
        compression: PushCompression = "",
        all_tags: bool = False,
        credentials: Credentials | None = None,
        progress: Progress = silent,
    ) -> PushedList:
        """Push an image to the registry that its name says."""
        return await call(
            self._it.push,
            ref,
            platform=platform,
            compression=compression,
            all_tags=all_tags,
            credentials=credentials,
            progress=progress,
        )

    async def import_(
        self,
        source: str | int,
        reference: str = "",
        *,
        changes: Sequence[str] = (),
        message: str = "",
        platform: str = "",
        progress: Progress = silent,
    ) -> Image:
        """Make an image of a root filesystem's tar (path or descriptor)."""
        return await call(
            self._it.import_,
            source,
            reference,
            changes=changes,
            message=message,
            platform=platform,
            progress=progress,
        )

    async def bootstrap(
        self,
        reference: str,
        *,
        variant: str = "",
        include: Sequence[str] = (),
        architecture: str = "",
        mirror: str = "",
        components: Sequence[str] = (),
        allow_expired: bool = False,
        refresh: bool = False,
        progress: Progress = silent,
    ) -> Image:
        """Make a base image from a distribution's signed packages; see the function."""
        return await call(
            self._it.bootstrap,
            reference,
            variant=variant,
            include=include,
            architecture=architecture,
            mirror=mirror,
            components=components,
            allow_expired=allow_expired,
            refresh=refresh,
            progress=progress,
        )


class AsyncRegistries:
    """Verbs on registries; they work on no state of the engine's."""

    def __init__(self, synchronous: Registries) -> None:
        self._it = synchronous

    async def log_in(self, registry: str, username: str, password: str) -> str:
        """Check credentials with a registry and store them where Docker's client does."""
        return await call(self._it.log_in, registry, username, password)

    async def check(self, registry: str, credentials: Credentials) -> str:
        """Ask a registry whether it takes these credentials, without storing anything."""
        return await call(self._it.check, registry, credentials)

    async def log_out(self, registry: str) -> bool:
        """Forget the credentials for a registry; False when there were none."""
        return await call(self._it.log_out, registry)

    async def find_user(self, registry: str) -> str:
        """Return the user name that is stored for a registry, empty when none is."""
        return await call(self._it.find_user, registry)

    async def search(
        self, term: str, *, limit: int = 25, credentials: Credentials | None = None
    ) -> list[Found]:
        """Find repositories by a part of their name."""
        return await call(self._it.search, term, limit=limit, credentials=credentials)

    async def get_manifest(self, ref: str, *, credentials: Credentials | None = None) -> Fetched:
        """Return the manifest or index that a name means in its registry, byte for byte."""
        return await call(self._it.get_manifest, ref, credentials=credentials)

    async def list_platforms(
        self, ref: str, *, credentials: Credentials | None = None
    ) -> tuple[Descriptor, tuple[Platform, ...]]:
        """Return what a name points at in its registry, and the platforms of its images."""
        return await call(self._it.list_platforms, ref, credentials=credentials)

    async def list_referrers(self, ref: str, artifact_type: str = "") -> tuple[Descriptor, ...]:
        """Return what refers to an image in its registry: signatures, SBOMs, attestations."""
        return await call(self._it.list_referrers, ref, artifact_type)


class AsyncNetworks:
    """Verbs on the networks of one engine."""

    def __init__(self, synchronous: Networks) -> None:
        self._it = synchronous

    async def create(self, name: str, options: NetworkOptions | None = None) -> str:
        """Make a network and return its id; its bridge is made with the first container."""
        return await call(self._it.create, name, options)

    async def list(self, filters: Mapping[str, Sequence[str]] | None = None) -> list[Network]:
        """Return networks, oldest first; the default one is made if it is not there."""
        return await call(self._it.list, filters)

    async def get(self, reference: str) -> Network:
        """Return a network by name, id or prefix of its id."""
        return await call(self._it.get, reference)

    async def endpoints(self, network_id: str) -> Sequence[Endpoint]:
        """Return who is on a network, running or not."""
        return await call(self._it.endpoints, network_id)

    async def published(self) -> dict[str, builtins.list[PortMapping]]:
        """Return the published ports of all running containers by container id."""
        return await call(self._it.published)

    async def inspect(self, reference: str) -> dict[str, object]:
        """Return what ``docker network inspect`` shows."""
        return await call(self._it.inspect, reference)

    async def remove(self, reference: str) -> str:
        """Remove a network that no running container is on, and its bridge."""
        return await call(self._it.remove, reference)

    async def connect(self, reference: str, container: str, config: EndpointConfig) -> None:
        """Put a container on a network, at once if it runs."""
        await call(self._it.connect, reference, container, config)

    async def disconnect(self, reference: str, container: str, *, force: bool = False) -> None:
        """Take a container off a network, at once if it runs."""
        await call(self._it.disconnect, reference, container, force=force)

    async def prune(
        self, *, everything: bool = False, filters: Mapping[str, Sequence[str]] | None = None
    ) -> builtins.list[str]:
        """Remove the networks that no container is on; return their names."""
        return await call(self._it.prune, everything=everything, filters=filters)


class AsyncVolumes:
    """Verbs on the volumes of one engine (``engine.volumes``)."""

    def __init__(self, synchronous: Volumes) -> None:
        self._it = synchronous

    async def create(
        self,
        name: str = "",
        *,
        driver: str = "local",
        labels: Mapping[str, str] | None = None,
        options: Mapping[str, str] | None = None,
    ) -> VolumeRecord:
        """Make a volume; one that exists already is returned as it is."""
        return await call(self._it.create, name, driver=driver, labels=labels, options=options)

    async def get(self, name: str) -> VolumeRecord:
        """Return a volume."""
        return await call(self._it.get, name)

    async def list(self, filters: Mapping[str, Sequence[str]] | None = None) -> VolumeList:
        """Return volumes by name; the filters are Docker's ``name``, ``label``, ``driver`` ..."""
        return await call(self._it.list, filters)

    async def inspect(self, name: str) -> dict[str, Any]:
        """Return what ``docker volume inspect`` shows."""
        return await call(self._it.inspect, name)

    async def remove(self, name: str, *, force: bool = False) -> None:
        """Remove a volume and its data."""
        await call(self._it.remove, name, force=force)

    async def prune(
        self, *, every: bool = False, filters: Mapping[str, Sequence[str]] | None = None
    ) -> tuple[Names, int]:
        """Remove anonymous volumes (``every``: all) that no container uses."""
        return await call(self._it.prune, every=every, filters=filters)


class AsyncEvents:
    """The events of one engine; the newest ten thousand are kept."""

    def __init__(self, synchronous: Events) -> None:
        self._it = synchronous

    async def list(
        self,
        *,
        since_ns: int = 0,
        until_ns: int = 0,
        filters: Mapping[str, Sequence[str]] | None = None,
    ) -> EventList:
        """Return stored events, oldest first."""
        return await call(self._it.list, since_ns=since_ns, until_ns=until_ns, filters=filters)

    def follow(
        self,
        *,
        since_ns: int | None = None,
        until_ns: int = 0,
        filters: Mapping[str, Sequence[str]] | None = None,
        stop_fd: int = -1,
    ) -> AsyncIterator[EventRecord]:
        """Yield events as they happen, after those stored since ``since_ns`` (None: none)."""
        return iterate(
            lambda: self._it.follow(
                since_ns=since_ns, until_ns=until_ns, filters=filters, stop_fd=stop_fd
            )
        )


class AsyncVms:
    """Verbs on the virtual machines of one engine (``engine.vms``)."""

    def __init__(self, synchronous: Vms) -> None:
        self._it = synchronous

    async def create(
        self,
        name: str = "",
        *,
        config: VmConfig | None = None,
        disks: Sequence[str] = (),
        disk_size_bytes: int = 0,
        disk_format: str = "",
    ) -> VmRecord:
        """Make a machine; it does not run yet."""
        return await call(
            self._it.create,
            name,
            config=config,
            disks=disks,
            disk_size_bytes=disk_size_bytes,
            disk_format=disk_format,
        )

    async def start(self, reference: str) -> str:
        """Start a machine; return a warning for the user, or nothing."""
        return await call(self._it.start, reference)

    async def stop(self, reference: str, *, timeout_s: float | None = None) -> None:
        """Press the power button, wait, and switch off what did not go down in time."""
        await call(self._it.stop, reference, timeout_s=timeout_s)

    async def get(self, reference: str) -> VmRecord:
        """Return a machine by name, id or the beginning of its id."""
        return await call(self._it.get, reference)

    async def list(self) -> VmList:
        """Return all machines, newest first."""
        return await call(self._it.list)

    async def inspect(self, reference: str) -> dict[str, Any]:
        """Return everything about a machine."""
        return await call(self._it.inspect, reference)

    async def attach_console(
        self, reference: str, *, stdin_fd: int = 0, stdout_fd: int = 1, detach_keys: str = ""
    ) -> bool:
        """Show a running machine's console on descriptors."""
        return await call(
            self._it.attach_console,
            reference,
            stdin_fd=stdin_fd,
            stdout_fd=stdout_fd,
            detach_keys=detach_keys,
        )

    async def remove(self, reference: str, *, force: bool = False) -> None:
        """Remove a machine and its disks; base images stay."""
        await call(self._it.remove, reference, force=force)

    async def snapshots(self, reference: str) -> Names:
        """Return the names of a machine's snapshots, oldest first."""
        return await call(self._it.snapshots, reference)

    async def save_snapshot(self, reference: str, name: str) -> None:
        """Keep the machine as it is now: its disks, and while it runs its memory too."""
        await call(self._it.save_snapshot, reference, name)

    async def load_snapshot(self, reference: str, name: str) -> None:
        """Make the machine what it was. A machine that is off gets its disks back only."""
        await call(self._it.load_snapshot, reference, name)

    async def delete_snapshot(self, reference: str, name: str) -> None:
        """Forget a snapshot."""
        await call(self._it.delete_snapshot, reference, name)

    async def convert_image(
        self,
        reference: str,
        path: str,
        *,
        disk_format: str = "qcow2",
        size_bytes: int = 0,
        kernel: str = "",
        init: str = "",
    ) -> None:
        """Make a disk that boots with UEFI of an image that has an init."""
        await call(
            self._it.convert_image,
            reference,
            path,
            disk_format=disk_format,
            size_bytes=size_bytes,
            kernel=kernel,
            init=init,
        )

    async def kernels(self) -> KernelList:
        """Return the installed guest kernels, newest first."""
        return await call(self._it.kernels)

    async def install_kernel(self, name: str = "", *, architecture: str = "") -> Kernel:
        """Install Debian's current cloud kernel, or the one that is named, for guests."""
        return await call(self._it.install_kernel, name, architecture=architecture)

    async def remove_kernel(self, release: str) -> None:
        """Remove an installed guest kernel."""
        await call(self._it.remove_kernel, release)


class AsyncHybridMachine:
    """Verbs on the one machine of an engine."""

    def __init__(self, synchronous: HybridMachine) -> None:
        self._it = synchronous

    async def start(
        self,
        *,
        memory_bytes: int = 2 << 30,
        vcpus: int = 2,
        ports: Sequence[PortConfig] = (),
        progress: Callable[[str], None] | None = None,
    ) -> str:
        """Start the machine, made if it is not there; return a warning or nothing."""
        return await call(
            self._it.start, memory_bytes=memory_bytes, vcpus=vcpus, ports=ports, progress=progress
        )

    async def stop(self) -> None:
        """Shut the machine down; its containers end, what they wrote stays."""
        await call(self._it.stop)

    async def remove(self, *, force: bool = False) -> None:
        """Remove the machine with everything in it; the disk that it was made of stays."""
        await call(self._it.remove, force=force)

    async def status(self) -> MachineStatus:
        """How it is."""
        return await call(self._it.status)

    async def ssh_command(self, line: str = "", *, terminal: bool = False) -> list[str]:
        """Arguments that run a line of shell in the machine; empty: a shell."""
        return await call(self._it.ssh_command, line, terminal=terminal)


class AsyncSystem:
    """Facts about one engine."""

    def __init__(self, synchronous: System) -> None:
        self._it = synchronous

    async def version(self) -> dict[str, object]:
        """Return versions, in Docker's words."""
        return await call(self._it.version)

    async def recover(self) -> Restored:
        """Set right what a crash or a reboot left; start what its restart policy wants running."""
        return await call(self._it.recover)

    async def df(self) -> DiskUsage:
        """Return what images, containers and volumes take on disk, as ``du`` counts it."""
        return await call(self._it.df)

    async def prune(
        self,
        *,
        every: bool = False,
        volumes: bool = False,
        filters: Mapping[str, Sequence[str]] | None = None,
    ) -> SystemPruned:
        """Remove stopped containers, unused networks and images, and all garbage."""
        return await call(self._it.prune, every=every, volumes=volumes, filters=filters)

    async def list_emulators(self) -> EmulatorList:
        """Return how programs of other architectures run here, one entry an architecture."""
        return await call(self._it.list_emulators)

    async def install_emulators(self, architectures: Sequence[str] = ()) -> EmulatorList:
        """Register installed emulators with the host's kernel; see :mod:`proa.engine.emulation`."""
        return await call(self._it.install_emulators, architectures)

    async def remove_emulators(self, architectures: Sequence[str] = ()) -> Architectures:
        """Take away what :meth:`install_emulators` made; return those architectures."""
        return await call(self._it.remove_emulators, architectures)

    async def info(self) -> dict[str, object]:
        """Return what ``docker info`` shows, and what this host lacks."""
        return await call(self._it.info)


class AsyncEngine:
    """A container engine on one state root."""

    def __init__(self, root: str = "", run: str = "") -> None:
        """Choose the roots."""
        self._it = Engine(root, run)
        self.containers = AsyncContainers(self._it.containers)
        self.images = AsyncImages(self._it.images)
        self.registries = AsyncRegistries(self._it.registries)
        self.volumes = AsyncVolumes(self._it.volumes)
        self.events = AsyncEvents(self._it.events)
        self.networks = AsyncNetworks(self._it.networks)
        self.vms = AsyncVms(self._it.vms)
        self.machine = AsyncHybridMachine(self._it.machine)
        self.system = AsyncSystem(self._it.system)

    @property
    def roots(self) -> tuple[str, str]:
        """State root and volatile root."""
        return self._it.roots

    async def run(
        self,
        image: str,
        command: Sequence[str] = (),
        *,
        name: str = "",
        env: Mapping[str, str] | None = None,
        user: str = "",
        working_dir: str = "",
        mounts: Sequence[MountConfig] = (),
        network: str = "default",
        memory: str = "",
        cpus: str = "",
        stdin: bytes | None = None,
        pull: Pull = "missing",
        isolation: IsolationName = "process",
    ) -> Result:
        """Run a command in a new container, wait for it, remove the container."""
        return await call(
            self._it.run,
            image,
            command,
            name=name,
            env=env,
            user=user,
            working_dir=working_dir,
            mounts=mounts,
            network=network,
            memory=memory,
            cpus=cpus,
            stdin=stdin,
            pull=pull,
            isolation=isolation,
        )

    async def close(self) -> None:
        """Close what this engine holds open; containers live on. Idempotent."""
        await call(self._it.close)

    async def __aenter__(self) -> AsyncEngine:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await call(self._it.__exit__, *exc)


def _bind(value: Any) -> Any:
    """Give what comes from the engine its asynchronous face."""
    if isinstance(value, Container):
        return AsyncContainer(value)
    if isinstance(value, Execution):
        return AsyncExecution(value)
    if isinstance(value, list):
        return [_bind(item) for item in value]
    return value
