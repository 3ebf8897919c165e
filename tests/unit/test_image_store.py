"""The image store: names, archives, removal, collection. Everything here runs without root."""

from __future__ import annotations

import gzip
import json
import os
import threading
from pathlib import Path

import pytest

from proa.errors import Conflict, Corrupt, Invalid, NotFound, ProaError, Unavailable, Unsupported
from proa.image.layers.compression import compressor
from proa.image.model import Image
from proa.image.store import ImageStore
from tests.support.images import load_layers, open_store, stacked_archive
from tests.support.layers import LayerBuilder, OciLayout, digest, docker_archive, image_config

BASE = LayerBuilder().directory("bin").file("bin/sh", b"#!", mode=0o755).tar()
TOP = LayerBuilder().directory("etc").file("etc/motd", b"hello").tar()
OTHER = LayerBuilder().file("other").tar()


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return open_store(tmp_path / "root")


@pytest.fixture
def image(store: ImageStore, tmp_path: Path) -> Image:
    return load_layers(store, [BASE, TOP], str(tmp_path / "a.tar"), "app:1")


def leftovers(store: ImageStore) -> list[str]:
    """Return what is on disk besides the bare layout."""
    found = []
    for directory in ("content/blobs/sha256", "content/ingest", "snapshots", "snapshots/staging"):
        path = f"{store.root}/{directory}"
        if os.path.isdir(path):
            found += [f"{directory}/{name}" for name in os.listdir(path)]
    kept = ("snapshots/l", "snapshots/staging")
    return [name for name in found if name not in kept]


def load(store: ImageStore, data: bytes, tmp_path: Path, platform: str = "") -> list[Image]:
    path = tmp_path / "archive"
    path.write_bytes(data)
    return store.load(str(path), platform=platform)


class TestGet:
    def test_image(self, store: ImageStore, image: Image) -> None:
        assert image.id == digest(image_config([BASE, TOP]))
        assert image.references == ("docker.io/library/app:1",)
        assert [layer.diff_id for layer in image.layers] == [digest(BASE), digest(TOP)]
        assert image.size_bytes == 2 + 5
        assert image.created_at_ns == 1_704_164_645_000_000_000
        assert len(image.lowers) == 2
        uppermost, lowest = (os.path.join(store.root, name) for name in image.lowers)
        assert os.path.exists(f"{uppermost}/etc/motd")
        assert os.path.exists(f"{lowest}/bin/sh")
        assert os.stat(store.root).st_mode & 0o777 == 0o700

    def test_by_every_word(self, store: ImageStore, image: Image) -> None:
        bare = image.id.removeprefix("sha256:")
        for word in (
            "app:1",
            "docker.io/library/app:1",
            image.id,
            bare,
            bare[:12],
            f"sha256:{bare[:4]}",
            image.manifest_digest,
        ):
            assert store.get(word) == image
        assert store.get("app:1", names=False).references == ()

    def test_a_fresh_process_sees_it(self, store: ImageStore, image: Image) -> None:
        again = ImageStore(store.root, store.references)
        assert again.get("app:1") == image
        os.unlink(f"{store.root}/images/{image.manifest_digest[7:]}")
        assert ImageStore(store.root, store.references).get("app:1") == image

    def test_not_found_says_what_there_is(self, store: ImageStore, image: Image) -> None:
        for word in ("app", "app:2", "feedbeef", "sha256:" + "0" * 64, "0" * 64):
            with pytest.raises(NotFound, match="no such image") as caught:
                store.get(word)
            assert "app:1" in caught.value.hint
        with pytest.raises(NotFound) as caught:
            store.get("debian:trixie")
        assert "proa image bootstrap debian:trixie" in caught.value.hint

    def test_malformed(self, store: ImageStore) -> None:
        for word in ("", "App", "a b", "x:", "../x"):
            with pytest.raises(Invalid):
                store.get(word)

    def test_ambiguous_digits(self, store: ImageStore, tmp_path: Path) -> None:
        ids: list[str] = []
        for number in range(20):
            tar = LayerBuilder().file(f"f{number}").tar()
            ids.append(load_layers(store, [tar], str(tmp_path / "a"), f"n:{number}").id[7:8])
        # 20 ids and 16 digits: some two begin alike.
        shared = next(digit for digit in ids if ids.count(digit) > 1)
        with pytest.raises(Invalid, match=f"fits {ids.count(shared)} images"):
            store.get(shared)

    def test_ensure_unpacked(self, store: ImageStore, image: Image) -> None:
        store.ensure_unpacked(image)
        store.snapshots.remove(image.layers[1].chain_id)
        store.ensure_unpacked(image)
        assert os.path.exists(f"{store.root}/{image.lowers[0]}/etc/motd")
        assert store.exists([image.id, "sha256:x"]) == {image.id}


