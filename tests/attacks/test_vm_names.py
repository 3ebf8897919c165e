"""Attack rows of virtual machines: names with QEMU's metacharacters, images that refer to files."""

from __future__ import annotations

import json
import os
import struct
import subprocess
from pathlib import Path

import pytest

from proa.errors import Invalid
from proa.vm.qemu.argv import build_command
from proa.vm.qemu.images import inspect_image
from proa.vm.qemu.machine import Disk, File, FirmwareBoot, KernelBoot, Machine, Port, Share, Tap
from tests.support.bootsector import write_disk
from tests.support.engines import Proa

HOSTILE = (
    "x,readonly=off", "x,file=/etc/shadow", "x=y", "-drive", "x -drive file=/etc/shadow", "../../x",
    "x\n-monitor stdio", "x\0y", "$(id)", "x;id", "{}", '{"driver":"file"}', "x:y", "x%s",
    "json:{}", "nbd://127.0.0.1/x", "ünï", "x" * 300, "",
)  # fmt: skip


@pytest.mark.requires("root", "qemu-system-x86_64", "qemu-img")
@pytest.mark.parametrize("name", [word for word in HOSTILE if word and "\0" not in word])
def test_names_with_qemu_metacharacters(fresh_proa: Proa, tmp_path: Path, name: str) -> None:
    disk = tmp_path / "disk.img"
    write_disk(disk)
    done = fresh_proa("vm", "create", "--disk", str(disk), "--name", name)
    assert done.code != 0
    assert fresh_proa.ok("vm", "ls", "-q") == ""


@pytest.mark.parametrize("word", HOSTILE)
def test_hostile_words_reach_no_argument(word: str) -> None:
    machine = Machine(name="web1", board="q35", memory_bytes=128 << 20, boot=FirmwareBoot())
    for changes in (
        {"name": word},
        {"ports": (Port(name=word, socket=File("/x")),)},
        {"networks": (Tap(fd=File("/x"), mac=word),)},
        {"shares": (Share(tag=word, socket=File("/x")),), "memory_shared": True},
        {"disks": (Disk(source=File("/x"), serial=word or "a,b"),)},
    ):
        words = {name: getattr(machine, name) for name in machine.__struct_fields__}
        with pytest.raises(Invalid):
            build_command(Machine(**{**words, **changes}))


@pytest.mark.parametrize("word", HOSTILE)
def test_hostile_paths_and_parameters_are_data(word: str) -> None:
    """A path reaches QEMU as a descriptor, kernel parameters as one argument."""
    line = word.replace("\n", " ").replace("\0", " ")
    command = build_command(
        Machine(
            name="web1",
            memory_bytes=128 << 20,
            boot=KernelBoot(kernel=File(f"/k{word}"), command_line=line),
            disks=(Disk(source=File(f"/d{word}", writable=True), format="qcow2"),),
        )
    )
    index = command.argv.index("-append")
    assert command.argv[index + 1] == line
    rest = command.argv[:index] + command.argv[index + 2 :]
    assert not word or not any(word in argument for argument in rest if len(word) > 2)
    for name in ("-device", "-blockdev", "-object"):
        for at, argument in enumerate(rest):
            if argument == name:
                json.loads(rest[at + 1])


def test_headers_of_images_are_bounded(tmp_path: Path) -> None:
    image = tmp_path / "image"
    for head in (
        b"QFI\xfb" + bytes(2),
        struct.pack(">4sIQIIQ", b"QFI\xfb", 9, 0, 0, 16, 1 << 30),
        struct.pack(">4sIQIIQ", b"QFI\xfb", 3, 0, 0, 16, 1 << 63),
        struct.pack(">4sIQIIQ", b"QFI\xfb", 3, 0, 0, 16, 0),
    ):
        image.write_bytes(head.ljust(5000 if len(head) > 20 else len(head), b"\0"))
        with pytest.raises(Exception, match=r"header|other file"):
            inspect_image(str(image))
    os.truncate(image, 0)
    with pytest.raises(Invalid, match="empty"):
        inspect_image(str(image))


@pytest.mark.requires("root", "qemu-system-x86_64", "qemu-img")
def test_a_qcow2_that_names_a_file_of_the_host(fresh_proa: Proa, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret" * 1000)
    image = str(tmp_path / "evil.qcow2")
    words = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(secret), "-F", "raw", image]
    subprocess.run(words, check=True)
    done = fresh_proa("vm", "create", "--disk", image, "evil")
    assert done.code != 0
    assert "refers to another file" in done.stderr
