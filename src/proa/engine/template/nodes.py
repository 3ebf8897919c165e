"""The parsed template: what :mod:`.parser` makes and :mod:`.evaluate` runs."""

from __future__ import annotations

from typing import TypeAlias

import msgspec


class Literal(msgspec.Struct, frozen=True):
    """A constant of the template: string, number, boolean, nil."""

    value: str | int | float | bool | None


class Access(msgspec.Struct, frozen=True):
    """``.A.B`` (``base`` is empty), ``$x.A`` (``base`` is ``$x``) or ``(pipeline).A``."""

    base: str | Pipeline
    fields: tuple[str, ...]


class Function(msgspec.Struct, frozen=True):
    """A function's name at the place of an operand."""

    name: str


Operand: TypeAlias = Literal | Access | Function


class Pipeline(msgspec.Struct, frozen=True):
    """Commands joined by ``|``, and the variables that take the result.

    Attributes:
        commands: each a first operand and its arguments.
        variables: names with ``$``; at most one, two in ``range``.
        declares: ``:=`` and not ``=``.
    """

    commands: tuple[tuple[Operand, ...], ...]
    variables: tuple[str, ...] = ()
    declares: bool = False


class Text(msgspec.Struct, frozen=True):
    """Copied as it is."""

    text: str


class Output(msgspec.Struct, frozen=True):
    """``{{pipeline}}``."""

    pipeline: Pipeline


class Branch(msgspec.Struct, frozen=True):
    """``{{if}}``, ``{{with}}`` (sets dot) or ``{{range}}`` with an optional ``{{else}}``."""

    keyword: str
    pipeline: Pipeline
    body: tuple[Node, ...]
    otherwise: tuple[Node, ...]


class Jump(msgspec.Struct, frozen=True):
    """``{{break}}`` or ``{{continue}}``."""

    keyword: str


Node: TypeAlias = Text | Output | Branch | Jump
