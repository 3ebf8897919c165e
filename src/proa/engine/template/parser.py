"""Recursive descent over the actions of a template.

::

    template := { text | action }
    action   := pipeline | ("if"|"with"|"range") pipeline template ["else" ...] "end"
    pipeline := [ variable ["," variable] (":="|"=") ] command { "|" command }
    command  := operand { operand }
    operand  := literal | function | (dot | variable | "(" pipeline ")") { field }
"""

from __future__ import annotations

from collections.abc import Container

from proa.engine.template.lexer import Action, Token, split_template, syntax_error
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
from proa.errors import Invalid

_BRANCHES = ("if", "with", "range")
_RESERVED = (*_BRANCHES, "else", "end", "break", "continue", "define", "template", "block")
_CONSTANTS: dict[str, bool | None] = {"true": True, "false": False, "nil": None}
# Deeper nesting is no template but an attempt on the interpreter's stack.
_MAX_DEPTH = 50


def parse(template: str, functions: Container[str]) -> tuple[Node, ...]:
    """Return a template's nodes.

    Args:
        template: text with ``{{actions}}``.
        functions: names that may be called.

    Raises:
        Invalid: with the place and what is wrong there.
    """
    return _Parser(template, functions).parse()


class _Parser:
    def __init__(self, template: str, functions: Container[str]) -> None:
        self._template = template
        self._functions = functions
        self._parts = list(split_template(template))
        self._next_part = 0
        self._tokens: tuple[Token, ...] = ()
        self._next = 0
        self._end = 0
        self._depth = 0
        self._loops = 0
        self._variables = [{"$"}]

    def parse(self) -> tuple[Node, ...]:
        nodes, stopped_by = self._parse_body()
        if stopped_by:
            raise self._error(f"unexpected {{{{{stopped_by}}}}}")
        return nodes

    # -- templates ---------------------------------------------------------------------------

    def _parse_body(self) -> tuple[tuple[Node, ...], str]:
        """Return nodes up to an ``else`` or ``end`` (or the template's end) and that word."""
        nodes: list[Node] = []
        while self._next_part < len(self._parts):
            part = self._parts[self._next_part]
            self._next_part += 1
            if isinstance(part, str):
                nodes.append(Text(part))
                continue
            self._enter(part)
            word = self._peek_word()
            if word in ("else", "end"):
                self._next += 1
                return tuple(nodes), word
            nodes.append(self._parse_action(word))
        return tuple(nodes), ""

    def _parse_action(self, word: str) -> Node:
        if word in _BRANCHES:
            self._next += 1
            return self._parse_branch(word)
        if word in ("break", "continue"):
            self._next += 1
            if not self._loops:
                raise self._error(f"{word} outside of range")
            self._expect_end()
            return Jump(word)
        pipeline = self._parse_pipeline(max_variables=1)
        self._expect_end()
        return Output(pipeline)

    def _parse_branch(self, keyword: str) -> Branch:
        self._nest()
        self._variables.append(set())
        pipeline = self._parse_pipeline(max_variables=2 if keyword == "range" else 1)
        self._expect_end()
        self._loops += keyword == "range"
        body, stopped_by = self._parse_body()
        self._loops -= keyword == "range"
        otherwise: tuple[Node, ...] = ()
        if stopped_by == "else":
            word = self._peek_word()
            if word in ("if", "with"):
                self._next += 1
                # The chained branch takes the "end" of this one.
                otherwise, stopped_by = (self._parse_branch(word),), "end"
            else:
                self._expect_end()
                otherwise, stopped_by = self._parse_body()
        if stopped_by != "end":
            raise self._error(f"{keyword} without end" if not stopped_by else "a second else")
        self._expect_end()
        self._variables.pop()
        self._depth -= 1
        return Branch(keyword, pipeline, body, otherwise)

    # -- actions -----------------------------------------------------------------------------

    def _parse_pipeline(self, *, max_variables: int = 0) -> Pipeline:
        variables, declares = self._parse_assignment(max_variables)
        commands = [self._parse_command(first=True)]
        while self._accept("|"):
            commands.append(self._parse_command(first=False))
        if declares:
            self._variables[-1].update(variables)
        return Pipeline(tuple(commands), variables, declares)

    def _parse_assignment(self, max_variables: int) -> tuple[tuple[str, ...], bool]:
        start = self._next
        names: list[str] = []
        while (token := self._peek()) and token.kind == "variable":
            names.append(token.text)
            self._next += 1
            if not self._accept(","):
                break
        if names and (mark := self._accept(":=") or self._accept("=")):
            if len(names) > max_variables or "$" in names:
                raise self._error("variables cannot be set like this here")
            if mark == "=":
                for name in names:
                    self._check_variable(name)
            return tuple(names), mark == ":="
        self._next = start
        return (), False

    def _parse_command(self, *, first: bool) -> tuple[Operand, ...]:
        operands: list[Operand] = []
        while (token := self._peek()) and (token.kind != "mark" or token.text == "("):
            operands.append(self._parse_operand(token))
        if not operands:
            raise self._error("a value or a function is missing")
        if not first and not isinstance(operands[0], Function | Access):
            raise self._error("what follows '|' must be a function")
        return tuple(operands)

    def _parse_operand(self, token: Token) -> Operand:
        self._next += 1
        if token.kind == "string":
            return Literal(token.text)
        if token.kind == "number":
            return Literal(self._parse_number(token))
        if token.kind == "word":
            return self._parse_word(token)
        if token.kind == "field":
            return Access("", (token.text, *self._parse_fields()))
        if token.kind == "dot":
            return Access("", self._parse_fields())
        if token.kind == "variable":
            self._check_variable(token.text)
            return Access(token.text, self._parse_fields())
        self._nest()
        pipeline = self._parse_pipeline()
        if not self._accept(")"):
            raise self._error("'(' without ')'")
        self._depth -= 1
        return Access(pipeline, self._parse_fields())

    def _parse_number(self, token: Token) -> int | float:
        # As in Go numbers have 64 bits; int() refuses, slowly, what has thousands of digits.
        if len(token.text) > 20:
            raise self._error("the number is too long", token)
        return float(token.text) if "." in token.text else int(token.text)

    def _parse_word(self, token: Token) -> Operand:
        if token.text in _CONSTANTS:
            return Literal(_CONSTANTS[token.text])
        if token.text in _RESERVED:
            raise self._error(f"'{token.text}' cannot stand here", token)
        if token.text not in self._functions:
            raise self._error(f"function '{token.text}' is not defined", token)
        return Function(token.text)

    def _parse_fields(self) -> tuple[str, ...]:
        fields: list[str] = []
        while (token := self._peek()) and token.kind == "field" and token.attached:
            fields.append(token.text)
            self._next += 1
        return tuple(fields)

    # -- tokens ------------------------------------------------------------------------------

    def _enter(self, action: Action) -> None:
        self._tokens, self._next = action.tokens, 0
        self._end = action.tokens[-1].position if action.tokens else action.position

    def _peek(self) -> Token | None:
        return self._tokens[self._next] if self._next < len(self._tokens) else None

    def _peek_word(self) -> str:
        token = self._peek()
        return token.text if token and token.kind == "word" else ""

    def _accept(self, mark: str) -> str:
        token = self._peek()
        if token is None or token.kind != "mark" or token.text != mark:
            return ""
        self._next += 1
        return mark

    def _expect_end(self) -> None:
        token = self._peek()
        if token is not None:
            raise self._error(f"unexpected '{token.text}'", token)

    def _check_variable(self, name: str) -> None:
        if not any(name in scope for scope in self._variables):
            raise self._error(f"undefined variable {name}")

    def _nest(self) -> None:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise self._error("nested too deeply")

    def _error(self, problem: str, token: Token | None = None) -> Invalid:
        token = token or self._peek()
        return syntax_error(self._template, token.position if token else self._end, problem)
