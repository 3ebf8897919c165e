"""``proa volume create -o size=``: a limit that holds, or a clear refusal."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Iterator

import pytest

from tests.support import engines
from tests.support.engines import Proa
from tests.support.images import ensure_busybox

pytestmark = pytest.mark.requires("root", "userns", "overlay", "loop", "busybox", "mkfs.ext4")


def await_unmounted(place: str) -> None:
    """Unmount as soon as the last process that was killed has closed its files."""
    deadline = time.monotonic() + 10
    while subprocess.run(["umount", place], capture_output=True, check=False).returncode:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def disk(request: pytest.FixtureRequest) -> Iterator[Proa]:
    """An engine on an ext4 of its own, made and mounted with the words of the parameter."""
    made, mounted_with = request.param
    with tempfile.TemporaryDirectory(prefix="proa-q-", dir="/var/tmp") as base:
        image, place = f"{base}/image", f"{base}/m"
        subprocess.run(["truncate", "-s", "64M", image], check=True)
        subprocess.run(["mkdir", place], check=True)
        subprocess.run(["mkfs.ext4", "-q", *made, image], check=True)
        options = ",".join(("loop", *mounted_with))
        if subprocess.run(["mount", "-o", options, image, place], capture_output=True).returncode:
            pytest.skip("this kernel has no project quotas")
        proa = Proa(f"{place}/root", f"{base}/run")
        try:
            ensure_busybox(proa)
            yield proa
            proa.remove_all()
        finally:
            engines.end_processes(proa.run_dir)
            await_unmounted(place)


@pytest.mark.parametrize("disk", [((), ())], indirect=True, ids=["no quotas"])
def test_a_filesystem_without_quotas_refuses(disk: Proa) -> None:
    done = disk("volume", "create", "-o", "size=10m", "small")
    assert (done.code, done.stdout) == (1, "")
    assert "cannot limit the size of a volume" in done.stderr
    assert "prjquota" in done.stderr
    assert disk.ok("volume", "ls", "-q") == ""
    assert disk("volume", "create", "-o", "size=many", "small").code == 1
    assert "'device' is not supported" in disk("volume", "create", "-o", "device=x", "v").stderr


_QUOTAS = (("-O", "quota,project", "-E", "quotatype=prjquota"), ("prjquota",))


@pytest.mark.parametrize("disk", [_QUOTAS], indirect=True, ids=["quotas"])
def test_a_size_is_held_and_lifted(disk: Proa) -> None:
    disk.ok("volume", "create", "-o", "size=4m", "small")
    assert json.loads(disk.ok("volume", "inspect", "small"))[0]["Options"] == {"size": "4m"}
    words = ("run", "--rm", "--network", "none", "-v", "small:/d", "busybox", "dd", "bs=1M")
    done = disk(*words, "if=/dev/zero", "of=/d/file", "count=8")
    assert done.code == 1
    assert "No space left" in done.stderr or "quota exceeded" in done.stderr.lower()
    disk.ok("volume", "rm", "small")
    disk.ok("volume", "create", "small")
    disk.ok(*words, "if=/dev/zero", "of=/d/file", "count=8")
