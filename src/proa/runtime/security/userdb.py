"""Who a container's process runs as: ``-u user[:group]`` looked up in the image's own files.

``/etc/passwd`` and ``/etc/group`` come from the image and are hostile: they are read as bytes from
descriptors that the caller opened inside the container's root, streamed with a bound on their size
and on the length of a line, and only lines with well-formed numbers count. Nothing of the host
(NSS, libc's getpwnam) is asked.

Docker's semantics (moby/sys ``user.GetExecUser``, moby ``daemon/oci_linux.go``), but numbers are
never guessed: where Docker reads an entry's malformed number as 0, the entry is ignored here
(CVE-2024-40635 and its kin made such numbers root).
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence

import msgspec

from proa.errors import Invalid, NotFound

MAX_ID = (1 << 31) - 1
"""Highest uid and gid that may be asked for, as in Docker."""

MAX_FILE_BYTES = 4 << 20
MAX_LINE_BYTES = 1 << 20
MAX_GROUPS = 65536
"""NGROUPS_MAX of the kernel."""

MAX_SPEC_BYTES = 1024
"""Longest user string; login names end at 256 bytes (LOGIN_NAME_MAX)."""

_CHUNK_BYTES = 64 << 10
_MAX_SHOWN = 64
_NUMBER = re.compile(rb"[0-9]{1,10}")
_SIGNED = re.compile(r"[+-]?[0-9]+", re.ASCII)


class UserIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """A resolved user.

    Attributes:
        uid: user id inside the container.
        gid: primary group id.
        additional_gids: all supplementary groups, the primary one first (without it a process could
            reach files that their mode denies to its group: CVE-2022-36109).
        home: home directory, ``/`` where nothing is known.
        name: name in the image's passwd file, empty when it has none.
    """

    uid: int
    gid: int
    additional_gids: tuple[int, ...]
    home: str
    name: str


class _Passwd(msgspec.Struct, frozen=True):
    name: bytes
    uid: int
    gid: int
    home: bytes


def resolve(
    user: str, passwd: int | None, group: int | None, group_add: Sequence[str] = ()
) -> UserIdentity:
    """Resolve a user string against the container's files.

    Args:
        user: ``name``, ``uid``, ``name:group``, ``uid:gid`` ... in any mix; empty for root. Digits
            are always a number, even where a user has them as name.
        passwd: descriptor of the container's passwd file, None where it has none. Read with
            pread(2), never closed. What is not a regular file counts as empty.
        group: likewise, its group file.
        group_add: further groups, names or numbers (``--group-add``).

    Raises:
        Invalid: the string is malformed, a number is out of range, or a file is too large.
        NotFound: a name is in neither file.
        OSError: reading failed.
    """
    user_word, group_word = _split(user)
    uid = _parse_id(user_word, "user", user) if user_word else 0
    entry = _find_user(passwd, user_word, uid)
    if entry is None and uid is None:
        raise NotFound(
            f"unable to find user {_shown(user_word)}",
            "no such entry in the container's /etc/passwd; use a number or another name",
        )
    if entry is not None:
        uid = entry.uid
    groups = _Groups(group_word, entry.name if entry else b"", group_add, user)
    groups.scan(group)
    gid = groups.primary(default=entry.gid if entry else 0)
    gids = tuple(dict.fromkeys((gid, *groups.memberships, *groups.added())))
    if len(gids) > MAX_GROUPS:
        raise Invalid(f"user {_shown(user_word)} is in more than {MAX_GROUPS} groups")
    assert uid is not None
    return UserIdentity(
        uid=uid,
        gid=gid,
        additional_gids=gids,
        home=_home(entry),
        name=os.fsdecode(entry.name) if entry else "",
    )


class _Groups:
    """What one pass over the group file has to find."""

    def __init__(self, word: str, member: bytes, add: Sequence[str], user: str) -> None:
        self.memberships: list[int] = []
        self._word = word
        self._gid = _parse_id(word, "group", user) if word else None
        # Memberships count only where no group is named.
        self._member = b"" if word else member
        self._add = [(name, _parse_id(name, "group", name)) for name in add]
        names = [name for name, gid in self._add if gid is None]
        if word and self._gid is None:
            names.append(word)
        self._wanted = {os.fsencode(name) for name in names}
        self._found: dict[bytes, int] = {}

    def scan(self, group: int | None) -> None:
        """Read the file as far as needed."""
        if not self._wanted and not self._member:
            return
        for line in _lines(group, "/etc/group"):
            fields = line.split(b":", 3)
            if len(fields) < 3 or (gid := _number(fields[2])) is None:
                continue
            if fields[0] in self._wanted:
                self._found.setdefault(fields[0], gid)
            if self._member and len(fields) > 3 and self._member in fields[3].split(b","):
                self.memberships.append(gid)
                if len(self.memberships) > MAX_GROUPS:
                    return
            if not self._member and len(self._found) == len(self._wanted):
                return

    def primary(self, default: int) -> int:
        """Return the primary group: the named one, or the user's own."""
        return self._get(self._word, self._gid) if self._word else default

    def added(self) -> list[int]:
        """Return the groups of ``--group-add``."""
        return [self._get(name, gid) for name, gid in self._add]

    def _get(self, name: str, gid: int | None) -> int:
        if gid is None:
            gid = self._found.get(os.fsencode(name))
        if gid is None:
            raise NotFound(
                f"unable to find group {_shown(name)}",
                "no such entry in the container's /etc/group; use a number or another name",
            )
        return gid


