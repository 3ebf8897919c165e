"""Reading and writing tar: headers, extensions, sparse maps; Python's tarfile is the oracle."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.errors import Corrupt, Invalid, ProaError
from proa.image.layers import entry as tar
from proa.image.layers.entry import Entry
from proa.image.layers.pax import parse_records, parse_time_ns
from proa.image.layers.reader import TarReader
from proa.image.layers.stream import ByteStream
from proa.image.layers.writer import TarWriter, encode_header
from proa.image.limits import Limits
from tests.support.layers import END, LayerBuilder, header, pax, record, seal


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def read(
    data: bytes, size: int = 1000, limits: Limits | None = None, *, require_end: bool = True
) -> list[tuple[Entry, bytes]]:
    reader = TarReader(
        ByteStream(pieces(data, size), "t"),
        "t",
        limits=limits or Limits(),
        require_end=require_end,
    )
    return [(entry, b"".join(bytes(view) for view in reader.data())) for entry in reader]


class TestStream:
    @pytest.mark.parametrize("size", [1, 7, 511, 512, 513, 4096])
    def test_pieces_of_any_size(self, size: int) -> None:
        data = LayerBuilder().file("a", b"x" * 1500).file("b", b"y").directory("c/").tar()
        found = read(data, size)
        assert [(entry.name, content) for entry, content in found] == [
            (b"a", b"x" * 1500),
            (b"b", b"y"),
            (b"c/", b""),
        ]

    def test_data_that_is_not_read_is_passed_over(self) -> None:
        data = LayerBuilder().file("a", b"x" * 5000).file("b", b"y").tar()
        reader = TarReader(ByteStream(pieces(data, 700), "t"), "t")
        names = []
        for entry in reader:
            names.append(entry.name)
            next(reader.data(), None)
        assert names == [b"a", b"b"]

    def test_copy(self, tmp_path: Path) -> None:
        stream = ByteStream(pieces(b"0123456789", 3), "t")
        with open(tmp_path / "f", "wb") as file:
            stream.copy(file.fileno(), 2)
            stream.copy(file.fileno(), 6)
        assert (tmp_path / "f").read_bytes() == b"01234567"
        assert stream.offset == 8
        stream.skip(1)
        assert stream.read(1) == b"9"
        with pytest.raises(Corrupt, match="cut short"):
            stream.read(1)


class TestHeader:
    def test_ustar_prefix(self) -> None:
        ((entry, _),) = read(header("name", prefix=b"a/b") + END)
        assert entry.name == b"a/b/name"

    def test_gnu_prefix_is_no_name(self) -> None:
        ((entry, _),) = read(header("name", prefix=b"0123", magic=b"ustar  \0") + END)
        assert entry.name == b"name"

    def test_v7_directory(self) -> None:
        ((entry, _),) = read(header("d/", "\0", magic=bytes(8)) + END)
        assert entry.kind == tar.DIRECTORY

    def test_base_256(self) -> None:
        ((entry, _),) = read(header("f", uid=3_000_000_000, mtime=-5) + END)
        assert entry.uid == 3_000_000_000
        assert entry.mtime_ns == -5_000_000_000

    def test_signed_checksum(self) -> None:
        block = bytearray(header(b"\xff\xfe"))
        spaced = bytes(block[:148]) + b" " * 8 + bytes(block[156:])
        signed = sum(byte - 256 if byte > 127 else byte for byte in spaced)
        block[148:156] = b"%06o\0 " % signed
        ((entry, _),) = read(bytes(block) + END)
        assert entry.name == b"\xff\xfe"

    @pytest.mark.parametrize("field", [slice(100, 108), slice(124, 136), slice(136, 148)])
    @pytest.mark.parametrize("value", [b"9", b"-1", b"1_0", b"0x1", b"zz"])
    def test_malformed_number(self, field: slice, value: bytes) -> None:
        block = bytearray(header("f"))
        block[field] = value.ljust(field.stop - field.start, b"\0")
        with pytest.raises(Corrupt, match=r"malformed number|negative size"):
            read(seal(block) + END)

    def test_wrong_checksum(self) -> None:
        with pytest.raises(Corrupt, match="not a tar archive"):
            read(b"no tar at all".ljust(512, b"!"))

    def test_size_of_kinds_without_data_means_nothing(self) -> None:
        found = read(header("d", "5", size=700) + header("l", "2", size=9, link="x") + END)
        assert [entry.name for entry, _ in found] == [b"d", b"l"]

    def test_negative_size(self) -> None:
        with pytest.raises(Corrupt, match="negative"):
            read(header("f", size=-1) + END)

    @given(st.binary(min_size=512, max_size=512))
    def test_garbage(self, block: bytes) -> None:
        if any(block):
            with pytest.raises(ProaError):
                read(block[:148] + b"\xff" * 8 + block[156:])


class TestEnd:
    def test_missing(self) -> None:
        with pytest.raises(Corrupt, match="end of the archive is missing"):
            read(LayerBuilder().file("a").tar(end=b""))
        assert len(read(LayerBuilder().file("a").tar(end=b""), require_end=False)) == 1

    @pytest.mark.parametrize("cut", [100, 512, 600, 1023])
    def test_cut(self, cut: int) -> None:
        data = LayerBuilder().file("a", b"x" * 400).tar()
        with pytest.raises(Corrupt, match="cut short"):
            read(data[:cut])

    def test_padding_is_fine_and_data_is_not(self) -> None:
        data = LayerBuilder().file("a").tar()
        assert len(read(data + bytes(20 * 512))) == 1
        with pytest.raises(Corrupt, match="after its end"):
            read(data + b"\0" * 700 + b"x")
        with pytest.raises(Corrupt, match="after its end"):
            read(data + LayerBuilder().file("b").tar())


class TestExtensions:
    def test_pax(self) -> None:
        data = (
            LayerBuilder()
            .records(
                ("path", "long/ü".encode()),
                ("mtime", b"12.000000345"),
                ("uid", b"4000000000"),
                ("SCHILY.xattr.user.a", b"x=\0\n1"),
                ("comment", b"no"),
            )
            .file("short", b"data")
            .file("next")
            .tar()
        )
        (first, content), (second, _) = read(data)
        assert first.name == "long/ü".encode()
        assert first.mtime_ns == 12_000_000_345
        assert first.uid == 4_000_000_000
        assert first.xattrs == {"user.a": b"x=\0\n1"}
        assert content == b"data"
        assert second.name == b"next"
        assert second.xattrs is None

    def test_size_record(self) -> None:
        data = pax([("size", b"3")]) + header("f", size=0) + b"abc".ljust(512, b"\0") + END
        ((entry, content),) = read(data)
        assert (entry.size, content) == (3, b"abc")

    def test_global_records_change_nothing(self) -> None:
        data = pax([("path", b"evil"), ("comment", b"x")], "g") + header("good") + END
        assert read(data)[0][0].name == b"good"

    def test_empty_value_means_the_headers(self) -> None:
        assert read(pax([("path", b"")]) + header("name") + END)[0][0].name == b"name"

    def test_gnu_long_names(self) -> None:
        name, link = b"n" * 300, b"l" * 200
        data = (
            header("././@LongLink", "K", size=len(link) + 1)
            + (link + b"\0").ljust(512, b"\0")
            + header("././@LongLink", "L", size=len(name) + 1)
            + (name + b"\0").ljust(512, b"\0")
            + header("short", "2", link="short")
            + END
        )
        ((entry, _),) = read(data)
        assert (entry.name, entry.link) == (name, link)

    def test_too_long(self) -> None:
        limits = Limits(extended_header_bytes=1000)
        with pytest.raises(Invalid, match="extended header of 2000 bytes"):
            read(header("x", "x", size=2000) + bytes(2048) + END, limits=limits)

    @pytest.mark.parametrize(
        "data",
        [
            b"5 a=b\n",
            b"7 a=b\n",
            b"a=b\n",
            b"6 a=bc",
            b"6 =abc\n",
            b"6 abcd\n",
            b"0 a=b\n",
            b"99999999999 a=b\n",
            b"-6 a=b\n",
            b" a=b\n",
        ],
    )
    def test_malformed_records(self, data: bytes) -> None:
        with pytest.raises(Corrupt, match="malformed"):
            list(parse_records(data, "t"))

    @given(st.lists(st.tuples(st.from_regex(r"[a-zA-Z.]{1,20}", fullmatch=True), st.binary())))
    def test_records_come_back(self, records: list[tuple[str, bytes]]) -> None:
        data = b"".join(record(key, value) for key, value in records)
        assert list(parse_records(data, "t")) == [(k.encode(), v) for k, v in records]

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            (b"0", 0),
            (b"-1.5", -1_500_000_000),
            (b"1.1234567899", 1_123_456_789),
            (b"9" * 15, (1 << 34) * 1_000_000_000),
        ],
    )
    def test_time(self, text: bytes, expected: int) -> None:
        assert parse_time_ns(text, "t") == expected

    @pytest.mark.parametrize("text", [b"", b"-", b"1.x", b"x", b"1e9", b"9" * 20])
    def test_malformed_time(self, text: bytes) -> None:
        with pytest.raises(Corrupt):
            parse_time_ns(text, "t")

    def test_xattr_too_long(self) -> None:
        data = LayerBuilder().records(("SCHILY.xattr.user.a", b"x" * 65537)).file("f").tar()
        with pytest.raises(Corrupt, match="65537 bytes"):
            read(data)


class TestSparse:
    @pytest.mark.parametrize("sparse_format", ["gnu", "0.0", "0.1", "1.0"])
    def test_gnu_tar_agrees(self, tmp_path: Path, sparse_format: str) -> None:
        with open(tmp_path / "f", "wb") as file:
            for number in range(40):
                file.seek(number * 100_000)
                file.write(b"%d" % number * 50)
            file.truncate(5_000_000)
        words = (
            ["--format=gnu"] if sparse_format == "gnu" else [f"--sparse-version={sparse_format}"]
        )
        if sparse_format != "gnu":
            words.append("--format=pax")
        data = subprocess.run(
            ["tar", "-C", tmp_path, "-S", "-c", *words, "f"], check=True, capture_output=True
        ).stdout
        ((entry, content),) = read(data, 10_000)
        assert entry.name == b"f"
        assert entry.real_size == 5_000_000
        assert entry.extents
        assert len(content) == entry.size < 1_000_000
        whole = bytearray(entry.real_size)
        offset = 0
        for start, length in zip(entry.extents[::2], entry.extents[1::2], strict=True):
            whole[start : start + length] = content[offset : offset + length]
            offset += length
        assert bytes(whole) == (tmp_path / "f").read_bytes()

    @pytest.mark.parametrize(
        "sparse_map", [b"0,10,5,10", b"5,10,0,2", b"0", b"0,10", b"0,30", b"x,1", b"90,20,200,1"]
    )
    def test_maps_that_do_not_fit(self, sparse_map: bytes) -> None:
        data = (
            LayerBuilder()
            .records(("GNU.sparse.map", sparse_map), ("GNU.sparse.size", b"100"))
            .file("f", b"x" * 20)
            .tar()
        )
        with pytest.raises(Corrupt):
            read(data)

    def test_too_many_pieces(self) -> None:
        numbers = b",".join(b"%d,1" % (2 * n) for n in range(100))
        data = (
            LayerBuilder()
            .records(("GNU.sparse.map", numbers), ("GNU.sparse.size", b"1000"))
            .file("f", b"x" * 100)
            .tar()
        )
        assert len(read(data)) == 1
        with pytest.raises(Corrupt, match="more than 50 pieces"):
            read(data, limits=Limits(sparse_extents=50))

    @pytest.mark.parametrize("text", [b"3\n0\n", b"1" * 600, b"1\n0\n", b"99999999\n", b"x\n"])
    def test_map_in_data_that_is_malformed(self, text: bytes) -> None:
        records = (
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.realsize", b"9"),
        )
        data = LayerBuilder().records(*records).file("f", text.ljust(512, b"\0")).tar()
        with pytest.raises(Corrupt):
            read(data)


class TestWriter:
    def test_tarfile_reads_it(self) -> None:
        buffer = io.BytesIO()
        writer = TarWriter(buffer.write)
        long = "ü".encode() * 200
        file = Entry(
            long,
            tar.REGULAR,
            mode=0o4755,
            uid=5_000_000,
            size=3,
            mtime_ns=1_500_000_000,
            xattrs={"user.b": b"\0=", "user.a": b"1"},
        )
        writer.add(file, (b"a", b"bc"))
        writer.add(Entry(b"l", tar.SYMLINK, link=b"t" * 150))
        writer.add(Entry(b"c", tar.CHARACTER, major=5, minor=1))
        writer.add_directory("d")
        writer.close()
        buffer.seek(0)
        with tarfile.open(fileobj=buffer) as archive:
            first, link, device, directory = archive.getmembers()
            content = archive.extractfile(first)
            assert content is not None
            assert content.read() == b"abc"
        assert first.name == "ü" * 200
        assert (first.mode, first.uid, first.mtime) == (0o4755, 5_000_000, 1.5)
        assert first.pax_headers["SCHILY.xattr.user.a"] == "1"
        assert link.linkname == "t" * 150
        assert (device.devmajor, device.devminor) == (5, 1)
        assert directory.isdir()

    @given(
        name=st.binary(min_size=1, max_size=300).filter(lambda one: b"\0" not in one),
        uid=st.integers(0, 2**32 - 2),
        mtime_ns=st.integers(-(10**18), 10**19),
        size=st.integers(0, 2**40),
    )
    def test_reader_reads_it(self, name: bytes, uid: int, mtime_ns: int, size: int) -> None:
        entry = Entry(name, tar.LINK, uid=uid, mtime_ns=mtime_ns, size=size, link=b"x")
        ((found, _),) = read(encode_header(entry) + END)
        assert (found.name, found.uid, found.mtime_ns) == (name, uid, mtime_ns)

    def test_wrong_size(self) -> None:
        writer = TarWriter(lambda data: None)
        for data in ((b"ab",), (b"abcd",)):
            with pytest.raises(ValueError, match="changed its size"):
                writer.add(Entry(b"f", tar.REGULAR, size=3), data)

    def test_nothing_varies(self) -> None:
        entry = Entry(b"f", tar.REGULAR, xattrs={"user.b": b"", "user.a": b""})
        other = Entry(b"f", tar.REGULAR, xattrs={"user.a": b"", "user.b": b""})
        assert encode_header(entry) == encode_header(other)
        assert os.fsencode("f") == entry.name
