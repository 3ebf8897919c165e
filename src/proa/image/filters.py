"""Docker's filters on images, for listings and for pruning."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

import msgspec

from proa.errors import Invalid
from proa.image.model import Image
from proa.oci.reference import Reference, parse_reference
from proa.units import parse_timestamp

Filters = Mapping[str, Sequence[str]]
Condition = Callable[[Image], bool]

LISTING = ("before", "dangling", "label", "label!", "reference", "since", "until")
PRUNING = ("dangling", "label", "label!", "until")

_BOOLEANS = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}


def choose_images(
    images: Iterable[Image], filters: Filters, get: Callable[[str], Image]
) -> list[Image]:
    """Return the images that pass every filter, in their order.

    With ``reference``, an image keeps only those of its names that fit.

    Args:
        images: with their names.
        filters: ``reference`` (a pattern, any of several), ``dangling``, ``label`` and ``label!``
            (``name[=value]``), ``before`` and ``since`` (an image), ``until`` (a point in time or
            how long ago).
        get: finds the image of ``before`` and ``since``.

    Raises:
        Invalid: an unknown filter or a bad value.
        NotFound: no image of that name.
    """
    patterns = filters.get("reference", ())
    conditions = conditions_of(filters, LISTING, get)
    chosen = []
    for image in images:
        if not all(holds(image) for holds in conditions):
            continue
        if patterns:
            names = tuple(name for name in image.references if _fits_any(name, patterns))
            if not names:
                continue
            image = msgspec.structs.replace(image, references=names)
        chosen.append(image)
    return chosen


def conditions_of(
    filters: Filters, known: Sequence[str], get: Callable[[str], Image]
) -> list[Condition]:
    """Return what an image has to be like; ``reference`` is left to the caller.

    Raises:
        Invalid: a filter that is not among ``known``, or a bad value.
        NotFound: as :func:`choose_images`.
    """
    conditions = []
    for kind, values in filters.items():
        if kind not in known:
            raise Invalid(f"invalid filter '{kind}'", "the filters are " + ", ".join(known))
        if kind != "reference" and values:
            conditions.append(_condition(kind, values, get))
    return conditions


def read_boolean(kind: str, values: Sequence[str]) -> bool:
    """Return what the last value of a filter says.

    Raises:
        Invalid: neither true nor false.
    """
    wanted = _BOOLEANS.get(values[-1].lower())
    if wanted is None:
        raise Invalid(f"invalid filter '{kind}={values[-1]}'", "it is true or false")
    return wanted


def _condition(kind: str, values: Sequence[str], get: Callable[[str], Image]) -> Condition:
    if kind == "dangling":
        wanted = read_boolean(kind, values)
        return lambda image: (not image.references) is wanted
    if kind == "label":
        return lambda image: all(_has_label(image, text) for text in values)
    if kind == "label!":
        return lambda image: not any(_has_label(image, text) for text in values)
    if kind == "until":
        until_ns = min(parse_timestamp(text) for text in values)
        return lambda image: image.created_at_ns < until_ns
    limit_ns = get(values[-1]).created_at_ns
    if kind == "before":
        return lambda image: image.created_at_ns < limit_ns
    return lambda image: image.created_at_ns > limit_ns


def _fits_any(name: str, patterns: Sequence[str]) -> bool:
    reference = parse_reference(name)
    return any(_fits(reference, pattern) for pattern in patterns)


def _fits(reference: Reference, pattern: str) -> bool:
    """Match the name as people write it, with or without the tag; ``*`` stops at a slash."""
    parts = pattern.split("/")
    for name in (reference.familiar, reference.familiar_repository):
        words = name.split("/")
        if len(words) == len(parts) and all(map(fnmatchcase, words, parts)):
            return True
    return False


def _has_label(image: Image, text: str) -> bool:
    name, equals, value = text.partition("=")
    labels = image.config.config.labels
    return name in labels and (not equals or labels[name] == value)
