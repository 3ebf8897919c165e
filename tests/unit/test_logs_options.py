"""proa.engine.logs: drivers and their options."""

from __future__ import annotations

from pathlib import Path

import pytest

from proa.engine.config import LogConfig
from proa.engine.logs.drivers import open_log_reader, open_log_writer, validate_log_config
from proa.engine.logs.options import JsonFileOptions, parse_json_file_options
from proa.errors import Invalid, ProaError, Unsupported
from tests.support.records import NOW_NS


def test_options_are_parsed() -> None:
    options = {
        "max-size": "10m",
        "max-file": "3",
        "compress": "true",
        "labels": "a, b",
        "env": "HOME",
        "labels-regex": "^c",
        "env-regex": "X",
        "mode": "blocking",
    }
    assert parse_json_file_options(options) == JsonFileOptions(
        max_size_bytes=10 << 20,
        max_files=3,
        compress=True,
        labels=("a", "b"),
        env=("HOME",),
        labels_regex="^c",
        env_regex="X",
    )
    assert parse_json_file_options({}) == JsonFileOptions()
    assert parse_json_file_options({"max-size": "-1"}) == JsonFileOptions()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max-size": "ten"}, "invalid size 'ten' for --log-opt max-size"),
        ({"max-size": "0"}, "max-size must be greater than 0"),
        ({"max-size": "1m", "max-file": "0"}, "invalid log option max-file=0"),
        ({"max-size": "1m", "max-file": "many"}, "invalid log option max-file=many"),
        ({"max-size": "1m", "max-file": "9" * 5000}, "invalid log option max-file="),
        ({"max-file": "3"}, "max-file needs max-size"),
        ({"max-size": "1m", "compress": "true"}, "compress needs max-size and a max-file"),
        ({"compress": "perhaps"}, "invalid log option compress=perhaps"),
        ({"labels-regex": "("}, r"invalid log option labels-regex=\("),
        ({"mode": "fast"}, "invalid log option mode=fast"),
        ({"tags": "x"}, "unknown log option 'tags' for json-file"),
    ],
)
def test_bad_options_are_named(options: dict[str, str], message: str) -> None:
    with pytest.raises(Invalid, match=message):
        validate_log_config(LogConfig(options=options))


def test_what_is_not_implemented_says_so() -> None:
    with pytest.raises(Unsupported, match="mode=non-blocking"):
        validate_log_config(LogConfig(options={"mode": "non-blocking"}))


def test_unknown_drivers_are_refused() -> None:
    with pytest.raises(Invalid, match="unknown log driver 'syslog': the drivers are json-file"):
        validate_log_config(LogConfig(driver="syslog"))


def test_attributes_are_chosen_by_name_and_pattern() -> None:
    options = JsonFileOptions(
        labels=("a", "missing"), labels_regex="^com", env=("HOME",), env_regex="^X"
    )
    chosen = options.attributes(
        {"a": "1", "com.b": "2", "c": "3"}, ["HOME=/root", "X=a=b", "Y=", "XNAKED"]
    )
    assert chosen == {"a": "1", "com.b": "2", "HOME": "/root", "X": "a=b"}


def test_the_driver_none_keeps_nothing(tmp_path: Path) -> None:
    config = LogConfig(driver="none")
    validate_log_config(config)
    writer = open_log_writer(config, str(tmp_path / "log"))
    writer.write("stdout", b"x\n", NOW_NS)
    writer.flush(NOW_NS)
    writer.close()
    assert (writer.error, writer.dropped_bytes) == ("", 0)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(Unsupported, match="none keeps nothing"):
        open_log_reader(config, str(tmp_path / "log"))
    with pytest.raises(Invalid, match="takes no options"):
        validate_log_config(LogConfig(driver="none", options={"max-size": "1m"}))


def test_writer_and_reader_meet(tmp_path: Path) -> None:
    config = LogConfig(options={"labels": "tier"})
    writer = open_log_writer(config, str(tmp_path / "log"), labels={"tier": "front"})
    writer.write("stderr", b"x\n", NOW_NS)
    writer.close()
    (entry,) = open_log_reader(config, str(tmp_path / "log")).read()
    assert (entry.log, entry.stream, entry.time_ns) == ("x\n", "stderr", NOW_NS)
    assert entry.attrs == {"tier": "front"}


def test_a_log_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ProaError, match="cannot open the log"):
        open_log_writer(LogConfig(), str(tmp_path / "missing" / "log")).open()
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(ProaError, match="cannot open the log"):
        open_log_writer(LogConfig(), str(tmp_path / "link")).open()
