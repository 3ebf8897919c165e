"""Counters of the server, as text for Prometheus (exposition format 0.0.4)."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable

_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """What the server did since it started; safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._started_s = time.time()
        self._requests: Counter[tuple[str, int]] = Counter()
        self._buckets = [0] * len(_BUCKETS_S)
        self._elapsed_s = 0.0
        self._hijacks = 0
        self._gauges: dict[str, Callable[[], int]] = {}

    def count_request(self, method: str, status: int, elapsed_s: float) -> None:
        """Note one answered request."""
        with self._lock:
            self._requests[method, status] += 1
            self._elapsed_s += elapsed_s
            for index, bound in enumerate(_BUCKETS_S):
                if elapsed_s <= bound:
                    self._buckets[index] += 1

    def show(self, name: str, value: Callable[[], int]) -> None:
        """Show a value that is asked for when somebody looks."""
        self._gauges[name] = value

    def count_hijack(self) -> None:
        """Note one connection that became a stream."""
        with self._lock:
            self._hijacks += 1

    def render(self, containers: dict[str, int]) -> str:
        """Return all values.

        Args:
            containers: how many are in which state.
        """
        with self._lock:
            lines = [
                "# TYPE proa_server_requests_total counter",
                *(
                    f'proa_server_requests_total{{method="{method}",status="{status}"}} {count}'
                    for (method, status), count in sorted(self._requests.items())
                ),
                "# TYPE proa_server_request_seconds histogram",
                *(
                    f'proa_server_request_seconds_bucket{{le="{bound}"}} {count}'
                    for bound, count in zip(_BUCKETS_S, self._buckets, strict=True)
                ),
                f'proa_server_request_seconds_bucket{{le="+Inf"}} {self._requests.total()}',
                f"proa_server_request_seconds_sum {self._elapsed_s:.6f}",
                f"proa_server_request_seconds_count {self._requests.total()}",
                "# TYPE proa_server_hijacked_total counter",
                f"proa_server_hijacked_total {self._hijacks}",
            ]
        values = {
            **{name: value() for name, value in self._gauges.items()},
            "proa_server_threads": threading.active_count(),
            "proa_server_open_fds": len(os.listdir("/proc/self/fd")),
            "proa_server_start_time_seconds": round(self._started_s, 3),
        }
        for name, value in values.items():
            lines += [f"# TYPE {name} gauge", f"{name} {value}"]
        lines.append("# TYPE proa_containers gauge")
        lines += [f'proa_containers{{state="{k}"}} {v}' for k, v in sorted(containers.items())]
        return "\n".join(lines) + "\n"
