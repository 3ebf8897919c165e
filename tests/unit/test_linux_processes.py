"""Wrappers of the kernel's process interfaces, on processes of the test's own."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from proa.linux import inotify, namespaces, process, procfs, syscalls

HOSTILE = "a) R 1 (b"


@pytest.fixture
def child() -> Iterator[int]:
    """A child with a hostile name that sleeps until it is killed."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            process.set_process_name(HOSTILE)
            os.write(writer, b"x")
            signal.pause()
        finally:
            os._exit(0)
    os.read(reader, 1)
    os.close(reader)
    os.close(writer)
    yield pid
    try:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass


def test_a_child_is_signalled_and_reaped_by_its_pidfd(child: int) -> None:
    pidfd = process.pidfd_open(child)
    try:
        assert process.wait_pidfd(pidfd, block=False) is None
        process.pidfd_send_signal(pidfd, signal.SIGTERM)
        assert process.wait_pidfd(pidfd) == (0, signal.SIGTERM)
        with pytest.raises(ProcessLookupError):
            process.pidfd_send_signal(pidfd, signal.SIGTERM)
        with pytest.raises(ChildProcessError):
            process.wait_pidfd(pidfd)
    finally:
        os.close(pidfd)


def test_an_exit_code_is_told_from_a_signal() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(9)
    pidfd = process.pidfd_open(pid)
    assert process.wait_pidfd(pidfd) == (9, 0)
    os.close(pidfd)


def test_start_ticks_identify_a_process(child: int) -> None:
    ticks = procfs.read_start_ticks(child)
    assert Path(f"/proc/{child}/comm").read_text().strip() == HOSTILE
    assert ticks == procfs.read_start_ticks(child)
    assert ticks >= procfs.read_start_ticks(os.getpid())
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with pytest.raises(OSError):
        procfs.read_start_ticks(child)


def test_the_boot_id_is_a_uuid() -> None:
    assert len(procfs.read_boot_id()) == 36


def test_the_process_name_is_cut_to_15_bytes() -> None:
    before = Path("/proc/self/comm").read_text().strip()
    process.set_process_name("proa-supervisor-of-web")
    try:
        assert Path("/proc/self/comm").read_text().strip() == "proa-supervisor"
    finally:
        process.set_process_name(before)


def test_status_is_a_mapping() -> None:
    status = procfs.read_status("self")
    assert status["Pid"] == str(os.getpid())
    assert status["Seccomp"].isdigit()


def test_inotify_tells_of_new_files(tmp_path: Path) -> None:
    fd = inotify.init()
    try:
        watch = inotify.add_watch(fd, str(tmp_path), inotify.IN_CREATE | inotify.IN_DELETE)
        assert inotify.read(fd) == []
        (tmp_path / "a name").touch()
        (tmp_path / "a name").unlink()
        events = inotify.read(fd)
        assert [(e.watch, e.mask, e.name) for e in events] == [
            (watch, inotify.IN_CREATE, "a name"),
            (watch, inotify.IN_DELETE, "a name"),
        ]
        inotify.remove_watch(fd, watch)
        assert inotify.read(fd)[0].mask == inotify.IN_IGNORED
        with pytest.raises(OSError):
            inotify.remove_watch(fd, watch)
        with pytest.raises(FileNotFoundError):
            inotify.add_watch(fd, str(tmp_path / "none"), inotify.IN_CREATE)
    finally:
        os.close(fd)


def test_system_calls_by_name_and_their_errors() -> None:
    assert syscalls.call(syscalls.number("getpid")) == os.getpid()
    with pytest.raises(OSError, match="Bad file descriptor"):
        syscalls.call(syscalls.number("close"), 1_000_000)
    assert syscalls.raw_call(syscalls.number("close"), 1_000_000) == -9
    with pytest.raises(KeyError):
        syscalls.number("no_such_call")


def test_namespaces_of_this_process_can_be_opened() -> None:
    for kind in namespaces.FLAGS:
        assert namespaces.supports(kind)
        os.close(namespaces.open_namespace("self", kind))
