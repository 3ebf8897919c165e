"""One call of one command: what its module gets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from proa.errors import ProaError

if TYPE_CHECKING:
    from proa.cli.io import IO
    from proa.cli.parser import Flag, Options
    from proa.engine.facade import Engine

T = TypeVar("T")

_THREADS = 50


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

    def for_each(self, act: Callable[[str], str | None], *, side_by_side: bool = False) -> int:
        """Do one thing to every argument; a failure does not spare the others.

        Args:
            act: gets one argument and returns what to print, if anything; a
                :class:`~proa.errors.ProaError` is shown.
            side_by_side: do not wait for one before the next begins; the output keeps the order of
                the arguments.

        Returns:
            0, or 1 when any of them failed.
        """
        threads = side_by_side and len(self.arguments) > 1
        attempts = _in_threads if threads else _one_by_one
        failed = False
        for attempt in attempts(act, self.arguments):
            try:
                said = attempt()
            except ProaError as error:
                self.complain(error)
                failed = True
            else:
                if said is not None:
                    self.io.out(said)
        return 1 if failed else 0


Act = Callable[[str], str | None]
Attempts = Iterator[Callable[[], str | None]]


def _one_by_one(act: Act, arguments: tuple[str, ...]) -> Attempts:
    for argument in arguments:
        yield partial(act, argument)


def _in_threads(act: Act, arguments: tuple[str, ...]) -> Attempts:
    """Yield, in order, what waits for each and gives its outcome."""
    import threading

    slots = threading.Semaphore(_THREADS)
    outcomes: dict[int, str | Exception | None] = {}

    def work(index: int, argument: str) -> None:
        with slots:
            try:
                outcomes[index] = act(argument)
            except Exception as error:  # noqa: BLE001 - raised again where it is waited for
                outcomes[index] = error

    def outcome(index: int) -> str | None:
        threads[index].join()
        got = outcomes[index]
        if isinstance(got, Exception):
            raise got
        return got

    # Daemons, so that an interrupt ends the command at once.
    threads = [
        threading.Thread(target=work, args=item, daemon=True) for item in enumerate(arguments)
    ]
    for thread in threads:
        thread.start()
    for index in range(len(threads)):
        yield partial(outcome, index)
