"""attacks.md, CVE-2024-40635 and kin, CVE-2022-36109: user strings and hostile account files."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator

import pytest

from proa.errors import Invalid, NotFound, ProaError
from proa.runtime.security import userdb
from proa.runtime.security.userdb import UserIdentity, resolve

PASSWD = b"""\
root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin

# comment:x:50:50::/:
alice:x:1000:1000:Alice:/home/alice:/bin/bash
bob:x:1001:100::/home/bob:/bin/sh
alice:x:1002:1002:a second alice:/home/other:/bin/sh
1234:x:2000:2000:a name of digits:/home/digits:/bin/sh
overflow:x:4294967296:0::/root:/bin/sh
negative:x:-1:0::/root:/bin/sh
words:x:zero:0::/root:/bin/sh
wide:x:0x0:0::/root:/bin/sh
badgroup:x:1003:4294967296::/root:/bin/sh
+nis:x:1004:1004::/root:/bin/sh
short:x:1005
homeless:x:1006:1006
relative:x:1007:1007::home/relative:/bin/sh
caf\xc3\xa9:x:1008:1008::/home/caf\xc3\xa9:/bin/sh
max:x:2147483647:2147483647::/home/max:/bin/sh
"""
GROUP = b"""\
root:x:0:
daemon:x:1:
users:x:100:alice
audio:x:29:alice,bob
video:x:44:bob,alicex,xalice
alice:x:1000:
docker:x:999:alice
docker:x:998:
5678:x:3000:
overflow:x:4294967296:alice
negative:x:-1:alice
words:x:zero:alice
max:x:2147483647:
"""

OpenFile = Callable[[bytes], int]


@pytest.fixture
def open_file() -> Iterator[OpenFile]:
    """Make descriptors of files with given contents."""
    fds: list[int] = []

    def make(content: bytes) -> int:
        fd = os.memfd_create("accounts")
        fds.append(fd)
        os.write(fd, content)
        return fd

    yield make
    for fd in fds:
        os.close(fd)


# User string -> uid, gid, supplementary groups; or the error and a word of it.
FOUND = {
    "": (0, 0, (0,)),
    ":": (0, 0, (0,)),
    "root": (0, 0, (0,)),
    "0": (0, 0, (0,)),
    "00": (0, 0, (0,)),
    "root:root": (0, 0, (0,)),
    ":users": (0, 100, (100,)),
    "alice": (1000, 1000, (1000, 100, 29, 999)),
    "alice:": (1000, 1000, (1000, 100, 29, 999)),
    "1000": (1000, 1000, (1000, 100, 29, 999)),
    "01000": (1000, 1000, (1000, 100, 29, 999)),
    "alice:users": (1000, 100, (100,)),
    "alice:0": (1000, 0, (0,)),
    "alice:docker": (1000, 999, (999,)),
    "bob": (1001, 100, (100, 29, 44)),
    "bob:4000": (1001, 4000, (4000,)),
    "1234": (1234, 0, (0,)),
    "1234:5678": (1234, 5678, (5678,)),
    "65534:65534": (65534, 65534, (65534,)),
    "2147483647:2147483647": (2147483647, 2147483647, (2147483647,)),
    "max:max": (2147483647, 2147483647, (2147483647,)),
    "café": (1008, 1008, (1008,)),
}
REFUSED: dict[str, tuple[type[ProaError], str]] = {
    "2147483648": (Invalid, "2147483648"),
    "4294967295": (Invalid, "4294967295"),
    "4294967296": (Invalid, "4294967296"),
    "4294967296:4294967296": (Invalid, "4294967296"),
    "18446744073709551616": (Invalid, "18446744073709551616"),
    "9" * 1000: (Invalid, "out of range"),
    "9" * 5000: (Invalid, "5000 bytes"),
    "0:4294967296": (Invalid, "4294967296"),
    "alice:2147483648": (Invalid, "2147483648"),
    "-1": (Invalid, "-1"),
    "+0": (Invalid, r"\+0"),
    "alice:-1": (Invalid, "-1"),
    "0x0": (NotFound, "unable to find user 0x0"),
    "0o0": (NotFound, "unable to find user 0o0"),
    "1_0": (NotFound, "unable to find user 1_0"),
    "1e3": (NotFound, "unable to find user 1e3"),
    "٠": (NotFound, "unable to find user ٠"),
    " 0": (NotFound, "unable to find user  0"),
    "0 ": (NotFound, "unable to find user 0 "),
    "0\n": (NotFound, r"unable to find user '0\\n'"),
    "root\0": (NotFound, r"unable to find user 'root\\x00'"),
    "root\nalice": (NotFound, "unable to find user"),
    "Root": (NotFound, "unable to find user Root"),
    "mallory": (NotFound, "unable to find user mallory"),
    "overflow": (NotFound, "unable to find user overflow"),
    "negative": (NotFound, "unable to find user negative"),
    "words": (NotFound, "unable to find user words"),
    "wide": (NotFound, "unable to find user wide"),
    "badgroup": (NotFound, "unable to find user badgroup"),
    "+nis": (NotFound, r"unable to find user \+nis"),
    "short": (NotFound, "unable to find user short"),
    "# comment": (NotFound, "unable to find user # comment"),
    "alice:nobody": (NotFound, "unable to find group nobody"),
    "alice:overflow": (NotFound, "unable to find group overflow"),
    "alice:negative": (NotFound, "unable to find group negative"),
    "alice:words": (NotFound, "unable to find group words"),
    "alice:users:x": (Invalid, "more than one colon"),
    "0:0:0": (Invalid, "more than one colon"),
    "::": (Invalid, "more than one colon"),
    "\udcff\ud800": (Invalid, "not valid text"),
}


@pytest.mark.parametrize("user", FOUND)
def test_user_strings_that_mean_somebody(user: str, open_file: OpenFile) -> None:
    found = resolve(user, open_file(PASSWD), open_file(GROUP), ())
    assert (found.uid, found.gid, found.additional_gids) == FOUND[user]


@pytest.mark.parametrize("user", REFUSED, ids=lambda user: repr(user)[:24])
def test_user_strings_that_are_refused(user: str, open_file: OpenFile) -> None:
    error, words = REFUSED[user]
    with pytest.raises(error, match=words):
        resolve(user, open_file(PASSWD), open_file(GROUP), ())


@pytest.mark.parametrize("user", [user for user in REFUSED if user != "9" * 5000])
def test_nothing_refused_becomes_somebody_without_files(user: str) -> None:
    with pytest.raises((Invalid, NotFound)):
        resolve(user, None, None, ())


@pytest.mark.parametrize(
    ("user", "home", "name"),
    [
        ("", "/root", "root"),
        ("alice", "/home/alice", "alice"),
        ("1001", "/home/bob", "bob"),
        ("café", "/home/café", "café"),
        ("4242", "/", ""),
        ("homeless", "/", "homeless"),
        ("relative", "/", "relative"),
    ],
)
def test_home_and_name(user: str, home: str, name: str, open_file: OpenFile) -> None:
    found = resolve(user, open_file(PASSWD), open_file(GROUP), ())
    assert (found.home, found.name) == (home, name)


def test_numbers_need_no_files() -> None:
    assert resolve("7:8", None, None, ()) == UserIdentity(
        uid=7, gid=8, additional_gids=(8,), home="/", name=""
    )
    assert resolve("", None, None, ()).uid == 0


def test_the_primary_group_is_always_among_the_supplementary_ones(open_file: OpenFile) -> None:
    """CVE-2022-36109: otherwise a file of mode 0604 is readable to its group's members."""
    for user in FOUND:
        found = resolve(user, open_file(PASSWD), open_file(GROUP), ())
        assert found.additional_gids[0] == found.gid


