"""When a container that ended is started again (``--restart``).

Docker's rules: the pause doubles from 100 ms to a minute and begins anew after a run of ten
seconds; ``on-failure`` gives up after its count. All on the monotonic clock: a jump of the wall
clock neither starts nor starves anything.
"""

from __future__ import annotations

import time

from proa.engine.config import RestartPolicy

FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 60.0
HEALTHY_RUN_S = 10.0


class RestartClock:
    """Counts the restarts of one container."""

    def __init__(self, policy: RestartPolicy) -> None:
        self.count = 0
        self._policy = policy
        self._delay_s = FIRST_DELAY_S
        self._began_s = time.monotonic()

    def change(self, policy: RestartPolicy) -> None:
        """Follow another policy from now on."""
        self._policy = policy

    def delay_after(self, exit_code: int) -> float | None:
        """Return seconds until the next start, None when there is none."""
        if not self._wants(exit_code):
            return None
        now_s = time.monotonic()
        if now_s - self._began_s >= HEALTHY_RUN_S:
            self._delay_s = FIRST_DELAY_S
        delay_s = self._delay_s
        self._delay_s = min(LONGEST_DELAY_S, 2 * self._delay_s)
        self._began_s = now_s + delay_s
        self.count += 1
        return delay_s

    def _wants(self, exit_code: int) -> bool:
        match self._policy.name:
            case "always" | "unless-stopped":
                return True
            case "on-failure":
                limit = self._policy.maximum_retry_count
                return exit_code != 0 and (limit == 0 or self.count < limit)
            case _:
                return False
