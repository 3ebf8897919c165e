"""Our netlink against what iproute2 and nft say about the result, each in a fresh namespace."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from proa.linux import netns
from proa.linux.netlink import address, conntrack, link, nftables, route, sockdiag, tc
from proa.linux.netlink import nftexpressions as nft
from proa.linux.netlink.nftables import Batch, Element
from proa.linux.netlink.socket import NETLINK_NETFILTER, Netlink
from tests.support.netns import connect, host

pytestmark = pytest.mark.requires("root", "ip", "tc", "nft", "nsenter")

MAC = bytes.fromhex("0242ac1e0002")


@pytest.fixture
def lab():
    """A namespace that stands for the host, and route netlink in it."""
    with host() as machine, Netlink(netns_fd=machine.fd) as nl:
        yield machine, nl


def test_a_namespace_is_left_again():
    before = os.readlink("/proc/thread-self/ns/net")
    fd = netns.make()
    try:
        with netns.entered(fd):
            assert os.readlink("/proc/thread-self/ns/net") != before
        assert os.readlink("/proc/thread-self/ns/net") == before
    finally:
        os.close(fd)


def test_a_bridge_has_its_address_and_no_link_local_one(lab):
    machine, nl = lab
    link.add_bridge(nl, "br7", mac=MAC, mtu=1400, alias="proa:x")
    made = link.find(nl, "br7")
    assert made is not None
    link.set_up(nl, made.ifindex)
    (shown,) = machine.json("ip", "-d", "-j", "link", "show", "br7")
    assert shown["linkinfo"]["info_kind"] == made.kind == "bridge"
    assert shown["address"] == made.mac.hex(":") == MAC.hex(":")
    assert shown["mtu"] == made.mtu == 1400
    assert shown["ifalias"] == made.alias == "proa:x"
    assert shown["ifindex"] == made.ifindex
    assert "UP" in shown["flags"]


def test_a_second_interface_of_the_same_name_is_refused(lab):
    _, nl = lab
    link.add_bridge(nl, "br7", mac=MAC)
    with pytest.raises(OSError) as caught:
        link.add_bridge(nl, "br7", mac=MAC)
    assert caught.value.errno == errno.EEXIST


def test_a_veth_is_born_as_a_port_with_its_peer_elsewhere(lab):
    machine, nl = lab
    link.add_bridge(nl, "br7", mac=MAC)
    bridge = link.find(nl, "br7")
    with host() as container, Netlink(netns_fd=container.fd) as inside:
        link.add_veth(
            nl, "veth1", peer="eth0", peer_netns_fd=container.fd, peer_mac=MAC,
            master=bridge.ifindex, mtu=1400, alias="proa:abc",
        )  # fmt: skip
        (here,) = machine.json("ip", "-d", "-j", "link", "show", "veth1")
        (there,) = container.json("ip", "-d", "-j", "link", "show", "eth0")
        assert here["master"] == "br7"
        assert here["num_tx_queues"] == here["num_rx_queues"] == 1
        assert here["inet6_addr_gen_mode"] == "none"
        assert "UP" in here["flags"]
        assert there["address"] == MAC.hex(":")
        assert there["mtu"] == 1400
        assert "UP" not in there["flags"]
        near = link.find(nl, "veth1")
        assert near.foreign
        assert near.parent == link.find(inside, "eth0").ifindex
        assert near.master == bridge.ifindex


def test_macvlan_and_plain_interfaces(lab):
    machine, nl = lab
    link.add_plain(nl, "dum0", "dummy") if _has_dummy(machine) else link.add_plain(
        nl, "dum0", "ifb"
    )
    link.add_plain(nl, "ifbx", "ifb", alias="proa:y")
    (shown,) = machine.json("ip", "-d", "-j", "link", "show", "ifbx")
    assert shown["linkinfo"]["info_kind"] == "ifb"
    with host() as other:
        link.add_veth(nl, "up0", peer="up1", peer_netns_fd=other.fd)
        with host() as container:
            link.add_macvlan(
                nl, "eth0", parent=link.find(nl, "up0").ifindex, mode="bridge",
                netns_fd=container.fd, mac=MAC,
            )  # fmt: skip
            (shown,) = container.json("ip", "-d", "-j", "link", "show", "eth0")
            assert shown["linkinfo"]["info_kind"] == "macvlan"
            assert shown["linkinfo"]["info_data"]["mode"] == "bridge"
            assert shown["address"] == MAC.hex(":")


def _has_dummy(machine):
    return not machine("ip", "link", "add", "tryd", "type", "dummy", check=False) and machine(
        "ip", "link", "show", "tryd", check=False
    )


def test_deleting(lab):
    machine, nl = lab
    link.add_plain(nl, "ifbx", "ifb")
    assert link.delete(nl, "ifbx")
    assert not link.delete(nl, "ifbx")
    assert link.find(nl, "ifbx") is None
    assert [item["ifname"] for item in machine.json("ip", "-j", "link")] == [
        item.name for item in link.list_links(nl)
    ]


def test_addresses(lab):
    machine, nl = lab
    link.add_plain(nl, "ifbx", "ifb")
    index = link.find(nl, "ifbx").ifindex
    address.add(nl, index, "10.5.6.7", 20)
    address.add(nl, index, "fd00:1::7", 64)
    (shown,) = machine.json("ip", "-j", "addr", "show", "ifbx")
    found = {(item["local"], item["prefixlen"]) for item in shown["addr_info"]}
    assert {("10.5.6.7", 20), ("fd00:1::7", 64)} <= found
    assert shown["addr_info"][0]["broadcast"] == "10.5.15.255"
    assert {(item.address, item.prefix) for item in address.list_addresses(nl, index)} == found
    with pytest.raises(OSError) as caught:
        address.add(nl, index, "10.5.6.7", 20)
    assert caught.value.errno == errno.EEXIST
    address.delete(nl, index, "10.5.6.7", 20)
    assert "10.5.6.7" not in machine("ip", "addr")


def test_routes(lab):
    machine, nl = lab
    link.add_plain(nl, "ifbx", "ifb")
    index = link.find(nl, "ifbx").ifindex
    address.add(nl, index, "10.5.6.7", 24)
    address.add(nl, index, "fd00:1::7", 64)
    route.add(nl, index=index, gateway="10.5.6.1", metric=5)
    route.add(nl, index=index, gateway="fd00:1::1")
    route.add(nl, index=index, destination="192.0.2.0", prefix=24)
    shown = machine.json("ip", "-j", "route")
    default = next(item for item in shown if item["dst"] == "default")
    assert (default["gateway"], default["dev"], default["metric"]) == ("10.5.6.1", "ifbx", 5)
    assert any(item["dst"] == "192.0.2.0/24" and "gateway" not in item for item in shown)
    six = machine.json("ip", "-6", "-j", "route", "show", "default")
    assert six[0]["gateway"] == "fd00:1::1"
    assert len(route.list_routes(nl)) == len(shown)
    assert route.Route("", 0, "fd00:1::1", index, 1024) in route.list_routes(nl, socket.AF_INET6)
    route.delete(nl, index=index, gateway="10.5.6.1", metric=5)
    assert "default" not in machine("ip", "route")


def test_a_token_bucket(lab):
    machine, nl = lab
    link.add_plain(nl, "ifbx", "ifb")
    index = link.find(nl, "ifbx").ifindex
    for rate in (1_250_000, 12_500_000):
        tc.set_rate(nl, index, rate, burst_bytes=65536, limit_bytes=200_000)
        (shown,) = list(machine.json("tc", "-j", "qdisc", "show", "dev", "ifbx"))
        assert shown["kind"] == "tbf"
        assert shown["options"]["rate"] == rate
        assert abs(shown["options"]["burst"] - 65536) < 700
        assert tc.Qdisc(index, "tbf", False, rate) in tc.list_qdiscs(nl, index)
    tc.clear_root(nl, index)
    tc.clear_root(nl, index)
    assert "tbf" not in machine("tc", "qdisc", "show", "dev", "ifbx")


def test_ingress_goes_through_another_device(lab):
    machine, nl = lab
    link.add_plain(nl, "ifbx", "ifb")
    with host() as other:
        link.add_veth(nl, "veth1", peer="eth0", peer_netns_fd=other.fd)
        index, target = link.find(nl, "veth1").ifindex, link.find(nl, "ifbx").ifindex
        tc.redirect_ingress(nl, index, target)
        shown = machine("tc", "filter", "show", "dev", "veth1", "parent", "ffff:")
        assert "mirred (Egress Redirect to device ifbx) stolen" in shown
        assert "match 00000000/00000000 at 0" in shown
        tc.clear_ingress(nl, index)
        tc.clear_ingress(nl, index)
        assert not machine("tc", "filter", "show", "dev", "veth1", "parent", "ffff:", check=False)


def test_localnet_is_a_property_of_one_interface(lab):
    machine, nl = lab
    link.add_bridge(nl, "br7", mac=MAC)
    link.allow_localnet(nl, link.find(nl, "br7").ifindex)
    base = "/proc/sys/net/ipv4/conf"
    assert machine("cat", f"{base}/br7/route_localnet").strip() == "1"
    assert machine("cat", f"{base}/all/route_localnet").strip() == "0"


def test_sysctls_are_written_inside(lab):
    machine, _ = lab
    netns.write_sysctl(machine.fd, "ipv6/conf/lo/accept_ra", "0")
    assert machine("cat", "/proc/sys/net/ipv6/conf/lo/accept_ra").strip() == "0"


RULES = """\
table inet t1 {
	map ports {
		type inet_proto . ipv4_addr . inet_service : ipv4_addr . inet_service
		elements = { tcp . 192.0.2.1 . 8080 : 10.0.0.2 . 80 }
	}

	map jumps {
		type ipv4_addr : verdict
		elements = { 10.0.0.2 : jump extra }
	}

	set nets {
		type ipv4_addr
		flags interval
		elements = { 10.0.0.0/24 }
	}

	set pairs {
		type ifname . ifname
		elements = { "br7" . "br7" }
	}

	chain extra {
		log prefix "no" group 7 snaplen 64
		limit rate 5/second burst 9 packets
		reject with icmpx admin-prohibited
	}

	chain pre {
		type nat hook prerouting priority dstnat; policy accept;
		meta nfproto ipv4 ip daddr 127.0.0.0/8 return
		meta nfproto ipv4 fib daddr type local \
			dnat ip to meta l4proto . ip daddr . th dport map @ports
	}

	chain forward {
		type filter hook forward priority filter; policy accept;
		iifname . oifname @pairs accept
		ct state established,related accept
		ct status dnat accept
		meta nfproto ipv4 ip saddr vmap @jumps
		oifname "br7" counter packets 0 bytes 0 drop
	}

	chain post {
		type nat hook postrouting priority srcnat; policy accept;
		meta nfproto ipv4 ip saddr @nets masquerade
	}
}
"""


def _batch():
    batch = Batch("t1")
    batch.add_table(exclusive=True)
    v4, service, protocol = nftables.TYPE_IPV4, nftables.TYPE_SERVICE, nftables.TYPE_PROTOCOL
    batch.add_map("ports", (protocol, v4, service), (v4, service))
    batch.add_verdict_map("jumps", (v4,))
    batch.add_set("nets", (v4,), interval=True)
    batch.add_set("pairs", (nftables.TYPE_IFNAME, nftables.TYPE_IFNAME))
    batch.add_chain("extra")
    batch.add_base_chain("pre", "nat", nftables.HOOK_PREROUTING, nftables.PRIORITY_DSTNAT)
    batch.add_base_chain("forward", "filter", nftables.HOOK_FORWARD, nftables.PRIORITY_FILTER)
    batch.add_base_chain("post", "nat", nftables.HOOK_POSTROUTING, nftables.PRIORITY_SRCNAT)
    batch.add_rule("extra", nft.log_to(7, "no"))
    batch.add_rule("extra", nft.limit(5, 9))
    batch.add_rule("extra", nft.reject())
    four = nft.family_is(nft.NFPROTO_IPV4)
    batch.add_rule("pre", four, nft.destination_is_loopback(), nft.verdict(nft.RETURN))
    batch.add_rule(
        "pre",
        four,
        nft.destination_is_local(),
        nft.meta(nft.META_L4PROTO),
        nft.destination(nft.NFPROTO_IPV4, 9),
        nft.destination_port(10),
        nft.lookup("ports", into=8),
        nft.dnat(nft.NFPROTO_IPV4, 8, 9),
    )
    both = nft.meta(nft.META_IIFNAME) + nft.meta(nft.META_OIFNAME, 12)
    batch.add_rule("forward", both, nft.lookup("pairs"), nft.verdict(nft.ACCEPT))
    known = nft.STATE_ESTABLISHED | nft.STATE_RELATED
    batch.add_rule("forward", nft.connection_has(nft.CT_STATE, known), nft.verdict(nft.ACCEPT))
    batch.add_rule(
        "forward", nft.connection_has(nft.CT_STATUS, nft.STATUS_DNAT), nft.verdict(nft.ACCEPT)
    )
    batch.add_rule("forward", four, nft.source(nft.NFPROTO_IPV4), nft.lookup("jumps", into=0))
    batch.add_rule(
        "forward", nft.interface_is(nft.META_OIFNAME, "br7"), nft.counter(), nft.verdict(nft.DROP)
    )
    batch.add_rule("post", four, nft.source(nft.NFPROTO_IPV4), nft.lookup("nets"), nft.masquerade())
    port = nft.concatenate(b"\x06", socket.inet_aton("192.0.2.1"), (8080).to_bytes(2, "big"))
    target = nft.concatenate(socket.inet_aton("10.0.0.2"), (80).to_bytes(2, "big"))
    batch.add_elements("ports", [Element(port, target)])
    batch.add_elements("jumps", [Element(socket.inet_aton("10.0.0.2"), jump="extra")])
    batch.add_elements(
        "nets", [Element(socket.inet_aton("10.0.0.0"), end=socket.inet_aton("10.0.1.0"))]
    )
    batch.add_elements("pairs", [Element(nft.interface_key("br7") * 2)])
    return batch, port


def test_rules_read_as_nft_would_write_them():
    with host() as machine, Netlink(NETLINK_NETFILTER, machine.fd) as nl:
        batch, _ = _batch()
        batch.commit(nl)
        shown = machine("nft", "list", "table", "inet", "t1")
        # nft prints what the kernel holds; loading its own text must give the same again.
        machine("nft", "add", "table", "inet", "t2")
        machine("nft", "delete", "table", "inet", "t1")
        machine("nft", "-f", "-", stdin=RULES)
        assert shown == machine("nft", "list", "table", "inet", "t1")


def test_a_batch_is_all_or_nothing():
    with host() as machine, Netlink(NETLINK_NETFILTER, machine.fd) as nl:
        batch, port = _batch()
        batch.commit(nl)
        assert nftables.has_table(nl, "t1")
        assert len(nftables.list_elements(nl, "t1", "ports")) == 1
        change = Batch("t1")
        change.delete_elements("ports", [Element(port)])
        change.delete_elements("ports", [Element(bytes(len(port)))])
        with pytest.raises(OSError) as caught:
            change.commit(nl)
        assert caught.value.errno == errno.ENOENT
        assert len(nftables.list_elements(nl, "t1", "ports")) == 1
        again, _ = _batch()
        with pytest.raises(OSError) as caught:
            again.commit(nl)
        assert caught.value.errno == errno.EEXIST
        gone = Batch("t1")
        gone.delete_table()
        gone.commit(nl)
        assert not nftables.has_table(nl, "t1")
        assert nftables.list_tables(nl) == []
        assert nftables.list_elements(nl, "t1", "ports") == []


def test_foreign_chains_and_their_policies_are_seen():
    with host() as machine, Netlink(NETLINK_NETFILTER, machine.fd) as nl:
        machine(
            "nft", "-f", "-",
            stdin="table ip filter {\n chain in { type filter hook input priority 0; policy drop; }"
            "\n chain other { }\n}\n",
        )  # fmt: skip
        assert nftables.list_chains(nl) == [
            nftables.BaseChain(nftables.FAMILY_IPV4, "filter", "in", nftables.HOOK_INPUT, True),
            nftables.BaseChain(nftables.FAMILY_IPV4, "filter", "other", -1, False),
        ]


@pytest.mark.parametrize(("first", "second"), [("10.9.0.1", "10.9.0.2"), ("fd09::1", "fd09::2")])
def test_tracked_connections_are_forgotten_and_no_others(first, second):
    family = socket.AF_INET6 if ":" in first else socket.AF_INET
    with (
        host() as machine,
        host() as other,
        Netlink(NETLINK_NETFILTER, machine.fd) as nl,
    ):
        connect(machine, "a0", other, "b0")
        for who, text, name in ((machine, first, "a0"), (other, second, "b0")):
            prefix = "64" if ":" in text else "24"
            option = ("nodad",) if ":" in text else ()
            who("ip", "addr", "add", f"{text}/{prefix}", "dev", name, *option)
        machine("nft", "-f", "-", stdin=TRACK)

        def send(*ports):
            with netns.open_socket(other.fd, family, socket.SOCK_DGRAM) as peer:
                peer.bind((second, 4000))
                for port in ports:
                    peer.sendto(b"x", (first, port))

        def count():
            return int(machine("cat", "/proc/sys/net/netfilter/nf_conntrack_count"))

        send(53, 54)
        before = count()
        conntrack.delete_to_port(nl, family, 6, 53)
        conntrack.delete_from(nl, first)
        conntrack.delete_to(nl, second)
        assert count() == before
        conntrack.delete_to_port(nl, family, 17, 53)
        assert count() == before - 1
        conntrack.delete_from(nl, second)
        assert count() == before - 2
        send(53, 54)
        conntrack.delete_to(nl, first)
        assert count() == before - 2


TRACK = """
table inet t {
  chain c { type filter hook input priority 0; ct state new accept; }
}
"""


def test_connections_of_a_namespace_are_seen_until_they_are_over():
    with host() as machine:
        assert not sockdiag.has_connections(machine.fd)
        with netns.open_socket(machine.fd, socket.AF_INET, socket.SOCK_STREAM) as listener:
            listener.bind(("127.0.0.1", 7))
            listener.listen()
            assert not sockdiag.has_connections(machine.fd)
            with netns.open_socket(machine.fd, socket.AF_INET, socket.SOCK_STREAM) as peer:
                peer.connect(("127.0.0.1", 7))
                assert sockdiag.has_connections(machine.fd)
                listener.accept()[0].close()
            # What is left waits for nothing but the time.
            assert not sockdiag.has_connections(machine.fd)


def test_notifications_can_be_filtered():
    with (
        host() as machine,
        Netlink(NETLINK_NETFILTER, machine.fd) as nl,
        Netlink(NETLINK_NETFILTER, machine.fd) as watcher,
    ):
        nftables.watch_deletions(watcher)
        _batch()[0].commit(nl)
        assert watcher.notifications() == []
        machine("nft", "flush", "ruleset")
        assert nftables.NFT_MSG_DELTABLE in [item.kind for item in watcher.notifications()]
