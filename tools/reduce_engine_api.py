"""Write ``tests/support/data/engine-api-v1.51.json``: what the tests need of Docker's API.

The source is ``api/swagger.yaml`` of moby (Apache License 2.0). Prose, examples and vendor
extensions (all but ``x-nullable``) are left out; paths, parameters, responses and definitions stay
as they are published, in their order, one to a line. Needs PyYAML, which nothing else here does.

Usage::

    python tools/reduce_engine_api.py engine-api-v1.51.yaml
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

OUT = Path(__file__).parent.parent / "tests/support/data/engine-api-v1.51.json"
PROSE = frozenset(("description", "summary", "example", "examples", "title", "externalDocs"))
MAPS = frozenset(("properties", "definitions", "paths", "responses", "parameters", "headers"))
"""Their keys are names that the API chose: a property may well be called ``title``."""


def reduce(node: Any, *, names: bool = False) -> Any:
    """Return a node without prose; ``names`` says that its keys are not words of OpenAPI."""
    if isinstance(node, list):
        return [reduce(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        str(key): reduce(value, names=not names and key in MAPS)
        for key, value in node.items()
        if names or key == "x-nullable" or not (key in PROSE or str(key).startswith("x-"))
    }


def main() -> None:
    """Read the YAML of the command line, write the JSON."""
    import yaml

    document = yaml.safe_load(Path(sys.argv[1]).read_text())
    kept = {key: document[key] for key in ("swagger", "basePath", "paths", "definitions")}
    notice = {
        "source": "https://github.com/moby/moby/blob/master/api/swagger.yaml",
        "license": "Apache-2.0, Copyright 2012-2017 Docker, Inc. and the moby authors",
        "changes": "reduced by tools/reduce_engine_api.py: prose and examples are left out",
    }
    OUT.write_text(render({"notice": notice, **reduce(kept)}))


def render(document: dict[str, Any]) -> str:
    """Return JSON with a line for each entry of the top-level maps, so that diffs can be read."""
    parts = []
    for key, value in document.items():
        if isinstance(value, dict):
            lines = [f"{json.dumps(name)}: {json.dumps(item)}" for name, item in value.items()]
            parts.append(f"{json.dumps(key)}: {{\n" + ",\n".join(lines) + "\n}")
        else:
            parts.append(f"{json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    main()
