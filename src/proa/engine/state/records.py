"""Records to and from rows: JSON text in the columns, structs outside.

Encoders and decoders are built once; a container takes about 5 µs each way.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from proa.engine.config import ContainerConfig
from proa.engine.model import ContainerRecord, ContainerState, EventRecord
from proa.errors import Corrupt, Invalid

T = TypeVar("T")

_encoder = msgspec.json.Encoder()
_config = msgspec.json.Decoder(ContainerConfig)
_state = msgspec.json.Decoder(ContainerState)
_words = msgspec.json.Decoder(tuple[str, ...])
_attributes = msgspec.json.Decoder(dict[str, str])

SELECT_CONTAINERS = (
    "SELECT id, name, image_id, created_at_ns, userns_base, config, process, state FROM containers"
)
SELECT_EVENTS = "SELECT sequence, time_ns, type, action, actor_id, attributes FROM events"


def encode(value: object, owner: str) -> str:
    """Return ``value`` as JSON text.

    Args:
        owner: what the value belongs to, for the message: ``container web``.

    Raises:
        Invalid: a string in it is not valid Unicode (bytes of a command line that are not UTF-8).
    """
    try:
        return _encoder.encode(value).decode()
    except UnicodeEncodeError as error:
        raise Invalid(
            f"{owner}: {error.object!a} is not valid UTF-8", "use UTF-8 in names and arguments"
        ) from error


def decode(decoder: msgspec.json.Decoder[T], text: str, owner: str) -> T:
    """Return the value of a JSON column.

    Raises:
        Corrupt: the text is not what the column holds.
    """
    try:
        return decoder.decode(text)
    except msgspec.DecodeError as error:
        raise Corrupt(
            f"the record of {owner} in proa.db is damaged: {error}",
            "restore proa.db from a backup, or remove the object",
        ) from error


def container_row(record: ContainerRecord) -> tuple[object, ...]:
    """Return the values of all columns of ``containers``, in the schema's order."""
    owner = f"container {record.name or record.id}"
    return (
        record.id,
        record.name,
        record.state.status,
        record.image_id,
        None if record.userns_base < 0 else record.userns_base,
        record.created_at_ns,
        encode(record.config, owner),
        encode((record.path, *record.args), owner),
        encode(record.state, owner),
    )


def container_record(row: tuple[Any, ...]) -> ContainerRecord:
    """Return the record of a row of :data:`SELECT_CONTAINERS`."""
    identity, name, image_id, created_at_ns, userns_base, config, process, state = row
    owner = f"container {name}"
    path, *args = decode(_words, process, owner) or ("",)
    return ContainerRecord(
        id=identity,
        name=name,
        image_id=image_id,
        created_at_ns=created_at_ns,
        userns_base=-1 if userns_base is None else userns_base,
        config=decode(_config, config, owner),
        path=path,
        args=tuple(args),
        state=decode(_state, state, owner),
    )


def event_record(row: tuple[Any, ...]) -> EventRecord:
    """Return the record of a row of :data:`SELECT_EVENTS`."""
    sequence, time_ns, kind, action, actor_id, attributes = row
    return EventRecord(
        sequence=sequence,
        time_ns=time_ns,
        type=kind,
        action=action,
        actor_id=actor_id,
        attributes=decode(_attributes, attributes, f"event {sequence}"),
    )
