"""Reading a stack of layers as overlayfs would, without leaving it."""

from __future__ import annotations

import os

import pytest

from proa.image.snapshots.view import LayeredView


@pytest.fixture
def stack(tmp_path):
    upper, middle, lower = (tmp_path / name for name in ("upper", "middle", "lower"))
    for directory in (upper, middle, lower):
        (directory / "etc").mkdir(parents=True)
    return upper, middle, lower


def read(stack, path):
    with LayeredView([str(directory) for directory in stack]) as view:
        fd = view.open_file(path)
        try:
            return os.read(fd, 1000)
        finally:
            os.close(fd)


def test_the_uppermost_file_is_seen(stack):
    (stack[2] / "etc/passwd").write_text("lower")
    assert read(stack, "/etc/passwd") == b"lower"
    (stack[1] / "etc/passwd").write_text("middle")
    assert read(stack, "/etc/passwd") == b"middle"


def test_an_opaque_directory_hides_what_is_below(stack):
    (stack[2] / "etc/passwd").write_text("lower")
    os.setxattr(stack[1] / "etc", "user.overlay.opaque", b"y")
    with pytest.raises(FileNotFoundError):
        read(stack, "/etc/passwd")


@pytest.mark.requires("root")
def test_a_whiteout_hides_what_is_below(stack):
    (stack[2] / "etc/passwd").write_text("lower")
    os.mknod(stack[0] / "etc/passwd", 0o20000, os.makedev(0, 0))
    with pytest.raises(FileNotFoundError):
        read(stack, "/etc/passwd")


def test_links_are_followed_inside_the_root_across_layers(stack, tmp_path):
    (tmp_path / "outside").write_text("host secret")
    (stack[2] / "real").mkdir()
    (stack[2] / "real/file").write_text("inside")
    (stack[0] / "etc/passwd").symlink_to("/real/file")
    assert read(stack, "/etc/passwd") == b"inside"
    (stack[0] / "etc/group").symlink_to("../../../../real/file")
    assert read(stack, "/etc/group") == b"inside"
    (stack[0] / "etc/shadow").symlink_to(str(tmp_path / "outside"))
    with pytest.raises(FileNotFoundError):
        read(stack, "/etc/shadow")


def test_a_link_to_itself_ends(stack):
    (stack[0] / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="symbolic links"):
        read(stack, "/loop")


def test_only_regular_files_are_opened(stack):
    os.mkfifo(stack[0] / "etc/fifo")
    (stack[0] / "etc/directory").mkdir()
    with pytest.raises(PermissionError):
        read(stack, "/etc/fifo")
    with pytest.raises(IsADirectoryError):
        read(stack, "/etc/directory")
    (stack[0] / "etc/plain").write_text("")
    with pytest.raises(NotADirectoryError):
        read(stack, "/etc/plain/child")


def test_a_directory_merges_its_layers_uppermost_first(stack):
    with LayeredView([str(directory) for directory in stack]) as view:
        fds = view.open_directory("/etc")
        try:
            found = [os.readlink(f"/proc/self/fd/{fd}") for fd in fds]
        finally:
            for fd in fds:
                os.close(fd)
    assert found == [str(directory / "etc") for directory in stack]


def test_the_view_leaves_no_descriptor(stack):
    before = sorted(os.listdir("/proc/self/fd"))
    (stack[2] / "etc/passwd").write_text("x")
    read(stack, "/etc/passwd")
    with pytest.raises(FileNotFoundError):
        read(stack, "/etc/none/deeper")
    assert sorted(os.listdir("/proc/self/fd")) == before
