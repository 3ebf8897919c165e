"""Testcontainers for Python against ``proa serve``, without and with its reaper."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from tests.support import images, services
from tests.support.serving import Api

pytestmark = pytest.mark.requires("root", "overlay", "busybox", "mmdebstrap", "python-clients")

_REAPED_S = 30.0


def _run(api: Api, program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.support.testcontainers_user", program],
        env=api.environment(
            TESTCONTAINERS_DOCKER_SOCKET_OVERRIDE=api.path,
            RYUK_RECONNECTION_TIMEOUT="1s",
            TC_POOLING_INTERVAL="0.2",
            **environment,
        ),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.fixture
def prepared(api: Api) -> Api:
    images.ensure_busybox(api.proa)
    services.ensure_services(api.proa)
    return api


@pytest.mark.timeout(300)
@pytest.mark.parametrize("reaper", ["off", "on"])
def test_services_are_used_and_gone_afterwards(prepared: Api, reaper: str):
    disabled = "true" if reaper == "off" else "false"
    done = _run(prepared, "services", TESTCONTAINERS_RYUK_DISABLED=disabled)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
    _await_none(prepared)


@pytest.mark.timeout(300)
def test_the_reaper_removes_what_a_killed_program_left(prepared: Api):
    done = _run(prepared, "dies", TESTCONTAINERS_RYUK_DISABLED="false")
    assert done.returncode == 1
    container, network = done.stdout.split()
    assert prepared("GET", f"/networks/{network}").status in (200, 404)
    _await_none(prepared)
    assert prepared("GET", f"/containers/{container}/json").status == 404
    assert prepared("GET", f"/networks/{network}").status == 404


def _await_none(api: Api) -> None:
    """Wait until the reaper has done its work and is gone itself."""
    deadline = time.monotonic() + _REAPED_S
    while api.proa.containers():
        assert time.monotonic() < deadline, api.proa.ok("ps", "-a")
        time.sleep(0.1)  # the last container's end is an event, but which is the last is not known
