"""Real servers and clients of Debian in containers: nginx, PostgreSQL, redis, curl, dig, iperf3."""

from __future__ import annotations

import json
import re
import threading

import pytest

from tests.support import servers, services
from tests.support.lan import HOST, await_true, lan

pytestmark = pytest.mark.requires(
    "root", "userns", "overlay", "ip", "nft", "nsenter", "curl", "mmdebstrap", "musl-gcc"
)

TOOLS = servers.TOOLS
MANY = 100
CONTAINERS = 200
RATE_BITS = 80_000_000


@pytest.fixture(scope="module")
def shared():
    """One pair of hosts for the module, with the images in the engine."""
    with lan() as made:
        servers.ensure_tools(made.proa)
        services.ensure_services(made.proa)
        yield made


@pytest.fixture
def net(shared):
    """The hosts with a network ``web``; containers and networks are removed after."""
    shared.proa.ok("network", "create", "--ipv6", "web")
    yield shared
    shared.proa.remove_all()
    shared.proa.ok("network", "prune", "-f")
    shared.proa.ok("volume", "prune", "-a", "-f")
    await_true(lambda: shared.links() == ["lo", "lan0"], "the removal of all interfaces")


def start(net, name, image, *words):
    """Start a container on ``web``; words before ``--`` are options, the others its command."""
    options, command = (words[: words.index("--")], words[words.index("--") + 1 :])
    net.proa.ok("run", "-d", "--name", name, "--network", "web", *options, image, *command)


def client(net, *command):
    """Run a command in a container of the tools' image on ``web`` and return its output."""
    return net.proa.ok("run", "--rm", "--network", "web", TOOLS, *command)


def test_a_web_server_a_database_and_a_cache_find_each_other(net):
    start(
        net, "db", services.POSTGRES, "-e", "POSTGRES_PASSWORD=secret", "-e", "PGPASSWORD=secret",
        "-p", "5432:5432", "--",
    )  # fmt: skip
    start(net, "cache", services.REDIS, "--network-alias", "keys", "--")
    page = (
        "printf 'events {} http { server { listen 80; listen [::]:80;"
        ' location / { default_type text/plain; return 200 "$remote_addr $host"; } } }\''
        " >/etc/nginx/nginx.conf; exec nginx -g 'daemon off;'"
    )
    start(net, "www", TOOLS, "-p", "8080:80", "--", "sh", "-c", page)

    def ready(*words: str):
        return lambda: net.proa("exec", *words).code == 0

    await_true(ready("db", "pg_isready", "-h", "db", "-q"), "PostgreSQL's start", 20)
    query = ("psql", "-h", "db", "-U", "postgres", "-Atc")
    net.proa.ok("exec", "db", *query, "CREATE TABLE t (n int); INSERT INTO t VALUES (42)")
    asked = ("run", "--rm", "--network", "web", "-e", "PGPASSWORD=secret")
    other = net.proa.ok(*asked, "--entrypoint", "", services.POSTGRES, *query, "SELECT n FROM t")
    assert other == "42"
    await_true(ready("cache", "redis-cli", "-h", "keys", "ping"), "redis' start")
    command = ("run", "--rm", "--network", "web", services.REDIS, "redis-cli", "-h", "cache")
    assert net.proa.ok(*command, "set", "a", "b") == "OK"
    assert net.proa.ok(*command, "get", "a") == "b"
    for family in ("-4", "-6"):
        own, host = client(net, "curl", "-s", family, "http://www/").split()
        assert (host, ":" in own) == ("www", family == "-6")
    assert net.fetch(net.neighbour, f"http://{HOST}:8080/").split()[1] == HOST
    assert net.fetch(net.host, "http://localhost:8080/").split()[1] == "localhost"


