"""The processes of a container (``proa top``), read from the host's /proc.

No program runs for it: neither one of the container, which could be anything, nor the host's ps(1).
The columns are those of procps that people use; user and group ids are shown as the container sees
them, pids as the host does (Docker's habit).

Sources: proc_pid_stat(5), proc_pid_status(5), ps(1).
"""

from __future__ import annotations

import os
import re
import shlex
import time
from collections.abc import Callable, Sequence

import msgspec

from proa.engine.compose.sharing import first_id
from proa.engine.containers.lifecycle import ask_value, get
from proa.engine.context import Context
from proa.engine.ipc import wire
from proa.errors import Corrupt, Unsupported
from proa.linux import procfs
from proa.oci.processlist import ProcessList, ProcessText, ReadProcesses

_FULL = ("uid", "pid", "ppid", "c", "stime", "tty", "time", "cmd")
_AUX = ("user", "pid", "%cpu", "%mem", "vsz", "rss", "tty", "stat", "stime", "time", "args")
_LONG = ("uid", "pid", "ppid", "ni", "vsz", "rss", "stat", "tty", "time", "cmd")
_CHOICE = re.compile(r"-?[eAf]*o(.*)")
_USERNS_IDS = 65536
_TICKS = os.sysconf("SC_CLK_TCK")


class ProcessTable(msgspec.Struct, frozen=True, kw_only=True):
    """What ``top`` shows: one title a column, one row a process."""

    titles: tuple[str, ...]
    processes: tuple[tuple[str, ...], ...]


class _Process(msgspec.Struct, frozen=True, kw_only=True):
    pid: int
    fields: list[str]
    status: dict[str, str]
    command: str
    age_s: float
    memory_bytes: int
    base: int

    @property
    def cpu_s(self) -> float:
        """User and system time."""
        return (int(self.fields[11]) + int(self.fields[12])) / _TICKS

    @property
    def rss_kib(self) -> int:
        """Resident memory."""
        return int(self.status.get("VmRSS", "0 kB").split()[0])

    def own_id(self, label: str) -> str:
        """An effective id as the container sees it."""
        number = int(self.status[label].split()[1])
        inside = number - self.base
        if self.base < 0:
            return str(number)
        return str(inside) if 0 <= inside < _USERNS_IDS else str(number)


_Column = tuple[str, Callable[[_Process], str]]


def top(context: Context, reference: str, ps_options: Sequence[str] = ()) -> ProcessTable:
    """Return the processes of a running container.

    Args:
        reference: the container.
        ps_options: ``-ef`` (the default), ``aux``, ``-l``, or ``-o`` with names of columns.

    Raises:
        Conflict: it is not running.
        Unsupported: another option or column.
    """
    columns = _parse_options(ps_options)
    record = get(context, reference)
    if record.config.isolation == "vm":
        listed = msgspec.msgpack.decode(
            ask_value(context, record.id, ReadProcesses()), type=ProcessList
        )
        found = [_parse(listed, text) for text in listed.processes]
        return ProcessTable(
            titles=tuple([title for title, _ in columns]),
            processes=tuple([tuple([show(process) for _, show in columns]) for process in found]),
        )
    pids = msgspec.msgpack.decode(
        ask_value(context, record.id, wire.ListProcesses()), type=list[int]
    )
    rows = []
    base = first_id(context, record)
    for pid in pids:
        try:
            process = _read(pid, base)
        except OSError:
            continue  # it has ended since
        rows.append(tuple([show(process) for _, show in columns]))
    return ProcessTable(titles=tuple([title for title, _ in columns]), processes=tuple(rows))


def _parse_options(options: Sequence[str]) -> list[_Column]:
    names: list[str] = []
    words = [word for option in options for word in shlex.split(option)]
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        if word in ("-ef", "-e", "-f", "ef", "-A"):
            continue
        if word in ("aux", "-aux", "au", "-u", "u"):
            names = [*_AUX]
        elif word in ("-l", "l", "-el"):
            names = [*_LONG]
        elif match := _CHOICE.fullmatch(word):
            rest = match[1]
            if not rest and position < len(words):
                rest = words[position]
                position += 1
            names += [name.partition("=")[0] for name in rest.split(",") if name]
        else:
            raise Unsupported(
                f"the ps option '{word}' is not supported",
                "use -ef, aux, -l, or -o with names of columns",
            )
    return [_column(name) for name in names or _FULL]


def _column(name: str) -> _Column:
    found = _COLUMNS.get(name.lower())
    if found is None:
        raise Unsupported(
            f"the ps column '{name}' is not supported", f"the columns are {', '.join(_COLUMNS)}"
        )
    return found


