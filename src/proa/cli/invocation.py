"""One call of one command: what its module gets."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from proa.errors import ProaError

if TYPE_CHECKING:
    from proa.cli.io import IO
    from proa.cli.parser import Flag, Options
    from proa.engine.facade import Engine

T = TypeVar("T")


class Invocation:
    """The world, the words and the engine of one command.

    Attributes:
        io: streams, environment and directory of the user.
        options: values of the flags.
        arguments: what is not a flag.
        called: the command as the user wrote it, ``proa ps``.
        debug: show tracebacks.
    """

    __slots__ = ("_engine", "_open_engine", "arguments", "called", "debug", "io", "options")

    def __init__(
        self,
        io: IO,
        options: Options,
        *,
        called: str,
        open_engine: Callable[[], Engine],
        debug: bool = False,
    ) -> None:
        self.io = io
        self.options = options
        self.arguments = options.arguments
        self.called = called
        self.debug = debug
        self._open_engine = open_engine
        self._engine: Engine | None = None

    @property
    def engine(self) -> Engine:
        """The engine, opened at first use."""
        if self._engine is None:
            self._engine = self._open_engine()
        return self._engine

    def __getitem__(self, flag: Flag[T]) -> T:
        """The value of a flag."""
        return self.options[flag]

    def complain(self, error: ProaError) -> None:
        """Show one error of several and go on."""
        self.io.err(f"proa: {error}")

    def for_each(self, act: Callable[[str], None], names: tuple[str, ...] = ()) -> int:
        """Do one thing to every argument; a failure does not spare the others.

        Args:
            act: gets one argument; what it raises is shown.
            names: instead of the arguments.

        Returns:
            0, or 1 when any of them failed.
        """
        failed = False
        for name in names or self.arguments:
            try:
                act(name)
            except ProaError as error:
                self.complain(error)
                failed = True
        return 1 if failed else 0
