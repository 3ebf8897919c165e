"""The page about ``proa serve`` names every endpoint of the published API once, and no other."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from proa.server.routes.table import ROUTES
from proa.server.routing import Router
from tests.support.engine_api import operations

PAGE = Path(__file__).parent.parent.parent / "docs/reference/serve.md"
_ENDPOINT = re.compile(r"`((?:GET|HEAD|POST|PUT|DELETE) /[^`]*)`")


def test_every_published_endpoint_has_one_row():
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    named = Counter(endpoint for row in rows for endpoint in _ENDPOINT.findall(row.split("|")[1]))
    published = {f"{one.method} {one.path}" for one in operations()}
    assert published - set(named) == set(), "not on the page"
    assert set(named) - published == set(), "not published"
    assert [endpoint for endpoint, count in named.items() if count > 1] == []


def test_every_published_endpoint_has_a_handler():
    router = Router(ROUTES)
    for operation in operations():
        path = operation.example_path(id="x", name="registry.example/a/b:1")
        if "/volumes/" in path:
            path = operation.example_path(name="x")
        assert router.find(operation.method, path.encode()).version == (1, 51)
