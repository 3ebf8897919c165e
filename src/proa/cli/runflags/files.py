"""``--env-file`` and ``--label-file``: one entry a line, as Docker reads them.

There are no quotes and no escapes: everything behind the first ``=`` is the value, trailing blanks
included. Lines that begin with ``#`` behind blanks and empty lines do not count.
"""

from __future__ import annotations

from collections.abc import Mapping

_BOM = b"\xef\xbb\xbf"


def read_env_file(path: str, env: Mapping[str, str]) -> list[str]:
    """Read ``NAME=value`` lines; a bare ``NAME`` takes the value of ``env`` or is left out.

    Raises:
        ValueError: names the file and what is wrong with it.
    """
    entries: list[str] = []
    for name, value in _read_entries(path):
        if value is not None:
            entries.append(f"{name}={value}")
        elif name in env:
            entries.append(f"{name}={env[name]}")
    return entries


def read_label_file(path: str) -> dict[str, str]:
    """Read ``name=value`` lines; a bare name has an empty value.

    Raises:
        ValueError: names the file and what is wrong with it.
    """
    return {name: value or "" for name, value in _read_entries(path)}


def _read_entries(path: str) -> list[tuple[str, str | None]]:
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise ValueError(f"open {path}: {(error.strerror or str(error)).lower()}") from None
    entries: list[tuple[str, str | None]] = []
    for number, raw in enumerate(data.removeprefix(_BOM).split(b"\n"), 1):
        try:
            line = raw.removesuffix(b"\r").decode().lstrip()
        except UnicodeDecodeError:
            raise ValueError(
                f"invalid file ({path}): invalid utf8 bytes at line {number}"
            ) from None
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not name:
            raise ValueError(f"invalid file ({path}): no variable name on line '{line}'")
        if any(character.isspace() for character in name):
            raise ValueError(f"invalid file ({path}): variable '{name}' contains whitespaces")
        entries.append((name, value if equals else None))
    return entries
