"""Filters of ``network ls``: which match any value, which all, and what is refused."""

from __future__ import annotations

import pytest

from proa.engine.networkfilters import NetworkFilter
from proa.errors import Invalid
from proa.network.model import Network

DEFAULT = Network(id="d" * 64, name="bridge", driver="bridge", link="proa-0")
USED = Network(
    id="ab" * 32, name="web", driver="bridge", link="proa-1", labels={"role": "web", "n": "1"}
)
UNUSED = Network(id="cd" * 32, name="web-macvlan", driver="macvlan", link="eth0")


def _chosen(**filters: list[str]) -> list[str]:
    chosen = NetworkFilter(filters, default="bridge", is_used=lambda one: one is USED)
    return [one.name for one in (DEFAULT, USED, UNUSED) if chosen.matches(one)]


def test_without_filters_everything_passes():
    assert _chosen() == ["bridge", "web", "web-macvlan"]
    assert _chosen(name=[]) == ["bridge", "web", "web-macvlan"]


def test_values_are_alternatives_but_labels_all_count():
    assert _chosen(name=["bri", "mac"]) == ["bridge", "web-macvlan"]
    assert _chosen(id=["ab", "d"]) == ["bridge", "web"]
    assert _chosen(driver=["macvlan"]) == ["web-macvlan"]
    assert _chosen(label=["role=web", "n"]) == ["web"]
    assert _chosen(label=["role=web", "n=2"]) == []
    assert _chosen(name=["web"], driver=["bridge"]) == ["web"]


def test_the_default_network_is_builtin_and_never_dangling():
    assert _chosen(type=["builtin"]) == ["bridge"]
    assert _chosen(type=["custom"]) == ["web", "web-macvlan"]
    assert _chosen(dangling=["true"]) == ["web-macvlan"]
    assert _chosen(dangling=["0"]) == ["bridge", "web"]
    assert _chosen(scope=["local"]) == ["bridge", "web", "web-macvlan"]
    assert _chosen(scope=["swarm"]) == []


def test_unknown_filters_and_values_are_refused():
    with pytest.raises(Invalid, match="invalid filter 'colour'"):
        _chosen(colour=["red"])
    with pytest.raises(Invalid, match="dangling=perhaps"):
        _chosen(dangling=["perhaps"])