def test_dig_over_udp_and_tcp(net):
    start(net, "one", TOOLS, "--network-alias", "uno", "--", "sleep", "100")
    four = net.address("one", "web")
    for words in ((), ("+tcp",), ("+noedns",), ("+cookie", "+dnssec")):
        assert client(net, "dig", "+short", *words, "one", "A") == four
    (six,) = client(net, "dig", "+short", "uno", "AAAA").split()
    assert six.startswith("fd")
    assert client(net, "dig", "+short", "-x", four) == "one.web."
    assert client(net, "dig", "+short", "-x", six) == "one.web."
    shown = client(net, "dig", "one", "A")
    assert "status: NOERROR" in shown
    assert re.search(r"^one\.\s+0\s+IN\s+A\s", shown, re.MULTILINE)
    assert "SERVER: 127.0.0.11#53(127.0.0.11) (UDP)" in shown


def test_a_hundred_names_by_glibc_and_musl(net):
    aliases = [word for n in range(MANY) for word in ("--network-alias", f"name-{n}")]
    start(net, "one", TOOLS, *aliases, "--", "sleep", "100")
    own = {net.address("one", "web")}
    names = [f"name-{n}" for n in range(MANY)]
    musl = [line.split() for line in client(net, "/srv/resolve", *names).splitlines()]
    assert [words[0] for words in musl] == names
    six = set(musl[0][1:]) - own
    assert len(six) == 1
    assert all(set(words[1:]) == own | six for words in musl)
    glibc = client(net, "getent", "ahosts", *names).splitlines()
    found = {line.split()[0] for line in glibc}
    assert found == own | six
    assert len([line for line in glibc if "STREAM" in line]) == 2 * MANY
    assert client(net, "/srv/resolve", "one", "nobody-of-that-name").splitlines()[1] == (
        "nobody-of-that-name"
    )


def test_two_hundred_containers_on_one_network_and_of_one_name(net):
    """More addresses than a datagram holds: the resolver says so, both libraries ask again."""
    threads = [
        threading.Thread(
            target=net.proa.ok,
            args=("run", "-d", "--network", "web", "--network-alias", "all", "busybox", "sleep",
                  "600"),
        )
        for _ in range(CONTAINERS)
    ]  # fmt: skip
    for first in range(0, CONTAINERS, 8):
        for thread in threads[first : first + 8]:
            thread.start()
        for thread in threads[first : first + 8]:
            thread.join()
    document = json.loads(net.proa.ok("network", "inspect", "web"))[0]
    fours = {item["IPv4Address"].partition("/")[0] for item in document["Containers"].values()}
    assert len(fours) == CONTAINERS
    assert "tc" in client(net, "dig", "+ignore", "all", "A").split(";; flags:")[1].split(";")[0]
    assert set(client(net, "dig", "+short", "all", "A").split()) == fours
    glibc = client(net, "getent", "ahostsv4", "all").splitlines()
    assert {line.split()[0] for line in glibc} == fours
    musl = client(net, "/srv/resolve", "all").split()[1:]
    # Before 1.2.4 musl does not ask over TCP, and it keeps at most 48 addresses (MAXADDRS).
    assert len([text for text in musl if ":" not in text]) >= 20


@pytest.mark.parametrize("way", ["rate-in", "rate-out"])
def test_iperf_measures_the_rate(net, way):
    start(net, "server", TOOLS, "--", "iperf3", "-s")
    listening = f":{5201:04X} "
    await_true(
        lambda: listening in net.proa.ok("exec", "server", "cat", "/proc/net/tcp6"), "its start"
    )
    reverse = ("-R",) if way == "rate-in" else ()
    document = json.loads(
        net.proa.ok(
            "run", "--rm", "--network", "web", f"--{way}", f"{RATE_BITS // 1_000_000}mbit", TOOLS,
            "iperf3", "-c", "server", "-t", "3", "-O", "1", "-J", *reverse,
        )
    )  # fmt: skip
    measured = document["end"]["sum_received"]["bits_per_second"]
    assert abs(measured - RATE_BITS) <= 0.1 * RATE_BITS
