"""Diagnostics of the engine itself, for ``--debug`` and ``proa serve``; off, and then nearly free.

One event is one line in logfmt, written with one ``write(2)``, so that processes that share the
descriptor do not mix their lines::

    2026-11-05T10:30:00.123Z debug pid=4711 runtime.launch step=pivot_root us=99

Values may be hostile (image labels, paths): what is not plain printable text is quoted and escaped.
Secrets must not be passed. A Python program that uses the library may send events to its
``logging`` tree instead (:func:`use_logging`); that package is imported only then.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

_Sink = Callable[[str, str, dict[str, object]], None]

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30}
_sink: _Sink | None = None
_target = -1
_debug_sink: _Sink | None = None
"""The same, or None while steps are not wanted."""


def is_enabled() -> bool:
    """Tell whether steps go anywhere: ask before computing an expensive field."""
    return _debug_sink is not None


def target() -> int:
    """The descriptor that steps are written to, for a process that acts for this one; or -1."""
    return _target if is_enabled() else -1


def debug(event: str, **fields: object) -> None:
    """Record a step.

    Args:
        event: dotted words, package first: ``runtime.launch``.
        fields: what the reader needs, units in the names.
    """
    if _debug_sink is not None:
        _debug_sink("debug", event, fields)


def info(event: str, **fields: object) -> None:
    """Record what whoever runs a server wants to know."""
    if _sink is not None:
        _sink("info", event, fields)


def warning(event: str, **fields: object) -> None:
    """Record that something went wrong and was dealt with."""
    if _sink is not None:
        _sink("warning", event, fields)


def enable(target: int | str = 2, *, steps: bool = True) -> None:
    """Write events to a descriptor, or append them to a file.

    Args:
        target: a descriptor that stays open, or a path (created 0600).
        steps: also those of :func:`debug`.

    Raises:
        OSError: the file cannot be opened.
    """
    global _sink, _debug_sink, _target
    if isinstance(target, str):
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        target = os.open(target, flags, 0o600)
    descriptor = _target = target

    def write(level: str, event: str, fields: dict[str, object]) -> None:
        line = _format(level, event, fields).encode("utf-8", "backslashreplace")
        try:
            os.write(descriptor, line)
        except OSError:
            pass  # diagnostics never break what they describe

    _sink = write
    _debug_sink = write if steps else None


def use_logging(name: str = "proa") -> None:
    """Send events to ``logging.getLogger(name)``."""
    global _sink, _debug_sink
    import logging

    logger = logging.getLogger(name)

    def emit(level: str, event: str, fields: dict[str, object]) -> None:
        logger.log(_LEVELS[level], "%s%s", event, _format_fields(fields), extra={"proa": fields})

    _sink = _debug_sink = emit


def disable() -> None:
    """Drop events again."""
    global _sink, _debug_sink, _target
    _sink = _debug_sink = None
    _target = -1


@contextmanager
def lent(descriptor: int) -> Iterator[None]:
    """Write steps to another process' descriptor, taken over, while acting for it; -1 for none."""
    if descriptor < 0:
        yield
        return
    enable(descriptor)
    try:
        yield
    finally:
        disable()
        os.close(descriptor)


def _format(level: str, event: str, fields: dict[str, object]) -> str:
    now_ns = time.time_ns()
    second, rest_ns = divmod(now_ns, 1_000_000_000)
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
    return (
        f"{moment}.{rest_ns // 1_000_000:03d}Z {level} pid={os.getpid()} {event}"
        f"{_format_fields(fields)}\n"
    )


def _format_fields(fields: dict[str, object]) -> str:
    return "".join(f" {name}={_quote(value)}" for name, value in fields.items())


def _quote(value: object) -> str:
    text = value if isinstance(value, str) else str(value)
    plain = text.isprintable() and not any(mark in text for mark in ' "=\\')
    if text and plain:
        return text
    import json

    return json.dumps(text)
