"""The log drivers by name, and the three things the engine does with one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from proa.engine.config import LogConfig
from proa.engine.logs.driver import LogWriter
from proa.engine.logs.json_file import JsonFileWriter
from proa.engine.logs.none import NullWriter
from proa.engine.logs.options import parse_json_file_options
from proa.engine.logs.reader import JsonFileReader
from proa.errors import Invalid, Unsupported

DRIVERS: Final = ("json-file", "none")


def validate_log_config(config: LogConfig) -> None:
    """Check driver and options when a container is created.

    Raises:
        Invalid: an unknown driver, an unknown option or a bad value.
        Unsupported: an option of Docker's that is not implemented.
    """
    if config.driver == "json-file":
        parse_json_file_options(config.options)
    elif config.driver == "none":
        if config.options:
            raise Invalid("log driver none takes no options", "leave out --log-opt")
    else:
        raise Invalid(
            f"unknown log driver '{config.driver}'", f"the drivers are {' and '.join(DRIVERS)}"
        )


def open_log_writer(
    config: LogConfig,
    path: str,
    *,
    labels: Mapping[str, str] | None = None,
    env: Sequence[str] = (),
) -> LogWriter:
    """Return the writer of a container's log for its supervisor; it opens when it has to.

    Args:
        config: driver and options, validated before.
        path: the json-file driver's current file.
        labels, env: of the container, for the options that put them into entries.
    """
    if config.driver == "none":
        return NullWriter()
    options = parse_json_file_options(config.options)
    return JsonFileWriter(path, options, options.attributes(labels or {}, env))


def open_log_reader(config: LogConfig, path: str) -> JsonFileReader:
    """Return a reader of a container's log.

    Raises:
        Unsupported: the driver keeps nothing that can be read.
    """
    if config.driver == "none":
        raise Unsupported("the log driver none keeps nothing to read", "use --log-driver json-file")
    return JsonFileReader(path)
