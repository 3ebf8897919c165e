"""How an image came to be, as its maker tells it."""

from __future__ import annotations

from proa.image.catalog import parse_time_ns
from proa.image.model import HistoryEntry, Image


def history(image: Image) -> list[HistoryEntry]:
    """Return the steps, newest first, each with the size of its layer.

    Makers may leave out steps or all of the history; layers that no step accounts for get a step
    without words.
    """
    sizes = [layer.size_bytes for layer in image.layers]
    steps = []
    for step in image.config.history:
        size = 0 if step.empty_layer or not sizes else sizes.pop(0)
        steps.append(
            HistoryEntry(
                id="",
                created_at_ns=parse_time_ns(step.created),
                created_by=step.created_by,
                comment=step.comment,
                size_bytes=size,
            )
        )
    steps += [
        HistoryEntry(id="", created_at_ns=0, created_by="", comment="", size_bytes=size)
        for size in sizes
    ]
    steps.reverse()
    if steps:
        newest = steps[0]
        steps[0] = HistoryEntry(
            id=image.id,
            created_at_ns=newest.created_at_ns,
            created_by=newest.created_by,
            comment=newest.comment,
            size_bytes=newest.size_bytes,
            references=image.references,
        )
    return steps
