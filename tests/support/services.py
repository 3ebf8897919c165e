"""Images of services for Testcontainers and Compose, of Debian's packages: PostgreSQL, redis, Ryuk.

They have the names and the behaviour that clients know from the Hub: PostgreSQL takes its user,
password and database from the environment and keeps its data in a volume. All three are one base
image with a small layer each. Making them takes half a minute once on a machine; then they are
loaded from an archive (see :mod:`tests.support.images`).
"""

from __future__ import annotations

import hashlib
import os
import re
import tarfile
from pathlib import Path

from tests.support import reaper
from tests.support.engines import Proa, temporary_root
from tests.support.images import BOOTSTRAP_TIMEOUT_S, cached

POSTGRES = "postgres:15"
REDIS = "redis:7"
RYUK = "testcontainers/ryuk:0.8.1"

_BASE = "debian:bookworm-slim"
_SLIM = "services:base"
_PACKAGES = "postgresql-15,redis-server,python3-minimal"
_LEFT_OUT = re.compile(r"libLLVM|llvmjit|/bitcode/|/systemd/|/perl/5|share/(zoneinfo|i18n)/")
"""Half of the bytes, and nothing that the services do here needs them."""
_POSTGRES_START = """#!/bin/sh
# As the official image: initialize an empty data directory from POSTGRES_*, then run the server.
set -e
if [ "$1" != postgres ]; then exec "$@"; fi
if [ "$(id -u)" = 0 ]; then
    mkdir -p "$PGDATA" /run/postgresql
    chown postgres:postgres "$PGDATA" /run/postgresql
    exec setpriv --reuid postgres --regid postgres --init-groups "$0" "$@"
fi
if ! [ -s "$PGDATA/PG_VERSION" ]; then
    user=${POSTGRES_USER:-postgres}
    printf '%s\\n' "$POSTGRES_PASSWORD" >/tmp/password
    initdb --username "$user" --pwfile /tmp/password --auth-local trust \\
        --auth-host scram-sha-256 --no-sync --no-locale --encoding UTF8 >/dev/null
    rm /tmp/password
    echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
    if [ "${POSTGRES_DB:-$user}" != postgres ]; then
        echo "CREATE DATABASE \\"${POSTGRES_DB:-$user}\\"" |
            postgres --single -j postgres >/dev/null
    fi
fi
exec "$@" -c listen_addresses='*' -c fsync=off -c jit=off
"""
_CHANGES = {
    POSTGRES: (
        "ENV PATH=/usr/lib/postgresql/15/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "ENV PGDATA=/var/lib/postgresql/data",
        "VOLUME /var/lib/postgresql/data",
        "EXPOSE 5432",
        "STOPSIGNAL SIGINT",
        'ENTRYPOINT ["/start"]',
        'CMD ["postgres"]',
    ),
    REDIS: (
        "VOLUME /data",
        "WORKDIR /data",
        "EXPOSE 6379",
        'CMD ["redis-server", "--protected-mode", "no"]',
    ),
    RYUK: ("EXPOSE 8080", 'CMD ["python3", "/start"]'),
}


def ensure_services(proa: Proa) -> None:
    """Make sure that an engine has all three images; fast when it has."""
    if proa("image", "inspect", POSTGRES, REDIS, RYUK).code:
        proa.ok("load", "-i", archive())


def archive() -> str:
    """Return the path of an archive with the three images (needs mmdebstrap and the mirror)."""
    starts = {POSTGRES: _POSTGRES_START, RYUK: Path(reaper.__file__).read_text()}
    recipe = repr((_BASE, _PACKAGES, _LEFT_OUT.pattern, starts, _CHANGES))
    mark = hashlib.sha256(recipe.encode()).hexdigest()[:12]
    return cached(f"services-{mark}.tar", lambda path: _make(path, starts))


def _make(path: str, starts: dict[str, str]) -> None:
    with temporary_root() as proa:
        words = ("--quiet", "--include", _PACKAGES, _BASE)
        proa.ok("image", "bootstrap", *words, timeout_s=BOOTSTRAP_TIMEOUT_S)
        _slim(proa)
        for name, changes in _CHANGES.items():
            container = proa.ok("create", _SLIM, "true")
            if name in starts:
                start = os.path.join(os.path.dirname(proa.root), "start")
                Path(start).write_text(starts[name])
                os.chmod(start, 0o755)
                proa.ok("cp", start, f"{container}:/start")
            flags = [word for change in changes for word in ("-c", change)]
            proa.ok("commit", *flags, container, name)
            proa.ok("rm", container)
        proa.ok("save", "-o", f"{path}.new", *_CHANGES)
        os.rename(f"{path}.new", path)


def _slim(proa: Proa) -> None:
    """Make the base image of what bootstrapping made, without what is left out."""
    whole = os.path.join(os.path.dirname(proa.root), "whole.tar")
    container = proa.ok("create", _BASE)
    proa.ok("export", "-o", whole, container)
    proa.ok("rm", container)
    with tarfile.open(whole) as tar, tarfile.open(f"{whole}.slim", "w") as slim:
        for member in tar:
            if not _LEFT_OUT.search(member.name):
                slim.addfile(member, tar.extractfile(member) if member.isreg() else None)
    proa.ok("import", f"{whole}.slim", _SLIM)
