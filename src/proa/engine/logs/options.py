"""The options of the json-file driver (``--log-opt``), checked when a container is created."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

from proa.errors import Invalid, Unsupported
from proa.units import parse_size

_HINT = (
    "json-file knows max-size, max-file, compress, labels, labels-regex, env, env-regex and mode"
)


class JsonFileOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Parsed options.

    Attributes:
        max_size_bytes: begin a new file once one has this size; 0: never.
        max_files: files kept, the current one included.
        compress: gzip the files that are not written any more.
        labels, env: names whose values each entry carries as ``attrs``.
        labels_regex, env_regex: the same, by pattern; empty: none.
    """

    max_size_bytes: int = 0
    max_files: int = 1
    compress: bool = False
    labels: tuple[str, ...] = ()
    labels_regex: str = ""
    env: tuple[str, ...] = ()
    env_regex: str = ""

    def attributes(self, labels: Mapping[str, str], env: Sequence[str]) -> dict[str, str]:
        """Return what each entry of a container with these labels and environment carries."""
        chosen = _select(labels, self.labels, self.labels_regex)
        variables = dict(item.split("=", 1) for item in env if "=" in item)
        chosen.update(_select(variables, self.env, self.env_regex))
        return chosen


def parse_json_file_options(options: Mapping[str, str]) -> JsonFileOptions:
    """Check and parse the driver's options.

    Raises:
        Invalid: an unknown option or a bad value.
        Unsupported: ``mode=non-blocking``.
    """
    known: dict[str, object] = {}
    for name, value in options.items():
        known.update(_parse_option(name, value))
    parsed = JsonFileOptions(**known)  # type: ignore[arg-type]
    if parsed.max_files > 1 and not parsed.max_size_bytes:
        raise Invalid("log option max-file needs max-size", "add --log-opt max-size=10m")
    if parsed.compress and (not parsed.max_size_bytes or parsed.max_files < 2):
        raise Invalid(
            "log option compress needs max-size and a max-file of at least 2",
            "add --log-opt max-size=10m --log-opt max-file=3",
        )
    return parsed


def _parse_option(name: str, value: str) -> dict[str, object]:
    if name == "max-size":
        return {"max_size_bytes": _parse_max_size(value)}
    if name == "max-file":
        return {"max_files": _parse_max_file(value)}
    if name == "compress":
        return {"compress": _parse_bool(name, value)}
    if name in ("labels", "env"):
        return {name: tuple(part.strip() for part in value.split(",") if part.strip())}
    if name in ("labels-regex", "env-regex"):
        _compile(name, value)
        return {name.replace("-", "_"): value}
    if name == "mode":
        if value == "non-blocking":
            raise Unsupported(
                "log option mode=non-blocking is not supported by json-file", "leave it out"
            )
        if value != "blocking":
            raise Invalid(f"invalid log option mode={value}", "the one mode is blocking")
        return {}
    raise Invalid(f"unknown log option '{name}' for json-file log driver", _HINT)


def _parse_max_size(value: str) -> int:
    if value == "-1":
        return 0
    size_bytes = parse_size(value, "--log-opt max-size")
    if size_bytes == 0:
        raise Invalid("log option max-size must be greater than 0", "give a size like 10m")
    return size_bytes


def _parse_max_file(value: str) -> int:
    # More than a thousand renames at each rotation would stall the container.
    if not (value.isascii() and value.isdecimal()) or not 1 <= int(value[:5]) <= 1000:
        raise Invalid(f"invalid log option max-file={value}", "give a number from 1 to 1000")
    return int(value)


def _parse_bool(name: str, value: str) -> bool:
    if value.lower() in ("true", "t", "1"):
        return True
    if value.lower() in ("false", "f", "0"):
        return False
    raise Invalid(f"invalid log option {name}={value}", "give true or false")


def _compile(name: str, pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise Invalid(f"invalid log option {name}={pattern}: {error}") from error


def _select(values: Mapping[str, str], names: Sequence[str], pattern: str) -> dict[str, str]:
    chosen = {name: values[name] for name in names if name in values}
    if pattern:
        expression = re.compile(pattern)
        chosen.update((name, text) for name, text in values.items() if expression.search(name))
    return chosen
