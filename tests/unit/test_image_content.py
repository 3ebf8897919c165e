"""The content store: staging, verifying, committing, resuming."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from proa.errors import Corrupt
from proa.image.content.store import ContentStore
from proa.image.content.verify import verified
from proa.oci.descriptor import Descriptor
from proa.oci.digest import digest_of, parse_digest

DATA = b"content of a blob" * 1000


@pytest.fixture
def content(tmp_path: Path) -> ContentStore:
    return ContentStore(str(tmp_path / "content"))


def descriptor(data: bytes = DATA) -> Descriptor:
    return Descriptor(media_type="x", digest=digest_of(data), size=len(data))


def staged(content: ContentStore) -> list[str]:
    return os.listdir(f"{content.path}/ingest")


def write(content: ContentStore, data: bytes) -> None:
    """Ingest ``data`` as the blob of ``DATA``."""
    with content.ingest(descriptor()) as ingest:
        ingest.write(data)
        ingest.commit()


class TestStore:
    def test_put_is_idempotent_and_an_oci_layout(self, content: ContentStore) -> None:
        digest = content.put(DATA)
        inode = os.stat(content.blob_path(digest)).st_ino
        assert content.put(DATA) == digest == digest_of(DATA)
        assert os.stat(content.blob_path(digest)).st_ino == inode
        assert content.read(digest) == DATA
        assert content.find(digest) == len(DATA)
        assert list(content.digests()) == [digest]
        assert staged(content) == []
        assert stat.S_IMODE(os.stat(content.blob_path(digest)).st_mode) == 0o600
        assert {"oci-layout", "index.json", "blobs"} <= set(os.listdir(content.path))

    def test_sha512(self, content: ContentStore) -> None:
        import hashlib

        digest = parse_digest(f"sha512:{hashlib.sha512(DATA).hexdigest()}")
        expected = Descriptor(media_type="x", digest=digest, size=len(DATA))
        with content.ingest(expected) as ingest:
            ingest.write(DATA)
            assert ingest.commit() == expected
        assert content.read(digest) == DATA

    def test_damage_is_noticed(self, content: ContentStore) -> None:
        digest = content.put(DATA)
        with open(content.blob_path(digest), "r+b") as file:
            file.write(b"X")
        with pytest.raises(Corrupt, match="was promised"):
            content.read(digest)
        os.unlink(content.blob_path(digest))
        with pytest.raises(Corrupt, match="is missing"):
            content.read(digest)
        assert content.find(digest) is None
        assert content.remove(digest) == 0


class TestIngest:
    def test_abort_leaves_nothing(self, content: ContentStore) -> None:
        with content.ingest() as ingest:
            ingest.write(DATA)
        assert staged(content) == []
        assert list(content.digests()) == []

    @pytest.mark.parametrize("data", [DATA[:-1], DATA + b"x", b"x" * len(DATA)])
    def test_other_content_is_refused(self, content: ContentStore, data: bytes) -> None:
        with pytest.raises(Corrupt):
            write(content, data)
        assert staged(content) == []
        assert list(content.digests()) == []

    def test_resume(self, content: ContentStore) -> None:
        with content.ingest(descriptor()) as ingest:
            ingest.write(DATA[:5000])
            ingest.keep()
        assert len(staged(content)) == 1
        with content.ingest(descriptor()) as ingest:
            assert ingest.offset == 5000
            ingest.write(DATA[5000:])
            ingest.commit()
        assert content.read(digest_of(DATA)) == DATA
        assert staged(content) == []

    def test_a_resumed_start_is_not_trusted(self, content: ContentStore) -> None:
        with content.ingest(descriptor()) as ingest:
            ingest.write(b"wrong")
            ingest.keep()
        with pytest.raises(Corrupt):
            write(content, DATA[5:])
        assert staged(content) == []

    def test_two_writers_of_one_digest(self, content: ContentStore) -> None:
        with content.ingest(descriptor()) as one, content.ingest(descriptor()) as two:
            assert len(staged(content)) == 2
            one.write(DATA)
            two.write(DATA)
            one.commit()
            two.commit()
        assert content.read(digest_of(DATA)) == DATA
        assert staged(content) == []

    def test_more_than_announced_is_refused_at_once(self, content: ContentStore) -> None:
        with content.ingest(descriptor(b"abc")) as ingest, pytest.raises(Corrupt, match="3"):
            ingest.write(b"abcd")


class TestVerified:
    def test_passes_and_checks(self) -> None:
        assert b"".join(verified(iter([DATA]), descriptor(), "x")) == DATA
        for data in (DATA[:-1], DATA[:-1] + b"!", DATA + b"x"):
            with pytest.raises(Corrupt):
                list(verified(iter([data]), descriptor(), "x"))
