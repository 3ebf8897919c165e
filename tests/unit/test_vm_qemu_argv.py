"""A machine's description becomes arguments, and no word of a user becomes an option."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.errors import Invalid
from proa.vm.qemu.argv import build_command, check_word, tuned_parameters
from proa.vm.qemu.machine import (
    FIRST_FD,
    Command,
    Disk,
    File,
    FirmwareBoot,
    Inherited,
    KernelBoot,
    Machine,
    Port,
    Share,
    Tap,
    Throttle,
    UserNetwork,
)

MIB = 1 << 20
MAC = "02:42:ac:11:00:02"


def microvm(**changes: object) -> Machine:
    machine = Machine(
        name="web",
        memory_bytes=256 * MIB,
        boot=KernelBoot(kernel=File("/k/vmlinux"), initrd=File("/k/initrd"), command_line="quiet"),
    )
    return msgspec.structs.replace(machine, **changes)


def full(**changes: object) -> Machine:
    machine = Machine(name="pc", board="q35", memory_bytes=512 * MIB, boot=FirmwareBoot())
    return msgspec.structs.replace(machine, **changes)


def options(command: Command, name: str) -> list[str]:
    return [
        command.argv[index + 1] for index, word in enumerate(command.argv) if word == f"-{name}"
    ]


def devices(command: Command) -> dict[str, dict[str, object]]:
    return {device["driver"]: device for device in map(json.loads, options(command, "device"))}


def test_the_tuned_microvm_boots_with_qboot_from_descriptors() -> None:
    command = build_command(microvm())
    assert command.argv[0] == "qemu-system-x86_64"
    assert options(command, "machine") == ["microvm,acpi=on"]
    assert options(command, "bios") == ["qboot.rom"]
    assert options(command, "kernel") == [f"/proc/self/fd/{FIRST_FD}"]
    assert options(command, "initrd") == [f"/proc/self/fd/{FIRST_FD + 1}"]
    assert options(command, "cpu") == ["qemu64,+rdrand"]
    assert command.sources == (File("/k/vmlinux"), File("/k/initrd"))


def test_no_path_of_the_host_is_an_argument() -> None:
    command = build_command(
        microvm(
            disks=(
                Disk(source=File("/secret/a", writable=True)),
                Disk(
                    extents=(), source=File("/secret/b"), format="qcow2", backing=File("/secret/c")
                ),
            ),
            memory_file=File("/secret/ram", writable=True),
            console=File("/secret/log", writable=True),
        )
    )
    assert not [word for word in command.argv if "secret" in word or "/k/" in word]
    assert {source.path for source in command.sources if isinstance(source, File)} >= {
        "/secret/a", "/secret/b", "/secret/c", "/secret/ram", "/secret/log"
    }  # fmt: skip


def test_the_sandbox_is_always_on() -> None:
    for machine in (microvm(), full()):
        assert options(build_command(machine), "sandbox") == [
            "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
        ]


def test_without_qmp_there_is_no_monitor() -> None:
    assert not options(build_command(microvm()), "mon")
    command = build_command(microvm(qmp=Inherited(9)))
    assert options(command, "mon") == ["chardev=qmp,mode=control"]
    assert f"socket,id=qmp,fd={FIRST_FD + 2}" in options(command, "chardev")


@pytest.mark.parametrize(
    "name",
    [
        "a,b",
        "a=b",
        "a b",
        "",
        "-x",
        "../x",
        "a\n",
        "ünï",
        "x" * 65,
        "web,debug-threads=off",
        "a'b",
        "a\0",
    ],
)
def test_names_cannot_bring_options(name: str) -> None:
    with pytest.raises(Invalid):
        build_command(microvm(name=name))
    with pytest.raises(Invalid):
        build_command(microvm(ports=(Port(name=name, socket=Inherited(5)),)))
    with pytest.raises(Invalid):
        build_command(microvm(shares=(Share(tag=name, socket=Inherited(5)),), memory_shared=True))


@given(st.text())
def test_a_word_that_passes_has_no_metacharacter(text: str) -> None:
    try:
        word = check_word("the name", text)
    except Invalid:
        return
    assert word == text
    assert not set(word) & set(",=:/\\ '\"%\n\0")


@pytest.mark.parametrize("serial", ["a,b", "x" * 21, 'a"b'])
def test_serial_numbers_are_words(serial: str) -> None:
    with pytest.raises(Invalid):
        build_command(microvm(disks=(Disk(source=File("/d"), serial=serial),)))


@pytest.mark.parametrize("mac", ["02:42:ac:11:00", "02:42:ac:11:00:02,x=y", "02:42:AC:11:00:02"])
def test_hardware_addresses_are_checked(mac: str) -> None:
    with pytest.raises(Invalid):
        build_command(microvm(networks=(Tap(fd=Inherited(7), mac=mac),)))


def test_the_command_line_of_the_kernel_is_one_argument() -> None:
    line = 'root=/dev/vda init="/a,b c" -bios=/etc/shadow'
    boot = KernelBoot(kernel=File("/k"), command_line=line)
    assert options(build_command(microvm(boot=boot)), "append") == [line]
    for bad in ("a\nb", "a\0b", "x" * 2048):
        with pytest.raises(Invalid):
            build_command(microvm(boot=KernelBoot(kernel=File("/k"), command_line=bad)))


def test_a_writable_qcow2_disk_with_a_given_backing() -> None:
    disk = Disk(
        source=File("/top", writable=True), format="qcow2", backing=File("/base"),
        backing_format="raw", serial="root", throttle=Throttle(read_bps=1000),
    )  # fmt: skip
    command = build_command(full(disks=(disk,)))
    node = json.loads(options(command, "blockdev")[0])
    assert node["driver"] == "throttle"
    assert node["file"]["driver"] == "qcow2"
    assert node["file"]["read-only"] is False
    assert node["file"]["backing"]["driver"] == "raw"
    assert node["file"]["backing"]["read-only"] is True
    group = json.loads(options(command, "object")[0])
    assert group["limits"]["bps-read"] == 1000
    assert devices(command)["virtio-blk-pci"]["serial"] == "root"


def test_the_header_of_a_qcow2_image_is_never_followed() -> None:
    disk = Disk(source=File("/top"), format="qcow2")
    node = json.loads(options(build_command(full(disks=(disk,))), "blockdev")[0])
    assert node["backing"] is None


def test_parts_are_joined_by_a_descriptor_in_memory(tmp_path: object) -> None:
    parts = []
    for name, size in (("a", 4096), ("b", 512)):
        path = f"{tmp_path}/{name}"
        with open(path, "wb") as stream:
            stream.truncate(size)
        parts.append(File(path))
    command = build_command(microvm(disks=(Disk(extents=tuple(parts)),)))
    (text,) = command.texts.values()
    assert 'RW 8 FLAT "/dev/fdset/' in text
    assert 'RW 1 FLAT "/dev/fdset/' in text
    node = json.loads(options(command, "blockdev")[0])
    assert node["driver"] == "vmdk"
    assert node["read-only"] is True
    with open(parts[0].path, "ab") as stream:
        stream.write(b"x")
    with pytest.raises(Invalid, match="multiple of 512"):
        build_command(microvm(disks=(Disk(extents=tuple(parts)),)))


def test_microvm_has_room_for_22_disks() -> None:
    with pytest.raises(Invalid, match="22"):
        build_command(microvm(disks=(Disk(source=File("/d")),) * 23))


def test_devices_are_mmio_on_microvm_and_pci_on_q35() -> None:
    extras = {"networks": (Tap(fd=Inherited(7), mac=MAC),), "balloon": True}
    assert {"virtio-net-device", "virtio-balloon-device"} <= set(
        devices(build_command(microvm(**extras)))
    )
    on_pci = devices(build_command(full(**extras)))
    assert {"virtio-net-pci", "virtio-balloon-pci", "virtio-rng-pci"} <= set(on_pci)
    assert on_pci["virtio-balloon-pci"]["free-page-reporting"] is True


def test_uefi_is_two_flashes() -> None:
    boot = FirmwareBoot(code=File("/ovmf/code"), variables=File("/vm/vars", writable=True))
    command = build_command(full(boot=boot))
    assert options(command, "machine") == ["q35,vmport=off,pflash0=flash0,pflash1=flash1"]
    code, variables = map(json.loads, options(command, "blockdev"))
    assert (code["read-only"], variables["read-only"]) == (True, False)


def test_forwarded_ports_of_the_user_network() -> None:
    network = UserNetwork(mac=MAC, forwards=(("127.0.0.1", 2222, 22),))
    command = build_command(full(networks=(network,)))
    assert options(command, "netdev") == [
        "user,id=net0,ipv6=off,net=10.0.2.0/24,hostfwd=tcp:127.0.0.1:2222-:22"
    ]
    for address in ("127.0.0.1,x=y", "localhost", "::1"):
        with pytest.raises(Invalid):
            build_command(full(networks=(UserNetwork(mac=MAC, forwards=((address, 1, 2),)),)))


@pytest.mark.parametrize(
    ("accelerator", "board", "argument", "cpu"),
    [
        ("kvm", "q35", "kvm", "host"),
        ("tcg", "q35", "tcg,thread=multi", "max"),
        ("hvf", "q35", "hvf", "host"),
        ("hvf", "virt", "hvf", "host"),
        ("whpx", "q35", "whpx", "qemu64"),
        ("tcg", "virt", "tcg,thread=multi", "cortex-a57"),
    ],
)
def test_accelerators_of_all_platforms(
    accelerator: str, board: str, argument: str, cpu: str
) -> None:
    command = build_command(full(accelerator=accelerator, board=board))
    assert options(command, "accel") == [argument]
    assert options(command, "cpu") == [cpu]
    program = "qemu-system-aarch64" if board == "virt" else "qemu-system-x86_64"
    assert command.argv[0] == program


def test_the_clock_of_a_tcg_guest_is_told_its_rate() -> None:
    assert "tsc_early_khz=2596134" in tuned_parameters(microvm(), 2596134)
    assert "tsc_early_khz" not in tuned_parameters(microvm(accelerator="kvm"), 2596134)
    assert "tsc_early_khz" not in tuned_parameters(microvm(), 0)


@pytest.mark.parametrize("cpu", ["host,-svm", "qemu64,+rdrand", "max,vendor=GenuineIntel"])
def test_cpu_models(cpu: str) -> None:
    assert options(build_command(full(cpu=cpu)), "cpu") == [cpu]


@pytest.mark.parametrize("changes", [{"cpu": "max -bios x"}, {"memory_bytes": 1000}, {"vcpus": 0}])
def test_impossible_machines_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(Invalid):
        build_command(full(**changes))
