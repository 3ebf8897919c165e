"""attacks.md, "Defaults to match or exceed", Seccomp: the real kernel under the compiled filter.

No test here needs privileges: no_new_privs lets anyone load a filter.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Sequence

import msgspec
import pytest

from proa.linux import syscall_tables
from proa.oci.seccomp import LinuxSeccomp, LinuxSyscall
from proa.runtime.security import capabilities, seccomp, seccomp_compile
from tests.support.filtered import Call, answers, int80
from tests.support.seccomp_oracle import Oracle, load_docker_profile, reduce_docker

pytestmark = [
    pytest.mark.requires("seccomp"),
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of x86_64"),
]

# uretprobe and uprobe: recent kernels show them to no filter, because the kernel's own trampolines
# make them; from anywhere else they fail (seccomp_uprobe_exception in kernel/seccomp.c).
UNFILTERED = (335, 336)

EPERM = -errno.EPERM
ENOSYS = -errno.ENOSYS
X32 = 0x40000000
AF_UNIX, AF_INET, AF_ALG, AF_VSOCK = 1, 2, 38, 40
HIGH_HALVES = (0, 1 << 32, 0xFFFFFFFF << 32, 1 << 63)

CLONE_NEW = {
    "NEWTIME": 0x80,
    "NEWNS": 0x00020000,
    "NEWCGROUP": 0x02000000,
    "NEWUTS": 0x04000000,
    "NEWIPC": 0x08000000,
    "NEWUSER": 0x10000000,
    "NEWPID": 0x20000000,
    "NEWNET": 0x40000000,
}


def nr(name: str, entry: str = "x86_64") -> int:
    return syscall_tables.numbers(entry)[name]


def default_answers(calls: Sequence[Call]) -> list[int]:
    found = answers(seccomp.default_filter(capabilities.DEFAULT), calls)
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize("family", [AF_ALG, AF_VSOCK])
def test_families_that_reach_the_host_are_refused_with_any_high_bits(family: int) -> None:
    calls = [(nr("socket"), (high | family, 5, 0)) for high in HIGH_HALVES]
    assert default_answers(calls) == [EPERM] * len(HIGH_HALVES)


def test_the_attack_works_without_int_comparison() -> None:
    # What libseccomp's 64-bit comparison of the same rule lets through: proof that the row is real.
    # The kernel takes the lower half, so that AF_UNIX under a high half makes a socket.
    (found,) = default_answers([(nr("socket"), (1 << 32 | AF_UNIX, 1, 0))])
    assert found >= 0


def test_families_that_programs_need_work() -> None:
    found = default_answers([(nr("socket"), (family, 1, 0)) for family in (AF_UNIX, AF_INET)])
    assert min(found) >= 0


def test_clone3_does_not_exist() -> None:
    # So that the C library falls back to clone, whose flags a filter can see.
    sizes = (0, 64, 88, 1 << 32)
    assert default_answers([(nr("clone3"), (0, size)) for size in sizes]) == [ENOSYS] * len(sizes)


@pytest.mark.parametrize("name", [name for name in CLONE_NEW if name != "NEWTIME"])
def test_clone_makes_no_namespace(name: str) -> None:
    calls = [
        (nr("clone"), (high | CLONE_NEW[name] | extra | signal.SIGCHLD, 0, 0, 0, 0))
        for high in HIGH_HALVES
        for extra in (0, 0x00010000 & CLONE_NEW[name])
    ]
    assert set(default_answers(calls)) == {EPERM}


@pytest.mark.parametrize("call", ["unshare", "setns", "mount", "umount2", "pivot_root", "fsopen",
                                  "open_tree", "move_mount", "mount_setattr", "fsmount", "bpf",
                                  "keyctl", "add_key", "request_key", "userfaultfd",
                                  "io_uring_setup", "perf_event_open", "kexec_load",
                                  "init_module", "finit_module", "open_by_handle_at",
                                  "quotactl", "swapon", "reboot", "acct", "iopl"])  # fmt: skip
def test_calls_of_administration_are_refused(call: str) -> None:
    wide = (1 << 64) - 1
    assert default_answers([(nr(call), (wide,) * 6), (nr(call), (0,) * 6)]) == [EPERM, EPERM]


def test_personalities() -> None:
    allowed = [0, 8, 0x20000, 0x20008, 0xFFFFFFFF]
    refused = [0x0400000, 0x0040000, 1, 0x20001, 0xFFFFFFFE]
    # Every value is tried last with "read only" so that nothing sticks for the next one.
    found = default_answers([(nr("personality"), (value,)) for value in (*allowed, *refused)])
    assert all(answer >= 0 for answer in found[: len(allowed)])
    assert found[len(allowed) :] == [EPERM] * len(refused)
    high = default_answers([(nr("personality"), (1 << 32 | 0x0400000,))])
    assert high == [EPERM]


def test_every_refused_number_is_refused_by_the_kernel() -> None:
    """Refuse with an errno of our own, so that no other reason can be mistaken for the filter."""
    code = 77
    spec = msgspec.structs.replace(
        seccomp.default_profile(capabilities.DEFAULT), default_errno_ret=code
    )
    profile = reduce_docker(load_docker_profile(), "amd64", capabilities.DEFAULT)
    oracle = Oracle({**profile, "defaultErrnoRet": code})
    verdict = {0x00050000 | code: -code, 0x00050000 | errno.ENOSYS: ENOSYS}
    wide = (1 << 64) - 1
    calls: list[Call] = []
    expected: list[int] = []
    for entry, marker in (("x86_64", 0), ("x32", X32)):
        for number in range(1024):
            for args in ((0,) * 6, (wide,) * 6, (1 << 32,) * 6):
                said = oracle.judge(entry, number, args)
                if said in verdict and number not in UNFILTERED:
                    calls.append((number | marker, args))
                    expected.append(verdict[said])
    assert len(calls) > 3000
    assert answers(seccomp_compile.compile_program(spec), calls) == expected


def test_x32_is_no_way_around() -> None:
    socket, clone3 = nr("socket", "x32") | X32, nr("clone3", "x32") | X32
    calls: list[Call] = [(socket, (high | AF_VSOCK, 5, 0)) for high in HIGH_HALVES]
    calls += [(nr("mount", "x32") | X32, (0,) * 5), (clone3, (0, 0))]
    assert default_answers(calls) == [EPERM] * 5 + [ENOSYS]


def test_int80_is_no_way_around() -> None:
    program = seccomp.default_filter(capabilities.DEFAULT)
    alive = answers(program, [(nr("getppid", "x86"), ())], enter=int80)
    if alive == -signal.SIGSEGV or alive == [ENOSYS]:
        pytest.skip("this kernel has no i386 entry")
    assert alive == [os.getpid()]
    found = answers(
        program,
        [
            (nr("socket", "x86"), (AF_VSOCK, 5)),
            (nr("socket", "x86"), (AF_ALG, 5)),
            (nr("mount", "x86"), (0, 0)),
            (nr("unshare", "x86"), (CLONE_NEW["NEWUSER"],)),
            (nr("clone3", "x86"), (0, 0)),
            (nr("personality", "x86"), (0x0400000,)),
            (nr("vm86", "x86"), (0, 0)),
        ],
        enter=int80,
    )
    assert found == [EPERM, EPERM, EPERM, EPERM, ENOSYS, EPERM, EPERM]


def test_a_profile_for_one_architecture_kills_the_others() -> None:
    spec = LinuxSeccomp(
        default_action="SCMP_ACT_ALLOW",
        architectures=("SCMP_ARCH_X86_64",),
        syscalls=(LinuxSyscall(names=("mount",), action="SCMP_ACT_ERRNO"),),
    )
    program = seccomp.compile_spec(spec)
    assert answers(program, [(nr("mount"), (0,) * 5)]) == [EPERM]
    assert answers(program, [(nr("getppid", "x32") | X32, ())]) == -signal.SIGSYS
    assert answers(program, [(nr("getppid", "x86"), ())], enter=int80) in (
        -signal.SIGSYS,
        -signal.SIGSEGV,
    )


@pytest.mark.parametrize(
    ("action", "errno_ret", "answer"),
    [
        ("SCMP_ACT_ERRNO", None, [EPERM]),
        ("SCMP_ACT_ERRNO", 4095, [-4095]),
        ("SCMP_ACT_KILL_PROCESS", None, -signal.SIGSYS),
        ("SCMP_ACT_KILL", None, -signal.SIGSYS),
        ("SCMP_ACT_TRAP", None, -signal.SIGSYS),
        # No tracer: the call does not exist.
        ("SCMP_ACT_TRACE", None, [ENOSYS]),
    ],
)
def test_actions_do_what_they_say(
    action: str, errno_ret: int | None, answer: list[int] | int
) -> None:
    rule = LinuxSyscall(names=("getppid",), action=action, errno_ret=errno_ret)
    spec = LinuxSeccomp(default_action="SCMP_ACT_ALLOW", syscalls=(rule,))
    assert answers(seccomp.compile_spec(spec), [(nr("getppid"), ())]) == answer


def test_the_kernel_takes_every_flag_that_is_offered() -> None:
    spec = LinuxSeccomp(
        default_action="SCMP_ACT_ALLOW",
        flags=(
            "SECCOMP_FILTER_FLAG_TSYNC",
            "SECCOMP_FILTER_FLAG_LOG",
            "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
        ),
    )
    found = answers(
        seccomp.compile_spec(spec), [(nr("getppid"), ())], flags=seccomp.filter_flags(spec)
    )
    assert found == [os.getpid()]


def test_a_filter_can_not_be_taken_off() -> None:
    strict = seccomp.default_filter(capabilities.DEFAULT)
    found = answers(
        strict,
        [
            (nr("seccomp"), (1, 0, 0)),
            (nr("prctl"), (22, 0, 0)),
            (nr("socket"), (AF_VSOCK, 5, 0)),
        ],
    )
    assert isinstance(found, list)
    assert found[2] == EPERM
    assert found[0] < 0
    assert found[1] < 0
