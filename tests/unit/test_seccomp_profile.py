"""Docker's profile format: conditions on the machine, old forms, bad files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from proa.errors import Invalid, NotFound
from proa.oci.seccomp import LinuxSeccomp
from proa.runtime.security import capabilities, seccomp, seccomp_profile

BASE = {"defaultAction": "SCMP_ACT_ERRNO"}


def resolve(document: dict[str, Any], caps: set[str] | None = None, **where: Any) -> LinuxSeccomp:
    profile = seccomp_profile.parse(json.dumps(document).encode(), "the profile")
    return seccomp_profile.resolve(
        profile, caps or set(), **{"machine": "x86_64", "kernel": (6, 1), **where}
    )


def names(spec: LinuxSeccomp) -> list[str]:
    return [name for rule in spec.syscalls for name in rule.names]


def conditional(**conditions: Any) -> dict[str, Any]:
    return {**BASE, "syscalls": [{"names": ["bpf"], "action": "SCMP_ACT_ALLOW", **conditions}]}


@pytest.mark.parametrize(
    ("conditions", "kept"),
    [
        ({}, True),
        ({"includes": {}}, True),
        ({"includes": {"caps": ["CAP_BPF"]}}, True),
        ({"includes": {"caps": ["CAP_BPF", "CAP_SYS_ADMIN"]}}, False),
        ({"includes": {"arches": ["arm64", "amd64"]}}, True),
        ({"includes": {"arches": ["arm64"]}}, False),
        ({"includes": {"minKernel": "6.1"}}, True),
        ({"includes": {"minKernel": "6.2"}}, False),
        ({"includes": {"minKernel": "5.19"}}, True),
        ({"includes": {"caps": ["CAP_BPF"], "arches": ["s390"]}}, False),
        ({"excludes": {"caps": ["CAP_BPF"]}}, False),
        ({"excludes": {"caps": ["CAP_SYS_ADMIN", "CAP_BPF"]}}, False),
        ({"excludes": {"caps": ["CAP_SYS_ADMIN"]}}, True),
        ({"excludes": {"arches": ["amd64"]}}, False),
        ({"excludes": {"minKernel": "4.8"}}, False),
        ({"excludes": {"minKernel": "6.10"}}, True),
        ({"includes": {"caps": ["CAP_BPF"]}, "excludes": {"arches": ["amd64"]}}, False),
    ],
)
def test_conditions(conditions: dict[str, Any], kept: bool) -> None:
    assert names(resolve(conditional(**conditions), {"CAP_BPF"})) == (["bpf"] if kept else [])


def test_the_machine_picks_its_line_of_the_arch_map() -> None:
    document = {
        **BASE,
        "archMap": [
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
            {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": None},
        ],
    }
    assert resolve(document).architectures == ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86")
    assert resolve(document, machine="aarch64").architectures == ("SCMP_ARCH_AARCH64",)
    assert resolve(document, machine="riscv64").architectures == ()


def test_the_ocis_format_passes_through() -> None:
    spec = resolve(
        {
            **BASE,
            "defaultErrnoRet": 38,
            "architectures": ["SCMP_ARCH_X86_64"],
            "flags": ["SECCOMP_FILTER_FLAG_LOG"],
            "syscalls": [
                {
                    "names": ["socket"],
                    "action": "SCMP_ACT_ERRNO",
                    "errnoRet": 97,
                    "args": [{"index": 0, "value": 40, "valueTwo": 3, "op": "SCMP_CMP_EQ"}],
                }
            ],
        }
    )
    assert spec.default_errno_ret == 38
    assert spec.architectures == ("SCMP_ARCH_X86_64",)
    assert spec.flags == ("SECCOMP_FILTER_FLAG_LOG",)
    (rule,) = spec.syscalls
    assert (rule.errno_ret, rule.args[0].value, rule.args[0].value_two) == (97, 40, 3)


def test_one_name_a_rule_is_the_old_form() -> None:
    old = {**BASE, "syscalls": [{"name": "read", "action": "SCMP_ACT_ALLOW", "args": None}]}
    assert names(resolve(old)) == ["read"]


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (b"", "not valid"),
        (b"{", "not valid"),
        (b"[]", "not valid"),
        (b"\xff\xfe", "not valid"),
        (b"[" * 100000, "not valid"),
        (b"{}", "no defaultAction"),
        (b'{"defaultAction": 1}', "defaultAction"),
        (b'{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"action":"SCMP_ACT_ALLOW"}]}', "names"),
        (b'{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["a"]}]}', "action"),
        (
            b'{"defaultAction":"X","syscalls":[{"name":"a","names":["b"],"action":"X"}]}',
            "both name and names",
        ),
        (
            b'{"defaultAction":"X","architectures":["X86"],"archMap":[{"architecture":"X86"}]}',
            "both architectures and archMap",
        ),
        (b" " * (seccomp_profile.MAX_PROFILE_BYTES + 1), "larger than"),
    ],
)
def test_what_is_no_profile_is_invalid(document: bytes, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        seccomp.load_profile(document, capabilities.DEFAULT)


def test_a_kernel_that_is_no_version_is_invalid() -> None:
    with pytest.raises(Invalid, match="'new'"):
        resolve(conditional(includes={"minKernel": "new"}))


def test_loading_from_a_file_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    with pytest.raises(NotFound, match=str(path)):
        seccomp.load_profile(str(path), capabilities.DEFAULT)
    path.write_text('{"defaultAction": "SCMP_ACT_WISH"}')
    with pytest.raises(Invalid, match="SCMP_ACT_WISH"):
        seccomp.load_profile(str(path), capabilities.DEFAULT)
    path.write_text('{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["FAST"]}')
    with pytest.raises(Invalid, match="FAST"):
        seccomp.load_profile(str(path), capabilities.DEFAULT)
    path.write_text('{"defaultAction": "SCMP_ACT_ALLOW"}')
    assert seccomp.load_profile(str(path), ()).default_action == "SCMP_ACT_ALLOW"


def test_capabilities_that_matter_are_those_that_the_profile_names() -> None:
    relevant = seccomp_profile.relevant_capabilities(seccomp_profile.load_default())
    assert "CAP_SYS_ADMIN" in relevant
    assert "CAP_CHOWN" not in relevant


@pytest.mark.parametrize(
    ("release", "version"),
    [("6.18.44-fc-v595", (6, 18)), ("4.8", (4, 8)), ("3.12-1-amd64", (3, 12))],
)
def test_kernel_releases(release: str, version: tuple[int, int]) -> None:
    assert seccomp_profile.parse_kernel(release) == version
