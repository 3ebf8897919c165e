"""Networks."""

from __future__ import annotations

from typing import Any

import msgspec

from proa.engine.networks import NetworkOptions
from proa.errors import Conflict, Invalid
from proa.server import responses
from proa.server.call import Call
from proa.server.encode import networks as encode
from proa.server.encode.endpoints import read_endpoint
from proa.server.encode.fields import Fields
from proa.server.errors import HttpError, bad_request
from proa.server.responses import Answer
from proa.server.routes.absent import NOT_A_MANAGER
from proa.server.routing import Route

_DRIVERS = ("bridge", "macvlan")
_BUILTIN_DRIVERS = ("host", "null")
_SWARM_DRIVERS = ("overlay",)
Words = dict[str, str]


class _Range(msgspec.Struct, rename="pascal"):
    subnet: str = ""
    ip_range: str = msgspec.field(default="", name="IPRange")
    gateway: str = ""
    auxiliary: Words | None = msgspec.field(default=None, name="AuxiliaryAddresses")


class _Ipam(msgspec.Struct, rename="pascal"):
    driver: str = ""
    config: list[_Range] | None = None
    options: Words | None = None


class _Create(msgspec.Struct, rename="pascal"):
    name: str = ""
    driver: str = ""
    scope: str = ""
    ipv4: bool | None = msgspec.field(default=None, name="EnableIPv4")
    ipv6: bool | None = msgspec.field(default=None, name="EnableIPv6")
    ipam: _Ipam | None = msgspec.field(default=None, name="IPAM")
    internal: bool = False
    attachable: bool = False
    ingress: bool = False
    config_only: bool = False
    options: Words | None = None
    labels: Words | None = None


class _Connect(msgspec.Struct, rename="pascal"):
    container: str = ""
    endpoint_config: dict[str, Any] | None = None


class _Disconnect(msgspec.Struct, rename="pascal"):
    container: str = ""
    force: bool = False


def list_networks(call: Call) -> Answer:
    """Answer ``GET /networks``; ``host`` and ``none`` are listed as on every Docker host."""
    filters = call.query.filters()
    found = [
        call.engine.networks.inspect(network.id) for network in call.engine.networks.list(filters)
    ]
    return responses.document(encode.network_list([*found, *encode.builtins(filters)]))


def inspect(call: Call) -> Answer:
    """Answer ``GET /networks/{id}``."""
    document = encode.find_builtin(call["id"])
    return responses.document(document or call.engine.networks.inspect(call["id"]))


def create(call: Call) -> Answer:
    """Answer ``POST /networks/create``."""
    wanted: _Create = call.json(_Create)
    driver = wanted.driver if wanted.driver not in ("", "default") else "bridge"
    if driver in _SWARM_DRIVERS or wanted.scope == "swarm" or wanted.ingress:
        raise HttpError(503, NOT_A_MANAGER)
    if driver in _BUILTIN_DRIVERS:
        raise HttpError(403, f'only one instance of "{driver}" network is allowed')
    if wanted.config_only:
        raise HttpError(501, "networks that are configuration only are not supported")
    if driver not in _DRIVERS:
        raise HttpError(404, f"could not find plugin {driver} in v1 plugin registry: not found")
    ipam = wanted.ipam or _Ipam()
    if ipam.driver not in ("", "default"):
        raise HttpError(404, f"could not find plugin {ipam.driver}: use the default IPAM driver")
    network_id = call.engine.networks.create(wanted.name, _options(wanted, driver, ipam))
    return responses.document({"Id": network_id, "Warning": ""}, 201)


def _options(wanted: _Create, driver: str, ipam: _Ipam) -> NetworkOptions:
    ranges = ipam.config or []
    # An entry may name a family's subnet, or only a gateway or range that belongs to one.
    return NetworkOptions(
        driver=driver,
        subnets=tuple(one.subnet for one in ranges if one.subnet),
        gateways=tuple(one.gateway for one in ranges if one.gateway),
        ip_ranges=tuple(one.ip_range for one in ranges if one.ip_range),
        reserved=tuple(text for one in ranges for text in (one.auxiliary or {}).values()),
        ipv4=wanted.ipv4 is not False,
        ipv6=bool(wanted.ipv6),
        internal=wanted.internal,
        labels=wanted.labels or {},
        options=wanted.options or {},
    )


def remove(call: Call) -> Answer:
    """Answer ``DELETE /networks/{id}``."""
    if encode.is_builtin(call["id"]):
        raise HttpError(403, f"{call['id']} is a pre-defined network and cannot be removed")
    try:
        call.engine.networks.remove(call["id"])
    except Conflict as error:
        raise HttpError(403, str(error)) from error
    return responses.empty()


def connect(call: Call) -> Answer:
    """Answer ``POST /networks/{id}/connect``."""
    wanted: _Connect = call.json(_Connect)
    if not wanted.container:
        raise bad_request("no container is named: give 'Container'")
    _refuse_builtin(call["id"])
    try:
        call.engine.networks.connect(
            call["id"], wanted.container, read_endpoint("", Fields(wanted.endpoint_config or {}))
        )
    except Conflict as error:
        raise HttpError(403, str(error)) from error
    return responses.empty(200)


def disconnect(call: Call) -> Answer:
    """Answer ``POST /networks/{id}/disconnect``."""
    wanted: _Disconnect = call.json(_Disconnect)
    _refuse_builtin(call["id"])
    try:
        call.engine.networks.disconnect(call["id"], wanted.container, force=wanted.force)
    except Conflict as error:
        raise HttpError(403, str(error)) from error
    return responses.empty(200)


def _refuse_builtin(reference: str) -> None:
    if encode.is_builtin(reference):
        raise Invalid(f"container cannot be connected to or taken off the network {reference}")


def prune(call: Call) -> Answer:
    """Answer ``POST /networks/prune``."""
    removed = call.engine.networks.prune(filters=call.query.filters())
    return responses.document({"NetworksDeleted": removed})


ROUTES = (
    Route("GET", "/networks", list_networks),
    Route("POST", "/networks/create", create),
    Route("POST", "/networks/prune", prune),
    Route("GET", "/networks/{id}", inspect),
    Route("DELETE", "/networks/{id}", remove),
    Route("POST", "/networks/{id}/connect", connect),
    Route("POST", "/networks/{id}/disconnect", disconnect),
)