class TestNames:
    def test_tag_and_list(self, store: ImageStore, image: Image, tmp_path: Path) -> None:
        assert store.tag("app:1", "r.io/x/app") == "r.io/x/app:latest"
        other = load_layers(store, [OTHER], str(tmp_path / "b"), "other")
        listed = {one.id: one.references for one in store.list()}
        assert listed == {
            image.id: ("docker.io/library/app:1", "r.io/x/app:latest"),
            other.id: ("docker.io/library/other:latest",),
        }
        with pytest.raises(Invalid, match="digest"):
            store.tag("app:1", f"x@{image.id}")
        with pytest.raises(NotFound):
            store.tag("none", "x")

    def test_a_moved_name_leaves_a_nameless_image(
        self, store: ImageStore, image: Image, tmp_path: Path
    ) -> None:
        other = load_layers(store, [OTHER], str(tmp_path / "b"), "app:1")
        assert store.get("app:1").id == other.id
        assert store.get(image.id).references == ()
        assert len(store.list()) == 2
        store.tag(image.id, "back")
        assert store.get("back").references == ("docker.io/library/back:latest",)
        assert not [r for r in store.references.list() if r.reference.startswith("<none>")]

    def test_moving_one_of_two_names(self, store: ImageStore, image: Image, tmp_path: Path) -> None:
        store.tag("app:1", "app:2")
        load_layers(store, [OTHER], str(tmp_path / "b"), "app:1")
        assert store.get(image.id).references == ("docker.io/library/app:2",)
        assert not [r for r in store.references.list() if r.reference.startswith("<none>")]


