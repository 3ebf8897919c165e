"""An image with what network tests talk with, of Debian's packages: nginx, curl, dig, iperf3.

It has ``/srv/resolve`` too, a program of musl's resolver. Making the image takes half a minute once
on a machine; then it is loaded from an archive (see :mod:`tests.support.images`).
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

from tests.support.engines import Proa, temporary_root
from tests.support.images import BOOTSTRAP_TIMEOUT_S, cached

TOOLS = "tools:latest"

_BASE = "debian:bookworm"
_PACKAGES = "nginx-light,curl,bind9-dnsutils,iperf3"
_RESOLVE = """
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

/* Print the addresses of each name, or that there is none, as getaddrinfo(3) gives them. */
int main(int argc, char **argv)
{
    struct addrinfo wanted = { .ai_socktype = SOCK_STREAM }, *found, *item;
    char text[INET6_ADDRSTRLEN];
    for (int n = 1; n < argc; n++) {
        printf("%s", argv[n]);
        if (getaddrinfo(argv[n], NULL, &wanted, &found) == 0) {
            for (item = found; item; item = item->ai_next) {
                getnameinfo(item->ai_addr, item->ai_addrlen, text, sizeof text, NULL, 0,
                            NI_NUMERICHOST);
                printf(" %s", text);
            }
            freeaddrinfo(found);
        }
        printf("\\n");
    }
    return 0;
}
"""


def ensure_tools(proa: Proa) -> None:
    """Make sure that an engine has the image; fast when it has."""
    if proa("image", "inspect", TOOLS).code:
        proa.ok("load", "-i", archive())


def archive() -> str:
    """Return the path of an archive with the image (needs mmdebstrap, the mirror and musl-gcc)."""
    mark = hashlib.sha256(repr((_BASE, _PACKAGES, _RESOLVE)).encode()).hexdigest()[:12]
    return cached(f"tools-{mark}.tar", _make)


def _make(path: str) -> None:
    with temporary_root() as proa:
        program = compile_resolve(os.path.dirname(proa.root))
        words = ("--quiet", "--variant", "essential", "--include", _PACKAGES, _BASE)
        proa.ok("image", "bootstrap", *words, timeout_s=BOOTSTRAP_TIMEOUT_S)
        container = proa.ok("create", _BASE, "true")
        proa.ok("cp", program, f"{container}:/srv/resolve")
        proa.ok("commit", container, TOOLS)
        proa.ok("rm", container)
        proa.ok("save", "-o", f"{path}.new", TOOLS)
        os.rename(f"{path}.new", path)


def compile_resolve(directory: str) -> str:
    """Compile the program and return its path."""
    source, program = Path(directory, "resolve.c"), os.path.join(directory, "resolve")
    source.write_text(_RESOLVE)
    subprocess.run(["musl-gcc", "-static", "-O1", "-o", program, str(source)], check=True)
    return program
