"""v2 ``memory`` (cgroup-v2.rst, "Memory Interface Files")."""

from __future__ import annotations

from proa.cgroups.node import Node
from proa.cgroups.settings import write_limit
from proa.cgroups.stats import Reading, parse_flat_keyed, parse_number
from proa.errors import Conflict, Invalid
from proa.oci.resources import LinuxMemory

_MAX = "memory.max"
_SWAP_MAX = "memory.swap.max"
EVENTS = "memory.events"


def apply(node: Node, memory: LinuxMemory, *, fresh: bool) -> list[str]:
    """Set what is given; returns warnings.

    v2 limits swap by itself where Docker and OCI give the sum of memory and swap. Docker's rule for
    a sum that is not given holds as in :mod:`proa.cgroups.v1.memory`.
    """
    limit, swap = memory.limit or 0, memory.swap or 0
    if limit > 0 and memory.check_before_update and not fresh:
        _check_usage(node, limit)
    warnings = _set_swap(node, limit, swap, fresh=fresh)
    if limit and not (fresh and limit == -1):
        write_limit(node, _MAX, _text(limit), "--memory")
    if memory.reservation:
        write_limit(node, "memory.low", _text(memory.reservation), "--memory-reservation")
    if memory.disable_oom_killer:
        warnings.append("--oom-kill-disable is ignored: cgroup v2 does not have it")
    if memory.swappiness is not None:
        warnings.append("--memory-swappiness is ignored: cgroup v2 does not have it")
    if memory.kernel or memory.kernel_tcp:
        warnings.append("--kernel-memory is ignored: cgroup v2 does not have it")
    return warnings


def _set_swap(node: Node, limit: int, swap: int, *, fresh: bool) -> list[str]:
    """Set ``memory.swap.max``; to be called while the old memory limit is still in force."""
    if fresh:
        if limit <= 0 or swap == -1:
            return []
        only_swap = (swap or 2 * limit) - limit
    elif swap == -1 or (limit == -1 and not swap):
        only_swap = -1
    elif swap:
        only_swap = swap - limit
    elif limit:
        _check_sum(node, limit)
        return []
    else:
        return []
    if not node.exists(_SWAP_MAX):
        return ["--memory-swap is ignored: this kernel does not account swap"]
    write_limit(node, _SWAP_MAX, _text(only_swap), "--memory-swap")
    return []


def _check_sum(node: Node, limit: int) -> None:
    """Refuse what Docker refuses: memory alone above the old sum of memory and swap."""
    old = parse_number(node.read(_MAX))
    old_swap = parse_number(node.find(_SWAP_MAX) or "max")
    if -1 not in (old, old_swap) and limit > old + old_swap:
        raise Invalid(
            f"--memory {limit} is more than the limit of memory and swap, {old + old_swap}",
            "give --memory-swap as well",
        )


def _check_usage(node: Node, limit: int) -> None:
    usage = parse_number(node.read("memory.current"))
    if usage > limit:
        raise Conflict(f"--memory {limit} is below what the container already uses, {usage}")


def _text(size_bytes: int) -> str:
    return "max" if size_bytes == -1 else str(size_bytes)


def collect(node: Node, reading: Reading) -> None:
    """Add this controller's figures to a reading."""
    detail = parse_flat_keyed(node.read("memory.stat"))
    reading["memory_usage_bytes"] = parse_number(node.read("memory.current"))
    peak = node.find("memory.peak")  # since Linux 5.19
    if peak is not None:
        reading["memory_peak_bytes"] = parse_number(peak)
    reading["memory_limit_bytes"] = parse_number(node.read(_MAX))
    reading["memory_inactive_file_bytes"] = detail.get("inactive_file", -1)
    reading["memory_detail"] = detail
    reading["oom_kills"] = oom_kills(node)


def oom_kills(node: Node) -> int:
    """Processes the OOM killer ended in this group and below; -1 without the controller."""
    text = node.find(EVENTS)
    return -1 if text is None else parse_flat_keyed(text).get("oom_kill", 0)
