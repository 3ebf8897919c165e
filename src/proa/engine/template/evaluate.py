"""Running a parsed template over JSON-like values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from proa.engine.template.functions import FUNCTIONS
from proa.engine.template.nodes import (
    Access,
    Branch,
    Function,
    Jump,
    Literal,
    Node,
    Operand,
    Output,
    Pipeline,
    Text,
)
from proa.engine.template.values import MISSING, is_true, to_text
from proa.errors import Invalid

_NOTHING = object()


class _Break(Exception):
    pass


class _Continue(Exception):
    pass


class Evaluator:
    """One run of a template. Not reusable."""

    def __init__(self, root: Any, functions: Mapping[str, Callable[..., Any]] = FUNCTIONS) -> None:
        """Begin with ``root`` as dot and as ``$``."""
        self._functions = functions
        self._scopes: list[dict[str, Any]] = [{"$": root}]
        self._lenient = False
        self._out: list[str] = []

    def run(self, nodes: tuple[Node, ...], dot: Any) -> str:
        """Return the text.

        Raises:
            Invalid: the values do not have what the template asks for.
        """
        self._run_all(nodes, dot)
        return "".join(self._out)

    def _run_all(self, nodes: tuple[Node, ...], dot: Any) -> None:
        for node in nodes:
            match node:
                case Text(text):
                    self._out.append(text)
                case Output(pipeline):
                    value = self._evaluate(pipeline, dot)
                    if not pipeline.variables:
                        self._out.append(to_text(value))
                case Branch():
                    self._run_branch(node, dot)
                case Jump("break"):
                    raise _Break
                case Jump():
                    raise _Continue

    def _run_branch(self, branch: Branch, dot: Any) -> None:
        self._scopes.append({})
        try:
            if branch.keyword == "range":
                self._run_range(branch, dot)
                return
            value = self._evaluate(branch.pipeline, dot, lenient=True)
            if not is_true(value):
                self._run_all(branch.otherwise, dot)
            else:
                self._run_all(branch.body, value if branch.keyword == "with" else dot)
        finally:
            self._scopes.pop()

    def _run_range(self, branch: Branch, dot: Any) -> None:
        # The variables get elements, not the list itself.
        source = Pipeline(branch.pipeline.commands)
        value = self._evaluate(source, dot)
        ran = False
        for key, element in _items(value):
            ran = True
            variables = branch.pipeline.variables
            if len(variables) == 2:
                self._assign(variables[0], key, declare=branch.pipeline.declares)
            if variables:
                self._assign(variables[-1], element, declare=branch.pipeline.declares)
            depth = len(self._scopes)
            try:
                self._scopes.append({})
                self._run_all(branch.body, element)
            except _Continue:
                continue
            except _Break:
                break
            finally:
                del self._scopes[depth:]
        if not ran:
            self._run_all(branch.otherwise, dot)

    def _evaluate(self, pipeline: Pipeline, dot: Any, *, lenient: bool | None = None) -> Any:
        before = self._lenient
        self._lenient = before if lenient is None else lenient
        try:
            value: Any = _NOTHING
            for command in pipeline.commands:
                value = self._run_command(command, dot, value)
        finally:
            self._lenient = before
        for name in pipeline.variables:
            self._assign(name, value, declare=pipeline.declares)
        return value

    def _run_command(self, command: tuple[Operand, ...], dot: Any, piped: Any) -> Any:
        first, arguments = command[0], command[1:]
        extra = () if piped is _NOTHING else (piped,)
        if isinstance(first, Function):
            if first.name in ("and", "or"):
                return self._run_logic(first.name, arguments, dot, extra)
            values = [self._operand(argument, dot) for argument in arguments]
            return _call(first.name, self._functions[first.name], (*values, *extra))
        value = self._operand(first, dot)
        if callable(value):
            values = [self._operand(argument, dot) for argument in arguments]
            return _call(_describe(first), value, (*values, *extra))
        if arguments or extra:
            raise Invalid(f"template: {_describe(first)} takes no arguments")
        return value

    def _run_logic(
        self, name: str, arguments: tuple[Operand, ...], dot: Any, extra: tuple[Any, ...]
    ) -> Any:
        value: Any = _NOTHING
        for argument in (*arguments, *(Literal(item) for item in extra)):
            value = self._operand(argument, dot)
            if is_true(value) == (name == "or"):
                return value
        if value is _NOTHING:
            raise Invalid(f"template: {name} needs a value")
        return value

    def _operand(self, operand: Operand, dot: Any) -> Any:
        match operand:
            case Literal(value):
                return value
            case Function(name):
                return self._run_command((operand,), dot, _NOTHING)
            case Access(base, fields):
                if isinstance(base, Pipeline):
                    value = self._evaluate(base, dot)
                else:
                    value = self._variable(base) if base else dot
                for name in fields:
                    value = self._field(value, name)
                return value

    def _field(self, value: Any, name: str) -> Any:
        if isinstance(value, dict):
            if name in value:
                return value[name]
            if self._lenient or not _is_record(value):
                return MISSING
            raise Invalid(
                f"template: no field '{name}'", f"the fields are {', '.join(sorted(value))}"
            )
        if self._lenient and (value is None or value is MISSING):
            return MISSING
        raise Invalid(f"template: cannot read field '{name}' of {to_text(value)[:40]}")

    def _variable(self, name: str) -> Any:
        return next(scope[name] for scope in reversed(self._scopes) if name in scope)

    def _assign(self, name: str, value: Any, *, declare: bool) -> None:
        if declare:
            self._scopes[-1][name] = value
            return
        for scope in reversed(self._scopes):
            if name in scope:
                scope[name] = value
                return


def _call(name: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    try:
        return function(*arguments)
    except TypeError as error:
        raise Invalid(f"template: wrong arguments for {name}") from error


def _describe(operand: Operand) -> str:
    if isinstance(operand, Access) and isinstance(operand.base, str):
        return operand.base + "".join("." + name for name in operand.fields) or "."
    return "a value"


def _is_record(value: dict[Any, Any]) -> bool:
    """Tell whether a document stands for a Go struct, whose fields are fixed, and not for a map.

    Only names tell: fields are Go identifiers with a capital, keys of labels and options hardly
    ever are all like that. Docker answers a wrong field with an error and a wrong key with none.
    """
    return bool(value) and all(
        isinstance(key, str) and key[:1].isupper() and key.isidentifier() for key in value
    )


def _items(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, dict):
        return ((key, value[key]) for key in sorted(value))
    if isinstance(value, list | tuple):
        return iter(enumerate(value))
    if value is None or value is MISSING:
        return iter(())
    raise Invalid(f"template: range cannot iterate over {to_text(value)[:40]}")
