"""Dockerfile lines that change an image's config: ``proa import --change``, ``proa commit``."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence

import msgspec

from proa.errors import Invalid
from proa.oci.imageconfig import ContainerDefaults

_KEYWORDS = (
    "CMD",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "LABEL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
)


def apply_changes(defaults: ContainerDefaults, changes: Sequence[str]) -> ContainerDefaults:
    """Return the defaults with each line applied in turn.

    Args:
        defaults: what to start from.
        changes: e.g. ``CMD ["bash"]``, ``ENV A=1 B=2``, ``WORKDIR /srv``.

    Raises:
        Invalid: an unknown instruction or a malformed line; the message has the line.
    """
    for line in changes:
        keyword, _, rest = line.strip().partition(" ")
        defaults = _apply(defaults, keyword.upper(), rest.strip(), line)
    return defaults


def _apply(defaults: ContainerDefaults, keyword: str, rest: str, line: str) -> ContainerDefaults:
    if keyword not in _KEYWORDS:
        raise _invalid(line, "only " + ", ".join(_KEYWORDS) + " can be changed")
    if not rest:
        raise _invalid(line, f"{keyword} needs a value")
    fields: dict[str, object] = {}
    if keyword in ("CMD", "ENTRYPOINT"):
        fields[keyword.lower()] = _command(rest, line)
    elif keyword == "ENV":
        fields["env"] = _environment(defaults.env, _pairs(rest, line))
    elif keyword == "LABEL":
        fields["labels"] = {**defaults.labels, **dict(_pairs(rest, line))}
    elif keyword == "EXPOSE":
        ports = {_port(word, line): dict[str, str]() for word in rest.split()}
        fields["exposed_ports"] = {**defaults.exposed_ports, **ports}
    elif keyword == "VOLUME":
        paths = _json_words(rest, line) or tuple(rest.split())
        fields["volumes"] = {**defaults.volumes, **{path: dict[str, str]() for path in paths}}
    elif keyword == "WORKDIR":
        directory = _word(rest, line)
        base = "" if directory.startswith("/") else (defaults.working_dir or "/").rstrip("/") + "/"
        fields["working_dir"] = base + directory
    else:
        fields["user" if keyword == "USER" else "stop_signal"] = _word(rest, line)
    return msgspec.structs.replace(defaults, **fields)


def _command(text: str, line: str) -> tuple[str, ...]:
    """Read the exec form (a JSON array) or the shell form."""
    return _json_words(text, line) or ("/bin/sh", "-c", text)


def _json_words(text: str, line: str) -> tuple[str, ...] | None:
    if not text.startswith("["):
        return None
    try:
        words = json.loads(text)
    except ValueError as error:
        raise _invalid(line, "the JSON array is malformed") from error
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise _invalid(line, "the JSON array holds something else than strings")
    return tuple(words)


def _pairs(text: str, line: str) -> list[tuple[str, str]]:
    """Read ``NAME=value`` words with shell quotes, or the old ``NAME value``."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise _invalid(line, "a quote is not closed") from error
    if "=" not in words[0]:
        name, _, value = text.partition(" ")
        if not value:
            raise _invalid(line, "write it as NAME=value")
        return [(name, value.strip())]
    pairs = [(name, value) for name, equals, value in (w.partition("=") for w in words) if equals]
    if len(pairs) != len(words) or not all(name for name, _ in pairs):
        raise _invalid(line, "write it as NAME=value NAME=value")
    return pairs


def _environment(before: tuple[str, ...], pairs: list[tuple[str, str]]) -> tuple[str, ...]:
    merged = {one.partition("=")[0]: one for one in before}
    for name, value in pairs:
        merged[name] = f"{name}={value}"
    return tuple(merged.values())


def _port(text: str, line: str) -> str:
    number, slash, protocol = text.partition("/")
    protocol = protocol.lower() if slash else "tcp"
    if (
        not number.isdigit()
        or not 0 < int(number) < 65536
        or protocol not in ("tcp", "udp", "sctp")
    ):
        raise _invalid(line, f"{text!r} is no port")
    return f"{int(number)}/{protocol}"


def _word(text: str, line: str) -> str:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise _invalid(line, "a quote is not closed") from error
    if len(words) != 1 or not words[0]:
        raise _invalid(line, "one word is wanted")
    return words[0]


def _invalid(line: str, why: str) -> Invalid:
    return Invalid(
        f"change {line[:200]!r} cannot be applied: {why}", "e.g. --change 'CMD [\"sh\"]'"
    )
