"""Finding kernels, unpacking them, and the guest that proves an accelerator."""

import gzip
import lzma
import os
import struct
import subprocess
from pathlib import Path

import pytest

from proa.errors import Corrupt, Invalid, NotFound, Unsupported
from proa.vm import probe
from proa.vm.kernel import find_kernel, get_kernel, list_kernels, lz4, remove_kernel
from proa.vm.kernel.install import install_kernel
from proa.vm.kernel.store import adopt
from proa.vm.kernel.vmlinux import extract_vmlinux, find_release, has_pvh_entry

PVH_NOTE = struct.pack("<III", 4, 8, 18) + b"Xen\0" + bytes(8)
KERNEL = b"\x7fELF" + PVH_NOTE + b"Linux version 6.1.0-test (me) " + bytes(1000)


def bzimage(payload: bytes, release: str = "6.1.0-test") -> bytes:
    """A kernel image as boot.rst describes it, with one sector of setup."""
    head = bytearray(1024)
    head[0x1F1] = 1
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", head, 0x20E, 0x100)
    words = f"{release} (me@here) #1".encode()
    head[0x300 : 0x300 + len(words)] = words
    struct.pack_into("<II", head, 0x248, 64, len(payload))
    return bytes(head) + bytes(64) + payload


def lz4_literals(data: bytes) -> bytes:
    """A legacy frame of literals only."""
    blocks = b""
    for start in range(0, len(data), 200000):
        piece = data[start : start + 200000]
        rest = len(piece) - 15
        lengths = b"\xff" * (rest // 255) + bytes([rest % 255])
        block = b"\xf0" + lengths + piece
        blocks += struct.pack("<I", len(block)) + block
    return lz4.MAGIC + blocks


@pytest.mark.parametrize(
    "pack",
    [
        gzip.compress,
        lzma.compress,
        lambda data: lz4_literals(data) + struct.pack("<I", len(data)),
        lambda data: data,
    ],
)
def test_every_packing_of_a_kernel(pack: object) -> None:
    assert callable(pack)
    assert extract_vmlinux(bzimage(pack(KERNEL))) == KERNEL
    assert has_pvh_entry(KERNEL)


def test_lz4_matches_that_overlap() -> None:
    # Token: one literal, a match of 4+6 bytes one byte back; then five literals end the block.
    block = bytes([0x16]) + b"a" + b"\x01\x00" + bytes([0x50]) + b"bcdef"
    frame = lz4.MAGIC + struct.pack("<I", len(block)) + block
    assert lz4.decompress_legacy(frame, 1000) == b"a" * 11 + b"bcdef"
    with pytest.raises(Corrupt):
        lz4.decompress_legacy(frame, 8)


@pytest.mark.parametrize(
    "block", [b"\x16a\x09\x00\x50bcdef", b"\x16a\x00\x00\x50b", b"\xf0\xff", b"\x16a\x01"]
)
def test_a_bad_lz4_block_is_corrupt(block: bytes) -> None:
    with pytest.raises(Corrupt):
        lz4.decompress_legacy(lz4.MAGIC + struct.pack("<I", len(block)) + block, 1000)


@pytest.mark.parametrize(
    "image", [b"", b"x" * 5000, bzimage(gzip.compress(b"not elf")), bzimage(b"\x1f\x8bxxxx")]
)
def test_what_is_no_kernel(image: bytes) -> None:
    with pytest.raises(Corrupt):
        extract_vmlinux(image)


def test_an_unknown_packing_is_told() -> None:
    with pytest.raises(Unsupported, match="packed with something unknown"):
        extract_vmlinux(bzimage(b"LZO!somethin"))


def test_releases_are_read_from_the_image() -> None:
    assert find_release(bzimage(b"", "6.12.3+deb13-cloud-amd64")) == "6.12.3+deb13-cloud-amd64"
    assert find_release(KERNEL) == "6.1.0-test"
    assert find_release(b"nothing") == ""


def install(root: Path, release: str, payload: bytes = KERNEL) -> None:
    directory = root / "vm" / "kernels" / release
    (directory / "modules" / "kernel").mkdir(parents=True)
    (directory / "vmlinuz").write_bytes(bzimage(gzip.compress(payload), release))
    adopt(str(directory), release, "x86_64", f"linux-image-{release} 1")


def test_versions_stand_side_by_side_and_the_newest_is_the_default(tmp_path: Path) -> None:
    for release in ("6.1.0-9-cloud-amd64", "6.12.1-cloud-amd64", "6.1.0-56-cloud-amd64"):
        install(tmp_path, release)
    (tmp_path / "vm" / "kernels" / "6.99").mkdir()
    root = str(tmp_path)
    assert [kernel.release for kernel in list_kernels(root)] == [
        "6.12.1-cloud-amd64", "6.1.0-56-cloud-amd64", "6.1.0-9-cloud-amd64",
    ]  # fmt: skip
    assert get_kernel(root, architecture="x86_64").release == "6.12.1-cloud-amd64"
    assert get_kernel(root, "6.1", "x86_64").release == "6.1.0-56-cloud-amd64"
    assert get_kernel(root, "6.1.0-9-cloud-amd64", "x86_64").release == "6.1.0-9-cloud-amd64"
    kernel = get_kernel(root, "6.12", "x86_64")
    assert Path(kernel.vmlinux).read_bytes() == KERNEL
    assert kernel.modules == os.path.dirname(kernel.image) + "/modules"
    remove_kernel(root, "6.12.1-cloud-amd64")
    assert get_kernel(root, architecture="x86_64").release == "6.1.0-56-cloud-amd64"
    with pytest.raises(NotFound):
        remove_kernel(root, "6.12.1-cloud-amd64")
    with pytest.raises(NotFound, match=r"kernel 6\.2"):
        get_kernel(root, "6.2", "x86_64")


def test_a_kernel_without_a_pvh_entry_has_no_vmlinux(tmp_path: Path) -> None:
    install(tmp_path, "6.1.0-test", b"\x7fELF" + bytes(100))
    assert get_kernel(str(tmp_path), "6.1.0-test", "x86_64").vmlinux == ""


def test_a_file_is_a_kernel_too_and_is_unpacked_once(tmp_path: Path) -> None:
    image = tmp_path / "vmlinuz"
    image.write_bytes(bzimage(gzip.compress(KERNEL)))
    kernel = find_kernel(str(tmp_path), str(image), "x86_64")
    assert kernel is not None
    assert (kernel.origin, kernel.release) == ("file", "6.1.0-test")
    before = os.stat(kernel.vmlinux).st_mtime_ns
    assert find_kernel(str(tmp_path), str(image), "x86_64") == kernel
    assert os.stat(kernel.vmlinux).st_mtime_ns == before
    with pytest.raises(NotFound, match="absent"):
        find_kernel(str(tmp_path), str(tmp_path / "absent"), "x86_64")


@pytest.mark.parametrize("name", ["bash", "linux-image-x;id", "-oFoo", "linux-image-*", "../6.1"])
def test_only_kernel_packages_are_given_to_apt(name: str, tmp_path: Path) -> None:
    with pytest.raises(Invalid):
        install_kernel(str(tmp_path), name, architecture="x86_64")


@pytest.mark.requires("readelf")
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_probe_guest_is_an_executable(machine: str, tmp_path: Path) -> None:
    archive = probe.make_initramfs(machine)
    assert archive.startswith(b"070701")
    (tmp_path / "init").write_bytes(archive[archive.index(b"\x7fELF") :])
    told = subprocess.run(
        ["readelf", "-hl", tmp_path / "init"], capture_output=True, text=True, check=True
    ).stdout
    assert "EXEC" in told
    assert {"x86_64": "X86-64", "aarch64": "AArch64"}[machine] in told
