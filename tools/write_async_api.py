"""Write ``src/proa/engine/asynchronous.py``: the engine's surface for asyncio, from its source.

    python tools/write_async_api.py

Every public method of the classes below gets a counterpart with the same parameters, defaults and
first sentence. A unit test compares the file with what this gives, so the two cannot drift.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "src"
TARGET = SOURCE / "proa/engine/asynchronous.py"
CLASSES = {
    "Execution": "proa/engine/containers/execution.py",
    "Container": "proa/engine/containers/container.py",
    "Containers": "proa/engine/containers/api.py",
    "Images": "proa/engine/images.py",
    "Registries": "proa/engine/registries.py",
    "Networks": "proa/engine/networks.py",
    "Volumes": "proa/engine/volumes.py",
    "Events": "proa/engine/events.py",
    "Vms": "proa/engine/vms/api.py",
    "HybridMachine": "proa/engine/vms/machine.py",
    "System": "proa/engine/system.py",
    "Engine": "proa/engine/facade.py",
}
LEFT_OUT = {"begin", "open_attachment", "open_exec", "open_console"}
"""Handles on descriptors: for programs with a loop of their own."""

DATA = {"Container"}
"""Their attributes are plain data, and passed on."""

_HEAD = '''"""The engine for asyncio: ``proa.AsyncEngine``, ``proa.Engine`` with ``await``.

