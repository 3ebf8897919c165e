"""OCI hooks: programs of the host's (one kind: of the container's) at points of the lifecycle.

Source: runtime-spec ``config.md``, "POSIX-platform Hooks". Each gets the state on its standard
input; ``path`` is absolute; the environment is the hook's own; ``timeout`` is in seconds.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import msgspec

from proa.errors import Invalid, TimedOut, Unavailable
from proa.linux import namespaces as ns
from proa.oci.spec import Hook, Hooks
from proa.oci.state import State

_SHOWN_BYTES = 2048
"""How much of a failed hook's error output is repeated in the message."""


def validate(hooks: Hooks) -> None:
    """Check all hooks.

    Raises:
        Invalid: a relative path, a timeout that is not positive.
    """
    for field in Hooks.__struct_fields__:
        for hook in getattr(hooks, field):
            if not hook.path.startswith("/"):
                raise Invalid(f"the path {hook.path!r} of a {field} hook is not absolute")
            if hook.timeout is not None and hook.timeout <= 0:
                raise Invalid(f"the timeout of the {field} hook {hook.path} is not positive")


def run(hooks: Sequence[Hook], kind: str, state: State, *, mount_namespace_of: int = 0) -> None:
    """Run hooks in order, until one fails.

    Args:
        hooks: of one kind.
        kind: for messages, ``createRuntime``.
        state: what they are told.
        mount_namespace_of: run them in this process' mount namespace.

    Raises:
        Unavailable: a hook could not be run or did not exit with 0.
        TimedOut: one was killed after its time.
    """
    document = msgspec.json.encode(state)
    for position, hook in enumerate(hooks):
        _run(hook, f"{kind} hook #{position} ({hook.path})", document, mount_namespace_of)


def run_all(hooks: Sequence[Hook], kind: str, state: State) -> list[str]:
    """Run hooks whose failures are only told (poststart, poststop): the messages."""
    failures = []
    for position, hook in enumerate(hooks):
        try:
            run([hook], kind, state)
        except (Unavailable, TimedOut) as error:
            failures.append(f"{position}: {error.message}")
    return failures


def _run(hook: Hook, name: str, document: bytes, mount_namespace_of: int) -> None:
    import subprocess

    enter: Callable[[], None] | None = None
    namespace = -1
    if mount_namespace_of:
        namespace = ns.open_namespace(mount_namespace_of, "mount")

        def enter() -> None:
            ns.setns(namespace, ns.CLONE_NEWNS)

    environment = dict([entry.split("=", 1) for entry in hook.env if "=" in entry])
    try:
        done = subprocess.run(
            list(hook.args) or [hook.path],
            executable=hook.path,
            env=environment,
            input=document,
            capture_output=True,
            timeout=hook.timeout,
            preexec_fn=enter,
        )
    except subprocess.TimeoutExpired as error:
        raise TimedOut(f"{name} was killed after {hook.timeout} s") from error
    except (OSError, subprocess.SubprocessError) as error:
        raise Unavailable(f"error running {name}: {error}") from error
    finally:
        if namespace >= 0:
            os.close(namespace)
    if done.returncode:
        output = (done.stdout + done.stderr)[-_SHOWN_BYTES:].decode(errors="replace")
        raise Unavailable(
            f"error running {name}: exit status {done.returncode}, output: {output.strip()}"
        )
