"""Attacks on and through networks: each row of the catalogue by name."""

from __future__ import annotations

import ipaddress
import json
import os
import socket
import struct
import sys
import time

import pytest

from proa.linux import netns as namespaces
from tests.support import engines, netns
from tests.support.lan import HOST, NEIGHBOUR, NEIGHBOUR6, await_true, lan, program

pytestmark = pytest.mark.requires("root", "userns", "overlay", "ip", "nft", "nsenter", "curl")

CONNECT = """
import socket, sys
try:
    peer = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=1.5)
    peer.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
    print(peer.recv(100))
except OSError as error:
    print("refused", error)
"""


@pytest.fixture(scope="module")
def shared():
    """One pair of hosts for the module."""
    with lan() as made:
        yield made


@pytest.fixture
def net(shared):
    """The hosts; the test's containers and networks are removed after."""
    yield shared
    shared.proa.remove_all()
    shared.proa.ok("network", "prune", "-f")
    await_true(lambda: shared.links() == ["lo", "lan0"], "the removal of all interfaces")


def connect(who, address, port):
    return who(sys.executable, "-c", CONNECT, address, str(port))


def answer_of(net, container, mark):
    done = net.proa("logs", container)
    return mark in done.stdout + done.stderr


def lead_loopback_to(who, gateway):
    """Let a host send packets for 127.0.0.1 over the wire, as an attacker's can."""
    device = "eth0"
    who("ip", "addr", "del", "127.0.0.1/8", "dev", "lo")
    who("sh", "-c", f"echo 1 > /proc/sys/net/ipv4/conf/{device}/route_localnet")
    who("sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet")
    own = who.json("ip", "-j", "-4", "addr", "show", device)[0]["addr_info"][0]["local"]
    who("ip", "route", "add", "127.0.0.1/32", "via", gateway, "dev", device, "src", own)


def test_port_on_loopback_reached_from_a_neighbour(net):
    """A port published on 127.0.0.1 is the host's alone (moby 45610)."""
    net.serve("aa", "-p", "127.0.0.1:8080:80", "-p", "9090:80")
    assert net.fetch(net.host, "http://127.0.0.1:8080/") == "aa"
    with netns.host() as attacker:
        netns.connect(net.host, "evil0", attacker, "eth0")
        net.host("ip", "addr", "add", "198.51.100.1/24", "dev", "evil0")
        attacker("ip", "addr", "add", "198.51.100.2/24", "dev", "eth0")
        lead_loopback_to(attacker, "198.51.100.1")
        for port in (8080, 9090):
            assert "refused" in connect(attacker, "127.0.0.1", port)
        # The same port asked at another address of the host.
        assert "refused" in connect(attacker, "198.51.100.1", 8080)
        assert "refused" not in connect(attacker, "198.51.100.1", 9090)
        net.host("ip", "link", "del", "evil0")
    assert not answer_of(net, "aa", "198.51.100.2]:8080")


def test_port_on_loopback_reached_from_the_bridge(net):
    """Nor does a container on the bridge reach it, or the host's own services on loopback."""
    net.serve("aa", "-p", "127.0.0.1:8080:80")
    net.proa.ok("run", "-d", "--name", "bb", "busybox", "sleep", "60")
    code = (
        "import socket\ns = socket.create_server(('127.0.0.1', 7777))\n"
        "print('ready', flush=True)\n"
        "while True:\n p, _ = s.accept(); p.sendall(b'host'); p.close()\n"
    )
    gateway = net.proa.ok(
        "inspect", "-f", '{{(index .NetworkSettings.Networks "bridge").Gateway}}', "bb"
    )
    with program(net.host, code), net.inside("bb") as attacker:
        lead_loopback_to(attacker, gateway)
        for port in (8080, 7777):
            assert "refused" in connect(attacker, "127.0.0.1", port)


def test_unpublished_port_reached_by_a_route(net):
    """A neighbour that routes to the containers' subnet reaches nothing that is not published."""
    net.serve("aa", "-p", "127.0.0.1:8080:80")
    address = net.address("aa")
    subnet = ipaddress.ip_network(f"{address}/16", strict=False)
    net.neighbour("ip", "route", "add", str(subnet), "via", HOST)
    try:
        assert "refused" in connect(net.neighbour, address, 80)
    finally:
        net.neighbour("ip", "route", "del", str(subnet))


