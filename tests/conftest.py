"""Capabilities, leak checks and engine fixtures for every test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.support import engines, leaks, requires, serving

_PRIVILEGED = frozenset(("integration", "conformance", "attacks"))
_skipped: Counter[str] = Counter()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose capability is absent; fail it when the capability was promised."""
    wanted = [str(name) for mark in item.iter_markers("requires") for name in mark.args]
    absent = requires.absent(dict.fromkeys(wanted))
    if not absent:
        return
    broken = sorted(requires.promised() & absent.keys())
    if broken:
        reasons = ", ".join(f"{name} ({absent[name]})" for name in broken)
        pytest.fail(f"promised by PROA_TEST_PROMISES but missing: {reasons}", pytrace=False)
    _skipped.update(absent.keys())
    pytest.skip("requires " + ", ".join(f"{name} ({why})" for name, why in absent.items()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name each missing capability and how many tests it skipped."""
    if not _skipped:
        return
    terminalreporter.section("missing capabilities")
    for name, count in sorted(_skipped.items()):
        terminalreporter.write_line(
            f"{name}: {requires.missing(name)}; {count} test{'s' if count > 1 else ''} skipped"
        )


@pytest.fixture(autouse=True)
def _leaves_nothing(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a privileged test that leaves anything on the host.

    Session fixtures are set up before this one takes its snapshot, so what they hold is allowed.
    """
    if not _PRIVILEGED.intersection(request.path.parts):
        yield
        return
    before = leaks.take()
    yield
    left = leaks.settle(before)
    assert not left, "the test left behind:\n" + "\n".join(left)


@pytest.fixture
def fresh_proa() -> Iterator[engines.Proa]:
    """The command line on an empty engine root of the test's own; containers are removed after."""
    with engines.temporary_root() as proa:
        yield proa
        proa.remove_all()


@pytest.fixture(scope="session")
def session_proa() -> Iterator[engines.Proa]:
    """One engine root for the whole session: images are loaded into it once and stay."""
    with engines.temporary_root() as proa:
        yield proa


@pytest.fixture
def proa(session_proa: engines.Proa) -> Iterator[engines.Proa]:
    """The command line on the session's root; the test must leave no container in it."""
    yield session_proa
    left = session_proa.remove_all()
    assert not left, f"the test left containers behind: {' '.join(left)}"


@pytest.fixture(scope="session")
def session_api(session_proa: engines.Proa) -> Iterator[serving.Api]:
    """``proa serve`` on the session's root, for as long as the session lasts."""
    with serving.serving(session_proa) as api:
        yield api


@pytest.fixture
def api(session_api: serving.Api, proa: engines.Proa) -> serving.Api:
    """The session's server; the test must leave no container in its root."""
    return session_api
