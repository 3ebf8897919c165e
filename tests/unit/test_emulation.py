"""Entries of binfmt_misc: what they match, what is written, what is read back."""

from __future__ import annotations

from pathlib import Path

import pytest

from proa.engine import emulation
from proa.linux import binfmt
from proa.oci.platform import Platform, host_platform
from proa.runtime.steps.emulation import register
from tests.support.emulation import AARCH64_LINE

ENTRY = """enabled
interpreter /usr/bin/qemu-aarch64-static
flags: OCF
offset 0
magic 7f454c460201010000000000000000000200b700
mask ffffffffffffff00fffffffffffffffffeffffff
"""


@pytest.fixture
def arm64(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """An installed emulator; returns its path."""
    path = tmp_path / "qemu-aarch64-static"
    path.touch(mode=0o755)
    monkeypatch.setattr(emulation, "_DIRECTORIES", (str(tmp_path),))
    monkeypatch.setattr(emulation, "has_own_registries", lambda: True)
    monkeypatch.setattr(emulation, "is_native", lambda name: name == "amd64")
    return str(path)


def test_the_entry_is_the_one_that_qemu_registers(arm64: str) -> None:
    (line,) = emulation.compose_registrations(Platform(architecture="arm64"))
    _, name, kind, offset, magic, mask, interpreter, flags = line.split(":")
    _, _, _, _, theirs, their_mask, _ = AARCH64_LINE.decode().split(":")
    assert (name, kind, offset, flags) == ("proa-aarch64", "M", "0", "OCF")
    assert interpreter == arm64
    assert decode(magic) == decode(theirs)
    assert decode(mask) == decode(their_mask)


def decode(escaped: str) -> bytes:
    return escaped.encode().decode("unicode_escape").encode("latin-1")


def test_a_native_image_and_a_missing_emulator_need_no_entry(arm64: str) -> None:
    assert emulation.compose_registrations(Platform(architecture="amd64")) == ()
    assert emulation.compose_registrations(Platform(architecture="riscv64")) == ()
    assert emulation.compose_registrations(Platform(architecture="vax")) == ()


@pytest.mark.parametrize(
    ("release", "own"),
    [("6.18.44-fc-v595", True), ("6.7.0", True), ("6.6.9", False), ("5.10.0-28-amd64", False)],
)
def test_since_which_kernel(monkeypatch: pytest.MonkeyPatch, release: str, own: bool) -> None:
    class Uname:
        pass

    uname = Uname()
    uname.release = release  # type: ignore[attr-defined]
    monkeypatch.setattr(emulation.os, "uname", lambda: uname)  # type: ignore[attr-defined]
    assert emulation.has_own_registries() is own


def test_reading_a_registry(tmp_path: Path) -> None:
    (tmp_path / "register").touch()
    (tmp_path / "status").write_text("enabled\n")
    (tmp_path / "arm").write_text(ENTRY)
    (tmp_path / "off").write_text(ENTRY.replace("enabled", "disabled"))
    (tmp_path / "java").write_text("enabled\ninterpreter /usr/bin/java\nflags: \nextension .jar\n")
    arm, off = binfmt.read_handlers(str(tmp_path))
    assert (arm.name, arm.flags, arm.enabled, off.enabled) == ("arm", "OCF", True, False)
    assert binfmt.read_handlers(str(tmp_path / "missing")) == []
    header = bytes.fromhex("7f454c460201010300000000000000000300b700") + b"rest"
    assert arm.matches(header)
    assert not arm.matches(header[:18] + b"\x3e\x00")
    assert not arm.matches(header[:10])


@pytest.mark.parametrize("architecture", sorted(emulation.MACHINES))
def test_headers_tell_architectures_apart(architecture: str, tmp_path: Path) -> None:
    handlers = {
        name: binfmt.Handler(name, emulation._header(name), b"", "", "F")
        for name in emulation.MACHINES
    }
    found = [name for name, one in handlers.items() if one.matches(emulation._header(architecture))]
    assert found == [architecture]


def test_the_hosts_own_program_is_native() -> None:
    with open("/proc/self/exe", "rb") as file:
        header = file.read(20)
    own = emulation._header(host_platform().architecture)
    assert header[:7] + header[18:] == own[:7] + own[18:]


def test_the_registry_is_mounted_read_only_after_it_was_written() -> None:
    steps = register((":a:M:0:x:y:/q:F",)).steps
    calls = [step.syscall for step in steps]
    assert calls.index("fsmount") < calls.index("write") < calls.index("mount_setattr")
    assert calls.index("mount_setattr") < calls.index("move_mount")
    assert next(step.args[1] for step in steps if step.syscall == "write") == b":a:M:0:x:y:/q:F"
