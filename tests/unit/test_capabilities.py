"""Capability names, Docker's arithmetic of --cap-add and --cap-drop, capset(2)'s encoding."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from proa.errors import Invalid
from proa.linux import capability
from proa.oci.spec import LinuxCapabilities
from proa.runtime.security import capabilities

DOCKER_DEFAULT = (
    "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP "
    "NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE"
)
EVERYTHING = frozenset(capability.NAMES)


@pytest.fixture(autouse=True)
def _kernel_that_knows_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "_supported", EVERYTHING)


def test_the_default_is_dockers() -> None:
    assert {f"CAP_{name}" for name in DOCKER_DEFAULT.split()} == capabilities.DEFAULT
    assert capability.mask_of(capabilities.DEFAULT) == 0xA80425FB


def test_names_are_the_kernels() -> None:
    header = Path("/usr/include/linux/capability.h")
    if not header.exists():
        pytest.skip("linux-libc-dev is not installed")
    defined = re.findall(r"^#define (CAP_\w+)\s+(\d+)$", header.read_text(), re.MULTILINE)
    assert {name: int(number) for name, number in defined} == capability.NUMBERS


@pytest.mark.parametrize("word", ["NET_ADMIN", "net_admin", "CAP_NET_ADMIN", " cap_Net_Admin "])
def test_words_are_normalized(word: str) -> None:
    assert capabilities.normalize(word) == "CAP_NET_ADMIN"


@pytest.mark.parametrize(
    "word", ["", "NET_ADMINS", "CAP_", "CAP_CAP_CHOWN", "CAP_ALL", "0", "ſetuid"]
)
def test_unknown_words_are_named(word: str) -> None:
    with pytest.raises(Invalid, match=re.escape(repr(word))):
        capabilities.tweak(add=[word])
    with pytest.raises(Invalid, match=re.escape(repr(word))):
        capabilities.tweak(drop=[word])


@pytest.mark.parametrize(
    ("add", "drop", "expected"),
    [
        ([], [], capabilities.DEFAULT),
        (["SYS_PTRACE"], [], capabilities.DEFAULT | {"CAP_SYS_PTRACE"}),
        ([], ["net_raw", "CAP_MKNOD"], capabilities.DEFAULT - {"CAP_NET_RAW", "CAP_MKNOD"}),
        ([], ["ALL"], frozenset()),
        (["CHOWN", "BPF"], ["all"], {"CAP_CHOWN", "CAP_BPF"}),
        (["ALL"], [], EVERYTHING),
        (["ALL"], ["SYS_ADMIN"], EVERYTHING - {"CAP_SYS_ADMIN"}),
        (["ALL"], ["ALL"], EVERYTHING),
        (["ALL", "CHOWN"], ["CHOWN"], EVERYTHING - {"CAP_CHOWN"}),
        (["CHOWN"], ["CHOWN"], capabilities.DEFAULT),
        ([], ["SYS_ADMIN"], capabilities.DEFAULT),
    ],
)
def test_adding_and_dropping(add: list[str], drop: list[str], expected: set[str]) -> None:
    assert capabilities.tweak(add, drop) == expected


def test_privileged_has_everything_whatever_else_is_said() -> None:
    assert capabilities.tweak(["CHOWN"], ["ALL"], privileged=True) == EVERYTHING
    with pytest.raises(Invalid, match="NONSENSE"):
        capabilities.tweak(["NONSENSE"], privileged=True)


def test_an_older_kernel_bounds_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "_supported", None)
    monkeypatch.setattr(capability, "read_last_capability", lambda: 37)
    assert capabilities.tweak(["ALL"]) == frozenset(capability.NAMES[:38])
    with pytest.raises(Invalid, match="CAP_BPF is not known to this kernel"):
        capabilities.tweak(["BPF"])


def test_a_newer_kernel_adds_nothing_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "_supported", None)
    monkeypatch.setattr(capability, "read_last_capability", lambda: 60)
    assert capabilities.supported() == EVERYTHING


def test_sets_keep_nothing_inheritable() -> None:
    sets = capabilities.sets(frozenset({"CAP_SETUID", "CAP_CHOWN"}))
    assert sets.bounding == sets.effective == sets.permitted == ("CAP_CHOWN", "CAP_SETUID")
    assert sets.inheritable == sets.ambient == ()
    masks = capabilities.masks(sets)
    assert masks == capability.CapabilitySets(
        inheritable=0, permitted=0x81, effective=0x81, bounding=0x81, ambient=0
    )


def test_ambient_needs_inheritable() -> None:
    sets = capabilities.sets(frozenset({"CAP_CHOWN"}), ambient=True)
    assert sets.inheritable == sets.ambient == ("CAP_CHOWN",)


@pytest.mark.parametrize("name", ["ALL", "CAP_NONSENSE"])
def test_a_spec_with_an_unknown_name_is_invalid(name: str) -> None:
    with pytest.raises(Invalid, match=name):
        capabilities.masks(LinuxCapabilities(ambient=(name,)))


def test_what_a_host_lacks_is_named() -> None:
    bounding = capability.mask_of(EVERYTHING - {"CAP_SYS_RESOURCE"})
    assert capabilities.missing(EVERYTHING, bounding) == ["CAP_SYS_RESOURCE"]
    assert capabilities.missing(capabilities.DEFAULT, bounding) == []


def test_masks_and_names_are_inverse() -> None:
    for mask in (0, 1, 0xA80425FB, (1 << len(capability.NAMES)) - 1):
        assert capability.mask_of(capability.names_of(mask)) == mask
    assert capability.names_of(1 << 63) == []


def test_capset_arguments_are_the_kernels_structs() -> None:
    assert capability.encode_capset_header() == struct.pack("=Ii", 0x20080522, 0)
    data = capability.encode_capset_data(effective=1 << 40 | 1, permitted=3 << 40, inheritable=4)
    assert data == struct.pack("=6I", 1, 0, 4, 1 << 8, 3 << 8, 0)


def test_status_is_parsed() -> None:
    status = (
        b"Name:\tCapPrm:\nCapInh:\t0000000000000001\nCapPrm:\t000001fffeffffff\n"
        b"CapEff:\t0000000000000002\nCapBnd:\t0000000000000003\nCapAmb:\t0000000000000004\n"
    )
    assert capability.parse_status(status) == (1, 0x1FFFEFFFFFF, 2, 3, 4)
    with pytest.raises(ValueError, match="CapAmb"):
        capability.parse_status(status.partition(b"CapAmb")[0])


def test_the_own_sets_can_be_read() -> None:
    sets = capability.read_sets()
    assert sets.effective & ~sets.permitted == 0
    assert capability.read_last_capability() >= 37
