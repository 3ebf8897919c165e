"""Removing names and images, by Docker's rules (moby, daemon/images/image_delete.go)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from proa.errors import Conflict
from proa.image.model import Removal
from proa.image.naming import familiar, given_name, is_named, put_nameless, resolve
from proa.image.references import ImageRecord, References
from proa.oci.reference import parse_reference


def remove_names(
    references: References,
    name: str,
    *,
    force: bool,
    in_use: Mapping[str, str],
    keep_image: bool = False,
) -> list[Removal]:
    """Remove the name, or all names of an image that was given by its id.

    An image that loses its last name and is in use gets a nameless record first, so that its
    container goes on to find it.

    Args:
        references: the table of names.
        name: the user's words.
        force: also when a container uses the image or several repositories name it.
        in_use: image id -> a container that uses it.
        keep_image: treat the image as in use, although no container is known to.

    Returns:
        What was untagged, then the image if it is gone.

    Raises:
        NotFound, Invalid: as ``resolve``.
        Conflict: see ``force``.
    """
    record = resolve(references, name)
    own = [one for one in references.list() if one.image_id == record.image_id]
    leaving = _with_lonely_digests(record, own) if given_name(record, name) else own
    if not force:
        _check(record, own, leaving, in_use)
    kept = keep_image or record.image_id in in_use
    if kept and len(leaving) == len(own):
        put_nameless(references, record)
    removed = []
    for one in leaving:
        if is_named(one):
            removed.append(Removal(action="untagged", target=familiar(one.reference)))
        elif kept:
            continue
        references.remove(one.reference)
    if kept or len(leaving) < len(own):
        return removed
    return [*removed, Removal(action="deleted", target=record.image_id)]


def _with_lonely_digests(record: ImageRecord, own: Sequence[ImageRecord]) -> list[ImageRecord]:
    """Return a name, and when it is the image's last tag of a repository, the digests there too.

    A pull writes both names; nobody who removes the tag means to keep the other.
    """
    repository = parse_reference(record.reference).repository
    same = [
        one
        for one in own
        if one.reference != record.reference
        and is_named(one)
        and parse_reference(one.reference).repository == repository
    ]
    if "@" in record.reference or any("@" not in one.reference for one in same):
        return [record]
    return [record, *same]


def prune_names(
    references: References,
    *,
    every: bool,
    in_use: Mapping[str, str],
    chosen: Callable[[ImageRecord], bool] = lambda _record: True,
    held: Collection[str] = (),
) -> list[Removal]:
    """Remove images without a tag, or all, as far as no container uses them.

    Args:
        references: the table of names.
        every: those with a tag, too.
        in_use: image id -> a container that uses it.
        chosen: asked with the newest record of each image that would go.
        held: manifests that a name's index keeps: nameless images of these are other platforms of
            that name and go with it.
    """
    by_image: dict[str, list[ImageRecord]] = {}
    for record in references.list():
        by_image.setdefault(record.image_id, []).append(record)
    removed = []
    for image_id, records in by_image.items():
        named = [record for record in records if is_named(record)]
        tagged = any("@" not in record.reference for record in named)
        if image_id in in_use or (tagged and not every) or not chosen(records[-1]):
            continue
        if not named and not every and records[-1].target in held:
            continue
        for record in records:
            references.remove(record.reference)
        removed += [Removal(action="untagged", target=familiar(one.reference)) for one in named]
        removed.append(Removal(action="deleted", target=image_id))
    return removed


def remove_platforms(
    references: References, gone: Collection[str], in_use: Mapping[str, str]
) -> list[Removal]:
    """Remove nameless images that were kept as other platforms of a name that is gone.

    Args:
        references: the table of names.
        gone: manifests that no index of a name lists any more.
        in_use: image id -> a container that uses it.
    """
    records = references.list()
    named = {record.image_id for record in records if is_named(record)}
    removed = []
    for record in records:
        if record.target in gone and record.image_id not in {*named, *in_use}:
            references.remove(record.reference)
            removed.append(Removal(action="deleted", target=record.image_id))
    return removed


def _check(
    record: ImageRecord,
    own: Sequence[ImageRecord],
    leaving: Sequence[ImageRecord],
    in_use: Mapping[str, str],
) -> None:
    short = record.image_id.partition(":")[2][:12]
    repositories = {parse_reference(one.reference).repository for one in leaving if is_named(one)}
    if len(leaving) > 1 and len(repositories) > 1:
        raise Conflict(
            f"image {short} is named in {len(repositories)} repositories",
            "remove the names one by one, or use --force",
        )
    container = in_use.get(record.image_id)
    if container and len(leaving) == len(own):
        raise Conflict(
            f"image {familiar(record.reference)} is used by container {container}",
            f"remove it first: proa rm {container}; --force only takes the name away",
        )
