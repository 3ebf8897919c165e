"""Running the distribution's own tools: argument lists, no shell, messages kept for the error."""

from __future__ import annotations

from collections.abc import Sequence

from proa.errors import ProaError, Unavailable

_TIMEOUT_S = 300
_MESSAGE_LINES = 3


def run_tool(
    arguments: Sequence[str],
    *,
    package: str,
    doing: str,
    failures: type[ProaError],
    extra: Sequence[str] = (),
) -> str:
    """Run a tool to its end; return what it wrote.

    Args:
        arguments: program and arguments.
        package: brings the program, for the hint.
        doing: words for the error.
        failures: kind of the error when the tool fails.
        extra: more arguments.

    Raises:
        Unavailable: the program is not installed, or does not end.
        ProaError: ``failures``.
    """
    import subprocess

    require_tool(arguments[0], package)
    try:
        done = subprocess.run(
            [*arguments, *extra],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{doing}: {arguments[0]} did not end in {_TIMEOUT_S} s") from error
    if done.returncode:
        raise failures(f"{doing}: {last_words(done.stderr.splitlines())}")
    return done.stdout


def require_tool(name: str, package: str) -> str:
    """Return the path of a program.

    Raises:
        Unavailable: it is not installed.
    """
    import shutil

    path = shutil.which(name)
    if path is None:
        raise Unavailable(f"{name} is not installed", f"apt-get install {package}")
    return path


def last_words(lines: Sequence[str]) -> str:
    """Return what a failing tool said in the end: its errors, else its last line."""
    words = [line.strip() for line in lines if line.strip()]
    errors = [line for line in words if line.startswith(("E:", "W:"))]
    return "; ".join((errors or words[-1:] or ["it gave no reason"])[-_MESSAGE_LINES:])
