"""What the kernel is asked for when a volume has a size."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from pathlib import Path

import pytest

from proa.engine import volumelimit
from proa.errors import Unsupported
from proa.linux import quota


class Kernel:
    """Stands in for quotactl_fd(2): remembers what it was asked."""

    def __init__(self, refusal: int = 0) -> None:
        self.refusal = refusal
        self.limits: dict[int, int] = {}

    def call(self, number: int, fd: int, command: int, project: int, address: int) -> int:
        if self.refusal:
            raise OSError(self.refusal, os.strerror(self.refusal))
        assert command & 0xFF == 2  # PRJQUOTA
        if command >> 8 == 0x800008:
            raw = ctypes.string_at(address, 72)
            blocks, *_, valid = struct.unpack("<8QI4x", raw)
            assert valid == 1
            self.limits[project] = blocks
        return 0


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel()
    monkeypatch.setattr(quota, "call", kernel.call)
    return kernel


def test_a_limit_is_rounded_up_to_the_kernels_unit(kernel: Kernel, tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    quota.write_block_limit(fd, 7, 1025)
    os.close(fd)
    assert kernel.limits == {7: 2}


def test_every_volume_has_a_project_of_its_own(
    kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assigned: list[int] = []
    monkeypatch.setattr(
        volumelimit, "assign_project", lambda _fd, project: assigned.append(project)
    )
    volumelimit.check(str(tmp_path))
    for _ in range(2):
        volumelimit.apply(str(tmp_path), 1 << 20)
    assert len(set(assigned)) == 2
    assert min(assigned) >= 1 << 30
    assert kernel.limits == dict.fromkeys(assigned, 1024)


@pytest.mark.parametrize("number", [errno.ESRCH, errno.ENOSYS, errno.ENOTTY])
def test_a_filesystem_without_quotas_is_told(kernel: Kernel, tmp_path: Path, number: int) -> None:
    kernel.refusal = number
    with pytest.raises(Unsupported, match="cannot limit the size of a volume") as caught:
        volumelimit.check(str(tmp_path))
    assert "prjquota" in caught.value.hint