def _read(pid: int, base: int) -> _Process:
    with open(f"/proc/{pid}/stat", "rb") as stream:
        text = stream.read()
    with open(f"/proc/{pid}/cmdline", "rb") as stream:
        words = stream.read()
    with open("/proc/uptime", "rb") as stream:
        uptime_s = float(stream.read().split()[0])
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return _describe(pid, text, procfs.read_status(pid), words, uptime_s, memory_bytes, base)


def _parse(listed: ProcessList, text: ProcessText) -> _Process:
    """A process of a guest, which may say of it what it wants.

    Raises:
        Corrupt: it says nothing that a kernel would.
    """
    rows = (line.partition(":") for line in text.status.decode("utf-8", "replace").splitlines())
    status = {key: value.strip() for key, _, value in rows}
    try:
        return _describe(
            text.pid, text.stat, status, text.command, listed.uptime_s, listed.memory_bytes, -1
        )
    except (ValueError, IndexError, KeyError) as error:
        raise Corrupt("a guest shows processes that no kernel shows") from error


def _describe(
    pid: int,
    text: bytes,
    status: dict[str, str],
    words: bytes,
    uptime_s: float,
    memory_bytes: int,
    base: int,
) -> _Process:
    shown = text.decode("utf-8", "replace")
    fields = shown[shown.rindex(")") + 2 :].split()
    command = words.rstrip(b"\0").replace(b"\0", b" ").decode("utf-8", "replace")
    return _Process(
        pid=pid,
        fields=fields,
        status=status,
        command=_printable(command) or f"[{_printable(status.get('Name', '?'))}]",
        age_s=max(uptime_s - int(fields[19]) / _TICKS, 0.01),
        memory_bytes=memory_bytes,
        base=base,
    )


def _printable(text: str) -> str:
    """A process may call itself anything; it must not write on the user's terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _user(process: _Process) -> str:
    number = process.own_id("Uid")
    return "root" if number == "0" else number


def _clock(seconds: float, *, days: bool = False) -> str:
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    if days and hours >= 24:
        return f"{hours // 24}-{hours % 24:02}:{minute:02}:{second:02}"
    if days and not hours:
        return f"{minute:02}:{second:02}"
    return f"{hours:02}:{minute:02}:{second:02}"


def _started(process: _Process) -> str:
    moment = time.localtime(time.time() - process.age_s)
    return time.strftime("%H:%M" if process.age_s < 86400 else "%b%d", moment)


def _terminal(process: _Process) -> str:
    number = int(process.fields[4])
    major, minor = os.major(number), os.minor(number)
    if 136 <= major <= 143:
        return f"pts/{minor + (major - 136) * 256}"
    return "?" if not number else f"{major}:{minor}"


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f}"


_COMMAND: _Column = ("CMD", lambda p: p.command)
_TIME: _Column = ("TIME", lambda p: _clock(p.cpu_s))
_COLUMNS: dict[str, _Column] = {
    "uid": ("UID", _user),
    "user": ("USER", _user),
    "euser": ("EUSER", _user),
    "gid": ("GID", lambda p: p.own_id("Gid")),
    "pid": ("PID", lambda p: str(p.pid)),
    "ppid": ("PPID", lambda p: p.fields[1]),
    "pgid": ("PGID", lambda p: p.fields[2]),
    "sid": ("SID", lambda p: p.fields[3]),
    "c": ("C", lambda p: str(int(100 * p.cpu_s / p.age_s))),
    "%cpu": ("%CPU", lambda p: _percent(p.cpu_s, p.age_s)),
    "pcpu": ("%CPU", lambda p: _percent(p.cpu_s, p.age_s)),
    "%mem": ("%MEM", lambda p: _percent(p.rss_kib * 1024, p.memory_bytes)),
    "pmem": ("%MEM", lambda p: _percent(p.rss_kib * 1024, p.memory_bytes)),
    "vsz": ("VSZ", lambda p: str(int(p.fields[20]) // 1024)),
    "rss": ("RSS", lambda p: str(p.rss_kib)),
    "nlwp": ("NLWP", lambda p: p.fields[17]),
    "ni": ("NI", lambda p: p.fields[16]),
    "stat": ("STAT", lambda p: p.fields[0]),
    "s": ("S", lambda p: p.fields[0]),
    "tty": ("TTY", _terminal),
    "tt": ("TT", _terminal),
    "stime": ("STIME", _started),
    "start": ("START", _started),
    "time": _TIME,
    "etime": ("ELAPSED", lambda p: _clock(p.age_s, days=True)),
    "comm": ("COMMAND", lambda p: _printable(p.status.get("Name", "?"))),
    "cmd": _COMMAND,
    "args": ("COMMAND", lambda p: p.command),
    "command": ("COMMAND", lambda p: p.command),
}
