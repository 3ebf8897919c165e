"""The oracle of the published API finds what differs and accepts what does not."""

from __future__ import annotations

import json

from tests.support import engine_api

SUMMARY = {
    "Id": "sha256:" + "0" * 64,
    "ParentId": "",
    "RepoTags": ["web:1"],
    "RepoDigests": [],
    "Created": 1,
    "Size": 2,
    "SharedSize": -1,
    "Labels": {"a": "b"},
    "Containers": -1,
}


def _list(**changes: object) -> list[str]:
    body = json.dumps([{**SUMMARY, **changes}]).encode()
    return engine_api.problems("GET", "/v1.51/images/json?all=1", 200, body)


def test_the_document_has_every_operation_of_the_published_api():
    assert len(engine_api.operations()) == 107
    assert {operation.method for operation in engine_api.operations()} == {
        "GET", "HEAD", "POST", "PUT", "DELETE",
    }  # fmt: skip


def test_a_literal_path_wins_over_a_variable():
    assert engine_api.find_operation("GET", "/images/json").path == "/images/json"
    found = engine_api.find_operation("GET", "/v1.24/images/quay.io/a/b:1/json")
    assert found.path == "/images/{name}/json"
    assert engine_api.find_operation("PUT", "/images/json") is None


def test_an_answer_that_conforms_has_no_problems():
    assert _list() == []


def test_what_differs_is_named_with_its_place():
    assert _list(Size="2") == ["GET /images/json 200: body[0].Size is str, not integer: '2'"]
    assert _list(Size=True) == ["GET /images/json 200: body[0].Size is bool, not integer: True"]
    assert _list(RepoTags=None) == ["GET /images/json 200: body[0].RepoTags is null"]
    assert _list(Labels={"a": 1}) == [
        "GET /images/json 200: body[0].Labels['a'] is int, not string: 1"
    ]
    assert _list(Repotags=[]) == [
        "GET /images/json 200: body[0].Repotags is not in the published schema"
    ]


def test_a_missing_property_is_a_problem():
    body = json.dumps([{key: item for key, item in SUMMARY.items() if key != "Size"}]).encode()
    assert engine_api.problems("GET", "/images/json", 200, body) == [
        "GET /images/json 200: body[0].Size is missing"
    ]


def test_every_error_carries_a_message():
    assert engine_api.problems("GET", "/images/json", 500, b'{"message": "x"}') == []
    assert engine_api.problems("GET", "/images/json", 404, b'{"error": "x"}')
    assert engine_api.problems("GET", "/images/json", 404, b"not found")


def test_a_success_that_is_not_published_is_a_problem():
    assert engine_api.problems("GET", "/images/json", 201, b"[]")


def test_enumerations_and_times_are_checked():
    problems = engine_api.definition_problems(
        "Volume",
        {
            "Name": "v", "Driver": "local", "Mountpoint": "/", "Labels": {}, "Options": None,
            "Scope": "galaxy", "CreatedAt": "yesterday",
        },
    )  # fmt: skip
    assert problems == [
        "Volume.Scope is 'galaxy', not one of ['local', 'global']",
        "Volume.CreatedAt is no RFC 3339 time: 'yesterday'",
    ]


def test_parts_of_allof_count_together():
    # HostConfig is all of Resources and properties of its own.
    assert engine_api.definition_problems("HostConfig", {"Memory": 1, "NetworkMode": "none"}) == []
    assert engine_api.definition_problems("HostConfig", {"Memory": "1"}) == [
        "HostConfig.Memory is str, not integer: '1'"
    ]


def test_every_line_of_a_stream_is_checked():
    good = b'{"Type": "container", "Action": "die", "time": 1}\n'
    assert engine_api.problems("GET", "/events?until=1", 200, b"") == []
    assert engine_api.problems("GET", "/events", 200, good * 2) == []
    (problem,) = engine_api.problems("GET", "/events", 200, good + b'{"Type": "planet"}\n')
    assert problem.startswith("GET /events 200: body.Type is 'planet', not one of ['builder'")
