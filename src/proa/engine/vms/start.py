"""Starting a machine's supervisor: a process of its own, in a session of its own.

The caller may be anything (a worker of the zygote, a program with threads), so the supervisor is
spawned, not forked, as the zygote is (:mod:`proa.engine.ipc.connect`); it says over a pipe how the
start went.
"""

from __future__ import annotations

import os
import sys

import msgspec

from proa.engine.layout import Layout
from proa.errors import ProaError, Unavailable

_PROGRAM = "proa.engine.vms.start"
_READY_FD = 3


class _Outcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a start went: a warning, or an error's kind, message and hint."""

    warning: str = ""
    kind: str = ""
    message: str = ""
    hint: str = ""


def start_supervisor(layout: Layout, machine_id: str) -> str:
    """Start a machine; return a warning for the user, or nothing, once it runs.

    Raises:
        ProaError: what the supervisor met; nothing is left running.
    """
    ready_r, ready_w = os.pipe2(os.O_CLOEXEC)
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    log = os.open(f"{layout.vm(machine_id)}/supervisor.log", flags, 0o600)
    try:
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", "-c", _source(layout, machine_id)],
            {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, fd, at) for at, fd in enumerate((null, null, log, ready_w))
            ],
            setsigmask=(),
        )
        os.close(ready_w)
        ready_w = -1
        # The spawned process forks the supervisor and ends, so that nobody has to reap that.
        os.waitpid(pid, 0)
        said = b""
        while data := os.read(ready_r, 65536):
            said += data
    finally:
        for fd in (ready_r, ready_w, null, log):
            if fd >= 0:
                os.close(fd)
    if not said:
        raise Unavailable(f"the supervisor of machine {machine_id[:12]} ended without a word")
    outcome = msgspec.json.decode(said, type=_Outcome)
    if outcome.kind:
        raise error_of(outcome.kind, outcome.message, outcome.hint)
    return outcome.warning


def error_of(kind: str, message: str, hint: str) -> ProaError:
    """The error that another process met."""
    from proa.engine.ipc import wire

    return wire.error_of(wire.Failure(kind=kind, message=message, hint=hint))


def main(root: str, run: str, machine_id: str) -> None:
    """The supervisor's program."""
    if os.fork():
        os._exit(0)
    os.setsid()
    os.chdir("/")
    os.set_inheritable(_READY_FD, False)
    from proa.engine import context as contexts
    from proa.engine.vms.supervisor import take

    context = contexts.get(Layout(root, run))
    try:
        supervisor = take(context, context.state.virtual_machines.get(machine_id))
        warning = supervisor.launch()
    except ProaError as error:
        _tell(_Outcome(kind=error.kind, message=error.message, hint=error.hint))
        os._exit(1)
    except BaseException as error:
        _tell(_Outcome(kind="internal", message=f"the supervisor failed: {error!r}"))
        raise
    _tell(_Outcome(warning=warning))
    try:
        supervisor.run()
    finally:
        supervisor.tear_down()
        context.close()


def _tell(outcome: _Outcome) -> None:
    try:
        os.write(_READY_FD, msgspec.json.encode(outcome))
    finally:
        os.close(_READY_FD)


def _source(layout: Layout, machine_id: str) -> str:
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(__file__))))
    paths = [package, *(p for p in sys.path if p and os.path.isabs(p) and p != package)]
    return (
        f"import sys; sys.path[:] = {paths!r}; from {_PROGRAM} import main; "
        f"main({layout.root!r}, {layout.run!r}, {machine_id!r})"
    )
