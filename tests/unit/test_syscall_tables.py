"""System call tables against libseccomp's and the kernel's own words."""

from __future__ import annotations

import subprocess
import sys

import pytest

from proa.linux import syscall_tables
from tests.support import libseccomp


def test_landmarks() -> None:
    landmarks = {
        "x86_64": {"read": 0, "socket": 41, "execve": 59, "clone3": 435, "mseal": 462},
        "x86": {"restart_syscall": 0, "execve": 11, "socketcall": 102, "socket": 359},
        "x32": {"read": 0, "rt_sigaction": 512, "execve": 520, "pwritev2": 547},
        "aarch64": {"io_setup": 0, "openat": 56, "execve": 221, "clone3": 435},
        "arm": {"restart_syscall": 0, "execve": 11, "cacheflush": 0xF0002, "set_tls": 0xF0005},
    }
    assert set(landmarks) == set(syscall_tables.ARCHITECTURES)
    for arch, expected in landmarks.items():
        table = syscall_tables.numbers(arch)
        assert {name: table[name] for name in expected} == expected


def test_an_unknown_architecture_has_no_table() -> None:
    with pytest.raises(KeyError, match="vax"):
        syscall_tables.numbers("vax")


def test_numbers_are_unique_and_new_calls_are_numbered_alike() -> None:
    tables = [syscall_tables.numbers(arch) for arch in syscall_tables.ARCHITECTURES]
    for table in tables:
        assert len(set(table.values())) == len(table)
        # Since Linux 5.1 a call has the same number everywhere.
        young = {n: v for n, v in table.items() if 434 <= v < 0x1000 and n in tables[0]}
        assert {n: tables[0][n] for n in young if tables[0][n] >= 424} == {
            n: v for n, v in young.items() if tables[0][n] >= 424
        }
        assert "listns" in table


def test_widths_of_arguments() -> None:
    narrow = syscall_tables.narrow_arguments()
    assert narrow["socket"] == 0b111
    assert narrow["ioctl"] == 0b011
    assert narrow["setsockopt"] == 0b10111
    assert narrow["clone"] == 0b1
    assert narrow["openat"] == 0b1101
    assert "mmap" not in narrow
    assert "unshare" not in narrow
    known = set().union(*(syscall_tables.numbers(arch) for arch in syscall_tables.ARCHITECTURES))
    assert narrow.keys() <= known


def test_importing_the_compiler_loads_no_table() -> None:
    code = (
        "import sys, proa.runtime.security.seccomp\n"
        "loaded = [m for m in sys.modules if m.startswith('proa.linux.syscall_tables.')]\n"
        "assert not loaded, loaded\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.requires("libseccomp")
@pytest.mark.parametrize("arch", syscall_tables.ARCHITECTURES)
def test_libseccomp_knows_the_same_numbers(arch: str) -> None:
    library = libseccomp.load()
    marker = 0x40000000 if arch == "x32" else 0
    compared = 0
    for name, number in syscall_tables.numbers(arch).items():
        known = libseccomp.resolve(library, arch, name)
        # Older libraries do not know the youngest calls; negative numbers are stand-ins.
        if known is not None and known >= 0:
            assert known == number | marker, name
            compared += 1
    assert compared > 300
