"""attacks.md, "Defaults", Capabilities, and CVE-2022-24769, CVE-2022-29162: nothing inheritable."""

from __future__ import annotations

import json
import os

import pytest

from proa.linux import capability
from proa.linux.process import prctl
from proa.linux.syscalls import call, number
from proa.runtime.security import capabilities


def _sets_after(masks: capability.CapabilitySets, command: list[str] | None = None) -> list[int]:
    """Apply sets in a child as a launch plan does; return what /proc says of it afterwards."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            for bit in range(capability.read_last_capability() + 1):
                if not masks.bounding >> bit & 1:
                    prctl(capability.PR_CAPBSET_DROP, bit)
            prctl(capability.PR_CAP_AMBIENT, capability.PR_CAP_AMBIENT_CLEAR_ALL)
            call(
                number("capset"),
                capability.encode_capset_header(),
                capability.encode_capset_data(
                    effective=masks.effective,
                    permitted=masks.permitted,
                    inheritable=masks.inheritable,
                ),
            )
            if command:
                os.dup2(write_end, 1)
                os.execvp(command[0], command)
            os.write(write_end, json.dumps(capability.read_sets()).encode())
            os._exit(0)
        finally:
            os._exit(1)
    os.close(write_end)
    with open(read_end, "rb") as pipe:
        answer = pipe.read()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    found: list[int] = (
        list(capability.parse_status(answer)) if command else json.loads(answer.decode())
    )
    return found


@pytest.mark.requires("root")
def test_the_default_sets_are_exactly_dockers() -> None:
    masks = capabilities.masks(capabilities.sets(capabilities.DEFAULT))
    assert _sets_after(masks) == [0, 0xA80425FB, 0xA80425FB, 0xA80425FB, 0]


@pytest.mark.requires("root")
@pytest.mark.parametrize("drop", [[], ["ALL"], ["CHOWN", "net_raw"]])
def test_nothing_is_inheritable_or_ambient_after_execve(drop: list[str]) -> None:
    masks = capabilities.masks(capabilities.sets(capabilities.tweak(drop=drop)))
    inheritable, permitted, effective, bounding, ambient = _sets_after(
        masks, ["cat", "/proc/self/status"]
    )
    assert inheritable == ambient == 0
    assert permitted == effective == bounding == masks.bounding