Written by tools/write_async_api.py from the engine's source; do not edit. Every call, and every
step of an iteration, runs in a thread of its own.
"""

# ruff: noqa: A002 - parameters are called as in the source, with Docker's words

from __future__ import annotations

'''

_TAIL_HELP = '''

def _bind(value: Any) -> Any:
    """Give what comes from the engine its asynchronous face."""
    if isinstance(value, Container):
        return AsyncContainer(value)
    if isinstance(value, Execution):
        return AsyncExecution(value)
    if isinstance(value, list):
        return [_bind(item) for item in value]
    return value
'''


def generate() -> str:
    """Return the text of the module."""
    trees = {name: ast.parse((SOURCE / path).read_text()) for name, path in CLASSES.items()}
    bodies = [_class(name, _find(trees[name], name)) for name in CLASSES]
    text = "\n\n".join(bodies)
    return _HEAD + _imports(trees, text) + "\n\n" + text + _TAIL_HELP


def _find(tree: ast.Module, name: str) -> ast.ClassDef:
    return next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name)


def public_methods(node: ast.ClassDef) -> Iterator[ast.FunctionDef]:
    """Yield what gets a counterpart."""
    for item in node.body:
        if (
            isinstance(item, ast.FunctionDef)
            and not item.name.startswith("_")
            and item.name not in LEFT_OUT
        ):
            yield item


def _class(name: str, node: ast.ClassDef) -> str:
    lines = [f"class Async{name}:", f'    """{_first_sentence(node)}"""', ""]
    if name == "Engine":
        lines += _engine_init(node)
    else:
        lines += [
            f"    def __init__(self, synchronous: {name}) -> None:",
            "        self._it = synchronous",
            "",
        ]
    if name in DATA:
        lines += [
            "    def __getattr__(self, name: str) -> Any:",
            '        """Data of the container as it was when this object was made."""',
            "        return getattr(self._it, name)",
            "",
            "    def __repr__(self) -> str:",
            '        return f"<Async{self._it!r}".replace("<Async<", "<Async", 1)',
            "",
        ]
    for method in public_methods(node):
        lines += [*_method(method), ""]
    dunders = {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
    if "__iter__" in dunders:
        lines += _iteration(node)
    if "__enter__" in dunders:
        lines += _context(name)
    return "\n".join(lines).rstrip() + "\n"


def _engine_init(node: ast.ClassDef) -> list[str]:
    init = next(n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__")
    lines = [
        f"    def __init__({_parameters(init)}) -> None:",
        f'        """{_first_sentence(init)}"""',
        f"        self._it = Engine({_arguments(init)})",
    ]
    for item in ast.walk(init):
        if (
            isinstance(item, ast.Assign)
            and isinstance(item.targets[0], ast.Attribute)
            and isinstance(item.value, ast.Call)
            and isinstance(item.value.func, ast.Name)
            and item.value.func.id in CLASSES
        ):
            attribute, kind = item.targets[0].attr, item.value.func.id
            lines.append(f"        self.{attribute} = Async{kind}(self._it.{attribute})")
    return [*lines, ""]


def _method(method: ast.FunctionDef) -> list[str]:
    returns = ast.unparse(method.returns) if method.returns else "None"
    doc = f'        """{_first_sentence(method)}"""'
    if any(isinstance(d, ast.Name) and d.id == "property" for d in method.decorator_list):
        return [
            "    @property",
            f"    def {method.name}(self) -> {returns}:",
            doc,
            f"        return self._it.{method.name}",
        ]
    call = f"self._it.{method.name}"
    arguments = _arguments(method)
    joined = f", {arguments}" if arguments else ""
    if match := re.fullmatch(r"Iterator\[(.*)\]", returns):
        return [
            f"    def {method.name}({_parameters(method)}) -> AsyncIterator[{match[1]}]:",
            doc,
            f"        return iterate(lambda: {call}({arguments}))"
            if arguments
            else f"        return iterate({call})",
        ]
    result = {
        "Container": "AsyncContainer",
        "ContainerList": "list[AsyncContainer]",
        "Execution": "AsyncExecution",
    }.get(returns, returns)
    lines = [f"    async def {method.name}({_parameters(method)}) -> {result}:", doc]
    if returns == "None":
        return [*lines, f"        await call({call}{joined})"]
    if result != returns:
        return [
            *lines,
            f"        bound: {result} = _bind(await call({call}{joined}))",
            "        return bound",
        ]
    return [*lines, f"        return await call({call}{joined})"]


def _iteration(node: ast.ClassDef) -> list[str]:
    method = next(n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__iter__")
    assert method.returns is not None
    item = re.sub(r"^Iterator", "AsyncIterator", ast.unparse(method.returns))
    return [
        f"    def __aiter__(self) -> {item}:",
        f'        """{_first_sentence(method)}"""',
        "        return iterate(lambda: iter(self._it))",
        "",
    ]


def _context(name: str) -> list[str]:
    return [
        f"    async def __aenter__(self) -> Async{name}:",
        "        return self",
        "",
        "    async def __aexit__(self, *exc: object) -> None:",
        "        await call(self._it.__exit__, *exc)",
    ]


def _parameters(method: ast.FunctionDef) -> str:
    """The parameters as they are written, annotations and defaults included."""
    return ast.unparse(method.args)


def _arguments(method: ast.FunctionDef) -> str:
    plain = [argument.arg for argument in method.args.args if argument.arg != "self"]
    named = [f"{argument.arg}={argument.arg}" for argument in method.args.kwonlyargs]
    return ", ".join([*plain, *named])


def _first_sentence(node: ast.ClassDef | ast.FunctionDef) -> str:
    text = ast.get_docstring(node) or ""
    return " ".join(text.split("\n\n")[0].split())


def _imports(trees: dict[str, ast.Module], text: str) -> str:
    """Import what the text names, from where the sources have it."""
    # A parameter "filters" or "stats" is not the module of that name.
    tree = ast.parse(_HEAD + text)
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    needed = {
        node.id
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for default in (*function.args.defaults, *function.args.kw_defaults)
        if default is not None
        for node in ast.walk(default)
        if isinstance(node, ast.Name)
    }
    places: dict[str, str] = {}
    for name, module in trees.items():
        own = CLASSES[name].removesuffix(".py").replace("/", ".")
        for node in ast.walk(module):
            if isinstance(node, ast.ImportFrom) and node.module != "__future__":
                for alias in node.names:
                    places.setdefault(alias.asname or alias.name, f"{node.module}:{alias.name}")
        for item in module.body:
            if isinstance(item, ast.ClassDef):
                places[item.name] = f"{own}:{item.name}"
            elif isinstance(item, ast.Assign) and isinstance(item.targets[0], ast.Name):
                places[item.targets[0].id] = f"{own}:{item.targets[0].id}"
            elif isinstance(item, ast.If):
                for below in item.body:
                    if isinstance(below, ast.Assign) and isinstance(below.targets[0], ast.Name):
                        places[below.targets[0].id] = f"{own}:{below.targets[0].id}"
    places |= {"AsyncIterator": "collections.abc:AsyncIterator", "Any": "typing:Any"}
    places |= {
        "call": "proa.engine.threadcalls:call",
        "iterate": "proa.engine.threadcalls:iterate",
    }
    runtime = needed | {"Engine", "Container", "Execution", "call", "iterate", "Any"}
    found = {name: places[name] for name in (used | runtime) if name in places}
    now = _import_lines({n: p for n, p in found.items() if n in runtime})
    later = _import_lines({n: p for n, p in found.items() if n not in runtime})
    builtins = "import builtins\n" if "builtins." in text else ""
    guarded = "\n".join(f"    {line}" if line else "" for line in later.splitlines())
    return f"{builtins}from typing import TYPE_CHECKING\n{now}\nif TYPE_CHECKING:\n{guarded}\n"


def _import_lines(places: dict[str, str]) -> str:
    modules: dict[str, list[str]] = {}
    for name, place in places.items():
        module, _, original = place.partition(":")
        modules.setdefault(module, []).append(
            original if original == name else f"{original} as {name}"
        )
    return "".join(
        f"from {module} import {', '.join(sorted(names))}\n"
        for module, names in sorted(modules.items())
    )


def formatted() -> str:
    """Return the text as the formatter has it."""
    import subprocess
    import sys

    text = generate().encode()
    for words in (
        ["check", "--fix", "--quiet", "--select", "I,F401,UP,E501"],
        ["format", "--quiet"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *words, "--stdin-filename", str(TARGET), "-"],
            input=text, capture_output=True, check=False,
        )  # fmt: skip
        text = done.stdout
    return text.decode()


if __name__ == "__main__":
    TARGET.write_text(formatted())
