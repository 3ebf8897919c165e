"""Challenges, realms, retries, redirects and proxies: the decisions, without a connection."""

from __future__ import annotations

import pytest

from proa.errors import Forbidden, Invalid
from proa.image.registry.auth import Challenge, check_realm, parse_challenges
from proa.image.registry.client import check_redirect
from proa.image.registry.hosts import Endpoint
from proa.image.registry.proxies import find_proxy
from proa.image.registry.retry import backoff_s, is_transient, parse_retry_after
from proa.image.registry.transport import is_link_local

LAN = Endpoint(host="registry.lan", registry="registry.lan")
LOCAL = Endpoint(host="127.0.0.1:5000", registry="127.0.0.1:5000", schemes=("https", "http"))


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (["Basic realm=x"], Challenge(scheme="basic", realm="x")),
        (
            ['Bearer realm="https://a/t",service="s, t",scope="repository:x:pull"'],
            Challenge(scheme="bearer", realm="https://a/t", service="s, t"),
        ),
        (['bearer realm="a\\"b"'], Challenge(scheme="bearer", realm='a"b')),
        (["Basic realm=x", "Bearer realm=y"], Challenge(scheme="bearer", realm="y")),
        (["Bearer realm=y", "Basic realm=x"], Challenge(scheme="bearer", realm="y")),
        (["Negotiate"], None),
        ([], None),
    ],
)
def test_challenges_are_read(headers: list[str], expected: Challenge | None) -> None:
    assert parse_challenges(headers) == expected


@pytest.mark.parametrize(
    ("realm", "endpoint", "scheme"),
    [
        ("https://auth.example/token", LAN, "https"),
        ("https://auth.example/token", LAN, "http"),
        ("http://registry.lan/token", LAN, "http"),
        ("http://127.0.0.1:99/token", LOCAL, "http"),
    ],
)
def test_honest_realms_are_allowed(realm: str, endpoint: Endpoint, scheme: str) -> None:
    check_realm(realm, endpoint, scheme)


@pytest.mark.parametrize(
    "realm",
    [
        "",
        "file:///etc/shadow",
        "/token",
        "gopher://auth.example/",
        "https://",
        "https://[",
        "http://auth.example/token",
        "https://user:pass@auth.example/token",
        "https://169.254.169.254/latest",
        "https://[fe80::1]/token",
        "https://[::ffff:169.254.169.254]/token",
    ],
)
def test_hostile_realms_are_refused(realm: str) -> None:
    with pytest.raises(Forbidden, match=r"registry\.lan"):
        check_realm(realm, LAN, "https")


def test_a_plain_registry_cannot_send_us_to_another_plain_host() -> None:
    with pytest.raises(Forbidden):
        check_realm("http://auth.example/token", LAN, "http")
    with pytest.raises(Forbidden):
        check_realm("http://auth.example/token", LOCAL, "http")


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("https://a.lan/v2/", "https://b.example/blob?sig=1"),
        ("http://a.lan/v2/", "https://b.example/blob"),
        ("http://a.lan/v2/", "http://a.lan/other"),
        ("http://127.0.0.1:1/", "http://localhost:2/"),
    ],
)
def test_honest_redirects_are_allowed(source: str, target: str) -> None:
    check_redirect(source, target)


@pytest.mark.parametrize(
    "target",
    [
        "http://a.lan/v2/",
        "http://b.example/",
        "file:///etc/passwd",
        "https://user@b.example/",
        "https://169.254.169.254/",
        "https://[fe80::1]/",
        "//",
        "https://[/",
    ],
)
def test_hostile_redirects_are_refused(target: str) -> None:
    with pytest.raises(Forbidden):
        check_redirect("https://a.lan/v2/", target)


def test_plain_http_does_not_lead_to_another_plain_host() -> None:
    with pytest.raises(Forbidden):
        check_redirect("http://a.lan/v2/", "http://b.lan/")
    with pytest.raises(Forbidden):
        check_redirect("http://127.0.0.1:1/", "http://b.lan/")


@pytest.mark.parametrize(
    "address", ["169.254.1.1", "fe80::1", "[fe80::1%eth0]", "::ffff:169.254.1.1"]
)
def test_link_local_addresses_are_known(address: str) -> None:
    assert is_link_local(address)


@pytest.mark.parametrize("address", ["10.0.0.1", "::1", "registry.lan", "169.253.1.1"])
def test_other_addresses_are_not_link_local(address: str) -> None:
    assert not is_link_local(address)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("3", 3.0),
        (" 0 ", 0.0),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 90.0),
        ("Thu, 01 Jan 1970 00:00:01 GMT", 0.0),
        ("soon", None),
        ("-1", None),
        ("9" * 30, None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_read(value: str | None, expected: float | None) -> None:
    assert parse_retry_after(value, now_s=10.0) == expected


def test_backoff_grows_and_is_bounded() -> None:
    waits = [backoff_s(attempt) for attempt in range(30)]
    assert waits[0] <= 0.25
    assert waits[4] > waits[0]
    assert max(waits) <= 8.0


def test_only_what_may_change_is_asked_again() -> None:
    assert {status for status in range(200, 600) if is_transient(status)} == {
        408,
        429,
        500,
        502,
        503,
        504,
    }


PROXIES = {
    "HTTPS_PROXY": "http://proxy.lan:3128",
    "http_proxy": "plain.lan:8080",
    "NO_PROXY": "exact.example,.sub.example,10.0.0.0/8,192.168.1.1, ports.example:5000,[fd00::]/8",
}


@pytest.mark.parametrize(
    ("scheme", "host", "port", "expected"),
    [
        ("https", "registry.example", 443, "http://proxy.lan:3128"),
        ("http", "registry.example", 80, "http://plain.lan:8080"),
        ("https", "exact.example", 443, None),
        ("https", "a.exact.example", 443, None),
        ("https", "inexact.example", 443, "http://proxy.lan:3128"),
        ("https", "sub.example", 443, "http://proxy.lan:3128"),
        ("https", "a.sub.example", 443, None),
        ("https", "10.3.4.5", 443, None),
        ("https", "11.3.4.5", 443, "http://proxy.lan:3128"),
        ("https", "192.168.1.1", 443, None),
        ("https", "ports.example", 5000, None),
        ("https", "ports.example", 443, "http://proxy.lan:3128"),
        ("https", "localhost", 5000, None),
        ("https", "127.0.0.1", 5000, None),
        ("https", "[::1]", 5000, None),
    ],
)
def test_proxies_follow_the_environment(
    scheme: str, host: str, port: int, expected: str | None
) -> None:
    assert find_proxy(scheme, host, port, PROXIES) == expected


def test_a_star_excludes_everything() -> None:
    assert find_proxy("https", "a.example", 443, {"https_proxy": "p", "no_proxy": "*"}) is None


def test_all_proxy_is_the_last_resort() -> None:
    assert find_proxy("https", "a.example", 443, {"ALL_PROXY": "http://p"}) == "http://p"


def test_http_proxy_is_not_taken_from_a_cgi_request() -> None:
    environment = {"HTTP_PROXY": "http://evil", "REQUEST_METHOD": "GET"}
    assert find_proxy("http", "a.example", 80, environment) is None


def test_a_socks_proxy_is_refused_with_a_hint() -> None:
    with pytest.raises(Invalid, match="socks5"):
        find_proxy("https", "a.example", 443, {"https_proxy": "socks5://p:1080"})