def test_router_advertisements(net):
    """A machine on the bridge that plays router gives nobody a route or an address."""
    net.proa.ok("network", "create", "--ipv6", "--subnet", "fd00:77::/64", "six")
    net.serve("aa", "--network", "six")
    net.serve("bb")
    for container, network in (("aa", "six"), ("bb", "bridge")):
        link = net.proa.ok(
            "network",
            "inspect",
            "-f",
            '{{index .Options "com.docker.network.bridge.name"}}',
            network,
        )
        with netns.host() as router:
            netns.connect(net.host, "evil0", router, "eth0")
            net.host("ip", "link", "set", "evil0", "master", link)
            _advertise(router)
            net.host("ip", "link", "del", "evil0")
        with net.inside(container) as inside:
            shown = inside("ip", "-6", "addr") + inside("ip", "-6", "route")
        assert "2001:db8:bad" not in shown
        assert "fe80::bad" not in shown
        assert "2001:db8:bad" not in net.host("ip", "-6", "addr") + net.host("ip", "-6", "route")


def test_forged_addresses_do_not_evade_egress(net):
    """A restricted container reaches nothing with another's address, IP or hardware."""
    net.proa.ok("network", "create", "--ipv6", "--subnet", "fd00:77::/64", "web")
    net.serve("bb", "--network", "web")
    net.proa.ok(
        "run", "-d", "--name", "aa", "--network", "web", "--egress", "none", "busybox", "sleep",
        "60",
    )  # fmt: skip
    own, other = net.address("aa", "web"), net.address("bb", "web")
    with (
        program(net.neighbour, COLLECT, "7") as collector,
        net.inside("aa") as inside,
        net.inside("bb") as open_one,
    ):
        # The way itself is open: who is not restricted may even forge.
        assert _forge(open_one, "203.0.113.77") == "sent"
        for source in (other, "203.0.113.9", own):
            assert _forge(inside, source) == "sent"
        inside("ip", "addr", "add", "203.0.113.10/32", "dev", "eth0")
        assert _forge(inside, "203.0.113.10") == "sent"
        inside("ip", "addr", "add", "fd00:77::99/64", "dev", "eth0", "nodad")
        inside(sys.executable, "-c", SEND, NEIGHBOUR6, "7", "fd00:77::99", check=False)
        inside("ip", "link", "set", "eth0", "address", "02:42:00:00:00:99")
        assert _forge(inside, own) == "sent"
        net.host(sys.executable, "-c", SEND, NEIGHBOUR, "7", HOST)
        assert collector.stdout.read().decode().split() == ["forged"]
    told = {other, "203.0.113.9", None}
    await_true(lambda: {item.get("forged_source") for item in _denied(net)} >= told, "events")
    assert all(item["port"] == "7" for item in _denied(net) if item["destination"] == NEIGHBOUR)


def _denied(net):
    lines = net.proa.ok(
        "events", "--since", "1h", "--until", "0s", "--filter", "event=egress_denied",
        "--format", "{{json .Actor.Attributes}}",
    ).splitlines()  # fmt: skip
    return [json.loads(line) for line in lines]


COLLECT = """
import socket, sys
peer = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
peer.bind(("::", int(sys.argv[1])))
print("ready", flush=True)
while (data := peer.recv(100)) != b"end":
    print(data.decode(), flush=True)
"""

SEND = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[3] else socket.AF_INET
peer = socket.socket(family, socket.SOCK_DGRAM)
peer.bind((sys.argv[3], 0))
peer.sendto(b"end" if len(sys.argv) == 4 and family == socket.AF_INET else b"six",
            (sys.argv[1], int(sys.argv[2])))
