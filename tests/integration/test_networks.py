"""Containers on networks, with a neighbour on the engine's LAN."""

# long: one LAN, built once, and every question that can be asked on it.

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
import time

import pytest
from benchmarks.measure import private_kb

from tests.support import engines
from tests.support.lan import HOST, HOST6, NEIGHBOUR, NEIGHBOUR6, await_true, lan, program

pytestmark = pytest.mark.requires("root", "userns", "overlay", "ip", "nft", "nsenter", "curl")

ECHO_ADDRESS = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
listener = socket.create_server((sys.argv[1], int(sys.argv[2])), family=family)
print("ready", flush=True)
while True:
    peer, address = listener.accept()
    peer.sendall(address[0].encode() + b"\\n")
    peer.close()
"""


ECHO_DATAGRAMS = """
import socket, sys
peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
peer.bind(("0.0.0.0", int(sys.argv[1])))
print("ready", flush=True)
while True:
    data, address = peer.recvfrom(100)
    peer.sendto(address[0].encode(), address)
"""

ASK_BY_DATAGRAM = """
import socket, sys
peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
peer.settimeout(3)
peer.connect((sys.argv[1], int(sys.argv[2])))
peer.send(b"who am I")
print(peer.recv(100).decode())
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
    assert "proa" not in shared.host("nft", "list", "tables")
    await_true(lambda: shared.links() == ["lo", "lan0"], "the removal of all interfaces")


def test_the_default_network_leads_out_with_the_hosts_address(net):
    with program(net.neighbour, ECHO_ADDRESS, NEIGHBOUR, "7"):
        out = net.proa.ok("run", "--rm", "busybox", "nc", "-w", "2", NEIGHBOUR, "7")
    assert out == HOST


def test_containers_on_the_default_network_reach_each_other(net):
    net.serve("aa")
    net.serve("bb")
    assert net.fetch_inside("bb", f"http://{net.address('aa')}/") == "aa"
    assert net.address("aa") != net.address("bb")


def test_a_containers_files_name_it(net):
    out = net.proa.ok(
        "run", "--rm", "-h", "box", "--add-host", "db:10.1.1.1", "--add-host",
        "host.docker.internal:host-gateway", "busybox", "cat", "/etc/hosts",
    )  # fmt: skip
    lines = [line.split() for line in out.splitlines()]
    gateway = _gateway(net, "bridge")
    assert ["10.1.1.1", "db"] in lines
    assert [gateway, "host.docker.internal"] in lines
    assert lines[-1][1] == "box"
    assert lines[-1][0].rpartition(".")[0] == gateway.rpartition(".")[0]


def test_wishes_for_address_and_mac_are_kept(net):
    net.proa.ok(
        "network", "create", "--subnet", "10.77.0.0/24", "--ip-range", "10.77.0.64/26", "web"
    )
    out = net.proa.ok(
        "run", "--rm", "--network", "web", "--ip", "10.77.0.9", "--mac-address",
        "02:11:22:33:44:55", "busybox", "ip", "addr", "show", "eth0",
    )  # fmt: skip
    assert "inet 10.77.0.9/24" in out
    assert "link/ether 02:11:22:33:44:55" in out
    out = net.proa.ok("run", "--rm", "--network", "web", "busybox", "ip", "addr", "show", "eth0")
    assert "inet 10.77.0.64/24" in out
    net.serve("aa", "--network", "name=web,ip=10.77.0.9")
    refused = net.proa("run", "--rm", "--network", "web", "--ip", "10.77.0.9", "busybox", "true")
    assert refused.code == 125
    assert "address 10.77.0.9 is in use" in refused.stderr
    outside = net.proa("run", "--rm", "--network", "web", "--ip", "10.78.0.9", "busybox", "true")
    assert "not in subnet 10.77.0.0/24" in outside.stderr


