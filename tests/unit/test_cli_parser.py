"""The grammar of flags, checked against what Docker's client does with the same words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.cli.kinds import BOOL, FILTER, INT, LIST, OPTIONAL_INT, STRING, UNSIGNED
from proa.cli.parser import Command, Flag, HelpRequest, Options, Parser, UsageError, parse

INTERACTIVE = Flag("interactive", BOOL, "stdin", short="i")
TTY = Flag("tty", BOOL, "terminal", short="t")
ENV = Flag("env", LIST, "variables", short="e")
NAME = Flag("name", STRING, "name")
LIMIT = Flag("limit", INT, "limit", short="n", default=7)
OLD = Flag("old-limit", INT, "limit", replaced_by="limit")
GONE = Flag("gone", STRING, "not here", refusal="use something else")
PROXY = Flag("proxy", BOOL, "on by default", default=True)
FLAGS = (INTERACTIVE, TTY, ENV, NAME, LIMIT, OLD, GONE, PROXY)


def read(*words: str, interspersed: bool = False) -> Options:
    return Parser(FLAGS, interspersed=interspersed).parse(words)


@pytest.mark.parametrize(
    ("words", "flag", "value"),
    [
        (["--name", "web"], NAME, "web"),
        (["--name=web"], NAME, "web"),
        (["--name="], NAME, ""),
        (["--name", "--tty"], NAME, "--tty"),
        (["--name", "a", "--name", "b"], NAME, "b"),
        (["-e", "A=1", "--env", "B=2", "-eC=3", "-e=D"], ENV, ("A=1", "B=2", "C=3", "D")),
        (["-e", "-x"], ENV, ("-x",)),
        (["-ite", "A"], ENV, ("A",)),
        (["-it"], TTY, True),
        (["-it"], INTERACTIVE, True),
        (["--tty=false"], TTY, False),
        (["--tty=0"], TTY, False),
        (["--tty", "--tty=F"], TTY, False),
        (["-t=false"], TTY, False),
        ([], TTY, False),
        ([], PROXY, True),
        (["--proxy=false"], PROXY, False),
        ([], LIMIT, 7),
        (["-n", "-1"], LIMIT, -1),
        (["-n3"], LIMIT, 3),
        (["--old-limit", "5"], LIMIT, 5),
        (["--", "--tty"], TTY, False),
        (["image", "--tty"], TTY, False),
    ],
)
def test_values(words: list[str], flag: Flag[Any], value: object) -> None:
    assert read(*words)[flag] == value


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        (["-t", "image", "ls", "-l", "--", "x"], ("image", "ls", "-l", "--", "x")),
        (["--", "-t", "x"], ("-t", "x")),
        (["-", "-t"], ("-", "-t")),
        (["", "-t"], ("", "-t")),
        (["--tty", "true"], ("true",)),
    ],
)
def test_flags_end_at_the_first_argument(words: list[str], arguments: tuple[str, ...]) -> None:
    assert read(*words).arguments == arguments


def test_interspersed_flags_may_follow_arguments() -> None:
    options = read("a", "-t", "b", "--name", "n", "--", "-i", interspersed=True)
    assert options.arguments == ("a", "b", "-i")
    assert options[TTY]
    assert options[NAME] == "n"
    assert not options[INTERACTIVE]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--foo"], "unknown flag: --foo"),
        (["--foo=bar"], "unknown flag: --foo"),
        (["--nam", "x"], "unknown flag: --nam"),
        (["--=x"], "bad flag syntax: --=x"),
        (["-z"], "unknown shorthand flag: 'z' in -z"),
        (["-itz"], "unknown shorthand flag: 'z' in -z"),
        (["--name"], "flag needs an argument: --name"),
        (["-e"], "flag needs an argument: 'e' in -e"),
        (["-ite"], "flag needs an argument: 'e' in -e"),
        (
            ["--tty=maybe"],
            'invalid argument "maybe" for "-t, --tty" flag: \'maybe\' is neither true nor false',
        ),
        (["-n", "x"], 'invalid argument "x" for "-n, --limit" flag: \'x\' is not an integer'),
        (["--gone", "x"], "--gone is not available: use something else"),
    ],
)
def test_wrong_words(words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(*words)
    assert caught.value.message == message
    assert caught.value.exit_code == 125


def test_a_deprecated_flag_warns_and_counts() -> None:
    options = read("--old-limit=3")
    assert options.warnings == ["Flag --old-limit has been deprecated, use --limit instead"]
    assert options.is_given(LIMIT)
    assert not options.is_given(NAME)


@pytest.mark.parametrize(("words", "by_shorthand"), [(["--help"], False), (["-h"], True)])
def test_help_is_asked_for(words: list[str], by_shorthand: bool) -> None:
    with pytest.raises(HelpRequest) as caught:
        read(*words)
    assert caught.value.by_shorthand is by_shorthand


def test_help_of_a_containers_command_is_not_ours() -> None:
    assert read("image", "ls", "--help").arguments == ("image", "ls", "--help")


@pytest.mark.parametrize(
    ("least", "most", "words", "message"),
    [
        (1, None, [], "'proa do' requires at least 1 argument"),
        (2, None, ["a"], "'proa do' requires at least 2 arguments"),
        (1, 1, [], "'proa do' requires 1 argument"),
        (2, 2, ["a"], "'proa do' requires 2 arguments"),
        (0, 0, ["a"], "'proa do' accepts no arguments"),
        (0, 1, ["a", "b"], "'proa do' requires at most 1 argument"),
        (1, 2, [], "'proa do' requires at least 1 argument"),
        (1, 2, ["a", "b", "c"], "'proa do' requires at most 2 arguments"),
    ],
)
def test_number_of_arguments(least: int, most: int | None, words: list[str], message: str) -> None:
    command = Command(words="do", usage="", summary="", least=least, most=most)
    with pytest.raises(UsageError) as caught:
        parse(command, words, "proa do")
    assert caught.value.message == message
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("text", ["", "1.0", "0x10", "1_000", " 1", "٣", "9" * 30])
def test_what_is_no_integer(text: str) -> None:
    for kind in (INT, OPTIONAL_INT, UNSIGNED):
        with pytest.raises(ValueError, match="is not an integer"):
            kind.read(text, 0)


def test_an_unsigned_number_is_not_negative() -> None:
    with pytest.raises(ValueError, match="'-1' is negative"):
        UNSIGNED.read("-1", 0)


def test_a_filter_has_a_name_and_a_value() -> None:
    assert FILTER.read("Name = web=1", ()) == (("name", "web=1"),)
    with pytest.raises(ValueError, match="expected name=value"):
        FILTER.read("web", ())


@given(st.lists(st.text(max_size=8), max_size=8), st.booleans())
def test_any_words_are_read_or_refused(words: list[str], interspersed: bool) -> None:
    """No input makes the parser fail in another way, and none of the arguments is lost."""
    try:
        options = read(*words, interspersed=interspersed)
    except (UsageError, HelpRequest):
        return
    assert set(options.arguments) <= set(words)


@given(st.lists(st.text(min_size=1, max_size=8).filter(lambda text: "\0" not in text), max_size=6))
def test_everything_behind_two_dashes_is_an_argument(words: list[str]) -> None:
    assert read("--", *words).arguments == tuple(words)
