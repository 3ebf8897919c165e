"""Images in Docker's words: lists for old clients, progress, registry credentials, pipes."""

from __future__ import annotations

import base64
import json
import os
import threading
from collections.abc import Iterator
from typing import Any, cast

import pytest

from proa.errors import Corrupt, NotFound
from proa.image.model import HistoryEntry, Image, Removal
from proa.image.registry.session import Found
from proa.oci.descriptor import Descriptor
from proa.oci.digest import Digest
from proa.oci.imageconfig import ContainerDefaults, ImageConfig, RootFS
from proa.oci.platform import Platform
from proa.server import pipes
from proa.server.call import Call, Query
from proa.server.credentials import credentials_of
from proa.server.encode import images, networks, volumes
from proa.server.encode.platforms import read_platform
from proa.server.encode.progress import TransferProgress, draw
from proa.server.errors import HttpError
from tests.support.engine_api import definition_problems, problems

ID = Digest("sha256:" + "ab" * 32)


def _image(*references: str) -> Image:
    return Image(
        id=ID,
        manifest_digest=ID,
        config=ImageConfig(
            architecture="amd64",
            os="linux",
            rootfs=RootFS(type="layers", diff_ids=()),
            config=ContainerDefaults(labels={"a": "b"}),
        ),
        layers=(),
        lowers=(),
        size_bytes=7,
        content_bytes=8,
        created_at_ns=3_000_000_000,
        references=references,
    )


def test_a_nameless_image_has_no_names_now_and_had_odd_ones_before_1_43():
    (now,) = images.image_list([_image()], version=(1, 51), shared={ID: 5})
    assert (now["RepoTags"], now["RepoDigests"], now["SharedSize"]) == ([], [], 5)
    assert definition_problems("ImageSummary", now) == []
    (before,) = images.image_list([_image()], version=(1, 42))
    assert before["RepoTags"] == ["<none>:<none>"]
    assert before["RepoDigests"] == ["<none>@<none>"]
    assert before["VirtualSize"] == 7


def test_history_names_missing_steps_as_docker_does():
    newest = HistoryEntry(id=ID, created_at_ns=0, created_by="x", comment="", size_bytes=1,
                          references=("docker.io/library/web:1",))  # fmt: skip
    older = HistoryEntry(id="", created_at_ns=9_000_000_000, created_by="y", comment="c",
                         size_bytes=0)  # fmt: skip
    steps = images.history([newest, older])
    assert [(step["Id"], step["Tags"], step["Created"]) for step in steps] == [
        (ID, ["web:1"], 0),
        ("<missing>", [], 9),
    ]
    body = json.dumps(steps).encode()
    assert problems("GET", "/images/web/history", 200, body) == []


def test_removals_search_results_and_distribution_conform():
    removed = [Removal(action="untagged", target="web:1"), Removal(action="deleted", target=ID)]
    assert images.removals(removed) == [{"Untagged": "web:1"}, {"Deleted": ID}]
    found = images.search_results([Found(name="web", description="d", stars=2, is_official=True)])
    assert problems("GET", "/images/search?term=x", 200, json.dumps(found).encode()) == []
    platform = Platform(architecture="arm64", variant="v8")
    descriptor = Descriptor(media_type="m/t", digest=ID, size=5)
    document = images.distribution(descriptor, [platform])
    assert definition_problems("DistributionInspect", document) == []


def test_progress_tells_each_layer_once_when_it_begins_and_once_when_it_is_there():
    told: list[dict[str, Any]] = []
    progress = TransferProgress(told.append, going="Downloading", done="Download complete",
                                first="Pulling fs layer")  # fmt: skip
    progress("resolving web:1")
    for done in (0, 10, 20, 100, 100):
        progress(f"layer {ID}", done, 100)
    assert [one["status"] for one in told] == ["Pulling fs layer", "Download complete"]
    assert {one["id"] for one in told} == {"ab" * 6}
    assert progress.layers == ["ab" * 6]


