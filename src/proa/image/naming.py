"""From a user's words to a record: references, digests, image ids and their first digits."""

from __future__ import annotations

import time
from collections.abc import Sequence

from proa.errors import Invalid, NotFound
from proa.image.references import ImageRecord, References
from proa.oci.digest import Digest
from proa.oci.reference import Reference, parse_reference

NAMELESS = "<none>@"
_SHOWN_NAMES = 5
_BOOTSTRAPPED = ("debian", "ubuntu", "busybox")


def resolve(references: References, name: str) -> ImageRecord:
    """Return the record that ``name`` means.

    A name wins over the digits of an id, as with Docker: an image called ``cafe`` is found by its
    name even when an id starts so.

    Raises:
        NotFound: there is none.
        Invalid: malformed, or digits that fit several images.
    """
    digits = name.removeprefix("sha256:").removeprefix("sha512:")
    is_digest = digits != name
    if not is_digest and not (len(name) == 64 and _is_hex(name)):
        try:
            found = references.find(record_name(parse_reference(name)))
        except Invalid:
            if not _is_hex(digits):
                raise
            found = None
        if found is not None:
            return found
    records = references.list()
    if _is_hex(digits):
        found = _by_digits(records, digits, name)
        if found is not None:
            return found
    raise not_found(name, records)


def _by_digits(records: Sequence[ImageRecord], digits: str, name: str) -> ImageRecord | None:
    """Find the newest record of the one image whose id or manifest digest starts so."""
    matching = [
        record
        for record in records
        if record.image_id.partition(":")[2].startswith(digits)
        or record.target.partition(":")[2].startswith(digits)
    ]
    ids = sorted({record.image_id for record in matching})
    if len(ids) > 1:
        raise Invalid(
            f"{name!r} fits {len(ids)} images",
            "give more digits: " + ", ".join(image_id[7:23] for image_id in ids[:_SHOWN_NAMES]),
        )
    return matching[-1] if matching else None


def not_found(name: str, records: Sequence[ImageRecord]) -> NotFound:
    """Say that there is no such image, what there is, and how to get it."""
    names = sorted({familiar(record.reference) for record in records if is_named(record)})
    there = ", ".join(names[:_SHOWN_NAMES]) + (" ..." if len(names) > _SHOWN_NAMES else "")
    have = f"there is {there}" if names else "there are no images yet"
    how = f"pull it: proa pull {name}"
    if name.partition(":")[0] in _BOOTSTRAPPED:
        how += f", or make it of packages: proa image bootstrap {name}"
    return NotFound(f"no such image: {name}", f"{have}; {how}")


def familiar(reference: str) -> str:
    """Return a normalized name as people write it; a nameless image's stays as it is."""
    return reference if reference.startswith(NAMELESS) else parse_reference(reference).familiar


def record_name(reference: Reference) -> str:
    """Return the name under which a reference is kept: a digest says more than a tag beside it."""
    if reference.digest is not None:
        return f"{reference.repository}@{reference.digest}"
    return str(reference)


def is_named(record: ImageRecord) -> bool:
    """Say whether a record has a name that a user gave."""
    return not record.reference.startswith(NAMELESS)


def names_of(
    records: Sequence[ImageRecord], image_id: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the tagged and the digested names of an image."""
    names = [one.reference for one in records if one.image_id == image_id and is_named(one)]
    return (
        tuple(name for name in names if "@" not in name),
        tuple(name for name in names if "@" in name),
    )


def parse_target(text: str) -> Reference:
    """Read a name that is to be given to an image.

    Raises:
        Invalid: malformed, or with a digest, which nobody can choose.
    """
    reference = parse_reference(text)
    if reference.digest is not None:
        raise Invalid(f"{text!r} has a digest", "an image is tagged with a name and a tag only")
    return reference


def put_name(
    references: References, reference: str, target: Digest, image_id: Digest, index: str = ""
) -> None:
    """Make ``reference`` (normalized; empty: none) a name of an image.

    ``index`` is what the name points at if it is an index that ``target`` was chosen from.

    An image that had this name and no other becomes nameless, before it loses the name; a nameless
    image that gets a name is nameless no more.
    """
    if not reference:
        if not any(one.image_id == image_id for one in references.list()):
            references.put(_record(NAMELESS + target, target, image_id))
        return
    before = references.find(reference)
    if before is not None and before.image_id != image_id:
        others = [one for one in references.list() if one.image_id == before.image_id]
        if len(others) == 1:
            put_nameless(references, before)
    references.put(_record(reference, target, image_id, index))
    references.remove(NAMELESS + target)


def put_nameless(references: References, record: ImageRecord) -> None:
    """Keep the image of a record although it is about to lose its last name."""
    references.put(_record(NAMELESS + record.target, record.target, record.image_id))


def given_name(record: ImageRecord, name: str) -> str:
    """Return the record's normalized name if that is what the user's words were.

    Empty when they were digits of an id or digest.
    """
    if not is_named(record) or name.startswith(("sha256:", "sha512:")):
        return ""
    try:
        return record.reference if record.reference == record_name(parse_reference(name)) else ""
    except Invalid:
        return ""


def _record(reference: str, target: str, image_id: str, index: str = "") -> ImageRecord:
    return ImageRecord(
        reference=reference,
        target=target,
        image_id=image_id,
        updated_at_ns=time.time_ns(),
        index=index,
    )


def _is_hex(text: str) -> bool:
    return bool(text) and not text.strip("0123456789abcdef")
