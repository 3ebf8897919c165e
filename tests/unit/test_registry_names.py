"""The two names that a pull writes, and what becomes of them."""

from __future__ import annotations

from proa.image.naming import put_name, resolve
from proa.image.removal import prune_names, remove_names
from proa.oci.digest import Digest
from tests.support.registry_images import MemoryReferences

OLD, NEW = Digest("sha256:" + "a" * 64), Digest("sha256:" + "b" * 64)


def _pulled(references: MemoryReferences, digest: Digest, *tags: str) -> None:
    put_name(references, f"x.lan/y@{digest}", digest, digest)
    for tag in tags:
        put_name(references, f"x.lan/y:{tag}", digest, digest)


def _remove(references: MemoryReferences, name: str) -> list[str]:
    removed = remove_names(references, name, force=False, in_use={})
    return [f"{one.action} {one.target}" for one in removed]


def test_the_last_tag_takes_the_digest_with_it() -> None:
    references = MemoryReferences()
    _pulled(references, OLD, "1", "2")
    assert _remove(references, "x.lan/y:1") == ["untagged x.lan/y:1"]
    assert f"x.lan/y@{OLD}" in references.names()
    assert _remove(references, "x.lan/y:2") == [
        "untagged x.lan/y:2",
        f"untagged x.lan/y@{OLD}",
        f"deleted {OLD}",
    ]
    assert references.names() == set()


def test_a_tag_beside_a_digest_says_nothing() -> None:
    references = MemoryReferences()
    _pulled(references, OLD, "1")
    assert resolve(references, f"x.lan/y:whatever@{OLD}").image_id == OLD


def test_names_of_other_repositories_stay() -> None:
    references = MemoryReferences()
    _pulled(references, OLD, "1")
    put_name(references, "other.lan/y:1", OLD, OLD)
    assert _remove(references, "x.lan/y:1") == ["untagged x.lan/y:1", f"untagged x.lan/y@{OLD}"]
    assert references.names() == {"other.lan/y:1"}


def test_a_digest_can_be_removed_by_itself() -> None:
    references = MemoryReferences()
    _pulled(references, OLD, "1")
    assert _remove(references, f"x.lan/y@{OLD}") == [f"untagged x.lan/y@{OLD}"]
    assert references.names() == {"x.lan/y:1"}


def test_an_image_that_lost_its_tag_to_a_newer_one_is_pruned() -> None:
    references = MemoryReferences()
    _pulled(references, OLD, "1")
    _pulled(references, NEW, "1")
    assert f"x.lan/y@{OLD}" in references.names()
    removed = prune_names(references, every=False, in_use={})
    assert [one.target for one in removed if one.action == "deleted"] == [OLD]
    assert references.names() == {"x.lan/y:1", f"x.lan/y@{NEW}"}


def test_an_image_that_is_used_keeps_its_digest() -> None:
    references = MemoryReferences()
    _pulled(references, OLD, "1")
    _pulled(references, NEW, "1")
    assert prune_names(references, every=False, in_use={OLD: "web"}) == []
