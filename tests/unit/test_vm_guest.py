"""What a guest is made of and told: archive, modules, the translated spec, the machine's size."""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

import msgspec
import pytest

from proa.errors import Corrupt, Invalid, NotFound, Unsupported
from proa.oci.isolation import DirectoryRoot, SandboxSpec
from proa.oci.resources import (
    LinuxBlockIO,
    LinuxCPU,
    LinuxMemory,
    LinuxPids,
    LinuxResources,
    LinuxThrottleDevice,
)
from proa.oci.spec import Hooks, LinuxDevice, LinuxNamespace, Mount
from proa.vm import disks, sizing
from proa.vm.guestspec import TREE_TAG, guest_resources, plan_guest
from proa.vm.initramfs import elf
from proa.vm.initramfs.cpio import CpioWriter
from proa.vm.initramfs.interpreter import executable
from proa.vm.initramfs.modules import KernelModules
from proa.vm.shares import build_arguments
from tests.support.sandboxes import make_process, make_spec

MIB = 1 << 20


def entries(archive: bytes) -> dict[str, tuple[int, bytes]]:
    """Mode and content by name, as the kernel's unpacker reads them."""
    found = {}
    at = 0
    while at < len(archive):
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        mode, size, name_bytes = fields[1], fields[6], fields[11]
        at += 110
        name = archive[at : at + name_bytes - 1].decode()
        at += name_bytes
        at += -at % 4
        content = archive[at : at + size]
        at += size
        at += -at % 4
        if name == "TRAILER!!!":
            assert not archive[at:].strip(b"\0")
            break
        found[name] = (mode, content)
    return found


class TestArchive:
    def test_files_come_after_their_directories(self) -> None:
        archive = CpioWriter()
        archive.add_file("/usr/bin/x", b"abc", 0o755)
        archive.add_link("usr/y", "bin/x")
        archive.add_character_device("dev/null", 1, 3, 0o666)
        found = entries(archive.finish())
        assert list(found) == ["usr", "usr/bin", "usr/bin/x", "usr/y", "dev", "dev/null"]
        assert found["usr"][0] == 0o040755
        assert found["usr/bin/x"] == (0o100755, b"abc")
        assert found["usr/y"] == (0o120777, b"bin/x")
        assert found["dev/null"][0] == 0o020666

    def test_the_same_contents_give_the_same_bytes(self) -> None:
        def make() -> bytes:
            archive = CpioWriter()
            archive.add_file("a/b", b"1")
            return archive.finish()

        assert make() == make()


def make_module(*, depends: str = "", signed: bool = False) -> bytes:
    """An ELF file with a ``.modinfo`` section and nothing else."""
    info = b"license=GPL\0depends=" + depends.encode() + b"\0alias=x\0alias=y\0"
    names = b"\0.modinfo\0.shstrtab\0"
    sections = [
        (0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
        (1, 1, 0, 0, 64, len(info), 0, 0, 1, 0),
        (10, 3, 0, 0, 64 + len(info), len(names), 0, 0, 1, 0),
    ]
    start = 64 + len(info) + len(names)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01", 1, 62, 1, 0, 0, start, 0, 64, 0, 0, 64, 3, 2,
    )  # fmt: skip
    data = header + info + names + b"".join(struct.pack("<IIQQQQIIQQ", *row) for row in sections)
    if signed:
        signature = b"s" * 40
        data += signature + bytes(8) + struct.pack(">I", len(signature))
        data += b"~Module signature appended~\n"
    return data


class TestKernelModules:
    def make(self, tmp_path: Path, **modules: str) -> KernelModules:
        (tmp_path / "kernel/drivers").mkdir(parents=True)
        (tmp_path / "modules.builtin").write_text("kernel/fs/built-in.ko\n")
        for name, depends in modules.items():
            data = make_module(depends=depends, signed=True)
            (tmp_path / f"kernel/drivers/{name.replace('_', '-')}.ko").write_bytes(data)
        return KernelModules(str(tmp_path))

    def test_what_is_needed_comes_first_and_once(self, tmp_path: Path) -> None:
        modules = self.make(
            tmp_path, net="fail_over,built-in", fail_over="base", base="", blk="base"
        )
        found = modules.collect(("net", "blk"))
        assert [item.name for item in found] == ["base", "fail_over", "net", "blk"]
        assert found[2].needs == ("fail_over",)
        assert not found[0].data.endswith(b"appended~\n")

    def test_a_module_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(NotFound, match="virtio_blk"):
            self.make(tmp_path).collect(("virtio_blk",))

    def test_a_circle_ends(self, tmp_path: Path) -> None:
        found = self.make(tmp_path, a="b", b="a").collect(("a",))
        assert {item.name for item in found} == {"a", "b"}


