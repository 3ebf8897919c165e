"""Networks and endpoints in the database: who has which address, and when it comes back."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from proa.engine.config import EndpointConfig
from proa.engine.model import ContainerState
from proa.engine.state import State
from proa.errors import Conflict, Exhausted, Invalid, NotFound
from proa.network import ipam
from proa.network.model import Network, PortMapping
from tests.support.records import container

WEB = Network(
    id="ab" * 32, name="web", driver="bridge", link="proa-ab",
    subnet4=ipam.make_subnet("10.0.0.0/28"), subnet6=ipam.make_subnet("fd00::/64"),
)  # fmt: skip
PORT = PortMapping(protocol="tcp", host_ip="0.0.0.0", host_port=80, container_port=8080)


@pytest.fixture
def state(tmp_path: Path) -> State:
    made = State(str(tmp_path))
    made.networks.insert(WEB)
    return made


def add(state: State, number: int, **wishes: object) -> str:
    record = state.containers.insert(container(f"box{number}"))
    state.networks.connect(WEB.id, record.id, EndpointConfig(network="web", **wishes))  # type: ignore[arg-type]
    return record.id


def test_networks_by_name_id_and_prefix(state: State) -> None:
    for reference in ("web", WEB.id, WEB.id[:6]):
        assert state.networks.get(reference) == WEB
    with pytest.raises(NotFound):
        state.networks.get("nothing")
    with pytest.raises(Conflict):
        state.networks.insert(WEB)


def test_an_address_is_kept_until_the_end_is_recorded(state: State) -> None:
    one = add(state, 1)
    assert state.networks.endpoints_of(one)[0].address4 == ""
    (endpoint,) = state.networks.allocate(one)
    assert (endpoint.address4, endpoint.address6) == ("10.0.0.2", "fd00::2")
    state.networks.publish(one, [PORT])
    assert state.networks.allocate(one) == [endpoint]
    state.containers.update_state(one, ContainerState(status="restarting"))
    assert state.networks.endpoints_of(one) == [endpoint]
    state.containers.update_state(one, ContainerState(status="exited"))
    assert state.networks.endpoints_of(one)[0].address4 == ""
    assert state.networks.ports() == []
    assert state.networks.allocate(one)[0].address4 == "10.0.0.3"


def test_a_removed_container_leaves_nothing(state: State) -> None:
    one = add(state, 1, aliases=("db",))
    state.networks.allocate(one)
    state.networks.publish(one, [PORT])
    assert state.networks.resolve([WEB.id], "db")
    state.containers.delete(one)
    assert state.networks.endpoints_on(WEB.id) == []
    assert state.networks.ports() == []
    assert state.networks.resolve([WEB.id], "db") == []


def test_a_network_with_addresses_in_use_stays(state: State) -> None:
    one = add(state, 1)
    state.networks.allocate(one)
    with pytest.raises(Conflict, match="has running containers"):
        state.networks.delete(WEB.id)
    state.containers.update_state(one, ContainerState(status="exited"))
    assert state.networks.delete(WEB.id)
    assert state.networks.endpoints_of(one) == []
    assert not state.networks.delete(WEB.id)


def test_what_fails_allocates_nothing(state: State) -> None:
    one, two = add(state, 1, address4="10.0.0.9"), add(state, 2, address4="10.0.0.9")
    state.networks.allocate(one)
    with pytest.raises(Conflict):
        state.networks.allocate(two)
    assert state.networks.endpoints_of(two)[0].address6 == ""
    with pytest.raises(Conflict, match="already"):
        state.networks.connect(WEB.id, one, EndpointConfig(network="web"))


def test_threads_and_connections_never_share_an_address(tmp_path: Path, state: State) -> None:
    ids = [add(state, number) for number in range(13)]
    failures: list[Exception] = []

    def allocate(container_id: str) -> None:
        try:
            State(str(tmp_path)).networks.allocate(container_id)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=allocate, args=(item,)) for item in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    addresses = {item.address4 for item in state.networks.endpoints_on(WEB.id)}
    assert len(addresses) == 13
    with pytest.raises(Exhausted):
        state.networks.allocate(add(state, 99))


def test_names_are_found_while_they_have_addresses(state: State) -> None:
    one = add(state, 1, aliases=("DB",))
    name = state.containers.get(one).name
    assert state.networks.resolve([WEB.id], name) == []
    state.networks.allocate(one)
    found = [(WEB.id, "10.0.0.2", "fd00::2")]
    for text in (name, "db", one[:12]):
        assert state.networks.resolve([WEB.id], text) == found
    assert state.networks.resolve(["other"], name) == []
    assert state.networks.resolve_address([WEB.id], "fd00::2") == (name, "web")
    assert state.networks.resolve_address([WEB.id], "10.0.0.3") is None


def test_a_wish_for_a_family_that_is_not_there(state: State) -> None:
    four = Network(
        id="cd" * 32,
        name="four",
        driver="bridge",
        link="x",
        subnet4=ipam.make_subnet("10.1.0.0/24"),
    )
    state.networks.insert(four)
    record = state.containers.insert(container("box5"))
    state.networks.connect(four.id, record.id, EndpointConfig(network="four", address6="fd00::9"))
    with pytest.raises(Invalid, match="no IPv6"):
        state.networks.allocate(record.id)