def test_sixteen_parallel_starts_get_sixteen_addresses(net):
    net.proa.ok("network", "create", "--subnet", "10.77.0.0/27", "web")
    found: list[str] = []

    def start() -> None:
        found.append(net.proa.ok("run", "-d", "--network", "web", "busybox", "sleep", "60"))

    threads = [threading.Thread(target=start) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 16
    addresses = {net.address(item, "web") for item in found}
    assert len(addresses) == 16


def test_a_full_network_says_so(net):
    net.proa.ok("network", "create", "--subnet", "10.77.0.0/30", "web")
    net.serve("aa", "--network", "web")
    refused = net.proa("run", "--rm", "--network", "web", "busybox", "true")
    assert refused.code == 125
    assert "no address is free in 10.77.0.0/30" in refused.stderr


def test_published_ports_from_everywhere(net):
    net.serve("aa", "-p", "8080:80")
    net.proa.ok("network", "create", "other")
    net.serve("bb", "--network", "other")
    assert net.fetch(net.host, "http://127.0.0.1:8080/") == "aa"
    assert net.fetch(net.host, f"http://{HOST}:8080/") == "aa"
    assert net.fetch(net.neighbour, f"http://{HOST}:8080/") == "aa"
    # What `localhost` means first.
    assert net.fetch(net.host, "http://[::1]:8080/") == "aa"
    assert net.fetch(net.neighbour, f"http://[{HOST6}]:8080/", 1) == ""
    net.serve("cc")
    for name in ("bb", "cc"):
        assert net.fetch_inside(name, f"http://{HOST}:8080/") == "aa"


def test_the_clients_address_is_kept(net):
    net.serve("aa", "-p", "8080:80")
    assert net.fetch(net.neighbour, f"http://{HOST}:8080/") == "aa"
    await_true(lambda: f"{NEIGHBOUR}]" in _logs(net, "aa"), "the log of the neighbour's address")


def test_udp_ports(net):
    net.proa.ok("run", "-d", "--name", "aa", "-p", "5353:53/udp", "busybox", "sleep", "60")
    with net.inside("aa") as container, program(container, ECHO_DATAGRAMS, "53"):
        for who, address, seen in (
            (net.host, "127.0.0.1", _gateway(net, "bridge")),
            (net.host, HOST, HOST),
            (net.neighbour, HOST, NEIGHBOUR),
        ):
            asked = who(sys.executable, "-c", ASK_BY_DATAGRAM, address, "5353")
            assert asked.strip() == seen


KEEP_ASKING = """
import socket, sys
peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
peer.bind((sys.argv[1], 4000))
peer.settimeout(0.05)
print("ready", flush=True)
last = b""
while True:
    peer.sendto(b"who", (sys.argv[2], 5353))
    try:
        data = peer.recv(100)
    except OSError:
        continue
    if data != last:
        print(data.decode(), flush=True)
    last = data
"""

ANSWER_WITH_NAME = """
import socket, sys
peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
peer.bind(("0.0.0.0", 53))
print("ready", flush=True)
while True:
    _, address = peer.recvfrom(100)
    peer.sendto(sys.argv[1].encode(), address)
"""


def test_who_sends_datagrams_all_the_time_is_led_to_the_new_container(net):
    with program(net.neighbour, KEEP_ASKING, NEIGHBOUR, HOST) as asking:
        for name in ("aa", "bb"):
            net.proa.ok("run", "-d", "--name", name, "-p", "5353:53/udp", "busybox", "sleep", "60")
            with net.inside(name) as container, program(container, ANSWER_WITH_NAME, name):
                assert asking.stdout.readline().decode().strip() == name
            net.proa.ok("rm", "-f", name)


def test_host_ports_are_chosen_from_ranges_and_freely(net):
    net.serve("aa", "-p", "8000-8002:80")
    net.serve("bb", "-p", "8000-8002:80", "-p", "81")
    assert net.proa.ok("port", "aa") == "80/tcp -> 0.0.0.0:8000"
    lines = net.proa.ok("port", "bb").splitlines()
    assert lines[0] == "80/tcp -> 0.0.0.0:8001"
    assert re.fullmatch(r"81/tcp -> 0\.0\.0\.0:\d+", lines[1])
    assert net.fetch(net.neighbour, f"http://{HOST}:8001/") == "bb"
    assert "0.0.0.0:8001->80/tcp" in net.proa.ok("ps", "--format", "{{.Ports}}", "-f", "name=bb")


def test_exposed_ports_are_published_with_capital_p(net):
    net.serve("aa", "-P", "--expose", "80")
    (line,) = net.proa.ok("port", "aa").splitlines()
    port = line.rpartition(":")[2]
    assert net.fetch(net.host, f"http://127.0.0.1:{port}/") == "aa"


def test_a_port_in_use_is_said_before_anything_starts(net):
    code = (
        "import socket\ns = socket.create_server(('', 8080))\n"
        "print('ready', flush=True)\ns.accept()"
    )
    with program(net.host, code):
        refused = net.proa("run", "--name", "aa", "-p", "8080:80", "busybox", "echo", "started")
    assert refused.code == 125
    assert "0.0.0.0:8080/tcp is in use on the host" in refused.stderr
    assert "started" not in refused.stdout
    net.proa.ok("rm", "aa")
    foreign = net.proa("run", "--rm", "-p", "203.0.113.1:8080:80", "busybox", "true")
    assert "203.0.113.1 is not an address of this host" in foreign.stderr


def test_a_stopped_containers_port_is_free_at_once(net):
    for _ in range(3):
        net.serve("aa", "-p", "8080:80")
        net.proa.ok("rm", "-f", "aa")
    net.serve("aa", "-p", "8080:80")
    net.proa.ok("stop", "-t", "0", "aa")
    assert net.proa.ok("port", "aa") == ""
    net.proa.ok("start", "aa")
    assert net.fetch(net.neighbour, f"http://{HOST}:8080/") == "aa"


def test_published_ports_obey_the_hosts_firewall(net):
    net.serve("aa", "-p", "8080:80")
    policy = (
        "table inet host {{\n chain f {{\n type filter hook forward priority 0; policy drop;\n"
        " {}\n }}\n}}\n"
    )
    try:
        net.host("nft", "-f", "-", stdin=policy.format(""))
        assert net.fetch(net.neighbour, f"http://{HOST}:8080/", 1) == ""
        net.host("nft", "delete", "table", "inet", "host")
        allowed = "ct state established accept; tcp dport 80 accept"
        net.host("nft", "-f", "-", stdin=policy.format(allowed))
        assert net.fetch(net.neighbour, f"http://{HOST}:8080/") == "aa"
    finally:
        net.host("nft", "delete", "table", "inet", "host")


def test_networks_are_apart(net):
    net.proa.ok("network", "create", "one")
    net.proa.ok("network", "create", "two")
    net.serve("aa", "--network", "one")
    net.serve("bb", "--network", "two")
    assert net.fetch_inside("bb", f"http://{net.address('aa', 'one')}/") == ""
    net.serve("cc", "--network", "one", "--network", "two")
    assert net.fetch_inside("cc", f"http://{net.address('aa', 'one')}/") == "aa"
    assert net.fetch_inside("cc", f"http://{net.address('bb', 'two')}/") == "bb"


def test_ports_are_held_only_where_the_container_can_be_reached(net):
    """Who connects to the others is refused, instead of waiting for nobody."""
    net.proa.ok("network", "create", "--internal", "cell")
    net.proa.ok("network", "create", "--ipv6", "--ipv4=false", "six")
    net.serve("aa", "--network", "cell", "-p", "8080:80")
    assert net.proa.ok("port", "aa") == ""
    net.serve("bb", "--network", "six", "-p", "8081:80")
    assert net.proa.ok("port", "bb") == "80/tcp -> [::]:8081"
    for port in (8080, 8081):
        url = f"http://127.0.0.1:{port}/"
        code = net.host("curl", "-s", "-m", "3", "-w", "%{exitcode}", url, check=False)
        assert code == "7"  # could not connect
    net.proa.ok("network", "connect", "bridge", "aa")
    assert net.fetch(net.neighbour, f"http://{HOST}:8080/") == "aa"
    assert net.fetch(net.neighbour, f"http://[{HOST6}]:8081/") == "bb"


def test_an_internal_network_stays_inside(net):
    net.proa.ok("network", "create", "--internal", "cell")
    net.serve("aa", "--network", "cell")
    net.serve("bb", "--network", "cell")
    assert net.fetch_inside("bb", "http://aa/") == "aa"
    with program(net.neighbour, ECHO_ADDRESS, NEIGHBOUR, "7"):
        # Not even with a route that the container's root has added.
        net.serve("cc", "--network", "cell", "--cap-add", "NET_ADMIN")
        net.proa.ok("exec", "cc", "ip", "route", "add", "default", "via", _gateway(net, "cell"))
        done = net.proa("exec", "cc", "timeout", "2", "nc", "-w", "1", NEIGHBOUR, "7")
    assert done.stdout == ""


def test_connect_and_disconnect_live(net):
    net.proa.ok("network", "create", "one")
    net.proa.ok("network", "create", "two")
    net.serve("aa", "--network", "one", "-p", "8080:80")
    net.serve("bb", "--network", "two")
    assert net.fetch_inside("bb", "http://aa/") == ""
    net.proa.ok("network", "connect", "--alias", "uno", "two", "aa")
    assert net.fetch_inside("bb", "http://aa/") == "aa"
    assert net.fetch_inside("bb", "http://uno/") == "aa"
    assert "eth1" in net.proa.ok("exec", "aa", "ip", "addr")
    twice = net.proa("network", "connect", "two", "aa")
    assert "is on network two already" in twice.stderr
    net.proa.ok("network", "disconnect", "two", "aa")
    assert net.fetch_inside("bb", "http://aa/") == ""
    assert "eth1" not in net.proa.ok("exec", "aa", "ip", "addr")
    networks = json.loads(net.proa.ok("inspect", "aa"))[0]["NetworkSettings"]["Networks"]
    assert list(networks) == ["one"]
    for words, found in (("network=two", "bb"), ("publish=80", "aa"), ("expose=81", "")):
        assert net.proa.ok("ps", "--format", "{{.Names}}", "--filter", words) == found
    net.proa.ok("network", "create", "--ipv6", "six")
    await_true(lambda: _asleep(net), "the supervisors' sleep", 10)
    net.proa.ok("network", "connect", "six", "aa")
    for address in ("127.0.0.1", "[::1]", f"[{HOST6}]"):
        assert net.fetch(net.host, f"http://{address}:8080/") == "aa"


def test_the_default_route_moves_when_its_network_goes(net):
    net.proa.ok("network", "create", "one")
    net.serve("aa", "--network", "one", "--network", "bridge")
    assert _gateway(net, "one") in net.proa.ok("exec", "aa", "ip", "route", "show", "default")
    net.proa.ok("network", "disconnect", "one", "aa")
    assert _gateway(net, "bridge") in net.proa.ok("exec", "aa", "ip", "route", "show", "default")


def test_a_network_in_use_is_not_removed(net):
    net.proa.ok("network", "create", "web")
    net.serve("aa", "--network", "web")
    refused = net.proa("network", "rm", "web")
    assert refused.code == 1
    assert "has running containers: aa" in refused.stderr
    net.proa.ok("rm", "-f", "aa")
    assert net.proa.ok("network", "rm", "web") == "web"
    assert "no such network: web" in net.proa("network", "inspect", "web").stderr


def test_ipv6(net):
    net.proa.ok("network", "create", "--ipv6", "--subnet", "fd00:77::/64", "web")
    net.serve("aa", "--network", "web", "-p", "8080:80")
    net.serve("bb", "--network", "web")
    six = net.proa.ok(
        "inspect", "-f", '{{(index .NetworkSettings.Networks "web").GlobalIPv6Address}}', "aa"
    )
    assert six.startswith("fd00:77::")
    assert net.fetch_inside("bb", f"http://[{six}]/") == "aa"
    assert net.fetch(net.neighbour, f"http://[{HOST6}]:8080/") == "aa"
    assert net.fetch(net.neighbour, f"http://{HOST}:8080/") == "aa"
    assert net.fetch(net.host, "http://[::1]:8080/") == "aa"
    assert net.fetch(net.host, f"http://[{HOST6}]:8080/") == "aa"
    with program(net.neighbour, ECHO_ADDRESS, NEIGHBOUR6, "7"):
        assert net.proa.ok("exec", "bb", "nc", "-w", "2", NEIGHBOUR6, "7") == HOST6


def test_a_port_on_the_ipv6_loopback_is_the_hosts_alone(net):
    net.proa.ok("network", "create", "--ipv6", "web")
    net.serve("aa", "--network", "web", "-p", "[::1]:8080:80")
    assert net.proa.ok("port", "aa") == "80/tcp -> [::1]:8080"
    assert net.fetch(net.host, "http://[::1]:8080/") == "aa"
    assert net.fetch(net.host, f"http://[{HOST6}]:8080/", 1) == ""
    assert net.fetch(net.neighbour, f"http://[{HOST6}]:8080/", 1) == ""
    # The host's own services on loopback are reached as before.
    with program(net.host, ECHO_ADDRESS, "::1", "9"):
        assert net.host("curl", "-s", "--http0.9", "telnet://[::1]:9", stdin="\n").strip() == "::1"


MEASURE = """
import socket, sys, threading
listener = socket.create_server(("", int(sys.argv[1])))
print("ready", flush=True)
def serve(peer):
    total = 0
    while data := peer.recv(1 << 16): total += len(data)
    peer.sendall(bytes(total)); peer.close()
while True:
    peer, _ = listener.accept()
    threading.Thread(target=serve, args=(peer,), daemon=True).start()
"""

EXCHANGE = """
import socket, sys, threading
def exchange(size, results):
    peer = socket.create_connection(("::1", int(sys.argv[1])), timeout=10)
    peer.sendall(bytes(size)); peer.shutdown(socket.SHUT_WR)
    total = 0
    while data := peer.recv(1 << 16): total += len(data)
    results.append(total == size)
results = []
sizes = [0, 1, 10_000_000, *(1000 * n for n in range(20))]
threads = [threading.Thread(target=exchange, args=(size, results)) for size in sizes]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(results), all(results))
"""


def test_what_goes_through_the_ipv6_loopback_arrives_whole(net):
    """Much, little and nothing at once, each side ending when it has said all; then calm again."""
    net.serve("aa", "-p", "8080:7")
    refused = net.host(
        "curl", "-s", "-m", "5", "-w", "%{exitcode}", "http://[::1]:8080/", check=False
    )
    assert refused.strip() in ("52", "56")
    with net.inside("aa") as inside, program(inside, MEASURE, "7"):
        for _ in range(2):
            assert net.host(sys.executable, "-c", EXCHANGE, "8080").strip() == "23 True"
            await_true(lambda: _asleep(net), "the supervisor's sleep", 15)


def test_another_containers_network(net):
    net.serve("aa", "-p", "8080:80")
    own = net.proa.ok("exec", "aa", "ip", "addr", "show", "eth0")
    assert (
        net.proa.ok(
            "run", "--rm", "--network", "container:aa", "busybox", "ip", "addr", "show", "eth0"
        )
        == own
    )
    assert (
        net.proa.ok(
            "run",
            "--rm",
            "--network",
            "container:aa",
            "busybox",
            "wget",
            "-qO-",
            "http://127.0.0.1/",
        )
        == "aa"
    )
    shared = ("run", "--rm", "--network", "container:aa")
    assert net.proa.ok(*shared, "busybox", "hostname") == net.proa.ok("exec", "aa", "hostname")
    for words in (("--hostname", "x"), ("--dns", "192.0.2.9"), ("--add-host", "db:192.0.2.9")):
        assert "with the network mode container" in net.proa(*shared, *words, "busybox").stderr
    refused = net.proa("run", "--rm", "--network", "container:aa", "-p", "80:80", "busybox", "true")
    assert "cannot publish ports with the network mode container" in refused.stderr


def test_the_hosts_network(net):
    done = net.proa("run", "--rm", "--network", "host", "-p", "80:80", "busybox", "ip", "addr")
    assert HOST in done.stdout
    assert "published ports are discarded when using host network mode" in done.stderr
    refused = net.proa("run", "--rm", "--network", "host", "--rate-in", "1mbit", "busybox", "true")
    assert "cannot limit bandwidth with the network mode host" in refused.stderr


def test_macvlan(net):
    net.proa.ok(
        "network", "create", "-d", "macvlan", "--subnet", "192.0.2.0/24", "--gateway", HOST,
        "-o", "parent=lan0", "lan",
    )  # fmt: skip
    for words in (("--egress", "none"), ("--rate-in", "1mbit")):
        refused = net.proa("run", "--rm", "--network", "lan", *words, "busybox", "true")
        assert "network lan is a macvlan network" in refused.stderr
    net.serve("aa", "--network", "lan", "--ip", "192.0.2.77")
    assert net.proa("update", "--egress", "none", "aa").code == 1
    assert net.fetch(net.neighbour, "http://192.0.2.77/") == "aa"
    net.proa.ok("rm", "-f", "aa")
    await_true(lambda: net.fetch(net.neighbour, "http://192.0.2.77/", 0.2) == "", "the leaving")


def test_bandwidth_is_what_was_asked_for(net):
    rate = 4_000_000
    sink = (
        "import socket, time\n"
        f"listener = socket.create_server(('{NEIGHBOUR}', 7))\n"
        "print('ready', flush=True)\n"
        "while True:\n"
        "    peer, _ = listener.accept()\n"
        "    first = peer.recv(1)\n"
        "    if first == b'd':\n"
        "        begin = time.monotonic()\n"
        "        while time.monotonic() < begin + 3: peer.sendall(bytes(1 << 14))\n"
        "        peer.close()\n"
        "        continue\n"
        "    begin, total, mark = time.monotonic(), 0, None\n"
        "    while data := peer.recv(1 << 16):\n"
        "        total += len(data)\n"
        "        now = time.monotonic()\n"
        "        if mark is None and now > begin + 0.5: mark = now, total\n"
        "    if mark: print(int((total - mark[1]) / (time.monotonic() - mark[0])), flush=True)\n"
    )
    with program(net.neighbour, sink) as process:
        net.proa.ok(
            "run", "--rm", "--rate-out", "32mbit", "busybox", "sh", "-c",
            f"timeout 3 dd if=/dev/zero bs=64k 2>/dev/null | timeout 4 nc {NEIGHBOUR} 7 || true",
        )  # fmt: skip
        measured = int(process.stdout.readline())
    assert abs(measured - rate) <= 0.1 * rate
    with program(net.neighbour, sink):
        out = net.proa.ok(
            "run", "--rm", "--rate-in", "32mbit", "busybox", "sh", "-c",
            f"echo d | nc {NEIGHBOUR} 7 | wc -c",
        )  # fmt: skip
    assert abs(int(out) / 3 - rate) <= 0.1 * rate
    assert not [name for name in net.links() if name.startswith("proa") and "-" not in name]


def test_egress_by_address(net):
    with (
        program(net.neighbour, ECHO_ADDRESS, NEIGHBOUR, "7"),
        program(net.host, ECHO_ADDRESS, HOST, "8"),
    ):
        net.serve("bb")
        for policy, reaches in (
            ("none", False),
            (f"allow={NEIGHBOUR}", True),
            ("allow=10.0.0.0/8", False),
        ):
            net.proa.ok("run", "-d", "--name", "aa", "--egress", policy, "busybox", "sleep", "60")
            done = net.proa("exec", "aa", "timeout", "2", "nc", "-w", "1", NEIGHBOUR, "7")
            assert (done.stdout.strip() == HOST) is reaches, policy
            own = net.proa("exec", "aa", "timeout", "2", "nc", "-w", "1", HOST, "8")
            assert own.stdout == "", policy
            assert net.fetch_inside("aa", f"http://{net.address('bb')}/") == "bb"
            net.proa.ok("rm", "-f", "aa")


def test_a_killed_supervisor_leaves_nothing(net):
    net.serve("aa", "-p", "8080:80", "--rate-out", "10mbit", "--egress", "none")
    (supervisor,) = engines.supervisors(net.proa)
    os.kill(supervisor, signal.SIGKILL)
    await_true(
        lambda: "Exited (137)" in net.proa.ok("ps", "-a", "--format", "{{.Status}}"), "recovery"
    )
    await_true(
        lambda: not [name for name in net.links() if name.startswith(("veth", "proa0", "proa1"))],
        "the veth's end",
    )
    rules = net.host("nft", "list", "ruleset")
    assert "8080" not in rules
    assert "jump egress" not in rules
    assert net.proa.ok("port", "aa") == ""
    net.proa.ok("start", "aa")
    assert net.fetch(net.host, "http://127.0.0.1:8080/") == "aa"


def test_a_restarted_container_keeps_its_address(net):
    net.serve("aa", "-p", "8080:80")
    before = net.address("aa")
    net.proa.ok("restart", "-t", "0", "aa")
    assert net.address("aa") == before
    assert net.fetch(net.neighbour, f"http://{HOST}:8080/") == "aa"


def test_sleeping_supervisors_serve_their_networks(net):
    net.proa.ok("network", "create", "web")
    net.serve("aa", "--network", "web", "-p", "8080:80")
    net.serve("bb", "--network", "web", "--egress", "none")
    for _ in range(2):
        await_true(lambda: _asleep(net), "the supervisors' sleep", 10)
        assert net.fetch(net.neighbour, f"http://{HOST}:8080/") == "aa"
        with net.inside("bb") as inside:
            # From outside the container nobody asks the supervisor but the question itself.
            assert net.address("aa", "web") in inside(sys.executable, "-c", RESOLVE, "aa")
        await_true(lambda: _asleep(net), "the supervisors' sleep", 10)
        net.host("nft", "flush", "ruleset")
        await_true(lambda: net.fetch(net.neighbour, f"http://{HOST}:8080/", 0.5) == "aa", "rules")
    await_true(lambda: _asleep(net), "the supervisors' sleep", 10)
    net.proa.ok("network", "connect", "bridge", "aa")
    assert "eth1" in net.proa.ok("exec", "aa", "ip", "addr")
    net.proa.ok("stop", "-t", "0", "aa")
    net.serve("cc", "-p", "8080:80")
    assert net.fetch(net.neighbour, f"http://{HOST}:8080/") == "cc"


RESOLVE = """
import dnslib, sys
raw = dnslib.DNSRecord.question(sys.argv[1]).send("127.0.0.11", 53, timeout=5)
print(dnslib.DNSRecord.parse(raw).a.rdata)
"""


def _asleep(net):
    found = engines.supervisors(net.proa)
    return bool(found) and private_kb(found) < 100 * len(found)


def _gateway(net, network):
    return json.loads(net.proa.ok("network", "inspect", network))[0]["IPAM"]["Config"][0]["Gateway"]


def _logs(net, name):
    done = net.proa("logs", name)
    return done.stdout + done.stderr


def test_rules_come_back_after_a_flush(net):
    net.serve("aa", "-p", "8080:80")
    net.serve("bb", "--egress", "none")
    tables = net.host("nft", "list", "tables")
    assert "bridge proa" in tables
    begin = time.monotonic()
    net.host("nft", "flush", "ruleset")
    await_true(lambda: net.fetch(net.neighbour, f"http://{HOST}:8080/", 0.5) == "aa", "restoration")
    assert time.monotonic() - begin < 5
    assert sorted(net.host("nft", "list", "tables").split()) == sorted(tables.split())
    # One table alone is missed as well.
    (name,) = re.findall(r"table bridge (\S+)", tables)
    net.host("nft", "delete", "table", "bridge", name)
    await_true(lambda: f"bridge {name}" in net.host("nft", "list", "tables"), "restoration")


def test_ports_come_and_go_while_the_container_runs(net):
    net.serve("aa")
    net.proa.ok("update", "--publish-add", "8080:80", "--publish-add", "127.0.0.1:8081:80", "aa")
    assert net.proa.ok("port", "aa").splitlines() == [
        "80/tcp -> 0.0.0.0:8080", "80/tcp -> 127.0.0.1:8081",
    ]  # fmt: skip
    assert net.fetch(net.neighbour, f"http://{HOST}:8080/") == "aa"
    assert net.fetch(net.host, "http://[::1]:8080/") == "aa"
    assert net.fetch(net.host, "http://127.0.0.1:8081/") == "aa"
    net.serve("bb", "-p", "8082:80")
    taken = net.proa("update", "--publish-rm", "8080:80", "--publish-add", "8082:80", "aa")
    assert taken.code == 1
    assert "8082/tcp is in use" in taken.stderr
    # Nothing of a change that failed has happened.
    assert net.fetch(net.neighbour, f"http://{HOST}:8080/") == "aa"
    net.proa.ok("update", "--publish-rm", "8080:80", "aa")
    assert net.proa.ok("port", "aa") == "80/tcp -> 127.0.0.1:8081"
    assert net.fetch(net.neighbour, f"http://{HOST}:8080/", 1) == ""
    net.serve("cc", "-p", "8080:80")
    assert net.fetch(net.neighbour, f"http://{HOST}:8080/") == "cc"
    net.proa.ok("update", "--publish-rm", "80", "aa")
    assert net.proa.ok("port", "aa") == ""
    assert net.fetch(net.host, "http://127.0.0.1:8081/", 1) == ""
    absent = net.proa("update", "--publish-rm", "80", "aa")
    assert "port 80/tcp is not published like that" in absent.stderr


def test_ports_of_a_sleeping_or_stopped_container_change(net):
    net.serve("aa", "-p", "8080:80", "-p", "8082:80", "-p", "8082:80/udp")
    await_true(lambda: _asleep(net), "the supervisor's sleep", 10)
    net.proa.ok("update", "--publish-add", "8081:80", "aa")
    for port in (8080, 8081):
        assert net.fetch(net.neighbour, f"http://{HOST}:{port}/") == "aa"
    # What slept for the supervisor holds nothing that was given back, what is held is held.
    net.proa.ok("update", "--publish-rm", "8082:80", "--publish-rm", "8082:80/udp", "aa")
    net.serve("cc", "-p", "8082:80", "-p", "8082:80/udp")
    assert net.fetch(net.neighbour, f"http://{HOST}:8082/") == "cc"
    for ports in ("8080:80", "8082:80/udp"):
        assert "is in use" in net.proa("run", "--rm", "-p", ports, "busybox", "true").stderr
    net.proa.ok("rm", "-f", "cc")
    net.proa.ok("stop", "-t", "0", "aa")
    net.proa.ok("update", "--publish-rm", "8080:80", "aa")
    net.proa.ok("start", "aa")
    assert net.proa.ok("port", "aa") == "80/tcp -> 0.0.0.0:8081"
    refused = net.proa("run", "-d", "--name", "bb", "--network", "none", "busybox", "sleep", "60")
    assert refused.code == 0
    refused = net.proa("update", "--publish-add", "9000:80", "bb")
    assert "cannot be changed with the network mode none" in refused.stderr


def test_egress_and_rates_change_while_the_container_runs(net):
    net.serve("aa")
    with program(net.neighbour, ECHO_ADDRESS, NEIGHBOUR, "7"):

        def reach() -> str:
            done = net.proa("exec", "aa", "timeout", "2", "nc", "-w", "1", NEIGHBOUR, "7")
            return str(done.stdout.strip())

        assert reach() == HOST
        net.proa.ok("update", "--egress", "none", "aa")
        assert reach() == ""
        net.proa.ok("update", "--egress", f"allow={NEIGHBOUR}", "aa")
        assert reach() == HOST
        net.proa.ok("update", "--egress", "none", "--rate-in", "8mbit", "--rate-out", "8mbit", "aa")
        assert reach() == ""
        net.proa.ok("update", "--egress", "any", "aa")
        assert reach() == HOST
    (link,) = [name for name in net.links() if name.startswith("veth")]
    assert "tbf" in net.host("tc", "qdisc", "show", "dev", link)
    net.proa.ok("update", "--rate-in", "0", "--rate-out", "0", "aa")
    assert "tbf" not in net.host("tc", "qdisc", "show")
    assert "ifb" not in net.host("ip", "-d", "link")


def test_a_new_policy_ends_connections_and_so_does_a_port_that_goes(net):
    net.serve("aa", "-p", "8080:7")
    talk = (
        "import socket, sys\n"
        "peer = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n"
        "peer.settimeout(1)\n"
        "print('ready', flush=True)\n"
        "for line in sys.stdin:\n"
        "    try:\n"
        "        peer.sendall(b'x'); print(peer.recv(1).decode(), flush=True)\n"
        "    except OSError: print('ended', flush=True)\n"
    )

    def say(process) -> str:
        process.stdin.write(b"\n")
        process.stdin.flush()
        return str(process.stdout.readline().decode().strip())

    echo = (
        "import socket\n"
        "listener = socket.create_server(('', 7))\n"
        "print('ready', flush=True)\n"
        "peer, _ = listener.accept()\n"
        "while data := peer.recv(10): peer.sendall(data)\n"
    )
    with (
        net.inside("aa") as inside,
        program(inside, echo),
        program(net.neighbour, talk, HOST, "8080", stdin=True) as process,
    ):
        assert say(process) == "x"
        net.proa.ok("update", "--publish-rm", "8080:7", "aa")
        assert say(process) == "ended"
    with (
        program(net.neighbour, echo),
        net.inside("aa") as inside,
        program(inside, talk, NEIGHBOUR, "7", stdin=True) as process,
    ):
        assert say(process) == "x"
        net.proa.ok("update", "--egress", "none", "aa")
        assert say(process) == "ended"


ACCEPT_ONE = """
import socket, sys
listener = socket.create_server((sys.argv[1], 7))
print("ready", flush=True)
peer, _ = listener.accept()
sys.stdin.read()
"""

SEND_ONE = """
import socket, sys
peer = socket.create_connection((sys.argv[1], 7))
peer.sendall(b"x")
print("ready", flush=True)
sys.stdin.read()
"""


def test_an_ended_containers_interface_goes_although_its_namespace_stays(net):
    """A connection of the dead waits minutes for a silent peer; a sharing container for longer."""
    net.serve("aa")
    net.serve("bb")
    net.proa.ok("run", "-d", "--network", "container:bb", "busybox", "sleep", "60")
    before = net.links()
    with (
        program(net.neighbour, ACCEPT_ONE, NEIGHBOUR, stdin=True),
        net.inside("aa") as inside,
        program(inside, SEND_ONE, NEIGHBOUR, stdin=True),
    ):
        drop = "chain f { type filter hook forward priority 0; policy drop; }"
        net.host("nft", "-f", "-", stdin=f"table inet host {{\n{drop}\n}}\n")
    try:
        net.proa.ok("rm", "-f", "aa", "bb")
        await_true(lambda: len(net.links()) == len(before) - 2, "the interfaces' end", 2)
    finally:
        net.host("nft", "delete", "table", "inet", "host")


def test_networks_that_are_open_to_each_other(net):
    for name in ("one", "two"):
        net.proa.ok("network", "create", "-o", "isolate=false", name)
    net.proa.ok("network", "create", "three")
    net.serve("aa", "--network", "one")
    net.serve("bb", "--network", "two")
    net.serve("cc", "--network", "three")
    assert net.fetch_inside("bb", f"http://{net.address('aa', 'one')}/") == "aa"
    assert net.fetch_inside("cc", f"http://{net.address('aa', 'one')}/") == ""
    assert net.fetch_inside("bb", f"http://{net.address('cc', 'three')}/") == ""
    wrong = net.proa("network", "create", "-o", "isolate=maybe", "four")
    assert "invalid value 'maybe' of the option isolate" in wrong.stderr


def test_dockers_driver_options(net):
    bridge = "com.docker.network.bridge"
    net.proa.ok(
        "network", "create", "-o", f"{bridge}.name=br-mine", "-o", f"{bridge}.enable_icc=false",
        "-o", f"{bridge}.host_binding_ipv4=127.0.0.1", "web",
    )  # fmt: skip
    net.serve("aa", "--network", "web", "-p", "8080:80")
    net.serve("bb", "--network", "web")
    assert "br-mine" in net.links()
    assert net.proa.ok("port", "aa") == "80/tcp -> 127.0.0.1:8080"
    assert net.fetch(net.host, "http://127.0.0.1:8080/") == "aa"
    assert net.fetch(net.neighbour, f"http://{HOST}:8080/", 1) == ""
    # Neither directly nor over the host do they reach each other.
    address = net.address("aa", "web")
    assert net.fetch_inside("bb", f"http://{address}/") == ""
    with net.inside("bb") as inside:
        inside("ip", "route", "add", f"{address}/32", "via", _gateway(net, "web"))
    assert net.fetch_inside("bb", f"http://{address}/") == ""
    for option, reason in (
        (f"{bridge}.name=lan0", "there is an interface lan0"),
        (f"{bridge}.name=br-mine", "interface br-mine"),
        (f"{bridge}.name=a/b", "invalid bridge name"),
        (f"{bridge}.gateway_mode_ipv4=isolated", "is not known"),
        (f"{bridge}.host_binding_ipv4=x", "invalid host binding"),
    ):
        assert reason in net.proa("network", "create", "-o", option, "other").stderr


def test_a_table_of_an_earlier_version_is_made_anew(net):
    net.serve("aa", "-p", "8080:80")
    (table,) = re.findall(r"inet (proa\S*)", net.host("nft", "list", "tables"))
    net.host("nft", "delete", "table", "inet", table)
    net.host("nft", "add", "table", "inet", table)
    net.serve("bb", "-p", "8081:80")
    for port, name in ((8080, "aa"), (8081, "bb")):
        assert net.fetch(net.neighbour, f"http://{HOST}:{port}/") == name
