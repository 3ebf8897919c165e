"""The house's style rules that no linter states, held by tests.

A function or file above its bound says why in a comment ``# long: <reason>``; the reason is for the
reader, so it must be more than a word.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src" / "proa").rglob("*.py"))
EVERYTHING = [
    *SOURCES,
    *sorted((ROOT / "tests").rglob("*.py")),
    *sorted((ROOT / "benchmarks").rglob("*.py")),
]
FILE_LINES = 800
FUNCTION_LINES = 60
CATCH_ALLS = frozenset(("utils", "util", "helpers", "helper", "common", "misc"))
FOREIGN_CODE = frozenset(("pickle", "marshal", "shelve", "dill"))
_LONG = re.compile(r"# long: \S+ \S+")
_GENERATED = re.compile(r"Written by tools/\S+ .*do not edit")


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def _imports(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, node.lineno


def _calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def test_no_file_is_too_long() -> None:
    long = {
        _name(path): count
        for path in EVERYTHING
        if (count := len((text := path.read_text()).splitlines())) > FILE_LINES
        and not _LONG.search(text)
        and not _GENERATED.search(text)
    }
    assert not long, f"split along the seam, or say why in a comment `# long: ...`: {long}"


def test_no_function_is_too_long() -> None:
    long = [place for path in SOURCES for place in _long_functions(path)]
    assert not long, "split, or say why in a comment `# long: ...`:\n" + "\n".join(long)


def _long_functions(path: Path) -> Iterator[str]:
    lines = path.read_text().splitlines()
    for node in ast.walk(_tree(path)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        length = (node.end_lineno or node.lineno) - _body_start(node) + 1
        own = "\n".join(lines[node.lineno - 2 : node.end_lineno])
        if length > FUNCTION_LINES and not _LONG.search(own):
            yield f"{_name(path)}:{node.lineno} {node.name}: {length} lines"


def _body_start(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Line of the first statement after the docstring: documentation is never too long."""
    body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
    return body[0].lineno


def test_no_module_is_a_catch_all() -> None:
    assert not [_name(path) for path in EVERYTHING if path.stem in CATCH_ALLS]
    assert not [_name(path) for path in EVERYTHING if path.parent.name in CATCH_ALLS]


def test_only_linux_speaks_to_the_kernel_through_ctypes() -> None:
    # The executors of a launch plan are the one other place that handles raw memory and code.
    proa = ROOT / "src" / "proa"
    allowed = {proa / "linux", proa / "runtime" / "executors"}
    places = [
        f"{_name(path)}:{line}"
        for path in SOURCES
        if allowed.isdisjoint(path.parents)
        for module, line in _imports(path)
        if module.split(".")[0] in ("ctypes", "_ctypes")
    ]
    assert not places


def test_nothing_loads_foreign_code_or_data_as_code() -> None:
    places = [
        f"{_name(path)}:{line} {module}"
        for path in SOURCES
        for module, line in _imports(path)
        if module.split(".")[0] in FOREIGN_CODE
    ]
    assert not places


@pytest.mark.parametrize("words", ["os.system", "os.popen", "eval", "exec"])
def test_nothing_interprets_text(words: str) -> None:
    places = [
        f"{_name(path)}:{call.lineno}"
        for path in SOURCES
        for name, call in _calls(path)
        if name == words
    ]
    assert not places


def test_no_command_goes_through_a_shell() -> None:
    places = [
        f"{_name(path)}:{call.lineno}"
        for path in SOURCES
        for _, call in _calls(path)
        for word in call.keywords
        if word.arg == "shell"
        and not (isinstance(word.value, ast.Constant) and not word.value.value)
    ]
    assert not places


def test_tarfile_never_extracts() -> None:
    places = [
        f"{_name(path)}:{call.lineno}"
        for path in SOURCES
        if any(module.split(".")[0] == "tarfile" for module, _ in _imports(path))
        for name, call in _calls(path)
        if name.rpartition(".")[2] in ("extract", "extractall")
    ]
    assert not places


def test_only_programs_end_their_process() -> None:
    # The zygote and its workers are programs of their own; the rest is a library.
    programs = {ROOT / "src" / "proa" / "cli", ROOT / "src" / "proa" / "engine" / "zygote"}
    places = [
        f"{_name(path)}:{call.lineno}"
        for path in SOURCES
        if programs.isdisjoint(path.parents)
        for name, call in _calls(path)
        if name in ("sys.exit", "exit", "quit", "SystemExit")
    ]
    assert not places


def test_everything_public_is_documented() -> None:
    bare = [place for path in SOURCES for place in _undocumented(path)]
    assert not bare, "\n".join(bare)


def _undocumented(path: Path) -> Iterator[str]:
    tree = _tree(path)
    if tree.body and not ast.get_docstring(tree):
        yield f"{_name(path)}: the module"
    if not path.stem.startswith("_") or path.stem == "__init__":
        yield from _undocumented_members(path, tree)


def _undocumented_members(path: Path, owner: ast.Module | ast.ClassDef) -> Iterator[str]:
    for node in owner.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if node.name.startswith("_") or _inherits_documentation(node):
            continue
        in_contract = isinstance(owner, ast.ClassDef) and node.name in _contracts(path)
        if not ast.get_docstring(node) and not in_contract:
            yield f"{_name(path)}:{node.lineno} {node.name}"
        if isinstance(node, ast.ClassDef):
            yield from _undocumented_members(path, node)


def _contracts(path: Path) -> frozenset[str]:
    """Methods that the package documents once, in a Protocol or a base class."""
    return _documented_methods(path.relative_to(ROOT).parts[2])


@cache
def _documented_methods(package: str) -> frozenset[str]:
    return frozenset(
        member.name
        for path in SOURCES
        if path.relative_to(ROOT).parts[2] == package
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.ClassDef)
        for member in node.body
        if isinstance(member, ast.FunctionDef) and ast.get_docstring(member)
    )


def _inherits_documentation(node: ast.AST) -> bool:
    decorators = getattr(node, "decorator_list", [])
    words = [ast.unparse(decorator) for decorator in decorators]
    return any(word in ("overload", "override") or word.endswith(".setter") for word in words)
