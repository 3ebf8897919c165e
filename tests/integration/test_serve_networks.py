"""Networks and volumes over the Docker Engine API; answers are checked against the schema."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import images
from tests.support.serving import Api

pytestmark = pytest.mark.requires("root", "overlay", "busybox")


@pytest.fixture
def network(api: Api) -> Iterator[str]:
    """A network that the test may remove."""
    wanted = {"Name": "serve-net", "Labels": {"role": "test", "stage": "one"}}
    yield api.ok("POST", "/networks/create", wanted).json()["Id"]
    api("DELETE", "/networks/serve-net")


@pytest.fixture
def volume(api: Api) -> Iterator[str]:
    """A volume that the test may remove."""
    wanted = {"Name": "serve-volume", "Labels": {"role": "test"}}
    yield api.ok("POST", "/volumes/create", wanted).json()["Name"]
    api("DELETE", "/volumes/serve-volume", query={"force": "1"})


def _listed(api: Api, **filters: list[str]) -> list[str]:
    found = api.ok("GET", "/networks", query={"filters": filters}).json()
    return sorted(one["Name"] for one in found)


def _volumes(api: Api, **filters: list[str]) -> list[str]:
    found = api.ok("GET", "/volumes", query={"filters": filters}).json()
    return sorted(one["Name"] for one in found["Volumes"])


def test_the_networks_of_every_docker_host_are_listed_and_found(api: Api, network: str):
    assert _listed(api) == ["bridge", "host", "none", "serve-net"]
    listed = api.ok("GET", "/networks").json()
    for one in listed:
        for reference in (one["Id"], one["Id"][:12], one["Name"]):
            found = api.ok("GET", f"/networks/{reference}").json()
            assert (found["Id"], found["Name"]) == (one["Id"], one["Name"])
    drivers = {one["Name"]: one["Driver"] for one in listed}
    assert (drivers["host"], drivers["none"]) == ("host", "null")


def test_every_filter_of_the_list(api: Api, network: str):
    assert _listed(api, name=["serve"]) == ["serve-net"]
    assert _listed(api, id=[network[:8]]) == ["serve-net"]
    assert _listed(api, driver=["host"]) == ["host"]
    assert _listed(api, type=["builtin"]) == ["bridge", "host", "none"]
    assert _listed(api, type=["custom"]) == ["serve-net"]
    assert _listed(api, label=["role=test"]) == ["serve-net"]
    assert _listed(api, label=["role=test", "stage=one"]) == ["serve-net"]
    assert _listed(api, label=["role=test", "stage=two"]) == []
    assert _listed(api, scope=["local"]) == ["bridge", "host", "none", "serve-net"]
    assert _listed(api, scope=["swarm"]) == []
    assert _listed(api, dangling=["true"]) == ["serve-net"]
    assert _listed(api, dangling=["false"], type=["custom"]) == []
    assert api("GET", "/networks", query={"filters": {"nope": ["1"]}}).status == 400


def test_a_network_keeps_what_it_was_asked_for(api: Api):
    ranges = [
        {"Subnet": "10.77.0.0/24", "Gateway": "10.77.0.254", "IPRange": "10.77.0.128/25"},
        {"Subnet": "fd77::/64"},
    ]
    wanted = {
        "Name": "serve-wide",
        "Driver": "bridge",
        "CheckDuplicate": True,
        "EnableIPv6": True,
        "Internal": True,
        "IPAM": {
            "Driver": "default",
            "Config": ranges,
        },
        "Options": {"com.docker.network.driver.mtu": "1400"},
        "Labels": {"a": "b"},
    }
    made = api.ok("POST", "/networks/create", wanted)
    try:
        assert (made.status, made.json()["Warning"]) == (201, "")
        found = api.ok("GET", "/networks/serve-wide").json()
        assert found["IPAM"]["Config"][0] == ranges[0]
        assert found["IPAM"]["Config"][1]["Subnet"] == "fd77::/64"
        assert (found["Internal"], found["EnableIPv6"], found["Labels"]) == (True, True, {"a": "b"})
        assert found["Options"]["com.docker.network.driver.mtu"] == "1400"
        assert api("POST", "/networks/create", wanted).status == 409
    finally:
        assert api.ok("DELETE", "/networks/serve-wide").status == 204
    assert api("GET", "/networks/serve-wide").status == 404


def test_refusals_are_dockers(api: Api):
    def create(**words: object) -> int:
        return api("POST", "/networks/create", {"Name": "serve-no", **words}).status

    assert create(Driver="overlay") == 503
    assert create(Driver="host") == 403
    assert create(Driver="weave") == 404
    assert create(IPAM={"Driver": "dhcp"}) == 404
    assert create(IPAM={"Config": [{"Subnet": "10.300.0.0/24"}]}) == 400
    assert api("POST", "/networks/create", {"Name": ""}).status == 400
    for name in ("bridge", "host", "none"):
        assert api("DELETE", f"/networks/{name}").status == 403
    assert api("DELETE", "/networks/nope").status == 404


def test_connect_and_disconnect_a_running_container(api: Api, network: str):
    images.ensure_busybox(api.proa)
    api.proa.ok("run", "-d", "--name", "guest", images.BUSYBOX, "sleep", "600")
    endpoint = {"Aliases": ["web"], "GwPriority": 7, "MacAddress": "02:42:00:00:00:77"}
    joined = api.ok(
        "POST", f"/networks/{network}/connect", {"Container": "guest", "EndpointConfig": endpoint}
    )
    assert joined.status == 200
    (member,) = api.ok("GET", f"/networks/{network}").json()["Containers"].values()
    assert (member["Name"], member["MacAddress"]) == ("guest", "02:42:00:00:00:77")
    assert "02:42:00:00:00:77" in api.proa.ok("exec", "guest", "ip", "link")
    again = api("POST", f"/networks/{network}/connect", {"Container": "guest"})
    assert again.status == 403
    assert api("DELETE", f"/networks/{network}").status == 403
    assert api("POST", f"/networks/{network}/connect", {"Container": "nobody"}).status == 404
    assert api("POST", "/networks/host/connect", {"Container": "guest"}).status == 400
    api.ok("POST", f"/networks/{network}/disconnect", {"Container": "guest"})
    assert api.ok("GET", f"/networks/{network}").json()["Containers"] == {}
    gone = api("POST", f"/networks/{network}/disconnect", {"Container": "guest"})
    assert gone.status == 403
    api.ok("POST", f"/networks/{network}/disconnect", {"Container": "guest", "Force": True})
    api.proa.ok("rm", "-f", "guest")


def test_prune_removes_what_no_container_is_on(api: Api, network: str):
    query = {"filters": {"label": ["role=other"]}}
    assert not api.ok("POST", "/networks/prune", query=query).json()["NetworksDeleted"]
    query = {"filters": {"label": ["role=test"]}}
    assert api.ok("POST", "/networks/prune", query=query).json() == {
        "NetworksDeleted": ["serve-net"]
    }


def test_volumes_are_made_found_and_removed(api: Api, volume: str):
    found = api.ok("GET", f"/volumes/{volume}").json()
    assert (found["Driver"], found["Scope"], found["Labels"]) == (
        "local",
        "local",
        {"role": "test"},
    )
    assert (
        api.ok("POST", "/volumes/create", {"Name": volume}).json()["CreatedAt"]
        == (found["CreatedAt"])
    )
    anonymous = api.ok("POST", "/volumes/create", {}).json()["Name"]
    assert len(anonymous) == 64
    assert anonymous in api.proa.ok("volume", "ls", "-q").split()
    assert api.ok("DELETE", f"/volumes/{anonymous}").status == 204
    assert api("DELETE", f"/volumes/{anonymous}").status == 404
    assert api.ok("DELETE", f"/volumes/{anonymous}", query={"force": "true"}).status == 204
    assert api("POST", "/volumes/create", {"Name": "no/slash"}).status == 400
    assert api("POST", "/volumes/create", {"Name": "x1", "Driver": "nfs"}).status in (400, 404)
    assert api("PUT", f"/volumes/{volume}", {"Spec": {}}).status == 503


def test_every_filter_of_volumes(api: Api, volume: str):
    images.ensure_busybox(api.proa)
    assert _volumes(api, name=["serve-"]) == [volume]
    assert _volumes(api, label=["role=test"]) == [volume]
    assert _volumes(api, label=["role=other"]) == []
    assert volume in _volumes(api, driver=["local"])
    assert volume in _volumes(api, dangling=["true"])
    api.proa.ok("create", "--name", "user", "-v", f"{volume}:/data", images.BUSYBOX)
    assert volume not in _volumes(api, dangling=["true"])
    assert api("DELETE", f"/volumes/{volume}").status == 409
    api.proa.ok("rm", "user")
    assert api("GET", "/volumes", query={"filters": {"nope": ["1"]}}).status == 400


def test_prune_takes_named_volumes_only_when_asked(api: Api, volume: str):
    anonymous = api.ok("POST", "/volumes/create").json()["Name"]
    pruned = api.ok("POST", "/volumes/prune").json()["VolumesDeleted"]
    assert anonymous in pruned
    assert volume not in pruned
    query = {"filters": {"all": ["true"], "label": ["role=test"]}}
    assert api.ok("POST", "/volumes/prune", query=query).json()["VolumesDeleted"] == [volume]


def test_clients_before_1_42_prune_named_volumes_too(api: Api, volume: str):
    query = {"filters": {"label": ["role=test"]}}
    reply = api.ok("POST", "/volumes/prune", query=query, version="1.41")
    assert reply.json()["VolumesDeleted"] == [volume]