class TestElf:
    def test_the_interpreter_names_its_loader_and_survives_stripping(self, tmp_path: Path) -> None:
        data = Path(executable()).read_bytes()
        assert os.path.exists(elf.find_interpreter(data))
        stripped = tmp_path / "python"
        stripped.write_bytes(elf.strip(data))
        stripped.chmod(0o755)
        assert stripped.stat().st_size <= len(data)
        assert elf.find_interpreter(stripped.read_bytes()) == elf.find_interpreter(data)

    def test_a_library_says_by_what_name_it_is_needed(self) -> None:
        lines = Path("/proc/self/maps").read_text().splitlines()
        mapped = {line.split()[-1] for line in lines if "libc.so" in line}
        assert elf.find_soname(Path(mapped.pop()).read_bytes()) == "libc.so.6"

    @pytest.mark.parametrize(
        "data", [b"", b"\x7fELF", b"#!/bin/sh\n", b"\x7fELF\x02\x01" + b"\xff" * 80]
    )
    def test_other_files_are_refused(self, data: bytes) -> None:
        for read in (elf.parse_modinfo, elf.find_soname, elf.strip):
            with pytest.raises(Corrupt):
                read(data)


def sandbox(**changes: object) -> SandboxSpec:
    spec = make_spec(make_process("true"))
    assert spec.linux is not None
    linux = {name: changes.pop(name) for name in list(changes) if name in ("namespaces", "devices")}
    spec = msgspec.structs.replace(
        spec, linux=msgspec.structs.replace(spec.linux, **linux), **changes
    )
    return SandboxSpec(id="box", spec=spec, root=DirectoryRoot(path="/none"), bundle="/bundle")


class TestPlan:
    def test_the_guest_has_no_user_namespace_and_its_own_network(self) -> None:
        spec = plan_guest(sandbox()).spec
        kinds = {item.type for item in spec.linux.namespaces}
        assert kinds == {"mount", "pid", "ipc", "uts", "cgroup"}
        assert (spec.linux.uid_mappings, spec.linux.gid_mappings) == ((), ())

    @pytest.mark.parametrize("kind", ["pid", "ipc", "uts", "network"])
    def test_sharing_the_hosts_namespaces_is_refused(self, kind: str) -> None:
        kinds = ("mount", "pid", "network", "ipc", "uts", "cgroup")
        namespaces = tuple(LinuxNamespace(type=item) for item in kinds if item != kind)
        with pytest.raises(Unsupported, match=kind):
            plan_guest(sandbox(namespaces=namespaces))

    def test_what_another_kernel_cannot_give_is_refused(self) -> None:
        joined = (LinuxNamespace(type="network", path="/proc/1/ns/net"),)
        with pytest.raises(Unsupported, match="network"):
            plan_guest(sandbox(namespaces=joined))
        with pytest.raises(Unsupported, match="/dev/fuse"):
            plan_guest(sandbox(devices=(LinuxDevice(type="c", path="/dev/fuse"),)))
        with pytest.raises(Unsupported, match="hooks"):
            plan_guest(sandbox(hooks=Hooks()))

    def test_binds_become_shares_and_the_engines_files_travel(self, tmp_path: Path) -> None:
        (tmp_path / "hosts").write_text("127.0.0.1 localhost\n")
        (tmp_path / "data").mkdir()
        mounts = (
            Mount(destination="/proc", type="proc", source="proc"),
            Mount(destination="/etc/hosts", source=f"{tmp_path}/hosts", options=("bind",)),
            Mount(destination="/data", source=f"{tmp_path}/data", options=("rbind", "ro")),
        )
        box = msgspec.structs.replace(sandbox(mounts=mounts), bundle=str(tmp_path))
        plan = plan_guest(box)
        assert [file.content for file in plan.files] == [b"127.0.0.1 localhost\n"]
        (share,) = plan.shares
        assert (share.source, share.readonly, share.recursive) == (f"{tmp_path}/data", True, True)
        assert [mount.source for mount in plan.spec.mounts] == [
            "proc", "/guest/files/0-hosts", f"/guest/shares/{TREE_TAG}/0",
        ]  # fmt: skip

    def test_a_socket_does_not_reach_another_kernel(self, tmp_path: Path) -> None:
        import socket

        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"{tmp_path}/s")
            mount = Mount(destination="/s", source=f"{tmp_path}/s", options=("bind",))
            with pytest.raises(Unsupported, match="neither a file nor a directory"):
                plan_guest(sandbox(mounts=(mount,)))

    def test_a_source_that_is_gone_is_named(self, tmp_path: Path) -> None:
        mount = Mount(destination="/x", source=f"{tmp_path}/none", options=("bind",))
        with pytest.raises(NotFound, match="none"):
            plan_guest(sandbox(mounts=(mount,)))

    def test_a_sandbox_without_a_command_is_invalid(self) -> None:
        box = sandbox()
        spec = msgspec.structs.replace(box.spec, process=None)
        with pytest.raises(Invalid):
            plan_guest(msgspec.structs.replace(box, spec=spec))


