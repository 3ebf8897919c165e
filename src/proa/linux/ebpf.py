"""eBPF programs that decide about device access of a cgroup: encode, load, attach.

Sources: bpf(2), linux/bpf.h, Documentation/bpf/standardization/instruction-set.rst. Only what a
``BPF_PROG_TYPE_CGROUP_DEVICE`` program needs is here. Classic BPF (seccomp) is
:mod:`proa.linux.bpf`.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Sequence
from typing import NamedTuple

from proa.linux import syscalls

# Opcodes: class | source (K: immediate, X: register) | operation.
LDX_W = 0x61
"""``dst = *(u32 *)(src + off)``"""
MOV32_K = 0xB4
MOV32_X = 0xBC
AND32_K = 0x54
RSH32_K = 0x74
JA = 0x05
JEQ32_K = 0x16
JNE32_K = 0x56
JSET32_K = 0x46
EXIT = 0x95

# Context of a device program (struct bpf_cgroup_dev_ctx): three u32. The first holds the type of
# the device in its low half and the access in its high half.
CONTEXT_ACCESS_TYPE = 0
CONTEXT_MAJOR = 4
CONTEXT_MINOR = 8
DEVICE_BLOCK = 1
DEVICE_CHAR = 2

_BPF_PROG_LOAD = 5
_BPF_PROG_ATTACH = 8
_BPF_PROG_DETACH = 9
_BPF_PROG_GET_FD_BY_ID = 13
_BPF_PROG_QUERY = 16
_PROG_TYPE_CGROUP_DEVICE = 15
_ATTACH_CGROUP_DEVICE = 6
_F_ALLOW_MULTI = 2
_LOAD_RETRIES = 5
_MAX_ATTACHED = 64
_LICENSE = b"Apache\0"
_NAME = b"proa_devices"
_LOG_BYTES = 65536

_instruction = struct.Struct("=BBhI")


class Instruction(NamedTuple):
    """One instruction; ``immediate`` is taken modulo 2**32, ``offset`` counts instructions."""

    opcode: int
    target: int = 0
    source: int = 0
    offset: int = 0
    immediate: int = 0

    def encode(self) -> bytes:
        """Its 8 bytes (registers are packed the little-endian way on both our architectures)."""
        return _instruction.pack(
            self.opcode,
            self.source << 4 | self.target,
            self.offset,
            self.immediate & 0xFFFF_FFFF,
        )


def load_device_program(program: Sequence[Instruction]) -> int:
    """Verify and load a program.

    Returns:
        Its descriptor (close-on-exec).

    Raises:
        OSError: EPERM without CAP_BPF and CAP_NET_ADMIN (or CAP_SYS_ADMIN), EINVAL from a kernel
            without CONFIG_CGROUP_BPF, EACCES from the verifier.
    """
    code = b"".join(instruction.encode() for instruction in program)
    code_buffer = ctypes.create_string_buffer(code, len(code))
    license_buffer = ctypes.create_string_buffer(_LICENSE)
    attributes = struct.pack(
        "=IIQQIIQII16s",
        _PROG_TYPE_CGROUP_DEVICE,
        len(program),
        ctypes.addressof(code_buffer),
        ctypes.addressof(license_buffer),
        0,  # log level, size and buffer
        0,
        0,
        0,  # kernel version, flags
        0,
        _NAME,
    )
    for _attempt in range(_LOAD_RETRIES):
        try:
            return _bpf(_BPF_PROG_LOAD, attributes)
        except OSError as error:
            # The verifier gives up when a signal is pending (bpf(2), EAGAIN).
            if error.errno != errno.EAGAIN:
                raise
    return _bpf(_BPF_PROG_LOAD, attributes)


def attach_device_program(cgroup_fd: int, program_fd: int) -> None:
    """Attach beside other programs of the group: access needs the consent of all of them.

    Raises:
        OSError: EINVAL when the directory is not in a cgroup2 hierarchy; EPERM when somebody
            attached an exclusive program.
    """
    _bpf(
        _BPF_PROG_ATTACH,
        struct.pack("=IIIII", cgroup_fd, program_fd, _ATTACH_CGROUP_DEVICE, _F_ALLOW_MULTI, 0),
    )


def detach_device_program(cgroup_fd: int, program_fd: int) -> None:
    """Detach one program.

    Raises:
        OSError: ENOENT when it is not attached.
    """
    _bpf(
        _BPF_PROG_DETACH,
        struct.pack("=IIII", cgroup_fd, program_fd, _ATTACH_CGROUP_DEVICE, 0),
    )


def attached_device_programs(cgroup_fd: int) -> list[int]:
    """Descriptors of the programs attached to this very group; the caller closes them."""
    ids = (ctypes.c_uint32 * _MAX_ATTACHED)()
    attributes = ctypes.create_string_buffer(
        struct.pack(
            "=IIIIQI",
            cgroup_fd,
            _ATTACH_CGROUP_DEVICE,
            0,  # query flags: this group only
            0,
            ctypes.addressof(ids),
            _MAX_ATTACHED,
        )
    )
    size = len(attributes) - 1
    syscalls.call(syscalls.number("bpf"), _BPF_PROG_QUERY, ctypes.addressof(attributes), size)
    (count,) = struct.unpack_from("=I", attributes, 24)
    opened: list[int] = []
    try:
        for identity in ids[:count]:
            try:
                opened.append(_bpf(_BPF_PROG_GET_FD_BY_ID, struct.pack("=III", identity, 0, 0)))
            except FileNotFoundError:  # detached meanwhile
                continue
    except BaseException:
        for fd in opened:
            os.close(fd)
        raise
    return opened


def _bpf(command: int, attributes: bytes) -> int:
    return syscalls.call(syscalls.number("bpf"), command, attributes, len(attributes))
