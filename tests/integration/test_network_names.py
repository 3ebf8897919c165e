"""Names of containers, and everything else from a server on the LAN."""

from __future__ import annotations

import sys

import pytest

from tests.support.lan import HOST, NEIGHBOUR, await_true, lan, program

pytestmark = pytest.mark.requires("root", "userns", "overlay", "ip", "nft", "nsenter")

SERVER = """
import socket, sys, threading
import dnslib
RECORDS = {
    "one.example.": ["203.0.113.1"],
    "many.example.": [f"203.0.113.{n}" for n in range(1, 101)],
    "allowed.example.": ["192.0.2.1"],
    "www.allowed.example.": ["192.0.2.1"],
}
def answer(data):
    query = dnslib.DNSRecord.parse(data)
    name = str(query.q.qname).lower()
    print(name, flush=True)
    reply = query.reply()
    found = RECORDS.get(name)
    if found is None:
        reply.header.rcode = 3
    elif query.q.qtype == 1:
        for address in found:
            reply.add_answer(dnslib.RR(query.q.qname, 1, rdata=dnslib.A(address), ttl=60))
    return reply
def stream(listener):
    while True:
        peer, _ = listener.accept()
        length = int.from_bytes(peer.recv(2), "big")
        raw = answer(peer.recv(length)).pack()
        peer.sendall(len(raw).to_bytes(2, "big") + raw)
        peer.close()
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.bind((sys.argv[1], 53))
listener = socket.create_server((sys.argv[1], 53))
threading.Thread(target=stream, args=(listener,), daemon=True).start()
print("ready", flush=True)
while True:
    data, address = datagrams.recvfrom(4096)
    reply = answer(data)
    raw = reply.pack()
    datagrams.sendto(raw if len(raw) <= 512 else reply.truncate().pack(), address)
"""

ASK = """
import sys
import dnslib
name, kind, tcp = sys.argv[1], sys.argv[2], len(sys.argv) > 3
reply = dnslib.DNSRecord.parse(
    dnslib.DNSRecord.question(name, kind).send("127.0.0.11", 53, tcp=tcp, timeout=8)
)
answers = sorted(str(item.rdata) for item in reply.rr)
print(dnslib.RCODE[reply.header.rcode], "TC" if reply.header.tc else "-", *answers)
"""


@pytest.fixture(scope="module")
def shared():
    """One pair of hosts for the module, and a name server on the neighbour."""
    with lan() as made:
        yield made


@pytest.fixture
def net(shared):
    """The hosts with a network ``web``; containers and networks are removed after."""
    shared.proa.ok("network", "create", "--ipv6", "web")
    yield shared
    shared.proa.remove_all()
    shared.proa.ok("network", "prune", "-f")
    await_true(lambda: shared.links() == ["lo", "lan0"], "the removal of all interfaces")


def ask(net, container, name, kind="A", *, tcp=False):
    with net.inside(container) as inside:
        words = [sys.executable, "-c", ASK, name, kind, *(["tcp"] if tcp else [])]
        code, flag, *answers = inside(*words).split()
    return code, flag, answers


def start(net, name, *words):
    net.proa.ok("run", "-d", "--name", name, "--network", "web", *words, "busybox", "sleep", "60")


@pytest.mark.parametrize("tcp", [False, True])
def test_names_aliases_and_ids_both_families(net, tcp):
    start(net, "one", "--network-alias", "Uno")
    start(net, "two")
    four = net.address("one", "web")
    identity = net.proa.ok("inspect", "-f", "{{.Id}}", "one")
    for name in ("one", "ONE", "uno", identity[:12], "one.web"):
        assert ask(net, "two", name, tcp=tcp) == ("NOERROR", "-", [four])
    code, _, (six,) = ask(net, "two", "one", "AAAA", tcp=tcp)
    assert code == "NOERROR"
    assert six.startswith("fd")
    assert ask(net, "two", "one", "MX", tcp=tcp) == ("NOERROR", "-", [])
    reverse = ".".join(reversed(four.split("."))) + ".in-addr.arpa"
    assert ask(net, "two", reverse, "PTR", tcp=tcp) == ("NOERROR", "-", ["one.web."])


def test_the_c_library_finds_them(net):
    start(net, "one")
    start(net, "two")
    assert net.address("one", "web") in net.proa.ok("exec", "two", "ping", "-4", "-c", "1", "one")


def test_an_alias_of_several_means_all_of_them(net):
    start(net, "one", "--network-alias", "db")
    start(net, "two", "--network-alias", "db")
    wanted = sorted([net.address("one", "web"), net.address("two", "web")])
    assert ask(net, "one", "db") == ("NOERROR", "-", wanted)


def test_who_leaves_is_not_found_any_more(net):
    start(net, "one")
    start(net, "two", "--dns", NEIGHBOUR)
    with program(net.neighbour, SERVER, NEIGHBOUR):
        assert ask(net, "two", "one")[0] == "NOERROR"
        net.proa.ok("stop", "-t", "0", "one")
        assert ask(net, "two", "one")[0] == "NXDOMAIN"
        net.proa.ok("start", "one")
        assert ask(net, "two", "one")[0] == "NOERROR"
        net.proa.ok("network", "disconnect", "web", "one")
        assert ask(net, "two", "one")[0] == "NXDOMAIN"