def test_added_groups(open_file: OpenFile) -> None:
    passwd, group = open_file(PASSWD), open_file(GROUP)
    found = resolve("bob:users", passwd, group, ["docker", "7777", "audio", "0100"])
    assert found.additional_gids == (100, 999, 7777, 29)
    with pytest.raises(NotFound, match="unable to find group wheel"):
        resolve("bob", passwd, group, ["wheel"])
    with pytest.raises(Invalid, match="4294967296"):
        resolve("bob", passwd, group, ["4294967296"])
    with pytest.raises(NotFound, match="unable to find group ''"):
        resolve("bob", passwd, group, [""])


def test_descriptors_keep_their_offset(open_file: OpenFile) -> None:
    passwd, group = open_file(PASSWD), open_file(GROUP)
    os.lseek(passwd, 5, os.SEEK_SET)
    os.lseek(group, 5, os.SEEK_SET)
    assert resolve("alice", passwd, group, ()).uid == 1000
    assert os.lseek(passwd, 0, os.SEEK_CUR) == 5


def test_what_is_not_a_file_is_empty_and_never_blocks() -> None:
    read_end, write_end = os.pipe()
    directory = os.open("/", os.O_RDONLY)
    device = os.open("/dev/zero", os.O_RDONLY)
    try:
        for fd in (read_end, directory, device):
            assert resolve("0:0", fd, fd, ()).uid == 0
            with pytest.raises(NotFound, match="unable to find user root"):
                resolve("root", fd, fd, ())
    finally:
        for fd in (read_end, write_end, directory, device):
            os.close(fd)


