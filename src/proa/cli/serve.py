"""``proa serve``: the Docker Engine API, for the clients that speak it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from proa import log
from proa.cli.invocation import Invocation
from proa.cli.kinds import LIST, STRING
from proa.cli.parser import Command, Flag
from proa.errors import ProaError

if TYPE_CHECKING:
    from proa.engine.facade import Engine
    from proa.server.listening import Listener

HOST = Flag("host", LIST, "Address to listen on: unix:///path or tcp://address:port", short="H")
GROUP = Flag("group", STRING, "Group that may use the unix socket", short="G")
GRACE = Flag("grace", STRING, "Time for requests in work when the server stops", default="10s")
TLS_CA = Flag("tlscacert", STRING, "Authority of the certificates that clients must show")
TLS_CERT = Flag("tlscert", STRING, "Certificate of this server")
TLS_KEY = Flag("tlskey", STRING, "Key of this server's certificate")

COMMAND = Command(
    words="serve",
    usage="[OPTIONS]",
    summary="Serve the Docker Engine API",
    flags=(HOST, GROUP, GRACE, TLS_CA, TLS_CERT, TLS_KEY),
    most=0,
    details=(
        "Without --host the server listens on docker.sock in the engine's volatile directory "
        "(/run/proa/docker.sock for root), or on the sockets that systemd hands over. TCP is only "
        "offered with TLS and a certificate from every client. Containers do not depend on the "
        "server: it may be stopped, killed and started again."
    ),
)


def execute(call: Invocation) -> int:
    """Serve until SIGTERM or SIGINT."""
    from proa.server.app import Server
    from proa.units import parse_duration_s

    grace_s = parse_duration_s(call[GRACE], "grace")
    if not log.is_enabled():
        log.enable(call.io.stderr_fd, steps=False)
    engine = call.engine
    listeners = _listen(call)
    _recover(engine)
    Server(engine, listeners).run(grace_s=grace_s)
    return 0


def _recover(engine: Engine) -> None:
    """Start what a reboot ended; a container that cannot start keeps nobody from being served."""
    try:
        restored = engine.system.recover()
    except ProaError as error:
        log.warning("server.recover", error=str(error))
    else:
        log.info("server.recovered", containers=len(restored.started))


def _listen(call: Invocation) -> list[Listener]:
    from proa.server import listening

    files = listening.TlsFiles(
        authority=_path(call, call[TLS_CA]),
        certificate=_path(call, call[TLS_CERT]),
        key=_path(call, call[TLS_KEY]),
    )
    opened = listening.take_over(call.io.env, files)
    hosts = call[HOST]
    if not hosts and not opened:
        run = str(call.engine.system.info()["RunDirectory"])
        hosts = (f"unix://{os.path.join(run, listening.SOCKET_NAME)}",)
    for host in hosts:
        opened.append(listening.open_listener(host, files, call[GROUP]))
    return opened


def _path(call: Invocation, name: str) -> str:
    return call.io.path(name) if name else ""
