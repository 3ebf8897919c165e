"""Programs that use Testcontainers, as its users write them; run as ``python -m`` by tests.

Testcontainers reads its settings when it is imported and has one reaper for a process, so each
program is a process of its own: ``services`` uses PostgreSQL and redis and leaves in order,
``dies`` starts a container with a network and is killed before it can remove them.
"""

from __future__ import annotations

import os
import sys
import warnings

warnings.simplefilter("ignore")


def services() -> None:
    """Use two services, a network with an alias, and files that are copied in and out."""
    from testcontainers.community.postgres import PostgresContainer
    from testcontainers.community.redis import RedisContainer
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.network import Network

    from tests.support.services import POSTGRES, REDIS

    with PostgresContainer(POSTGRES, driver=None) as postgres:
        assert f":{postgres.get_exposed_port(5432)}/test" in postgres.get_connection_url()
        query = "psql -U test -d test -At -c 'create table t(x int); insert into t values (42)'"
        assert postgres.exec(["sh", "-c", query]).exit_code == 0
        found = postgres.exec(["psql", "-U", "test", "-d", "test", "-At", "-c", "select x from t"])
        assert found.output == b"42\n", found
    with RedisContainer(REDIS) as redis:
        client = redis.get_client()
        client.set("key", "value")
        assert client.get("key") == b"value"
        client.close()
    with Network() as network:
        server = (
            DockerContainer("busybox", command="nc -lp 80 -e echo served")
            .with_network(network)
            .with_network_aliases("server")
        )
        asking = DockerContainer("busybox", command="sleep 600").with_network(network)
        asking.with_copy_into_container(b"copied\n", "/tmp/in")
        with server, asking:
            assert asking.exec(["cat", "/tmp/in"]).output == b"copied\n"
            assert asking.exec(["nc", "-w", "5", "server", "80"]).output == b"served\n"
    print("done")


def dies() -> None:
    """Start what a reaper has to clear away, then end without a word."""
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.network import Network

    network = Network().create()
    container = DockerContainer("busybox", command="sleep 600").with_network(network).start()
    print(container.get_wrapped_container().id, network.id, flush=True)
    os._exit(1)


if __name__ == "__main__":
    {"services": services, "dies": dies}[sys.argv[1]]()
