"""A guest of 200 bytes: an init that says a word on the console and restarts the machine.

It proves that an accelerator runs a kernel up to user space, and it is the floor that benchmarks
measure against.

Sources: ELF-64 object file format; ``Documentation/driver-api/early-userspace/buffer-format.rst``;
x86-64 and arm64 system call ABIs, reboot(2).
"""

from __future__ import annotations

import struct

WORD = b"proa-probe-ok"

_BASE = 0x400000
_HEADERS_BYTES = 64 + 56
_MAGIC = 0xFEE1DEAD
_MAGIC2 = 672274793
_RESTART = 0x01234567


def make_initramfs(machine: str = "x86_64") -> bytes:
    """Newc archive with an ``/init`` for that machine (``x86_64`` or ``aarch64``)."""
    return _entry("init", _make_init(machine), 0o100755) + _entry("TRAILER!!!", b"", 0)


def _make_init(machine: str) -> bytes:
    text = WORD + b"\n"
    code = _x86_64(len(text)) if machine == "x86_64" else _aarch64(len(text))
    number = 62 if machine == "x86_64" else 183
    size = _HEADERS_BYTES + len(code) + len(text)
    entry = _BASE + _HEADERS_BYTES
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01", 2, number, 1, entry, 64, 0, 0, 64, 56, 1, 0, 0, 0,
    )  # fmt: skip
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000)
    return header + segment + code + text


def _x86_64(text_bytes: int) -> bytes:
    """Write the text that follows to descriptor 1, then restart."""
    restart = (
        b"\xb8" + struct.pack("<I", 169)  # mov eax, SYS_reboot
        + b"\xbf" + struct.pack("<I", _MAGIC)  # mov edi, ...
        + b"\xbe" + struct.pack("<I", _MAGIC2)  # mov esi, ...
        + b"\xba" + struct.pack("<I", _RESTART)  # mov edx, ...
        + b"\x0f\x05\xeb\xfe"  # syscall; jmp itself
    )  # fmt: skip
    write = (
        b"\xb8" + struct.pack("<I", 1)  # mov eax, SYS_write
        + b"\xbf" + struct.pack("<I", 1)  # mov edi, 1
        + b"\x48\x8d\x35" + struct.pack("<i", 7 + len(restart))  # lea rsi, [rip + text]
        + b"\xba" + struct.pack("<I", text_bytes)  # mov edx, ...
        + b"\x0f\x05"  # syscall
    )  # fmt: skip
    return write + restart


def _aarch64(text_bytes: int) -> bytes:
    """The same for arm64."""

    def load(register: int, value: int) -> list[int]:
        low, high = value & 0xFFFF, value >> 16
        return [0xD2800000 | low << 5 | register, 0xF2A00000 | high << 5 | register]

    restart = [
        *load(0, _MAGIC), *load(1, _MAGIC2), *load(2, _RESTART), *load(8, 142),
        0xD4000001, 0x14000000,
    ]  # fmt: skip
    write = [*load(0, 1), 0, *load(2, text_bytes), *load(8, 64), 0xD4000001]
    distance = 4 * (len(write) - 2 + len(restart))
    write[2] = 0x10000000 | (distance & 3) << 29 | (distance >> 2) << 5 | 1  # adr x1, text
    return struct.pack(f"<{len(write) + len(restart)}I", *write, *restart)


def _entry(name: str, data: bytes, mode: int) -> bytes:
    encoded = name.encode() + b"\0"
    fields = (1, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + encoded
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)
