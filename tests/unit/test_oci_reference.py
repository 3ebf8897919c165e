"""``proa.oci.reference``: names as Docker reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.errors import Invalid
from proa.oci.reference import parse_reference

HEX = "a" * 64
DIGEST = f"sha256:{HEX}"


@pytest.mark.parametrize(
    ("text", "normalized", "familiar"),
    [
        ("debian", "docker.io/library/debian:latest", "debian:latest"),
        ("debian:bookworm", "docker.io/library/debian:bookworm", "debian:bookworm"),
        ("me/app", "docker.io/me/app:latest", "me/app:latest"),
        ("docker.io/debian", "docker.io/library/debian:latest", "debian:latest"),
        ("index.docker.io/me/app", "docker.io/me/app:latest", "me/app:latest"),
        ("docker.io/library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"),
        ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
        ("localhost:5000/app:1", "localhost:5000/app:1", "localhost:5000/app:1"),
        ("ghcr.io/a/b:V_1.2-x", "ghcr.io/a/b:V_1.2-x", "ghcr.io/a/b:V_1.2-x"),
        ("[::1]:5000/app", "[::1]:5000/app:latest", "[::1]:5000/app:latest"),
        ("HOST/app", "HOST/app:latest", "HOST/app:latest"),
        (f"debian@{DIGEST}", f"docker.io/library/debian@{DIGEST}", f"debian@{DIGEST}"),
        (f"r.io/a:1@{DIGEST}", f"r.io/a:1@{DIGEST}", f"r.io/a:1@{DIGEST}"),
        ("a__b/c.d-e---f", "docker.io/a__b/c.d-e---f:latest", "a__b/c.d-e---f:latest"),
    ],
)
def test_accepted(text: str, normalized: str, familiar: str) -> None:
    found = parse_reference(text)
    assert str(found) == normalized
    assert found.familiar == familiar
    assert parse_reference(normalized) == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":tag",
        "debian:",
        "Debian",
        "me/App",
        "debian@",
        "debian@sha256:abc",
        f"debian@sha256:{HEX.upper()}",
        HEX,
        f"{HEX}:tag",
        "a//b",
        "a/../b",
        "-a",
        "a_-_b",
        "a___b",
        "a..b",
        "debian:-x",
        f"debian:{'t' * 129}",
        "a" * 256,
        "x/" * 600 + "y",
        "debian bookworm",
        "debian\n",
        "debian:x\n",
        "host:port/app",
        "https://host/app",
        "a/b:c/d",
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(Invalid):
        parse_reference(text)


def test_longest_names() -> None:
    # "docker.io/library/" counts.
    assert parse_reference("a" * 237).path == "library/" + "a" * 237
    with pytest.raises(Invalid, match="longer"):
        parse_reference("a" * 238)


@given(st.text(max_size=60))
def test_whatever_is_accepted_is_stable(text: str) -> None:
    try:
        found = parse_reference(text)
    except Invalid:
        return
    assert parse_reference(str(found)) == found
    assert parse_reference(found.familiar) == found
