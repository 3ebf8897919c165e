"""Run by the interpreter that goes into the guest: import everything, then tell what that took.

Executed as a script (``python -I -S survey.py SEARCH PACKAGE ...``, not imported): writes JSON with
the modules (name, file, whether a package) and the mapped shared objects to its standard output.
"""

import ast
import importlib
import json
import os
import sys


def _walk(package: str) -> "list[str]":
    module = importlib.import_module(package)
    names = [package]
    for directory in getattr(module, "__path__", ()):
        for entry in sorted(os.scandir(directory), key=lambda item: item.name):
            if entry.is_dir() and os.path.exists(f"{entry.path}/__init__.py"):
                names += _walk(f"{package}.{entry.name}")
            elif entry.name.endswith(".py") and not entry.name.startswith("__"):
                names.append(f"{package}.{entry.name[:-3]}")
    return names


def _import_late_ones(path: str) -> None:
    """Import what a module of ours imports inside its functions."""
    with open(path, "rb") as stream:
        tree = ast.parse(stream.read())
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            if name.partition(".")[0] in sys.stdlib_module_names:
                try:
                    importlib.import_module(name)
                except ImportError:
                    continue


def _main() -> None:
    search, packages = sys.argv[1], sys.argv[2:]
    sys.path[:0] = search.split(os.pathsep)
    for package in packages:
        for name in _walk(package):
            module = importlib.import_module(name)
            if name.startswith("proa.") and module.__file__:
                _import_late_ones(module.__file__)
    found = []
    for name, module in sorted(sys.modules.items()):
        spec = getattr(module, "__spec__", None)
        if spec is None or name == "__main__":
            continue
        path = getattr(module, "__file__", None) or ""
        found.append([spec.name, path, spec.submodule_search_locations is not None])
    mapped = set()
    with open("/proc/self/maps", encoding="utf-8") as stream:
        for line in stream:
            path = line.split(maxsplit=5)[-1].rstrip("\n") if line.count("/") else ""
            if path.startswith("/") and ".so" in path:
                mapped.add(path)
    json.dump({"modules": found, "libraries": sorted(mapped)}, sys.stdout)


_main()