def test_a_renamed_container_has_its_new_name(net):
    start(net, "one")
    start(net, "two", "--dns", NEIGHBOUR)
    net.proa.ok("rename", "one", "three")
    assert ask(net, "two", "three")[0] == "NOERROR"


def test_other_names_come_from_the_servers(net):
    start(net, "one", "--dns", "203.0.113.99", "--dns", NEIGHBOUR)
    with program(net.neighbour, SERVER, NEIGHBOUR):
        # The first server does not answer: the second is asked.
        assert ask(net, "one", "one.example") == ("NOERROR", "-", ["203.0.113.1"])
        assert ask(net, "one", "none.example")[0] == "NXDOMAIN"
    start(net, "two", "--dns", NEIGHBOUR)
    assert ask(net, "two", "one.example")[0] == "SERVFAIL"


def test_a_hundred_addresses_need_tcp(net):
    start(net, "one", "--dns", NEIGHBOUR)
    with program(net.neighbour, SERVER, NEIGHBOUR):
        code, flag, _ = ask(net, "one", "many.example")
        assert (code, flag) == ("NOERROR", "TC")
        code, flag, answers = ask(net, "one", "many.example", tcp=True)
        assert (code, flag, len(answers)) == ("NOERROR", "-", 100)


def test_search_domains_and_options(net):
    start(net, "one", "--dns-search", "lab.example", "--dns-option", "ndots:3")
    text = net.proa.ok("exec", "one", "cat", "/etc/resolv.conf")
    assert text.splitlines() == [
        "nameserver 127.0.0.11", "search lab.example", "options ndots:3",
    ]  # fmt: skip


def test_a_name_server_in_a_container_has_port_53(net):
    start(net, "one")
    with net.inside("one") as inside:
        inside(
            sys.executable, "-c",
            "import socket\n"
            "for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):\n"
            "    socket.socket(socket.AF_INET, kind).bind(('0.0.0.0', 53))\n",
        )  # fmt: skip


def test_garbage_is_answered_or_ignored(net):
    start(net, "one")
    start(net, "two")
    script = (
        "import os, socket\n"
        "peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "peer.connect(('127.0.0.11', 53))\n"
        "for n in range(300):\n"
        "    try: peer.send(os.urandom(n % 60))\n"
        "    except OSError: pass\n"
        "stream = socket.create_connection(('127.0.0.11', 53))\n"
        "stream.sendall(os.urandom(5000))\n"
    )
    with net.inside("two") as inside:
        inside(sys.executable, "-c", script)
    assert ask(net, "two", "one")[0] == "NOERROR"


def test_egress_by_name(net):
    listener = (
        "import socket\n"
        f"s = socket.create_server(('{HOST}', 8))\n"
        "print('ready', flush=True)\n"
        "while True:\n"
        "    p, _ = s.accept(); p.sendall(b'in'); p.close()\n"
    )
    start(net, "one", "--dns", NEIGHBOUR, "--egress", "allow=.allowed.example")
    with program(net.neighbour, SERVER, NEIGHBOUR) as server, program(net.host, listener):
        reach = ("exec", "one", "timeout", "2", "nc", "-w", "1", HOST, "8")
        assert net.proa(*reach).stdout == ""
        assert ask(net, "one", "one.example")[0] == "NXDOMAIN"
        assert ask(net, "one", "www.allowed.example") == ("NOERROR", "-", [HOST])
        assert net.proa(*reach).stdout == "in"
        server.kill()
        assert b"one.example" not in server.stdout.read().replace(b"www.allowed", b"")
    events = net.proa.ok(
        "events", "--since", "1m", "--until", "0s", "--filter", "event=egress_denied"
    )
    assert f"destination={HOST}" in events
    assert "port=8" in events


def test_an_internal_network_asks_nobody_outside(net):
    net.proa.ok("network", "create", "--internal", "cell")
    net.proa.ok(
        "run",
        "-d",
        "--name",
        "one",
        "--network",
        "cell",
        "--dns",
        NEIGHBOUR,
        "busybox",
        "sleep",
        "60",
    )
    with program(net.neighbour, SERVER, NEIGHBOUR) as server:
        assert ask(net, "one", "secret.one.example")[0] == "NXDOMAIN"
        server.kill()
        assert server.stdout.read() == b""


def test_the_default_network_resolves_no_names(net):
    net.proa.ok("run", "-d", "--name", "one", "busybox", "sleep", "60")
    done = net.proa("run", "--rm", "--dns", NEIGHBOUR, "busybox", "timeout", "1", "nslookup", "one")
    assert net.address("one") not in done.stdout
    refused = net.proa("run", "--rm", "--network-alias", "db", "busybox", "true")
    assert "resolves no names" in refused.stderr


def test_names_are_answered_quickly(net):
    start(net, "one")
    for number in range(3):
        start(net, f"more{number}")
    script = (
        "import socket, time, dnslib\n"
        "query = dnslib.DNSRecord.question('one').pack()\n"
        "peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "peer.connect(('127.0.0.11', 53)); peer.settimeout(2)\n"
        "times = []\n"
        "for _ in range(50):\n"
        "    begin = time.perf_counter(); peer.send(query); peer.recv(512)\n"
        "    times.append(time.perf_counter() - begin)\n"
        "print(sorted(times)[25])\n"
    )
    with net.inside("more0") as inside:
        assert float(inside(sys.executable, "-c", script)) < 0.02
