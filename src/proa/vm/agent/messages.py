"""What the engine asks the agent in a guest, and what it answers."""

from __future__ import annotations

from typing import TypeVar, cast, get_args

import msgspec

from proa import errors
from proa.oci.files import FileStat, StatFile, Transfer
from proa.oci.isolation import ExitStatus, Stats
from proa.oci.processlist import ProcessList, ReadProcesses
from proa.oci.resources import LinuxResources
from proa.oci.spec import Process, Spec

STDIN, STDOUT, STDERR = 0, 1, 2
_STREAMS = 4


def stream_of(process: int, which: int) -> int:
    """Number of a process' stream on the channel."""
    return process * _STREAMS + which


class Hello(msgspec.Struct, frozen=True, kw_only=True):
    """The agent is ready.

    Attributes:
        version: :data:`proa.vm.agent.protocol.VERSION`.
        kernel: release of the guest's kernel.
        uptime_ms: since the guest's kernel started.
    """

    version: int
    kernel: str = ""
    uptime_ms: int = 0


class Failure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An error of :mod:`proa.errors`."""

    kind: str
    message: str
    hint: str = ""


class Interface(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A network interface of the container.

    Attributes:
        name: ``eth0``.
        mac: which of the guest's cards it is.
        addresses: address and prefix length.
        gateways: of default routes through it.
        mtu: 0: as it is.
    """

    name: str
    mac: str
    addresses: tuple[tuple[str, int], ...] = ()
    gateways: tuple[str, ...] = ()
    mtu: int = 0


class Extent(msgspec.Struct, frozen=True):
    """Where a layer lies on the disk of all layers, in bytes, and its filesystem."""

    offset: int
    size: int
    filesystem: str


class InlineFile(msgspec.Struct, frozen=True):
    """A file that travels with the request: the container sees a copy."""

    name: str
    content: bytes
    mode: int = 0o644


class SetUp(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="set-up"):
    """Make the guest this container's: clock, entropy, root, network. Once.

    Attributes:
        time_ns: the host's clock, nanoseconds since the epoch.
        entropy: for the guest's random pool.
        layers: uppermost first.
        shares: virtiofs tags to mount.
        files: made in the guest.
        interfaces: of the container; the loopback one is there.
        sysctls: of the network (``net.ipv4.ip_forward``).
        resolver: the container's name server at this address is the host's (``127.0.0.11``).
    """

    time_ns: int
    entropy: bytes
    layers: tuple[Extent, ...]
    shares: tuple[str, ...] = ()
    files: tuple[InlineFile, ...] = ()
    interfaces: tuple[Interface, ...] = ()
    sysctls: dict[str, str] = {}
    resolver: str = ""


class Create(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="create"):
    """Create the container; its init is process 1 of the channel.

    Attributes:
        streams: which of stdin, stdout, stderr are carried; the others are /dev/null.
        merged: stdout and stderr are one stream, the first.
        start: do not park.
    """

    id: str
    spec: Spec
    streams: tuple[bool, bool, bool] = (False, False, False)
    merged: bool = False
    start: bool = False


class Start(msgspec.Struct, frozen=True, kw_only=True, tag="start"):
    """Let the parked init execute its command."""


class Exec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="exec"):
    """Start one more process; it is ``number`` on the channel."""

    number: int
    process: Process
    streams: tuple[bool, bool, bool] = (False, False, False)
    merged: bool = False


class Signal(msgspec.Struct, frozen=True, kw_only=True, tag="signal"):
    """Signal a process; not answered."""

    number: int
    signal: int


class Kill(msgspec.Struct, frozen=True, kw_only=True, tag="kill"):
    """Signal every process of the container."""

    signal: int


class Resize(msgspec.Struct, frozen=True, kw_only=True, tag="resize"):
    """Set the size of a process' terminal."""

    number: int
    rows: int
    columns: int


class Pause(msgspec.Struct, frozen=True, kw_only=True, tag="pause"):
    """Freeze all processes."""


class Resume(msgspec.Struct, frozen=True, kw_only=True, tag="resume"):
    """Thaw them."""


