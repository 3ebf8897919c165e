"""The command line in this process, on an engine that only remembers what it was asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from proa.cli.io import IO
from proa.cli.main import run

if TYPE_CHECKING:
    from proa.engine.facade import Engine


class CapturedIO(IO):
    """Streams that keep what is written; ``terminals`` are the descriptors that look like one."""

    __slots__ = ("_terminals", "written")

    def __init__(
        self,
        env: Mapping[str, str] | None = None,
        cwd: str = "/home/user",
        terminals: tuple[int, ...] = (),
    ) -> None:
        super().__init__(env=env or {}, cwd=cwd)
        self.written = {1: b"", 2: b""}
        self._terminals = terminals

    def write(self, fd: int, data: bytes) -> None:
        """Keep it."""
        self.written[fd] += data

    def is_terminal(self, fd: int) -> bool:
        """As the test said."""
        return fd in self._terminals

    def columns(self) -> int:
        """The same on every machine."""
        return 80


class Call(NamedTuple):
    """One call of the engine: ``containers.stop``, its arguments."""

    name: str
    args: tuple[Any, ...]
    options: dict[str, Any]


class FakeNamespace:
    """``engine.containers`` and the like: remembers calls and gives prepared answers."""

    def __init__(self, name: str, calls: list[Call], answers: dict[str, Any]) -> None:
        self._name = name
        self._calls = calls
        self._answers = answers

    def __getattr__(self, verb: str) -> Any:
        """The verb; its answer may be a value, an exception, or a function of its arguments."""
        name = f"{self._name}.{verb}"

        def call(*args: Any, **options: Any) -> Any:
            self._calls.append(Call(name, args, options))
            answer = self._answers.get(name)
            if callable(answer):
                answer = answer(*args, **options)
            if isinstance(answer, BaseException):
                raise answer
            return answer

        return call


class FakeEngine:
    """An engine of prepared answers.

    Attributes:
        calls: what it was asked, in order.
        roots: the roots it was opened with.
    """

    def __init__(self, answers: Mapping[str, Any] | None = None) -> None:
        self.calls: list[Call] = []
        self.roots: tuple[str, str] | None = None
        prepared = {"networks.published": {}, **(answers or {})}
        self.containers = FakeNamespace("containers", self.calls, prepared)
        self.images = FakeNamespace("images", self.calls, prepared)
        self.networks = FakeNamespace("networks", self.calls, prepared)
        self.registries = FakeNamespace("registries", self.calls, prepared)
        self.events = FakeNamespace("events", self.calls, prepared)
        self.system = FakeNamespace("system", self.calls, prepared)
        self.volumes = FakeNamespace("volumes", self.calls, prepared)


class Ended(NamedTuple):
    """A command that ran in this process."""

    code: int
    stdout: str
    stderr: str
    engine: FakeEngine

    @property
    def call(self) -> Call:
        """The only call of the engine."""
        (only,) = self.engine.calls
        return only


def proa(*words: str, io: CapturedIO | None = None, **answers: Any) -> Ended:
    """Run ``proa <words>``.

    Args:
        words: the command line.
        io: streams and environment; captured ones if not given.
        answers: what the engine answers; ``containers__stop`` stands for ``containers.stop``.
    """
    streams = io or CapturedIO()
    engine = FakeEngine({name.replace("__", "."): answer for name, answer in answers.items()})

    def open_engine(root: str, run_root: str) -> Engine:
        engine.roots = (root, run_root)
        return cast("Engine", engine)

    code = run(words, streams, open_engine=open_engine)
    return Ended(code, streams.written[1].decode(), streams.written[2].decode(), engine)
