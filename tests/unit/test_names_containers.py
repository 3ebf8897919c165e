"""proa.engine.names."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.engine import names
from proa.errors import Invalid


def test_ids_are_64_hex_digits_and_never_look_like_a_number() -> None:
    made = {names.generate_id() for _ in range(2000)}
    assert len(made) == 2000
    assert all(names.is_id(identity) for identity in made)
    assert not any(identity[:12].isdecimal() for identity in made)


def test_generated_names_are_valid_and_varied() -> None:
    made = {names.generate_name() for _ in range(300)}
    assert len(made) > 250
    for name in made:
        assert re.fullmatch(r"[a-z]+_[a-z]+", name)
        assert names.validate_name(name) == name


def test_later_attempts_add_digits() -> None:
    assert re.fullmatch(r"[a-z]+_[a-z]+\d{1,5}", names.generate_name(5))


@pytest.mark.parametrize("name", ["web", "/web", "a1", "A_b.c-d", "0x", "a" * 255])
def test_valid_names(name: str) -> None:
    assert names.validate_name(name) == name.removeprefix("/")


@pytest.mark.parametrize(
    "name",
    ["", "/", "a", "-web", ".web", "web/x", "//web", "we b", "wéb", "web\n", "a" * 256, "../x"],
)
def test_invalid_names(name: str) -> None:
    with pytest.raises(Invalid, match="invalid container name"):
        names.validate_name(name)


@given(st.text())
def test_a_valid_name_is_a_file_name(name: str) -> None:
    try:
        valid = names.validate_name(name)
    except Invalid:
        return
    assert "/" not in valid
    assert valid not in (".", "..")
    assert valid.isascii()


def test_telling_ids() -> None:
    assert names.is_id("a" * 64)
    assert not names.is_id("a" * 63)
    assert not names.is_id("A" * 64)
    assert names.is_hex_prefix("0f")
    assert not names.is_hex_prefix("")
    assert not names.is_hex_prefix("0g")
    assert names.short_id("sha256:" + "1234567890abcdef") == "1234567890ab"
