"""``proa-runtime`` as it starts: verbs that may run anywhere go to a warm worker of the zygote.

What ``create``, ``run --detach`` and ``exec --detach`` leave behind must be a child of this very
process, for their callers (containerd's shim, conmon) are subreapers; they are done here. All else
is done by a worker when there is one, and a foreground ``run`` or ``exec`` starts the zygote. A
worker whose surroundings differ from this process' (limits, CPUs, capabilities ...) answers
:data:`DECLINED`, and the verb is done here as well: what a container inherits is its caller's.

Imports next to nothing, as :mod:`proa.cli.client`.
"""

from __future__ import annotations

import os
import sys

from proa.cli import client

MARK = "\x01proa-runtime"
"""First word of the command line that a worker gets; no command of ``proa`` is called so."""

DECLINED = -1
"""A worker's exit code for "do it yourself"."""

_STATELESS = frozenset(
    ("start", "state", "kill", "delete", "ps", "pause", "resume", "update", "list")
)
_FOREGROUND = frozenset(("run", "exec"))
_LAUNCHING = frozenset(("create", "run", "exec"))
_OWN_FLAGS = frozenset(("--detach", "--preserve-fds", "--console-socket", "--pid-file"))
"""Of callers that follow the process themselves, or need this one's descriptors."""

_SEALED = "/memfd:proa-runtime"
_SEALS = 0xF
"""F_SEAL_SEAL, _SHRINK, _GROW and _WRITE (fcntl(2))."""

_VALUED = frozenset(("--root", "--log", "--log-format", "--rootless", "--criu"))
_OWN_VARIABLES = ("LISTEN_FDS", "NOTIFY_SOCKET")
_UNCAUGHT = frozenset((4, 7, 8, 9, 11, 13, 17, 19, 23))
"""KILL and STOP, which nobody gets; faults, PIPE, CHLD and URG, which are this process' own."""


def main() -> None:
    """Run the command line of this process and end it with the command's exit code."""
    argv = sys.argv[1:]
    verb = find_verb(argv)
    if os.environ.get("PROA_ZYGOTE") != "0" and is_portable(verb, argv):
        code = _ask_worker(argv, start=verb in _FOREGROUND)
        if code != DECLINED:
            os._exit(code)
    if verb in _LAUNCHING:
        seal_interpreter()
    from proa.cli.ociruntime.main import main as run

    run()


def seal_interpreter() -> None:
    """Go on as a copy of this program that nobody can write to, if this is not one already.

    Until its execve a container's process is this program, by /proc/PID/exe too: an image whose
    command begins with ``#!/proc/self/exe`` gets hold of it, and as root of the host's user
    namespace could overwrite it for all later users (CVE-2019-5736). The zygote's copy is a
    read-only mount (:mod:`proa.engine.ipc.connect`), which takes modules that are not loaded here.
    """
    import fcntl

    if os.readlink("/proc/self/exe").startswith(_SEALED):
        return
    try:
        copy = os.memfd_create(
            _SEALED.removeprefix("/memfd:"), os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
        )
        with open("/proc/self/exe", "rb") as program:
            left = os.fstat(program.fileno()).st_size
            while left:
                left -= os.sendfile(copy, program.fileno(), None, left)
        os.fchmod(copy, 0o500)
        fcntl.fcntl(copy, fcntl.F_ADD_SEALS, _SEALS)
        os.execve(copy, sys.orig_argv, os.environ)  # noqa: S606
    except OSError as error:
        sys.stderr.write(f"proa-runtime: cannot seal the interpreter: {error}\n")
        os._exit(1)


def find_verb(argv: list[str]) -> str:
    """The first word that is neither a global flag nor its value; empty without one."""
    words = iter(argv)
    for word in words:
        if not word.startswith("-"):
            return word
        if word in _VALUED:
            next(words, "")
    return ""


def is_portable(verb: str, argv: list[str]) -> bool:
    """Whether another process may do it."""
    if any(name in os.environ for name in _OWN_VARIABLES):
        return False
    if verb in _STATELESS:
        return True
    if verb not in _FOREGROUND:
        return False
    # A word of the container's command may look like one: then it is done here, which is right too.
    return not any(
        word.partition("=")[0] in _OWN_FLAGS
        or (word[:1] == "-" and word[:2] != "--" and "d" in word)
        for word in argv
    )


def _ask_worker(argv: list[str], *, start: bool) -> int:
    payload = client.payload_of([MARK, *argv])
    code = client.ask(payload, start=start, signals=_signals())
    return DECLINED if code is None else code


def _signals() -> list[int]:
    import _signal  # type: ignore[import-not-found]

    return [number for number in _signal.valid_signals() if number not in _UNCAUGHT]
