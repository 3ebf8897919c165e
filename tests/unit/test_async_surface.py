"""The asynchronous engine has the surface of the synchronous one, and is made from its source."""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from proa.engine import asynchronous
from proa.engine.threadcalls import call, iterate

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    place = ROOT / "tools/write_async_api.py"
    spec = importlib.util.spec_from_file_location("write_async_api", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_module_is_what_the_source_gives(generator: ModuleType) -> None:
    written = (ROOT / "src/proa/engine/asynchronous.py").read_text()
    assert written == generator.formatted(), "run .venv/bin/python tools/write_async_api.py"


def _public(kind: type) -> set[str]:
    return {
        name
        for name, value in vars(kind).items()
        if not name.startswith("_") and (inspect.isfunction(value) or isinstance(value, property))
    }


def test_no_verb_is_missing(generator: ModuleType) -> None:
    """By the running classes, whatever the generator thinks of the source."""
    for name, path in generator.CLASSES.items():
        module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
        synchronous = getattr(module, name)
        counterpart = getattr(asynchronous, f"Async{name}")
        assert _public(synchronous) - generator.LEFT_OUT == _public(counterpart), name
        for verb in _public(counterpart):
            ours, theirs = getattr(counterpart, verb), getattr(synchronous, verb)
            if isinstance(ours, property):
                continue
            assert list(inspect.signature(ours).parameters.items()).__repr__() == (
                list(inspect.signature(theirs).parameters.items()).__repr__()
            ), f"{name}.{verb}"
            is_iteration = "AsyncIterator" in str(inspect.signature(ours).return_annotation)
            assert inspect.iscoroutinefunction(ours) is not is_iteration, f"{name}.{verb}"


def test_calls_run_side_by_side() -> None:
    """Forty calls that wait for each other: a pool of threads would not do."""
    barrier = threading.Barrier(40, timeout=10)

    async def all_of_them() -> list[int]:
        return await asyncio.gather(*(call(barrier.wait) for _ in range(40)))

    assert sorted(asyncio.run(all_of_them())) == list(range(40))


def test_errors_come_through() -> None:
    def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        asyncio.run(call(fail))
    with pytest.raises(RuntimeError, match="StopIteration"):
        asyncio.run(call(next, iter(())))


def test_iteration_closes_what_it_left() -> None:
    closed = threading.Event()

    def numbers() -> Iterator[int]:
        try:
            yield from range(10)
        finally:
            closed.set()

    async def take(count: int) -> list[int]:
        taken = []
        iteration: AsyncIterator[Any] = iterate(numbers)
        async for number in iteration:
            taken.append(number)
            if len(taken) == count:
                break
        await iteration.aclose()  # type: ignore[attr-defined]
        return taken

    assert asyncio.run(take(3)) == [0, 1, 2]
    assert closed.is_set()
    assert asyncio.run(take(99)) == list(range(10))


def test_a_cancelled_wait_is_over_at_once() -> None:
    release = threading.Event()

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(call(release.wait, 10), 0.01)

    asyncio.run(give_up())
    release.set()
