"""A stop that comes while a container is being started waits for it."""

from __future__ import annotations

import threading
from typing import Any, cast

import pytest

from proa.engine.facade import Engine
from proa.errors import Conflict
from proa.server.streams.session import WaitingRoom

ID = "ab" * 32


class _SlowEngine:
    """Starts a container when it is told to go on."""

    def __init__(self) -> None:
        self.containers = self
        self.began = threading.Event()
        self.go_on = threading.Event()
        self.error: Exception | None = None

    def start(self, container_id: str, **options: Any) -> None:
        self.began.set()
        assert self.go_on.wait(10)
        if self.error is not None:
            raise self.error


def test_a_stop_waits_until_the_start_is_done():
    room, engine, order = WaitingRoom(), _SlowEngine(), []
    starting = threading.Thread(target=room.start, args=(cast("Engine", engine), ID))
    starting.start()
    assert engine.began.wait(10)

    def stop() -> None:
        room.await_start(ID)
        order.append("stopped")

    stopping = threading.Thread(target=stop)
    stopping.start()
    room.await_start("cd" * 32)  # another container is nobody's business
    order.append("started")
    engine.go_on.set()
    stopping.join(10)
    starting.join(10)
    assert order == ["started", "stopped"]
    room.await_start(ID)


def test_a_start_that_fails_lets_others_go_on():
    room, engine = WaitingRoom(), _SlowEngine()
    engine.error = Conflict("no")
    engine.go_on.set()
    with pytest.raises(Conflict):
        room.start(cast("Engine", engine), ID)
    room.await_start(ID)