def _split(user: str) -> tuple[str, str]:
    try:
        encoded = os.fsencode(user)
    except UnicodeEncodeError:
        raise Invalid(f"user {user!r} is not valid text") from None
    if len(encoded) > MAX_SPEC_BYTES:
        raise Invalid(f"a user string has {len(encoded)} bytes, {MAX_SPEC_BYTES} are possible")
    words = user.split(":")
    if len(words) > 2:
        raise Invalid(f"user {_shown(user)} has more than one colon", "write user or user:group")
    return words[0], words[1] if len(words) == 2 else ""


def _parse_id(word: str, what: str, user: str) -> int | None:
    """Return the number that a word is, None for a name."""
    if not _SIGNED.fullmatch(word):
        return None
    # Bounded before int(): a thousand digits are no number to compute with.
    digits = word.lstrip("0") or "0"
    if not word.isdigit() or len(digits) > 10 or int(digits) > MAX_ID:
        raise Invalid(
            f"{what} id {_shown(word)} in {_shown(user)} is out of range",
            f"use a number from 0 to {MAX_ID}",
        )
    return int(digits)


def _find_user(passwd: int | None, word: str, uid: int | None) -> _Passwd | None:
    """Return the first entry with the number, or else with the name."""
    name = os.fsencode(word)
    for line in _lines(passwd, "/etc/passwd"):
        fields = line.split(b":")
        if len(fields) < 4:
            continue
        if uid is None and fields[0] != name:
            continue
        number, gid = _number(fields[2]), _number(fields[3])
        if number is None or gid is None or (uid is not None and number != uid):
            continue
        return _Passwd(fields[0], number, gid, fields[5] if len(fields) > 5 else b"")
    return None


def _lines(fd: int | None, name: str) -> Iterator[bytes]:
    """Yield the entries of a file in bounded memory; overlong lines and comments are left out."""
    if fd is None or not stat.S_ISREG(os.fstat(fd).st_mode):
        return
    offset = 0
    rest = b""
    overlong = False
    while chunk := os.pread(fd, _CHUNK_BYTES, offset):
        offset += len(chunk)
        if offset > MAX_FILE_BYTES:
            raise Invalid(
                f"the container's {name} has more than {MAX_FILE_BYTES} bytes",
                "repair the image, or name the user by number where that is enough",
            )
        first, *following = chunk.split(b"\n")
        rest = b"" if overlong else rest + first
        if not following:
            overlong = overlong or len(rest) > MAX_LINE_BYTES
            continue
        if not overlong:
            yield from _entry(rest)
        for line in following[:-1]:
            yield from _entry(line)
        rest, overlong = following[-1], False
    if not overlong:
        yield from _entry(rest)


def _entry(line: bytes) -> Iterator[bytes]:
    line = line.strip()
    # NIS' compatibility entries (+name, -name) name nobody.
    if line and line[:1] not in b"#+-":
        yield line


def _number(field: bytes) -> int | None:
    if not _NUMBER.fullmatch(field):
        return None
    number = int(field)
    return number if number <= MAX_ID else None


def _home(entry: _Passwd | None) -> str:
    home = os.fsdecode(entry.home) if entry else ""
    return home if home.startswith("/") and "\0" not in home else "/"


def _shown(word: str) -> str:
    if len(word) > _MAX_SHOWN:
        word = word[:_MAX_SHOWN] + "..."
    return word if word.isprintable() and word else repr(word)