def test_a_bar_never_leaves_its_frame():
    assert draw(0, 100).startswith("[>")
    assert draw(50, 100).count("=") == 24
    assert draw(200, 100).startswith("[" + "=" * 50 + "]")
    assert "[" not in draw(5, 0)


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("padded", [True, False])
def test_credentials_in_every_base64_that_clients_send(encode: Any, padded: bool):
    document = json.dumps({"username": "a?>", "password": "~~?", "serveraddress": "h"}).encode()
    header = encode(document).decode()
    found = credentials_of(_call(header if padded else header.rstrip("=")))
    assert (found.username, found.password) == ("a?>", "~~?")


@pytest.mark.parametrize("header", ["", "e30=", "not base64!", base64.b64encode(b"[1").decode()])
def test_credentials_that_cannot_be_read_are_none_at_all(header: str):
    found = credentials_of(_call(header))
    assert not found
    assert found is not None  # the server never falls back to what root has stored


def _call(header: str) -> Call:
    class _Headers:
        headers = {"x-registry-auth": header}  # noqa: RUF012 - one test's own

    return cast("Call", _Headers())


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ""),
        ("platform=linux/arm64", "linux/arm64"),
        (
            "platform=%7B%22architecture%22%3A%22arm%22%2C%22variant%22%3A%22v7%22%7D",
            "linux/arm/v7",
        ),
        ("platform=%7B%7D", "linux"),
    ],
)
def test_platforms_come_as_words_or_objects(query: str, expected: str):
    assert read_platform(Query(query)) == expected


def test_a_platform_that_is_no_object_is_refused():
    with pytest.raises(HttpError, match="invalid value for platform"):
        read_platform(Query("platform=%7B1"))


def test_host_and_none_are_networks_that_conform():
    for name in ("host", "none"):
        document = networks.builtin(name)
        assert definition_problems("Network", document) == []
        assert networks.find_builtin(document["Id"][:12]) == document
    assert networks.find_builtin("hos") is None
    assert [one["Name"] for one in networks.builtins({"driver": ["null"]})] == ["none"]
    assert networks.builtins({"label": ["x"]}) == []


def test_a_volume_has_maps_where_the_command_line_shows_null():
    inspected = {"Name": "v", "Driver": "local", "Mountpoint": "/m", "Scope": "local",
                 "Labels": None, "Options": None, "CreatedAt": "2026-01-01T00:00:00Z"}  # fmt: skip
    document = volumes.volume(inspected, size_bytes=3, containers=1)
    assert definition_problems("Volume", document) == []
    assert document["UsageData"] == {"Size": 3, "RefCount": 1}
    assert "UsageData" not in volumes.volume(inspected)


def test_a_body_is_read_through_a_descriptor_to_its_end():
    with pipes.readable(iter((b"one ", b"two", b" padding"))) as fd:
        assert os.read(fd, 4) == b"one "
    # The block drained the rest: the client got to its end.


def test_a_body_that_breaks_off_is_the_requests_error():
    def pieces() -> Iterator[bytes]:
        yield b"one"
        raise HttpError(408, "too slow")

    def load() -> None:
        with pipes.readable(pieces()) as fd:
            while os.read(fd, 100):
                pass
            raise Corrupt("the archive is cut short")

    with pytest.raises(HttpError, match="too slow"):
        load()


def test_a_reader_that_fails_leaves_no_thread_behind():
    before = threading.active_count()
    with pytest.raises(NotFound), pipes.readable(iter([bytes(1 << 20)] * 10)):
        raise NotFound("no")
    assert threading.active_count() == before


def test_what_is_written_comes_out_and_errors_before_it_too():
    def write(fd: int) -> None:
        for _ in range(40):
            os.write(fd, bytes(100_000))

    assert sum(map(len, pipes.written(write))) == 4_000_000

    def fail(_fd: int) -> None:
        raise NotFound("no such image: x")

    with pytest.raises(NotFound):
        next(pipes.written(fail))


def test_nobody_reads_an_archive_any_more():
    def write(fd: int) -> None:
        while True:
            os.write(fd, bytes(100_000))

    pieces = pipes.written(write)
    assert next(pieces)
    cast("Any", pieces).close()