class TestRemove:
    def test_last_name_takes_the_image_along(self, store: ImageStore, image: Image) -> None:
        removed = store.remove("app:1")
        assert [(one.action, one.target) for one in removed][:2] == [
            ("untagged", "app:1"),
            ("deleted", image.id),
        ]
        assert {one.target for one in removed[2:]} == {layer.chain_id for layer in image.layers}
        assert leftovers(store) == []
        assert os.listdir(f"{store.root}/snapshots/l") == []
        with pytest.raises(NotFound):
            store.get("app:1")

    def test_one_of_two_names(self, store: ImageStore, image: Image) -> None:
        store.tag("app:1", "app:2")
        assert [one.target for one in store.remove("app:1")] == ["app:1"]
        assert store.get("app:2").id == image.id

    def test_by_id(self, store: ImageStore, image: Image) -> None:
        store.tag("app:1", "app:2")
        store.tag("app:1", "elsewhere/app")
        with pytest.raises(Conflict, match="2 repositories"):
            store.remove(image.id)
        removed = store.remove(image.id, force=True)
        assert [one.action for one in removed[:4]] == ["untagged"] * 3 + ["deleted"]
        assert leftovers(store) == []

    def test_shared_layers_stay(self, store: ImageStore, image: Image, tmp_path: Path) -> None:
        other = load_layers(store, [BASE, OTHER], str(tmp_path / "b"), "other")
        store.remove("app:1")
        for lower in other.lowers:
            assert os.path.isdir(f"{store.root}/{lower}")
        assert not os.path.exists(store.snapshots.directory(image.layers[1].chain_id))

    def test_in_use(self, store: ImageStore, image: Image) -> None:
        used: dict[str, str] = {image.id: "web"}
        with pytest.raises(Conflict, match="used by container web"):
            store.remove("app:1", in_use=lambda: used)
        with pytest.raises(Conflict, match="used by container web"):
            store.remove(image.id, in_use=lambda: used)
        store.tag("app:1", "app:2")
        store.remove("app:2", in_use=lambda: used)
        removed = store.remove("app:1", force=True, in_use=lambda: used)
        assert [one.action for one in removed] == ["untagged"]
        assert store.get(image.id).lowers == image.lowers
        assert os.path.isdir(f"{store.root}/{image.lowers[0]}")
        assert store.remove(image.id, force=True, in_use=lambda: used) == []
        assert store.get(image.id).id == image.id
        store.remove(image.id)
        assert leftovers(store) == []

    def test_while_others_make_images(
        self, store: ImageStore, image: Image, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("proa.image.upkeep._COLLECT_WAIT_S", 0)
        with store.lease():
            assert [one.action for one in store.remove("app:1")] == ["untagged"]
            assert store.get(image.id).id == image.id
            with pytest.raises(Unavailable):
                store.prune()
        removed, freed_bytes = store.prune()
        assert image.id in {one.target for one in removed}
        assert freed_bytes > 7
        assert leftovers(store) == []

    def test_prune(self, store: ImageStore, image: Image, tmp_path: Path) -> None:
        load_layers(store, [OTHER], str(tmp_path / "b"), "app:1")
        assert [one.target for one in store.prune(in_use=lambda: {image.id: "c"})[0]] == []
        assert image.id in {one.target for one in store.prune()[0]}
        assert [one.references for one in store.list()] == [("docker.io/library/app:1",)]
        store.prune(every=True)
        assert store.list() == []
        assert leftovers(store) == []

    def test_garbage_of_a_crash_is_collected(self, store: ImageStore, image: Image) -> None:
        os.makedirs(f"{store.root}/snapshots/staging/{'0' * 64}/fs/deep")
        store.content.put(b"orphan")
        Path(f"{store.root}/content/ingest/{'1' * 32}").touch()
        store.prune()
        assert store.get("app:1").id == image.id
        assert sorted(leftovers(store)) == sorted(
            [f"content/blobs/sha256/{d[7:]}" for d in self._blobs(image)]
            + [f"snapshots/{layer.chain_id[7:]}" for layer in image.layers]
        )

    def test_the_next_load_removes_what_a_killed_one_staged(
        self, store: ImageStore, image: Image, tmp_path: Path
    ) -> None:
        staged = Path(f"{store.root}/snapshots/staging/{'0' * 64}/fs")
        random = Path(f"{store.root}/content/ingest/{'1' * 32}")
        resumable = Path(f"{store.root}/content/ingest/sha256-{'2' * 64}")

        def leave() -> None:
            staged.mkdir(parents=True)
            random.write_bytes(b"half")
            resumable.write_bytes(b"half")

        leave()
        with store.lease():  # somebody is at it: what is staged may be theirs
            load_layers(store, [OTHER], str(tmp_path / "a"), "app:2")
        assert staged.exists()
        assert random.exists()
        load_layers(store, [OTHER], str(tmp_path / "a"), "app:2")
        assert not staged.parent.exists()
        assert not random.exists()
        assert resumable.exists()

    def _blobs(self, image: Image) -> list[str]:
        return [image.id, image.manifest_digest, *(layer.blob.digest for layer in image.layers)]


class TestHistory:
    def test_steps(self, store: ImageStore, tmp_path: Path) -> None:
        config = image_config(
            [BASE, TOP],
            history=[
                {"created_by": "one", "created": "2024-01-02T03:04:05.5Z"},
                {"created_by": "env", "empty_layer": True},
                {"created_by": "two"},
            ],
        )
        (image,) = load(store, docker_archive([BASE, TOP], ["h:1"], config), tmp_path)
        steps = store.history("h:1")
        assert [(one.created_by, one.size_bytes) for one in steps] == [
            ("two", 5),
            ("env", 0),
            ("one", 2),
        ]
        assert steps[0].id == image.id
        assert steps[0].references == ("docker.io/library/h:1",)
        assert steps[2].created_at_ns == 1_704_164_645_500_000_000

    def test_missing_history(self, store: ImageStore, tmp_path: Path) -> None:
        load(store, docker_archive([BASE], ["h:1"], image_config([BASE], history=None)), tmp_path)
        assert [one.size_bytes for one in store.history("h:1")] == [2]


class TestLoad:
    @pytest.mark.parametrize("outer", ["none", "gzip", "zstd"])
    def test_docker_archive_through_a_pipe(self, store: ImageStore, outer: str) -> None:
        packer = compressor(outer)  # type: ignore[arg-type]
        data = packer.compress(docker_archive([BASE, TOP], ["a:1", "b:2"])) + packer.flush()
        reader, writer = os.pipe()

        def feed() -> None:
            with open(writer, "wb") as file:
                file.write(data)

        thread = threading.Thread(target=feed)
        thread.start()
        (image,) = store.load(reader)
        thread.join()
        os.close(reader)
        assert image.references == ("docker.io/library/a:1", "docker.io/library/b:2")
        assert image.id == digest(image_config([BASE, TOP]))

    def test_linked_layers(self, store: ImageStore, tmp_path: Path) -> None:
        config = image_config([BASE, BASE])
        manifest = [
            {"Config": "c.json", "RepoTags": None, "Layers": ["a/layer.tar", "b/layer.tar"]}
        ]
        data = (
            LayerBuilder()
            .file("a/layer.tar", BASE)
            .symlink("b/layer.tar", "../a/layer.tar")
            .file("c.json", config)
            .file("manifest.json", json.dumps(manifest).encode())
            .tar()
        )
        (image,) = load(store, data, tmp_path)
        assert image.references == ()
        assert len(image.lowers) == 2
        assert store.get(image.id).id == image.id

    def test_oci_layout_with_platforms(self, store: ImageStore, tmp_path: Path) -> None:
        layout = OciLayout()
        arm = layout.image([BASE], architecture="arm64")
        amd = layout.image([TOP], architecture="amd64")
        entries = [
            {**arm, "platform": {"os": "linux", "architecture": "arm64"}},
            {**amd, "platform": {"os": "linux", "architecture": "amd64"}},
            {**amd, "platform": {"os": "unknown", "architecture": "unknown"}},
        ]
        layout.add(layout.index(entries), "r.io/multi:1")
        (image,) = load(store, layout.tar(), tmp_path, "linux/arm64")
        assert image.config.architecture == "arm64"
        (image,) = load(store, layout.tar(), tmp_path, "linux/amd64")
        assert image.config.architecture == "amd64"
        assert store.get("r.io/multi:1").id == image.id
        with pytest.raises(Unsupported, match="linux/amd64, linux/arm64"):
            load(store, layout.tar(), tmp_path, "linux/s390x")

    def test_the_only_image_is_taken_whatever_its_platform(
        self, store: ImageStore, tmp_path: Path
    ) -> None:
        layout = OciLayout()
        layout.add(layout.image([BASE], architecture="s390x"), "other:1")
        (image,) = load(store, layout.tar(), tmp_path)
        assert str(image.config.platform) == "linux/s390x"
        with pytest.raises(Unsupported):
            load(store, layout.tar(), tmp_path, "linux/arm64")

    def test_layout_folder(self, store: ImageStore, tmp_path: Path) -> None:
        layout = OciLayout()
        layout.add(layout.image([BASE, TOP]), "dir:1")
        layout.add(layout.image([OTHER], compress=False))
        for name, data in {
            **layout.members,
            "index.json": json.dumps({"schemaVersion": 2, "manifests": layout.manifests}).encode(),
        }.items():
            path = tmp_path / "layout" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        (tmp_path / "layout" / "evil.json").symlink_to("/etc/passwd")
        first, second = store.load(str(tmp_path / "layout"))
        assert first.references == ("docker.io/library/dir:1",)
        assert second.references == ()
        assert len(store.list()) == 2

    def test_several_images(self, store: ImageStore, tmp_path: Path) -> None:
        config, other = image_config([BASE]), image_config([OTHER])
        manifest = [
            {"Config": "1.json", "RepoTags": ["one:1"], "Layers": ["1.tar"]},
            {"Config": "2.json", "RepoTags": ["two:1"], "Layers": ["2.tar"]},
        ]
        builder = LayerBuilder().file("1.tar", BASE).file("2.tar", gzip.compress(OTHER))
        builder.file("1.json", config).file("2.json", other)
        data = builder.file("manifest.json", json.dumps(manifest).encode()).tar()
        images = load(store, data, tmp_path)
        assert [one.references for one in images] == [
            ("docker.io/library/one:1",),
            ("docker.io/library/two:1",),
        ]
        assert images[1].layers[0].blob.media_type.endswith("+gzip")

    def test_twice_is_once(self, store: ImageStore, image: Image, tmp_path: Path) -> None:
        before = sorted(leftovers(store))
        assert load_layers(store, [BASE, TOP], str(tmp_path / "b"), "app:1").id == image.id
        assert sorted(leftovers(store)) == before

    def test_127_layers(self, store: ImageStore, tmp_path: Path) -> None:
        stacked_archive(str(tmp_path / "s"), 127)
        (image,) = store.load(str(tmp_path / "s"))
        assert len(image.lowers) == 127
        # The page that mount(2) takes, with room for upperdir and workdir of a container.
        assert len(":".join(image.lowers)) < 3600
        stacked_archive(str(tmp_path / "s"), 128)
        with pytest.raises(Invalid, match="128 layers, more than 127"):
            store.load(str(tmp_path / "s"))

    @pytest.mark.parametrize(
        ("data", "kind", "why"),
        [
            (b"", Corrupt, "end of the archive is missing"),
            (b"no archive at all" * 100, Corrupt, "not a tar archive"),
            (LayerBuilder().file("etc/passwd").tar(), Invalid, "neither a Docker archive"),
            (LayerBuilder().file("manifest.json", b"[]").tar(), Corrupt, "no image"),
            (LayerBuilder().file("manifest.json", b"{").tar(), Corrupt, "decoded"),
            (
                LayerBuilder().file("manifest.json", b"[]").file("manifest.json", b"[]").tar(),
                Corrupt,
                "twice",
            ),
            (docker_archive([BASE], ["UPPER:1"]), Invalid, "lower case"),
            (docker_archive([BASE], ["a:1"], image_config([TOP])), Corrupt, "promises"),
            (docker_archive([BASE], ["a:1"], image_config([BASE, TOP])), Corrupt, "2"),
            (docker_archive([BASE, TOP], ["a:1"])[:-3000], Corrupt, "cut short"),
            (OciLayout().tar(), Corrupt, "index is empty"),
        ],
    )
    def test_refused_and_nothing_left(
        self, store: ImageStore, tmp_path: Path, data: bytes, kind: type[ProaError], why: str
    ) -> None:
        with pytest.raises(kind, match=why):
            load(store, data, tmp_path)
        assert store.list() == []
        assert leftovers(store) == []

    def test_blobs_that_are_not_what_they_are_called(
        self, store: ImageStore, tmp_path: Path
    ) -> None:
        for change in ("damage", "lack", "misname", "traverse"):
            layout = OciLayout()
            layout.add(layout.image([BASE]), "a:1")
            name = max(layout.members, key=lambda one: one.startswith("blobs/"))
            data = layout.members.pop(name)
            if change == "damage":
                layout.members[name] = data[:-1] + b"!"
            elif change == "misname":
                layout.members[f"blobs/sha256/{'0' * 64}"] = data
            else:
                layout.members["blobs/sha256/x/y"] = data
            with pytest.raises(Corrupt):
                load(store, layout.tar(), tmp_path)
            assert leftovers(store) == []

    def test_missing_file(self, store: ImageStore, tmp_path: Path) -> None:
        with pytest.raises(NotFound, match="no such archive"):
            store.load(str(tmp_path / "none"))


class TestSave:
    @pytest.mark.parametrize("archive_format", ["docker", "oci"])
    @pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
    def test_comes_back(
        self,
        store: ImageStore,
        image: Image,
        tmp_path: Path,
        archive_format: str,
        compression: str,
    ) -> None:
        other = load_layers(store, [BASE, OTHER], str(tmp_path / "b"), "other")
        for name in ("one", "two"):
            store.save(
                ["app:1", other.id],
                str(tmp_path / name),
                format=archive_format,  # type: ignore[arg-type]
                compression=compression,  # type: ignore[arg-type]
            )
        assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
        second = open_store(tmp_path / "second")
        loaded = second.load(str(tmp_path / "one"))
        assert [one.references for one in loaded] == [("docker.io/library/app:1",), ()]
        assert [one.manifest_digest for one in loaded] == [
            image.manifest_digest,
            other.manifest_digest,
        ]

    def test_folder(self, store: ImageStore, image: Image, tmp_path: Path) -> None:
        store.save(["app:1"], f"{tmp_path}/layout/", format="oci")
        assert not (tmp_path / "layout" / "manifest.json").exists()
        (loaded,) = open_store(tmp_path / "second").load(str(tmp_path / "layout"))
        assert loaded.manifest_digest == image.manifest_digest

    def test_descriptor(self, store: ImageStore, image: Image, tmp_path: Path) -> None:
        store.tag("app:1", "app:2")
        with open(tmp_path / "f", "wb") as file:
            store.save(["app:1", "app:2"], file.fileno())
        (loaded,) = open_store(tmp_path / "second").load(str(tmp_path / "f"))
        assert loaded.references == ("docker.io/library/app:1", "docker.io/library/app:2")

    def test_failure_keeps_the_file(self, store: ImageStore, image: Image, tmp_path: Path) -> None:
        (tmp_path / "f").write_text("before")
        with pytest.raises(NotFound):
            store.save(["app:1", "none"], str(tmp_path / "f"))
        os.unlink(store.content.blob_path(image.layers[0].blob.digest))
        with pytest.raises(Corrupt):
            store.save(["app:1"], str(tmp_path / "f"))
        assert (tmp_path / "f").read_text() == "before"
        assert sorted(os.listdir(tmp_path)) == ["a.tar", "f", "root"]


class TestImport:
    @pytest.mark.parametrize("codec", ["none", "gzip", "zstd", "bzip2", "xz"])
    def test_any_compression(self, store: ImageStore, tmp_path: Path, codec: str) -> None:
        import bz2
        import lzma

        if codec in ("bzip2", "xz"):
            data = bz2.compress(TOP) if codec == "bzip2" else lzma.compress(TOP)
        else:
            packer = compressor(codec)  # type: ignore[arg-type]
            data = packer.compress(TOP) + packer.flush()
        (tmp_path / "f").write_bytes(data)
        image = store.import_rootfs(
            str(tmp_path / "f"),
            "mine",
            changes=['CMD ["sh"]', "ENV A=1"],
            message="why",
            platform="linux/arm64",
        )
        assert image.references == ("docker.io/library/mine:latest",)
        assert image.layers[0].diff_id == digest(TOP)
        assert image.config.config.cmd == ("sh",)
        assert image.config.history[0].comment == "why"
        assert str(image.config.platform) == "linux/arm64"
        stored = image.layers[0].blob.media_type.rpartition("+")[2]
        assert stored == ("zstd" if codec == "zstd" else "gzip")
        assert store.content.find(image.layers[0].blob.digest) == image.layers[0].blob.size

    def test_nameless_then_named(self, store: ImageStore, tmp_path: Path) -> None:
        (tmp_path / "f").write_bytes(TOP)
        image = store.import_rootfs(str(tmp_path / "f"))
        assert image.references == ()
        assert store.tag(image.id, "named")
        assert store.get("named").id == image.id

    @pytest.mark.parametrize(
        ("data", "kind"),
        [(TOP[:700], Corrupt), (b"", Corrupt), (LayerBuilder().file("../x").tar(), Invalid)],
    )
    def test_failure_leaves_nothing(
        self, store: ImageStore, tmp_path: Path, data: bytes, kind: type[ProaError]
    ) -> None:
        (tmp_path / "f").write_bytes(data)
        with pytest.raises(kind):
            store.import_rootfs(str(tmp_path / "f"), "x")
        assert store.list() == []
        assert leftovers(store) == []

    def test_words_are_checked_first(self, store: ImageStore, tmp_path: Path) -> None:
        (tmp_path / "f").write_bytes(TOP)
        for fields in (
            {"reference": "UPPER"},
            {"changes": ["RUN x"]},
            {"platform": "a/b/c/d"},
        ):
            with pytest.raises(Invalid):
                store.import_rootfs(str(tmp_path / "f"), **fields)
        with pytest.raises(NotFound, match="no such file"):
            store.import_rootfs(str(tmp_path / "none"))
        assert leftovers(store) == []


class TestConcurrency:
    def test_loads_of_one_image_share_its_snapshots(self, tmp_path: Path) -> None:
        path = str(tmp_path / "s")
        stacked_archive(path, 20)
        stores = [open_store(tmp_path / "root") for _ in range(4)]
        results: list[str] = []
        errors: list[BaseException] = []

        def run(store: ImageStore) -> None:
            try:
                results.append(store.load(path)[0].id)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=run, args=(store,)) for store in stores]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert len(set(results)) == 1
        assert len(stores[0].snapshots.chain_ids()) == 20
        assert os.listdir(f"{tmp_path}/root/snapshots/staging") == []
