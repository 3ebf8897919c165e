"""Timers, restarts, and the names by which processes find each other."""

from __future__ import annotations

import os

import pytest

from proa.cli import client
from proa.engine.config import RestartPolicy
from proa.engine.ipc import connect
from proa.engine.layout import Layout, SocketPath
from proa.engine.supervisor import restart
from proa.engine.supervisor.loop import Loop


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def test_timers_fire_in_order_and_a_cancelled_one_does_not():
    loop = Loop()
    fired = []
    loop.call_later(0.003, loop.stop)
    loop.call_later(0.002, lambda: fired.append("second"))
    loop.call_later(0.001, lambda: fired.append("first"))
    loop.call_later(0.0015, lambda: fired.append("never")).cancel()
    loop.run()
    loop.close()
    assert fired == ["first", "second"]


def test_the_pause_doubles_to_a_minute_and_begins_anew_after_a_healthy_run(clock):
    restarts = restart.RestartClock(RestartPolicy(name="always"))
    delays = []
    for _ in range(12):
        delay_s = restarts.delay_after(1)
        assert delay_s is not None
        delays.append(delay_s)
        clock[0] += delay_s + 1
    assert delays[:4] == [0.1, 0.2, 0.4, 0.8]
    assert delays[-1] == 60.0
    clock[0] += restart.HEALTHY_RUN_S
    assert restarts.delay_after(1) == 0.1
    assert restarts.count == 13


@pytest.mark.parametrize(
    ("policy", "codes", "restarted"),
    [
        (RestartPolicy(name="no"), [0, 1], [False, False]),
        (RestartPolicy(name="always"), [0, 1], [True, True]),
        (RestartPolicy(name="unless-stopped"), [0, 1], [True, True]),
        (RestartPolicy(name="on-failure"), [1, 0], [True, False]),
        (RestartPolicy(name="on-failure", maximum_retry_count=2), [1, 1, 1], [True, True, False]),
    ],
)
def test_the_policy_decides(clock, policy, codes, restarted):
    restarts = restart.RestartClock(policy)
    assert [restarts.delay_after(code) is not None for code in codes] == restarted


def test_the_thin_client_and_the_engine_agree_on_the_socket(monkeypatch, tmp_path):
    monkeypatch.setenv("PROA_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("PROA_RUN", str(tmp_path / "run"))
    layout = Layout()
    assert client._roots() == (layout.root, layout.run)
    assert client._socket_name(layout.root) == connect.socket_name(layout.root)
    assert connect.socket_name("/a") != connect.socket_name("/b")


def test_the_thin_client_and_the_engine_agree_on_the_default_roots(monkeypatch):
    monkeypatch.delenv("PROA_ROOT", raising=False)
    monkeypatch.delenv("PROA_RUN", raising=False)
    layout = Layout()
    assert client._roots() == (layout.root, layout.run)


def test_the_clients_words_reach_the_worker_as_they_are(monkeypatch):
    monkeypatch.setattr(os, "environb", {b"A": b"1", b"B": b"=2\n"})
    payload = client.payload_of(["run", "-e", "X=\udcff", ""])
    assert payload == b"4\0" + b"2\0" + b"run\0-e\0X=\xff\0\0" + b"A=1\0B==2\n"


def test_a_long_socket_path_is_reached_through_its_directory(tmp_path):
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    with SocketPath(str(deep / "name")) as path:
        assert len(path) < 108
        assert os.path.samefile(os.path.dirname(path), deep)
    with SocketPath("/run/short") as path:
        assert path == "/run/short"
