"""Docker's published API as an oracle: which paths there are, what each answer must look like.

``data/engine-api-v1.51.json`` is the published document without its prose (see
``tools/reduce_engine_api.py``). The checks are stricter than OpenAPI where that finds mistakes: a
property that the document does not know is one. They are laxer where the document describes what
a Go program writes: ``null`` is an empty list or map unless it says ``x-nullable: false``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

VERSION = "1.51"
_DOCUMENT = Path(__file__).parent / f"data/engine-api-v{VERSION}.json"
_STREAMS = ("/events", "/containers/{id}/stats")
_METHODS = ("get", "head", "post", "put", "delete")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")
_JSON_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}
Schema = Mapping[str, Any]


class Operation(NamedTuple):
    """One method of one path.

    Attributes:
        method: upper case.
        path: as published, ``/containers/{id}/json``.
        responses: by status, as published.
        parameters: as published.
    """

    method: str
    path: str
    responses: Mapping[str, Any]
    parameters: tuple[Mapping[str, Any], ...]

    def example_path(self, **values: str) -> str:
        """Return the path with its variables filled in (``x`` if no value is given)."""
        return re.sub(r"\{(\w+)\}", lambda found: values.get(found[1], "x"), self.path)


@cache
def operations() -> tuple[Operation, ...]:
    """Return every operation in the document's order."""
    return tuple(
        Operation(
            method.upper(), path, item[method]["responses"], (*item[method].get("parameters", ()),)
        )
        for path, item in _document()["paths"].items()
        for method in _METHODS
        if method in item
    )


def find_operation(method: str, target: str) -> Operation | None:
    """Return the operation that a request line means; the version prefix and query are optional."""
    path = re.sub(r"^/v\d+\.\d+(?=/)", "", target.partition("?")[0])
    matching = [
        operation
        for operation in operations()
        if operation.method == method and _pattern(operation.path).fullmatch(path)
    ]
    # The most literal wins: /images/json is not an image called json.
    return min(matching, key=lambda operation: operation.path.count("{"), default=None)


def problems(method: str, target: str, status: int, body: bytes) -> list[str]:
    """Return what is wrong with an answer, one sentence each; none means that it conforms.

    Args:
        method: upper case.
        target: as on the request line.
        status: of the answer.
        body: the whole of it. Streams have no schema and conform.
    """
    operation = find_operation(method, target)
    if operation is None:
        return [f"{method} {target}: the published API has no such operation"]
    where = f"{method} {operation.path} {status}"
    declared = operation.responses.get(str(status))
    if declared is None and status < 400:
        return [f"{where}: the status is not among {', '.join(operation.responses)}"]
    schema = (declared or {}).get("schema")
    if status >= 400:
        schema = {"$ref": "#/definitions/ErrorResponse"}
    if method == "HEAD" or status in (204, 304):
        return [f"{where}: has a body"] if body else []
    if schema is None or schema.get("format") == "binary" or schema.get("type") == "file":
        return []
    if schema.get("type") == "string":
        return []
    # A stream is a document a line, each as the schema says.
    texts = body.splitlines() if operation.path in _STREAMS and status < 400 else [body]
    try:
        values = [json.loads(text) for text in texts]
    except ValueError as error:
        return [f"{where}: not JSON: {error}"]
    return [f"{where}: {problem}" for value in values for problem in schema_problems(schema, value)]


def definition_problems(name: str, value: Any) -> list[str]:
    """Return where a value differs from a definition of the document (``ImageSummary``)."""
    return list(_check({"$ref": f"#/definitions/{name}"}, value, name))


def schema_problems(schema: Schema, value: Any) -> list[str]:
    """Return where a value differs from a schema of the document."""
    return list(_check(schema, value, "body"))


def _check(schema: Schema, value: Any, where: str) -> Iterator[str]:
    flat = _flatten(schema)
    kind = flat.get("type") or ("object" if flat.get("properties") else None)
    if value is None:
        lists_may = kind in ("array", "object", None) and flat.get("x-nullable") is not False
        if not (flat.get("x-nullable") or lists_may):
            yield f"{where} is null"
        return
    if kind is None:
        return
    is_kind = isinstance(value, _JSON_TYPES[kind])
    if not is_kind or isinstance(value, bool) is not (kind == "boolean"):
        yield f"{where} is {type(value).__name__}, not {kind}: {value!r:.80}"
        return
    if "enum" in flat and value not in flat["enum"]:
        yield f"{where} is {value!r}, not one of {flat['enum']}"
    if flat.get("format") in ("dateTime", "date-time") and value and not _TIME.fullmatch(value):
        yield f"{where} is no RFC 3339 time: {value!r}"
    if kind == "array":
        for number, item in enumerate(value):
            yield from _check(flat.get("items", {}), item, f"{where}[{number}]")
    elif kind == "object":
        yield from _check_object(flat, value, where)


def _check_object(flat: Schema, value: dict[str, Any], where: str) -> Iterator[str]:
    properties = flat.get("properties", {})
    extra = flat.get("additionalProperties")
    for name in flat.get("required", ()):
        if name not in value:
            yield f"{where}.{name} is missing"
    for name, item in value.items():
        if name in properties:
            yield from _check(properties[name], item, f"{where}.{name}")
        elif isinstance(extra, dict):
            yield from _check(extra, item, f"{where}[{name!r}]")
        elif properties and not extra:
            yield f"{where}.{name} is not in the published schema"


def _flatten(schema: Schema) -> dict[str, Any]:
    """Return a schema with ``$ref`` and ``allOf`` resolved; words beside a ``$ref`` win."""
    flat: dict[str, Any] = {}
    parts = list(schema.get("allOf", ()))
    if "$ref" in schema:
        parts.insert(0, _document()["definitions"][schema["$ref"].rpartition("/")[2]])
    own = {key: item for key, item in schema.items() if key not in ("$ref", "allOf")}
    for part in (*map(_flatten, parts), own):
        for key, item in part.items():
            if key == "properties":
                item = {**flat.get(key, {}), **item}
            elif key == "required" and isinstance(item, list):
                item = [*flat.get(key, ()), *item]
            flat[key] = item
    return flat


@cache
def _pattern(path: str) -> re.Pattern[str]:
    # A name of an image has slashes, those of all else have none.
    parts = re.split(r"\{(\w+)\}", path)
    return re.compile(
        "".join(
            (".+" if part == "name" else "[^/]+") if number % 2 else re.escape(part)
            for number, part in enumerate(parts)
        )
    )


@cache
def _document() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(_DOCUMENT.read_text())
    return document
