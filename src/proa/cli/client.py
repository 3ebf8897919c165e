"""The command as it starts: a thin client that lets a warm worker do the work.

Everything here happens in a cold interpreter, so it imports next to nothing: it connects to the
zygote's socket, hands over the words, the environment and descriptors 0 to 2, and waits for the
exit code, forwarding signals. Where there is no zygote yet, the engine is imported to start one.
The frames are those of :mod:`proa.engine.ipc.wire`, spelled out so that nothing has to be imported.
"""

from __future__ import annotations

import _socket
import os
import sys

TYPE_CHECKING = False  # typing costs milliseconds
if TYPE_CHECKING:
    from collections.abc import Sequence

_PROXIED = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH")
_INTERRUPTED = 130
_IN_PROCESS = frozenset({"compare", "serve"})
"""Commands that live for long and belong to the caller's session."""
_WITH_VALUE = frozenset({"--root", "--run-root", "--log-level", "-l"})
"""Flags in front of a command whose value is the next word."""


def main() -> None:
    """Run the command line of this process and end it with the command's exit code."""
    try:
        _run(sys.argv[1:])
    except KeyboardInterrupt:
        _leave(_INTERRUPTED)


def command_of(argv: list[str]) -> str:
    """The first word that is no flag in front of the command; empty when there is none."""
    words = iter(argv)
    for word in words:
        if not word.startswith("-"):
            return word
        if word in _WITH_VALUE:
            next(words, None)
    return ""


def _run(argv: list[str]) -> None:
    if os.environ.get("PROA_ZYGOTE") == "0" or command_of(argv) in _IN_PROCESS:
        _leave(_run_in_process(argv))
    payload = payload_of(argv)
    code = ask(payload, start=True)
    _leave(_run_in_process(argv) if code is None else code)


def ask(payload: bytes, *, start: bool, signals: Sequence[int] = ()) -> int | None:
    """Let a worker do the work; return the exit code, None if there is none to do it.

    Args:
        payload: see :func:`payload_of`.
        start: start a zygote when there is none.
        signals: to hand on; empty: those of a terminal and of service managers.
    """
    for _ in range(8):
        peer = _connect() or (_connect_slowly() if start else None)
        if peer is None:
            break
        code = _ask(peer, payload, signals)
        if code is not None:
            return code
        peer.close()
    return None


def _leave(code: int) -> None:
    """End without the interpreter's teardown; nothing is buffered in this process."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        pass
    os._exit(code)


def payload_of(argv: list[str]) -> bytes:
    """A command line and this process' environment, as a worker reads them."""
    environment = [name + b"=" + value for name, value in os.environb.items()]
    words = [os.fsencode(word) for word in argv]
    counts = [b"%d" % len(words), b"%d" % len(environment)]
    return b"\0".join([*counts, *words, *environment])


def _roots() -> tuple[str, str]:
    """State root and volatile root, as :class:`proa.engine.layout.Layout` finds them."""
    root, run = os.environ.get("PROA_ROOT"), os.environ.get("PROA_RUN")
    if not (root and run) and os.geteuid():
        from proa.engine.layout import Layout

        layout = Layout()
        return layout.root, layout.run
    return os.path.abspath(root or "/var/lib/proa"), os.path.abspath(run or "/run/proa")


def _socket_name(root: str) -> str:
    """As :func:`proa.engine.ipc.connect.socket_name`; a test holds the two together."""
    links = [os.readlink("/proc/self/ns/" + name) for name in ("mnt", "net", "pid", "user")]
    inodes = [int(link.split("[")[1][:-1]) & 0xFFFFFFFF for link in links]
    code = os.stat(os.path.dirname(os.path.dirname(__file__)) + "/engine/ipc/connect.py")
    place = 0
    for byte in os.fsencode(root):
        place = (place * 31 + byte) & 0xFFFFFFFF
    numbers = (*inodes, place, code.st_ino, code.st_mtime_ns & 0xFFFFFFFF, sys.hexversion >> 16)
    return "z-" + "-".join([f"{number:x}" for number in numbers])


def _connect() -> _socket.socket | None:
    try:
        root, run = _roots()
        path = run + "/" + _socket_name(root)
        peer = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        peer.connect(path)
    except OSError:
        return None
    return peer


def _connect_slowly() -> _socket.socket | None:
    """Start the zygote; None where that is impossible (the command then says what is wrong)."""
    from proa.engine.ipc.connect import connect
    from proa.engine.layout import Layout
    from proa.errors import ProaError

    try:
        peer = connect(Layout())
    except ProaError:
        return None
    return _socket.socket(fileno=peer.detach())


def _ask(peer: _socket.socket, payload: bytes, signals: Sequence[int]) -> int | None:
    """Send the request and wait for its end; None if no worker ever accepted it."""
    directory = os.open(".", os.O_PATH | os.O_DIRECTORY)
    fds = [_usable(0, os.O_RDONLY), _usable(1, os.O_WRONLY), _usable(2, os.O_WRONLY), directory]
    frame = b"C" + len(payload).to_bytes(4, "big") + payload
    rights = b"".join(fd.to_bytes(4, sys.byteorder) for fd in fds)
    try:
        sent = peer.sendmsg([frame], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
        while sent < len(frame):
            sent += peer.send(frame[sent:])
        if peer.recv(5) != b"A\0\0\0\0":
            return None
    except OSError:
        return None
    finally:
        os.close(directory)
    _proxy_signals(peer, signals)
    return _await_exit(peer)


def _usable(fd: int, mode: int) -> int:
    """A descriptor that was closed by the caller becomes /dev/null."""
    try:
        os.fstat(fd)
    except OSError:
        return os.open(os.devnull, mode)
    return fd


def _proxy_signals(peer: _socket.socket, signals: Sequence[int]) -> None:
    # The signal module would bring enum along: five milliseconds of a cold start.
    import _signal  # type: ignore[import-not-found]

    def forward(number: int, _frame: object) -> None:
        word = b"%d" % number
        try:
            peer.send(b"K" + len(word).to_bytes(4, "big") + word)
        except OSError:
            pass

    for number in signals or [getattr(_signal, name) for name in _PROXIED]:
        # A signal that the caller ignores (nohup) stays ignored.
        if _signal.getsignal(number) != _signal.SIG_IGN:
            _signal.signal(number, forward)


def _await_exit(peer: _socket.socket) -> int:
    data = b""
    while True:
        try:
            more = peer.recv(65536)
        except OSError:
            more = b""
        if not more:
            sys.stderr.write("proa: the worker of this command was killed\n")
            return 125
        data += more
        while len(data) >= 5:
            length = int.from_bytes(data[1:5], "big")
            if len(data) < 5 + length:
                break
            kind, word, data = data[:1], data[5 : 5 + length], data[5 + length :]
            if kind == b"X":
                return int(word)


def _run_in_process(argv: list[str]) -> int:
    import proa.cli.main
    from proa.cli.io import IO

    try:
        return proa.cli.main.run(argv, IO.standard())
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 141