class TestLimits:
    def test_memory_is_the_containers_and_the_kernels(self) -> None:
        limited = LinuxResources(memory=LinuxMemory(limit=200 * MIB + 1))
        assert sizing.memory_bytes(limited) == 329 * MIB
        assert sizing.memory_bytes(LinuxResources()) == sizing.DEFAULT_MEMORY_BYTES

    @pytest.mark.parametrize(
        ("cpu", "wanted"),
        [
            (None, 1),
            (LinuxCPU(quota=50_000, period=100_000), 1),
            (LinuxCPU(quota=150_000, period=100_000), 2),
            (LinuxCPU(cpus="0-1"), 2),
            (LinuxCPU(quota=100_000_000, period=100_000), len(os.sched_getaffinity(0))),
        ],
    )
    def test_fractions_of_cpus_round_up(self, cpu: LinuxCPU | None, wanted: int) -> None:
        available = len(os.sched_getaffinity(0))
        found = sizing.vcpus(LinuxResources(cpu=cpu), emulated=True)
        assert found == min(wanted, available)

    def test_the_hosts_devices_and_cpus_are_not_the_guests(self) -> None:
        rate = LinuxThrottleDevice(major=8, minor=0, rate=1000)
        resources = LinuxResources(
            cpu=LinuxCPU(quota=1, cpus="0", mems="0"),
            pids=LinuxPids(limit=9),
            block_io=LinuxBlockIO(throttle_read_bps_device=(rate,)),
        )
        inside = guest_resources(resources)
        assert inside.cpu == LinuxCPU(quota=1)
        assert inside.block_io is None
        assert inside.pids == LinuxPids(limit=9)
        assert sizing.throttle(resources).read_bps == 1000
        assert sizing.host_resources(resources).cpu.cpus == "0"

    def test_a_running_machine_does_not_grow(self) -> None:
        made = LinuxResources(memory=LinuxMemory(limit=100 * MIB))
        sizing.check_update(LinuxResources(memory=LinuxMemory(limit=90 * MIB)), made)
        with pytest.raises(Unsupported, match="200 MiB"):
            sizing.check_update(LinuxResources(memory=LinuxMemory(limit=200 * MIB)), made)


class TestDisks:
    def test_a_layer_is_made_once(self, tmp_path: Path) -> None:
        layer = tmp_path / "snapshots/abc/fs"
        layer.mkdir(parents=True)
        (layer / "file").write_text("x")
        first = disks.ensure_layer(str(tmp_path), str(layer))
        stamp = os.stat(first.path).st_mtime_ns
        assert first.path == f"{tmp_path}/snapshots/abc/layer.{first.filesystem}"
        assert first.size % 4096 == 0
        assert disks.ensure_layer(str(tmp_path), str(layer)) == first
        assert os.stat(first.path).st_mtime_ns == stamp
        assert sorted(os.listdir(layer.parent)) == ["fs", f"layer.{first.filesystem}"]

    def test_the_writable_disk_is_sparse_and_kept(self, tmp_path: Path) -> None:
        path = f"{tmp_path}/writable.ext4"
        assert disks.ensure_writable(str(tmp_path), path, 64)
        info = os.stat(path)
        assert info.st_size == 64 * MIB
        assert info.st_blocks * 512 < 24 * MIB
        assert not disks.ensure_writable(str(tmp_path), path, 64)


@pytest.mark.parametrize("program", ["/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd"])
def test_both_daemons_are_sandboxed_and_make_no_devices(program: str) -> None:
    words = build_arguments(program, "/tree")
    assert any("sandbox=namespace" in word for word in words)
    assert any("modcaps=-mknod" in word for word in words)
    assert any("/tree" in word for word in words)


def test_the_survey_runs_alone() -> None:
    """It is a script for another interpreter: nothing of this package is imported by it."""
    import ast

    import proa.vm.initramfs.build as build

    path = Path(build.__file__).with_name("survey.py")
    imported = {
        alias.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert imported <= set(sys.stdlib_module_names)
