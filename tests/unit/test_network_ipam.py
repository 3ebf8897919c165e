"""Addresses and subnets, ports, egress policies, resolv.conf, names: decisions without a kernel."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.engine.compose.ports import parse_exposed, wanted_ports
from proa.engine.config import ContainerConfig, PortConfig
from proa.errors import Conflict, Exhausted, Invalid, Unsupported
from proa.network import ipam, names, resolvconf
from proa.network.egress import allows_name, parse_egress
from proa.network.model import EgressPolicy, Subnet

SMALL = ipam.make_subnet("10.0.0.0/29")


@given(st.sets(st.integers(1, 6)), st.sampled_from(["", *(f"10.0.0.{n}" for n in range(1, 7))]))
def test_a_chosen_address_is_free_and_inside(taken: set[int], last: str) -> None:
    used = {f"10.0.0.{number}" for number in taken}
    free = {f"10.0.0.{number}" for number in range(2, 7)} - used
    if not free:
        with pytest.raises(Exhausted):
            ipam.choose_address(SMALL, used, last)
        return
    assert ipam.choose_address(SMALL, used, last) in free


def test_addresses_go_round() -> None:
    last = ""
    seen = []
    for _ in range(6):
        last = ipam.choose_address(SMALL, (), last)
        seen.append(last)
    assert seen == ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.2"]


def test_only_the_range_is_handed_out_without_what_is_reserved() -> None:
    subnet = ipam.make_subnet("10.0.0.0/24", ip_range="10.0.0.8/30", reserved=("10.0.0.9",))
    used: set[str] = set()
    for _ in range(3):
        used.add(ipam.choose_address(subnet, used))
    assert used == {"10.0.0.8", "10.0.0.10", "10.0.0.11"}
    with pytest.raises(Exhausted, match=r"10\.0\.0\.8/30"):
        ipam.choose_address(subnet, used)
    assert ipam.choose_address(subnet, used, wanted="10.0.0.200") == "10.0.0.200"


@pytest.mark.parametrize(
    ("wanted", "kind"),
    [
        ("10.0.0.1", Invalid),
        ("10.0.0.0", Invalid),
        ("10.0.0.7", Invalid),
        ("10.0.1.2", Invalid),
        ("fd00::2", Invalid),
        ("x", Invalid),
        ("10.0.0.3", Conflict),
    ],
)
def test_wishes_that_cannot_be(wanted: str, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        ipam.choose_address(SMALL, {"10.0.0.3"}, wanted=wanted)


def test_ipv6_has_no_broadcast_address() -> None:
    subnet = ipam.make_subnet("fd00::/64")
    assert subnet.gateway == "fd00::1"
    assert ipam.choose_address(subnet, (), wanted="fd00::ffff:ffff:ffff:ffff")
    assert ipam.choose_address(subnet, ()) == "fd00::2"


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("10.0.0.1/24", {}),
        ("10.0.0.0/31", {}),
        ("10.0.0.0", {"gateway": "10.0.0.1"}),
        ("10.0.0.0/24", {"gateway": "10.0.1.1"}),
        ("10.0.0.0/24", {"ip_range": "10.0.1.0/25"}),
        ("10.0.0.0/24", {"ip_range": "fd00::/120"}),
        ("10.0.0.0/24", {"reserved": ("192.0.2.1",)}),
        ("nonsense/24", {}),
    ],
)
def test_wrong_subnets(text: str, options: dict[str, object]) -> None:
    with pytest.raises(Invalid):
        ipam.make_subnet(text, **options)  # type: ignore[arg-type]


def test_new_subnets_overlap_nothing() -> None:
    taken: list[str] = ["172.30.0.0/15"]
    for _ in range(20):
        chosen = ipaddress.ip_network(ipam.choose_subnet4(taken))
        assert not any(chosen.overlaps(ipaddress.ip_network(item)) for item in taken)
        taken.append(str(chosen))
    with pytest.raises(Conflict, match="overlaps"):
        ipam.check_overlap("10.0.0.0/8", taken)
    with pytest.raises(Exhausted):
        ipam.choose_subnet4(["10.0.0.0/8", "172.16.0.0/12"])


def test_a_default_route_takes_no_subnet() -> None:
    assert ipam.choose_subnet4(["0.0.0.0/0"]) == ipam.POOLS4[0]


def test_an_address_has_always_the_same_mac() -> None:
    assert ipam.mac_of("172.30.0.2") == "02:42:ac:1e:00:02"
    assert ipam.mac_of("fd00::102:304") == "02:42:01:02:03:04"


@pytest.mark.parametrize(
    "name", [names.veth_link, names.shaper_link, lambda c, n: names.network_link(n)]
)
def test_names_of_interfaces_fit(name) -> None:
    made = name("a1" * 32, "b2" * 32)
    assert len(made) <= 15
    assert made != name("c1" * 32, "d2" * 32)


def test_two_engines_have_two_bridges_and_tables() -> None:
    assert names.default_link("/var/lib/proa") == "proa0"
    assert names.table_name("/var/lib/proa") == "proa"
    assert names.default_link("/other") != names.default_link("/another")
    assert names.table_name("/other") != names.table_name("/another")
    assert len(names.default_link("/other")) <= 15


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("80", [("tcp", 80)]),
        ("53/udp", [("udp", 53)]),
        ("80-82/TCP", [("tcp", 80), ("tcp", 81), ("tcp", 82)]),
    ],
)
def test_exposed_ports(text: str, ports: list[tuple[str, int]]) -> None:
    assert parse_exposed(text) == ports


@pytest.mark.parametrize("text", ["", "x", "0", "65536", "82-80", "80/icmp", "80-", "-80", "8 0"])
def test_wrong_exposed_ports(text: str) -> None:
    with pytest.raises(Invalid):
        parse_exposed(text)


def test_sctp_is_refused_clearly() -> None:
    with pytest.raises(Unsupported, match="SCTP"):
        parse_exposed("80/sctp")


def test_publish_all_adds_what_is_not_published() -> None:
    config = ContainerConfig(
        image="img", ports=(PortConfig(container_port=80, host_port=8080),), publish_all=True,
        expose=("90",),
    )  # fmt: skip
    wanted = wanted_ports(config, ("80/tcp", "81/tcp"), ipv6=True)
    found = [(item.host_ip, item.first, item.container_port) for item in wanted]
    assert found == [
        ("0.0.0.0", 8080, 80), ("::", 8080, 80), ("0.0.0.0", 0, 81), ("::", 0, 81),
        ("0.0.0.0", 0, 90), ("::", 0, 90),
    ]  # fmt: skip


def test_egress_words() -> None:
    policy = parse_egress(["10.0.0.0/8", "192.0.2.1", "fd00::/8", "Example.ORG", ".debian.org"])
    assert policy == EgressPolicy(
        networks=("10.0.0.0/8", "192.0.2.1/32", "fd00::/8"),
        domains=("example.org", ".debian.org"),
    )
    for name, allowed in (
        ("example.org", True), ("www.example.org", False), ("debian.org", True),
        ("deb.debian.org", True), ("notdebian.org", False), ("org", False),
    ):  # fmt: skip
        assert allows_name(policy, name) is allowed


@pytest.mark.parametrize("word", ["", "10.0.0.1/8", "a b", "a..b", "300.1.1.1", "*.org", "a;b"])
def test_wrong_egress_words(word: str) -> None:
    with pytest.raises(Invalid):
        parse_egress([word])


def test_resolv_conf_is_read_as_resolvers_do() -> None:
    text = (
        "# comment\nnameserver 127.0.0.53\nnameserver 192.0.2.53 ; far\nnameserver nonsense\n"
        "nameserver fe80::1%eth0\ndomain old.example\nsearch a.example b.example\n"
        "options ndots:2 edns0\nunknown words\n"
    )
    conf = resolvconf.parse_resolv_conf(text)
    assert conf == resolvconf.ResolvConf(
        servers=("127.0.0.53", "192.0.2.53", "fe80::1%eth0"),
        search=("a.example", "b.example"),
        options=("ndots:2", "edns0"),
    )
    assert resolvconf.reachable(conf.servers) == ("192.0.2.53",)
    assert resolvconf.parse_resolv_conf(resolvconf.format_resolv_conf(conf).decode()) == conf


def test_a_subnet_knows_its_prefix() -> None:
    assert Subnet(subnet="10.0.0.0/29", gateway="10.0.0.1").prefix == 29
