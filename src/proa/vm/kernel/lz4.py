"""The legacy LZ4 frame, which kernels are packed with and no library of ours reads.

Source: ``lz4_Frame_format.md`` ("Legacy frame"), ``lz4_Block_format.md``.
"""

from __future__ import annotations

from proa.errors import Corrupt

MAGIC = b"\x02\x21\x4c\x18"

_BLOCK_MAX = 8 << 20
"""What one block unpacks to at most."""


def decompress_legacy(data: bytes | memoryview, limit_bytes: int) -> bytes:
    """Unpack a legacy frame; what follows its last whole block is ignored.

    Raises:
        Corrupt: it is not one, or unpacks to more than ``limit_bytes``.
    """
    data = bytes(data)
    if not data.startswith(MAGIC):
        raise Corrupt("not an LZ4 legacy frame")
    output = bytearray()
    position = 4
    while position + 4 <= len(data):
        size = int.from_bytes(data[position : position + 4], "little")
        position += 4
        if size > _BLOCK_MAX * 2 or position + size > len(data):
            break
        _decompress_block(data, position, position + size, output, limit_bytes)
        position += size
    return bytes(output)


def _decompress_block(
    data: bytes, position: int, end: int, output: bytearray, limit_bytes: int
) -> None:
    block_start = len(output)
    try:
        while position < end:
            token = data[position]
            position += 1
            count = token >> 4
            if count == 15:
                count, position = _extend(data, position, count)
            if count:
                output += data[position : position + count]
                position += count
            if position >= end:
                return
            distance = data[position] | data[position + 1] << 8
            position += 2
            count = token & 15
            if count == 15:
                count, position = _extend(data, position, count)
            count += 4
            start = len(output) - distance
            if distance == 0 or start < block_start or len(output) + count > limit_bytes:
                raise Corrupt("an LZ4 block refers to what it does not have, or is too large")
            if distance >= count:
                output += output[start : start + count]
            else:
                # An overlapping copy repeats what it has written itself.
                output += (output[start:] * (count // distance + 1))[:count]
    except IndexError:
        raise Corrupt("an LZ4 block ends in the middle of a sequence") from None


def _extend(data: bytes, position: int, count: int) -> tuple[int, int]:
    while True:
        byte = data[position]
        position += 1
        count += byte
        if byte != 255:
            return count, position
