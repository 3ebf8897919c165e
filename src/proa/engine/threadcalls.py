"""Blocking calls for asyncio: each in a thread of its own.

Not a pool: a call may wait for a container's end for days, and a pool of waiting threads would stop
everything else. The threads are daemons, so that a program that has had enough can end.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_END = object()


async def call(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a function in a thread and wait for it.

    A cancelled wait leaves the thread to finish on its own; its result is dropped.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def work() -> None:
        result: T | None = None
        failure: BaseException | None = None
        try:
            result = function(*args, **kwargs)
        except StopIteration as error:
            # A future cannot hold one (PEP 479).
            failure = RuntimeError(f"StopIteration from {function!r}")
            failure.__cause__ = error
        except BaseException as error:  # noqa: BLE001 - raised again where it is awaited
            failure = error
        try:
            loop.call_soon_threadsafe(settle, result, failure)
        except RuntimeError:
            return  # the loop is closed: nobody waits

    threading.Thread(target=work, name="proa-call", daemon=True).start()
    return await future


async def iterate(make: Callable[[], Iterator[T]]) -> AsyncIterator[T]:
    """Iterate over a blocking iterator, one thread a step."""
    iterator = await call(make)
    try:
        while True:
            item = await call(_next, iterator)
            if item is _END:
                return
            yield item  # type: ignore[misc]
    finally:
        close = getattr(iterator, "close", None)
        if close is not None:
            try:
                close()
            except ValueError:
                pass  # a step still runs in its thread; it ends with what it waits for


def _next(iterator: Iterator[T]) -> T | object:
    return next(iterator, _END)
