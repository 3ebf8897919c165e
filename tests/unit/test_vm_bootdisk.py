"""Bootable disks: what the firmware has to find on them."""

import struct
import subprocess
import uuid
import zlib
from pathlib import Path

import pytest

from proa.errors import Corrupt, Invalid
from proa.vm.bootdisk.fat import build_filesystem
from proa.vm.bootdisk.gpt import EFI_SYSTEM, Partition, build_table
from proa.vm.bootdisk.uki import build_uki


def stub(sections: int = 1, headers_bytes: int = 1024) -> bytes:
    """A PE32+ program with one section of 512 bytes and room for more in its header."""
    head = bytearray(headers_bytes)
    head[0:2] = b"MZ"
    struct.pack_into("<I", head, 0x3C, 0x80)
    head[0x80:0x84] = b"PE\0\0"
    struct.pack_into("<HH", head, 0x84, 0x8664, sections)
    struct.pack_into("<H", head, 0x80 + 20, 240)
    optional = 0x80 + 24
    struct.pack_into("<II", head, optional + 32, 4096, 512)
    struct.pack_into("<II", head, optional + 56, 8192, headers_bytes)
    table = optional + 240
    struct.pack_into("<8sIIII", head, table, b".text", 512, 4096, 512, headers_bytes)
    return bytes(head) + b"\x90" * 512


def test_sections_are_appended_behind_each_other() -> None:
    image = build_uki(stub(), ((".cmdline", b"quiet\0"), (".linux", b"K" * 5000)))
    assert struct.unpack_from("<H", image, 0x86) == (3,)
    table = 0x80 + 24 + 240
    found = []
    for index in range(3):
        name, size, address, raw, offset = struct.unpack_from("<8sIIII", image, table + index * 40)
        found.append((name.rstrip(b"\0"), address, image[offset : offset + size]))
        assert raw % 512 == 0
        assert offset % 512 == 0
    assert found[1] == (b".cmdline", 8192, b"quiet\0")
    assert found[2] == (b".linux", 12288, b"K" * 5000)
    assert struct.unpack_from("<I", image, 0x80 + 24 + 56) == (20480,)


@pytest.mark.parametrize("bad", [b"", b"MZ", b"x" * 4096, stub(headers_bytes=512)])
def test_what_is_no_stub_is_refused(bad: bytes) -> None:
    with pytest.raises(Corrupt):
        build_uki(bad, ((".a", b"1"), (".b", b"2"), (".c", b"3"), (".d", b"4")))


@pytest.mark.requires("fsck.fat")
def test_a_checker_finds_no_fault_with_the_file_system(tmp_path: Path) -> None:
    image = tmp_path / "esp"
    image.write_bytes(build_filesystem("EFI/BOOT/BOOTX64.EFI", b"x" * 10_000_000))
    subprocess.run(["fsck.fat", "-n", image], check=True, capture_output=True)


def test_the_file_is_where_its_entries_say() -> None:
    content = bytes(range(256)) * 20
    image = build_filesystem("EFI/BOOT/BOOTX64.EFI", content)
    sector, cluster, reserved, fats, entries = struct.unpack_from("<HBHBH", image, 11)
    (fat_sectors,) = struct.unpack_from("<H", image, 22)
    root = (reserved + fats * fat_sectors) * sector
    data = root + entries * 32

    def at(number: int) -> int:
        return int(data + (number - 2) * cluster * sector)

    def look(place: int, name: bytes) -> tuple[int, int]:
        for index in range(64):
            entry = image[place + index * 32 : place + (index + 1) * 32]
            if entry[:11] == name:
                found: tuple[int, int] = struct.unpack_from("<HI", entry, 26)
                return found
        raise AssertionError(name)

    efi, _ = look(root, b"EFI        ")
    boot, _ = look(at(efi), b"BOOT       ")
    first, size = look(at(boot), b"BOOTX64 EFI")
    assert size == len(content)
    read, number = b"", first
    while number != 0xFFFF:
        read += image[at(number) : at(number) + cluster * sector]
        (number,) = struct.unpack_from("<H", image, reserved * sector + number * 2)
    assert read[:size] == content
    with pytest.raises(Invalid):
        build_filesystem("A", bytes(200 << 20))


def test_both_partition_tables_say_the_same() -> None:
    part = Partition(
        kind=EFI_SYSTEM, identity=uuid.uuid4(), first_lba=2048, sectors=100, name="esp"
    )
    head, tail = build_table(uuid.uuid4(), (part,), 10_000)
    assert head[510:512] == b"\x55\xaa"
    assert len(head) == 34 * 512
    assert len(tail) == 33 * 512
    for header, entries, place in (
        (head[512:604], head[1024:], 1),
        (tail[-512:-420], tail[:-512], 9999),
    ):
        assert header.startswith(b"EFI PART")
        checksum, here = (
            struct.unpack_from("<I", header, 16)[0],
            struct.unpack_from("<Q", header, 24)[0],
        )
        assert here == place
        assert zlib.crc32(header[:16] + bytes(4) + header[20:]) == checksum
        assert struct.unpack_from("<I", header, 88)[0] == zlib.crc32(entries)
        assert entries[:16] == EFI_SYSTEM.bytes_le
        assert struct.unpack_from("<QQ", entries, 32) == (2048, 2147)