class Update(msgspec.Struct, frozen=True, kw_only=True, tag="update"):
    """Change limits."""

    resources: LinuxResources


class ReadStats(msgspec.Struct, frozen=True, kw_only=True, tag="stats"):
    """Answered with :class:`proa.oci.isolation.Stats`."""


class Finish(msgspec.Struct, frozen=True, kw_only=True, tag="finish"):
    """Kill what runs, write everything to the disk; answered when QEMU may be killed."""


class Ping(msgspec.Struct, frozen=True, kw_only=True, tag="ping"):
    """Answered at once."""


Request = (
    SetUp
    | Create
    | Start
    | Exec
    | Signal
    | Kill
    | Resize
    | Pause
    | Resume
    | Update
    | ReadStats
    | ReadProcesses
    | StatFile
    | Transfer
    | Finish
    | Ping
)

T = TypeVar("T")

_encoder = msgspec.msgpack.Encoder()
_decoders: dict[type[object], msgspec.msgpack.Decoder[object]] = {}
"""Made when first needed: each looks into its types, which a guest's start would wait for."""


class _Tag(msgspec.Struct, frozen=True):
    """What every request begins with."""

    type: str


def encode(value: object) -> bytes:
    """Encode a message."""
    return _encoder.encode(value)


def decode_request(payload: bytes) -> Request:
    """Decode what the host asks.

    Raises:
        Corrupt: it is none of the requests.
    """
    wanted = _decoded(_Tag, payload).type
    for kind in get_args(Request):
        if kind.__struct_config__.tag == wanted:
            request: Request = _decoded(kind, payload)
            return request
    raise errors.Corrupt(f"the engine asks for something unknown ({wanted[:40]!r})")


def decode_hello(payload: bytes) -> Hello:
    """Decode the guest's first message; raises ``Corrupt``."""
    return _decoded(Hello, payload)


def decode_stats(payload: bytes) -> Stats:
    """Decode a reading; raises ``Corrupt``."""
    return _decoded(Stats, payload)


def decode_file_stat(payload: bytes) -> FileStat:
    """Decode what is at a path; raises ``Corrupt``."""
    return _decoded(FileStat, payload)


def decode_processes(payload: bytes) -> ProcessList:
    """Decode a list of processes; raises ``Corrupt``."""
    return _decoded(ProcessList, payload)


def decode_warnings(payload: bytes) -> list[str]:
    """Decode sentences for users, cut and without control characters; raises ``Corrupt``."""
    return [_clean(text) for text in _decoded(list[str], payload)]


def decode_exit(payload: bytes) -> ExitStatus:
    """Decode a process' end; raises ``Corrupt`` also for numbers that no exit has."""
    end = _decoded(ExitStatus, payload)
    if not (0 <= end.code <= 255 and 0 <= end.signal <= 64):
        raise errors.Corrupt(f"the guest reports an impossible exit code ({end.code})")
    return end


def _decoded(kind: type[T], payload: bytes) -> T:
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.msgpack.Decoder(kind)
    try:
        return cast("T", decoder.decode(payload))
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise errors.Corrupt(f"a message of the guest cannot be read: {error}") from error


_KINDS: dict[str, type[errors.ProaError]] = {
    kind.kind: kind for kind in errors.ProaError.__subclasses__()
}
_MESSAGE_CHARACTERS = 4096


def failure_of(error: BaseException) -> Failure:
    """An error as it travels."""
    if isinstance(error, errors.ProaError):
        return Failure(kind=error.kind, message=error.message, hint=error.hint)
    return Failure(kind="internal", message=f"the guest's agent failed: {error!r}")


def error_of(payload: bytes) -> errors.ProaError:
    """The error that a guest reports; what it says is shown to users: cut, without controls."""
    failure = _decoded(Failure, payload)
    kind = _KINDS.get(failure.kind, errors.Internal)
    return kind(_clean(failure.message), _clean(failure.hint))


def _clean(text: str) -> str:
    return "".join([c if c.isprintable() else " " for c in text[:_MESSAGE_CHARACTERS]])