@pytest.mark.parametrize("size", [userdb._CHUNK_BYTES - 3, userdb._CHUNK_BYTES, 200_000])
def test_entries_may_lie_across_reads(size: int, open_file: OpenFile) -> None:
    filler = b"x" * 60 + b":x:70000:70000::/:\n"
    passwd = (filler * (size // len(filler) + 1))[:size].rpartition(b"\n")[0] + b"\n"
    passwd += b"\n" * (size - len(passwd)) + b"late:x:5:6::/late:/bin/sh"
    group = b"first:x:7:" + b"member," * (size // 7) + b"late\nlast:x:8:late"
    found = resolve("late", open_file(passwd), open_file(group), ())
    assert (found.uid, found.additional_gids, found.home) == (5, (6, 7, 8), "/late")


def test_an_overlong_line_is_no_entry_and_hides_none(open_file: OpenFile) -> None:
    long = b"eve:x:0:0:" + b"y" * (userdb.MAX_LINE_BYTES + userdb._CHUNK_BYTES * 2) + b"\n"
    passwd = open_file(long + b"alice:x:1000:1000::/home/alice:/bin/sh\n")
    assert resolve("alice", passwd, None, ()).uid == 1000
    with pytest.raises(NotFound, match="unable to find user eve"):
        resolve("eve", passwd, None, ())


def test_more_groups_than_the_kernel_takes(open_file: OpenFile) -> None:
    lines = b"".join(b"g%d:x:%d:alice\n" % (n, n) for n in range(userdb.MAX_GROUPS + 10))
    with pytest.raises(Invalid, match="65536 groups"):
        resolve("alice", open_file(PASSWD), open_file(lines), ())


def _memory_capped(work: Callable[[], None]) -> None:
    """Run ``work`` in a child with 64 MiB more address space than it has."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            with open("/proc/self/statm") as file:
                used = int(file.read().split()[0]) * resource.getpagesize()
            limit = used + (64 << 20)
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            resource.setrlimit(resource.RLIMIT_CPU, (10, 10))
            work()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.parametrize("content", [b"", b"a:x:1:alice\n", b"\n" * 4096])
def test_a_file_of_2_gib_exhausts_nothing(content: bytes, open_file: OpenFile) -> None:
    passwd = open_file(PASSWD)
    giant = open_file(content)
    os.ftruncate(giant, 2 << 30)

    def work() -> None:
        with pytest.raises(Invalid, match="/etc/group has more than"):
            resolve("alice", passwd, giant, ())
        with pytest.raises(Invalid, match="/etc/passwd has more than"):
            resolve("mallory", giant, None, ())
        # Numbers do not need the group file.
        assert resolve("1:1", passwd, giant, ()).gid == 1

    _memory_capped(work)


def test_a_giant_file_of_one_byte_lines_exhausts_nothing(open_file: OpenFile) -> None:
    giant = open_file(b"a\n" * (userdb.MAX_FILE_BYTES // 2 + 1))

    def work() -> None:
        with pytest.raises(Invalid, match="more than"):
            resolve("mallory", giant, None, ())

    _memory_capped(work)
