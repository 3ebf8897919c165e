"""What ``network create -o`` and ``update`` say about networks, and the addresses of a guard."""

from __future__ import annotations

import pytest

from proa.engine import networkoptions
from proa.engine.compose.changes import changes_network, updated
from proa.engine.config import ContainerConfig, ContainerUpdate, PortConfig
from proa.errors import Conflict, Invalid, NotFound, Unsupported
from proa.network.guard import link_local_of

BRIDGE = "com.docker.network.bridge."
WEB = PortConfig(container_port=80, host_port=8080)
LOCAL = PortConfig(container_port=80, host_ip="127.0.0.1", host_port=8081)
NAMES = PortConfig(container_port=53, protocol="udp", host_port=5353)
CONFIG = ContainerConfig(image="busybox", ports=(WEB, LOCAL, NAMES))


def test_options_without_effect_are_refused() -> None:
    networkoptions.check_options({"parent": "eth0", BRIDGE + "enable_icc": "false", "own": "x"})
    with pytest.raises(Unsupported, match="gateway_mode_ipv4 is not known"):
        networkoptions.check_options({BRIDGE + "gateway_mode_ipv4": "isolated"})
    for address in ("x", "::1"):
        with pytest.raises(Invalid):
            networkoptions.check_options({networkoptions.BINDING: address})


@pytest.mark.parametrize(("word", "value"), [("true", True), ("0", False), ("FALSE", False)])
def test_switches(word: str, value: bool) -> None:
    assert networkoptions.is_isolated({"isolate": word}) is value
    assert networkoptions.talks({BRIDGE + "enable_icc": word}) is value
    assert networkoptions.masquerades({BRIDGE + "enable_ip_masquerade": word}) is value
    assert networkoptions.is_isolated({}) is True
    with pytest.raises(Invalid, match="use true or false"):
        networkoptions.talks({BRIDGE + "enable_icc": "perhaps"})


@pytest.mark.parametrize("text", ["x", "67", "65536", "-1"])
def test_sizes_of_packets(text: str) -> None:
    assert networkoptions.read_mtu({"mtu": "1400"}) == 1400
    assert networkoptions.read_mtu({}) == 0
    with pytest.raises(Invalid, match="invalid mtu"):
        networkoptions.read_mtu({"mtu": text})


@pytest.mark.parametrize(
    ("removed", "left"),
    [
        (PortConfig(container_port=80), (NAMES,)),
        (PortConfig(container_port=80, host_port=8080), (LOCAL, NAMES)),
        (PortConfig(container_port=80, host_ip="127.0.0.1"), (WEB, NAMES)),
        (PortConfig(container_port=53, protocol="udp"), (WEB, LOCAL)),
    ],
)
def test_ports_are_taken_back_by_what_is_said_of_them(
    removed: PortConfig, left: tuple[PortConfig, ...]
) -> None:
    changed = updated(CONFIG, ContainerUpdate(publish_rm=(removed,)))
    assert changed.ports == left
    assert changes_network(CONFIG, changed)


def test_ports_that_are_not_published_and_those_that_are() -> None:
    for port in (
        PortConfig(container_port=53),
        PortConfig(container_port=80, host_port=9),
        PortConfig(container_port=80, host_ip="192.0.2.1"),
    ):
        with pytest.raises(NotFound, match="is not published like that"):
            updated(CONFIG, ContainerUpdate(publish_rm=(port,)))
    with pytest.raises(Conflict, match="is published like that"):
        updated(CONFIG, ContainerUpdate(publish_add=(WEB,)))
    moved = updated(CONFIG, ContainerUpdate(publish_rm=(WEB,), publish_add=(WEB,)))
    assert moved.ports == (LOCAL, NAMES, WEB)


def test_rates_and_policies() -> None:
    changes = ContainerUpdate(rate_in_bytes=1000, egress=("192.0.2.0/24",))
    limited = updated(CONFIG, changes)
    assert (limited.rate_in_bytes, limited.rate_out_bytes) == (1000, 0)
    assert limited.egress == ("192.0.2.0/24",)
    lifted = updated(limited, ContainerUpdate(rate_in_bytes=0, egress=("any",)))
    assert (lifted.rate_in_bytes, lifted.egress) == (0, None)
    assert not changes_network(CONFIG, updated(CONFIG, ContainerUpdate(labels={"a": "b"})))
    with pytest.raises(Invalid, match="invalid egress rule"):
        updated(CONFIG, ContainerUpdate(egress=("a b",)))


@pytest.mark.parametrize("mode", ["none", "host", "container:0123"])
def test_who_has_no_network_has_nothing_to_change(mode: str) -> None:
    config = ContainerConfig(image="busybox", network_mode=mode)
    for changes in (
        ContainerUpdate(publish_add=(WEB,)),
        ContainerUpdate(rate_out_bytes=1000),
        ContainerUpdate(egress=()),
    ):
        with pytest.raises(Invalid, match="cannot be changed with the network mode"):
            updated(config, changes)


def test_the_link_local_address_of_a_station() -> None:
    assert link_local_of(bytes.fromhex("0242ac1e0002")) == "fe80::42:acff:fe1e:2"
