"""JSON of the image spec: bounded, tolerant of unknown fields, never re-encoding what has a digest.

A document that was received is identified by its bytes. Readers decode a copy of what they need and
the bytes themselves are stored and sent on; ``encode_json`` is only for documents that start here.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from proa.errors import Corrupt

T = TypeVar("T")

MAX_DOCUMENT_BYTES = 4 * 1024 * 1024
"""Longest manifest, index or image config that is read: what registries accept at most."""

_encoder = msgspec.json.Encoder(order="deterministic")


def encode_json(value: object) -> bytes:
    """Encode a document of our own; the same value always gives the same bytes."""
    return _encoder.encode(value)


def decode_json(data: bytes, type_: type[T], what: str) -> T:
    """Decode ``data`` as ``type_``, ignoring fields that the type does not have.

    Args:
        data: at most :data:`MAX_DOCUMENT_BYTES`.
        type_: a Struct, or any type that msgspec can check.
        what: names the document in messages, e.g. ``manifest sha256:...``.

    Raises:
        Corrupt: too long, no JSON, or of another shape.
    """
    check_size(data, what)
    try:
        return msgspec.json.decode(data, type=type_)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise Corrupt(f"{what} cannot be decoded: {error}") from error


def decode_without_nulls(data: bytes, type_: type[T], what: str, depth: int) -> T:
    """Decode a document whose writers put ``null`` where they mean "not set".

    Args:
        data, type_, what: as in :func:`decode_json`.
        depth: how many levels of objects the type looks into; nulls below are kept.
    """
    value = decode_json(data, dict[str, Any], what)
    try:
        return msgspec.convert(_without_nulls(value, depth), type=type_)
    except msgspec.MsgspecError as error:
        raise Corrupt(f"{what} cannot be decoded: {error}") from error


def check_size(data: bytes, what: str) -> None:
    """Refuse a document that is longer than any honest one.

    Raises:
        Corrupt: it is.
    """
    if len(data) > MAX_DOCUMENT_BYTES:
        raise Corrupt(f"{what} is {len(data)} bytes long, more than {MAX_DOCUMENT_BYTES}")


def _without_nulls(value: Any, depth: int) -> Any:
    if depth and isinstance(value, dict):
        return {k: _without_nulls(v, depth - 1) for k, v in value.items() if v is not None}
    if depth and isinstance(value, list):
        return [_without_nulls(v, depth - 1) for v in value if v is not None]
    return value