"""

FORGE = """
import socket, struct, sys
source, target = (socket.inet_aton(item) for item in sys.argv[1:3])
data = b"forged"
udp = struct.pack("!HHHH", 40000, int(sys.argv[3]), 8 + len(data), 0) + data
head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0, source, target)
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
raw.sendto(head + udp, (sys.argv[2], 0))
print("sent")
"""


def _forge(who, source):
    return who(sys.executable, "-c", FORGE, source, NEIGHBOUR, "7").strip()


def _advertise(router: netns.Host) -> None:
    """Send router advertisements with a prefix and a default route to all nodes."""
    source = socket.inet_pton(socket.AF_INET6, "fe80::bad")
    target = socket.inet_pton(socket.AF_INET6, "ff02::1")
    prefix = struct.pack("!BBBBIII", 3, 4, 64, 0xC0, 3600, 3600, 0)
    prefix += socket.inet_pton(socket.AF_INET6, "2001:db8:bad::")
    body = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0) + prefix
    pseudo = source + target + struct.pack("!II", len(body), 58)
    words = struct.unpack(f"!{(len(pseudo) + len(body)) // 2}H", pseudo + body)
    total = sum(words)
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    body = body[:2] + struct.pack("!H", ~total & 0xFFFF) + body[4:]
    header = struct.pack("!IHBB", 6 << 28, len(body), 58, 255) + source + target
    frame = bytes.fromhex("333300000001" + "020000000bad" + "86dd") + header + body
    with namespaces.open_socket(router.fd, socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind(("eth0", 0))
        for _ in range(5):
            raw.send(frame)
            time.sleep(0.02)  # the kernel learns in its own time; five chances are enough


def test_spoofed_resolver_answers(net):
    """An answer to a question that was not asked is not passed on; its port alone is not enough."""
    net.proa.ok("network", "create", "web")
    net.proa.ok(
        "run",
        "-d",
        "--name",
        "aa",
        "--network",
        "web",
        "--dns",
        NEIGHBOUR,
        "busybox",
        "sleep",
        "60",
    )
    server = (
        "import dnslib, socket\n"
        f"peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\npeer.bind(('{NEIGHBOUR}', 53))\n"
        "print('ready', flush=True)\n"
        "data, address = peer.recvfrom(4096)\n"
        "query = dnslib.DNSRecord.parse(data)\n"
        "lie = query.reply(); lie.header.id ^= 1\n"
        "lie.add_answer(*dnslib.RR.fromZone('bank.example. 60 A 203.0.113.66'))\n"
        "peer.sendto(lie.pack(), address)\n"
        "other = dnslib.DNSRecord.question('evil.example'); other.header.id = query.header.id\n"
        "lie = other.reply()\n"
        "lie.add_answer(*dnslib.RR.fromZone('bank.example. 60 A 203.0.113.66'))\n"
        "peer.sendto(lie.pack(), address)\n"
        "truth = query.reply()\n"
        "truth.add_answer(*dnslib.RR.fromZone('bank.example. 60 A 203.0.113.1'))\n"
        "peer.sendto(truth.pack(), address)\n"
        "peer.recvfrom(4096)\n"
    )
    ask = (
        "import dnslib\n"
        "raw = dnslib.DNSRecord.question('bank.example').send('127.0.0.11', 53, timeout=5)\n"
        "print(dnslib.DNSRecord.parse(raw).a.rdata)\n"
    )
    with program(net.neighbour, server), net.inside("aa") as inside:
        assert inside(sys.executable, "-c", ask).strip() == "203.0.113.1"


@pytest.mark.parametrize(
    "name",
    ["a;b", 'a" }', "a\nb", "../x", "-a", "a b", "$(id)", "{", "a" * 129, "host", "none", "bridge"],
)
def test_names_with_metacharacters(net, name):
    """No name reaches a rule or a path."""
    refused = net.proa("network", "create", "--", name)
    assert refused.code == 1
    assert "name" in refused.stderr


def test_labels_and_options_with_metacharacters(net):
    """Free texts are kept as they are and go nowhere else."""
    text = '"; } drop $(reboot) \n\t'
    net.proa.ok("network", "create", "--label", f"a={text}", "-o", f"b={text}", "web")
    net.serve("aa", "--network", "web")
    shown = net.proa.ok("network", "inspect", "-f", "{{json .Labels}}", "web")
    assert "reboot" in shown
    assert "reboot" not in net.host("nft", "list", "ruleset") + net.host("ip", "link")


def test_a_thousand_questions_leave_the_supervisor_small(net):
    """A container that asks and never reads takes no descriptors and no memory for long."""
    net.proa.ok("network", "create", "web")
    net.proa.ok(
        "run",
        "-d",
        "--name",
        "aa",
        "--network",
        "web",
        "--dns",
        "203.0.113.9",
        "busybox",
        "sleep",
        "60",
    )
    (supervisor,) = engines.supervisors(net.proa)
    before = len(os.listdir(f"/proc/{supervisor}/fd"))
    flood = (
        "import dnslib, socket\n"
        "peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "peer.connect(('127.0.0.11', 53))\n"
        "for n in range(1000): peer.send(dnslib.DNSRecord.question(f'n{n}.example').pack())\n"
        "held = [socket.create_connection(('127.0.0.11', 53)) for _ in range(100)]\n"
    )
    with net.inside("aa") as inside:
        inside(sys.executable, "-c", flood)
    assert len(os.listdir(f"/proc/{supervisor}/fd")) <= before + 128 + 33
    await_true(
        lambda: len(os.listdir(f"/proc/{supervisor}/fd")) <= before, "the end of the flood", 15
    )
