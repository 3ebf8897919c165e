"""Ryuk, Testcontainers' reaper, in small: its protocol with nothing but what python3-minimal has.

Testcontainers connects to port 8080 and says on every line what is its own (``label=a=b&label=c``);
each line is answered ``ACK``. When the last connection has been gone for
``RYUK_RECONNECTION_TIMEOUT`` (Go's duration, seconds here), everything with such labels is removed
through the Docker socket. The file is copied into an image and runs there.
"""

from __future__ import annotations

import os
import re
import selectors
import socket
import time
from urllib.parse import quote, unquote_plus

SOCKET = "/var/run/docker.sock"
PORT = 8080
DEFAULT_TIMEOUT_S = 10.0


def ask(method: str, target: str) -> bytes:
    """Send one request to the engine, return the body of its answer."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as engine:
        engine.connect(SOCKET)
        head = f"{method} {target} HTTP/1.1\r\nHost: ryuk\r\nConnection: close\r\n\r\n"
        engine.sendall(head.encode())
        answer = b""
        while piece := engine.recv(65536):
            answer += piece
    return answer.partition(b"\r\n\r\n")[2]


def labels_of(line: str) -> tuple[str, ...]:
    """Return the labels of one line of the protocol."""
    pairs = (pair.partition("=") for pair in line.split("&"))
    return tuple(unquote_plus(value) for key, _, value in pairs if key == "label")


def remove_all(labels: tuple[str, ...]) -> None:
    """Remove the containers, networks and volumes that have all these labels."""
    words = ", ".join(
        '"' + label.replace("\\", "\\\\").replace('"', '\\"') + '"' for label in labels
    )
    query = "filters=" + quote('{"label": [' + words + "]}")
    for found in re.findall(
        rb'"Id":\s*"([0-9a-f]{64})"', ask("GET", f"/containers/json?all=1&{query}")
    ):
        ask("DELETE", f"/containers/{found.decode()}?force=1&v=1")
    for found in re.findall(rb'"Id":\s*"([0-9a-f]{64})"', ask("GET", f"/networks?{query}")):
        ask("DELETE", f"/networks/{found.decode()}")
    for found in re.findall(rb'"Name":\s*"([^"]+)"', ask("GET", f"/volumes?{query}")):
        ask("DELETE", f"/volumes/{found.decode()}?force=1")


def timeout_s() -> float:
    """Return how long to wait for a client to come back."""
    found = re.fullmatch(r"([0-9.]+)(ms|s|m)?", os.environ.get("RYUK_RECONNECTION_TIMEOUT", ""))
    if found is None:
        return DEFAULT_TIMEOUT_S
    return float(found[1]) * {"ms": 0.001, "s": 1.0, "m": 60.0, None: 1.0}[found[2]]


def serve() -> None:
    """Listen until the last client has been gone long enough, then remove what it named."""
    listener = socket.create_server(("", PORT))
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    named: set[tuple[str, ...]] = set()
    rests: dict[socket.socket, bytes] = {}
    deadline = time.monotonic() + 60.0
    print("Started!", flush=True)
    while rests or time.monotonic() < deadline:
        for key, _ in selector.select(0.1):
            if key.fileobj is listener:
                client, _ = listener.accept()
                selector.register(client, selectors.EVENT_READ)
                rests[client] = b""
                continue
            client = key.fileobj  # type: ignore[assignment]
            try:
                data = client.recv(4096)
                *lines, rests[client] = (rests[client] + data).split(b"\n")
                for line in lines:
                    named.add(labels_of(line.decode().strip()))
                    client.sendall(b"ACK\n")
            except ConnectionError:  # it ended with our answer unread
                data = b""
            if not data:
                selector.unregister(client)
                client.close()
                del rests[client]
                deadline = time.monotonic() + timeout_s()
    for labels in named:
        if labels:
            remove_all(labels)
    print(f"Removed what had {len(named)} sets of labels", flush=True)


if __name__ == "__main__":
    serve()
