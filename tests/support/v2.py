"""The suites that meet the kernel, in a guest with pure cgroup v2 (``make test-v2``).

    python -m tests.support.v2 [--all] [PYTEST-ARGUMENT...]

Under emulation everything takes ten times as long, so CI runs the core: that every controller of
version 2 holds its limit, that groups are made, frozen, killed and removed, that containers start
with all their namespaces, that bridges and port mappings work on an older kernel.
"""

from __future__ import annotations

import sys

from tests.support.guest import run

SUITES = (
    "tests/conformance/cgroups",
    "tests/conformance/isolation",
    "tests/conformance/test_netlink.py",
    "tests/integration/test_cgroups_limits.py",
    "tests/integration/test_runtime_process.py",
    "tests/integration/test_networks.py",
)
CORE = (
    "tests/conformance/cgroups/test_cgroup_life.py",
    "tests/integration/test_cgroups_limits.py::test_memory_512m_container_is_killed_at_600_and_reported",
    "tests/integration/test_cgroups_limits.py::test_shares_divide_one_cpu",
    "tests/integration/test_runtime_process.py",
)
CORE_WORDS = "not v1 and not vm"
"""``-k`` for both: version 1 is not there, and no machine in the machine."""

ALL_TIMEOUT_S = 2400.0
CORE_TIMEOUT_S = 420.0


def main() -> int:
    """Run the suites; return pytest's exit code."""
    arguments = sys.argv[1:]
    everything = "--all" in arguments
    more = [argument for argument in arguments if argument != "--all"]
    command = [
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout", "200",
        "-k", CORE_WORDS, *(SUITES if everything else CORE), *more,
    ]  # fmt: skip
    return run(command, ALL_TIMEOUT_S if everything else CORE_TIMEOUT_S)


if __name__ == "__main__":
    sys.exit(main())
