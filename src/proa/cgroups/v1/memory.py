"""v1 ``memory``: hard limit, swap, reservation, OOM (cgroup-v1/memory.rst)."""

from __future__ import annotations

import os

from proa.cgroups.node import Node
from proa.cgroups.settings import write_limit
from proa.cgroups.stats import Reading, parse_flat_keyed, parse_number
from proa.errors import Invalid
from proa.oci.resources import LinuxMemory

_LIMIT = "memory.limit_in_bytes"
_SWAP = "memory.memsw.limit_in_bytes"
_MAX_BYTES = (1 << 63) - 1


def apply(node: Node, memory: LinuxMemory, *, fresh: bool) -> list[str]:
    """Set the limits that are given.

    Docker's rule for swap: nothing said means as much swap as memory (``memsw`` is twice the limit)
    when the group is made, and no change afterwards.

    Args:
        node: the group.
        memory: checked by :func:`proa.cgroups.limits.check_memory`.
        fresh: the group has just been made: everything is still unlimited.

    Returns:
        Warnings.
    """
    warnings = _set_limits(node, memory.limit or 0, memory.swap or 0, fresh=fresh)
    if memory.reservation:
        write_limit(node, "memory.soft_limit_in_bytes", memory.reservation, "--memory-reservation")
    if memory.swappiness is not None:
        write_limit(node, "memory.swappiness", memory.swappiness, "--memory-swappiness")
    if memory.disable_oom_killer or (memory.disable_oom_killer is False and not fresh):
        value = int(memory.disable_oom_killer)
        write_limit(node, "memory.oom_control", value, "--oom-kill-disable")
    if memory.kernel or memory.kernel_tcp:
        warnings.append("--kernel-memory is ignored: kernels since 5.16 do not have it")
    return warnings


def _set_limits(node: Node, limit: int, swap: int, *, fresh: bool) -> list[str]:
    if fresh:
        if limit == -1:
            limit = 0
        elif limit and not swap:
            swap = min(2 * limit, _MAX_BYTES)
        if swap == -1:
            swap = 0
    elif limit and not swap:
        swap = _swap_for_update(node, limit)
    if not swap:
        if limit:
            write_limit(node, _LIMIT, limit, "--memory")
        return []
    has_swap = node.exists(_SWAP)
    # The kernel keeps limit <= memsw at every moment: raise memsw first, lower it last.
    raising = not fresh and has_swap and (swap == -1 or swap >= _current_swap(node))
    if raising:
        write_limit(node, _SWAP, swap, "--memory-swap")
    if limit:
        write_limit(node, _LIMIT, limit, "--memory")
    if has_swap and not raising:
        write_limit(node, _SWAP, swap, "--memory-swap")
    if not has_swap:
        return ["--memory-swap is ignored: this kernel does not account swap (swapaccount=1)"]
    return []


def _swap_for_update(node: Node, limit: int) -> int:
    """What an update of the memory limit alone means for memory plus swap; 0: leave it."""
    if limit == -1:
        return -1
    if node.exists(_SWAP) and limit > _current_swap(node):
        raise Invalid(
            f"--memory {limit} is more than the limit of memory and swap, {_current_swap(node)}",
            "give --memory-swap as well",
        )
    return 0


def _current_swap(node: Node) -> int:
    value = parse_number(node.read(_SWAP))
    return _MAX_BYTES if value == -1 else value


def collect(node: Node, reading: Reading) -> None:
    """Add this controller's figures to a reading."""
    detail = parse_flat_keyed(node.read("memory.stat"))
    reading["memory_usage_bytes"] = parse_number(node.read("memory.usage_in_bytes"))
    reading["memory_peak_bytes"] = parse_number(node.read("memory.max_usage_in_bytes"))
    reading["memory_limit_bytes"] = parse_number(node.read(_LIMIT))
    reading["memory_inactive_file_bytes"] = detail.get("total_inactive_file", -1)
    reading["memory_detail"] = detail
    reading["oom_kills"] = oom_kills(node)


def oom_kills(node: Node) -> int:
    """Processes the OOM killer ended in this group and below; v1 counts each group by itself."""
    text = node.find("memory.oom_control")
    if text is None:
        return -1
    count = parse_flat_keyed(text).get("oom_kill", 0)
    return count + sum(max(oom_kills(node.child(name)), 0) for name in node.children())


def open_oom_event(node: Node) -> int:
    """An eventfd that counts out-of-memory conditions of this group.

    The registration lives as long as the eventfd; the group's own descriptor may be closed.
    """
    event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    try:
        control = node.open("memory.oom_control")
        try:
            node.write("cgroup.event_control", f"{event} {control}")
        finally:
            os.close(control)
    except OSError:
        os.close(event)
        raise
    return event
