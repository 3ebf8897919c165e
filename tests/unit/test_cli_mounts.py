"""``-v``, ``--mount`` and ``--tmpfs``: every form, and what is wrong with the others."""

from __future__ import annotations

from typing import Any

import pytest

from proa.cli.runflags.mounts import parse_mount, parse_tmpfs, parse_volume
from proa.engine.config import MountConfig
from tests.support.cli import proa


def bind(source: str, target: str, **fields: Any) -> MountConfig:
    return MountConfig(type="bind", source=source, target=target, **fields)


def volume(source: str, target: str, **fields: Any) -> MountConfig:
    return MountConfig(type="volume", source=source, target=target, **fields)


def tmpfs(target: str, **fields: Any) -> MountConfig:
    return MountConfig(type="tmpfs", target=target, **fields)


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("/a:/b", bind("/a", "/b", create_source=True)),
        ("/a:/b:ro", bind("/a", "/b", create_source=True, readonly=True)),
        ("/a:/b:rw,z", bind("/a", "/b", create_source=True)),
        ("/a:/b:ro,Z,cached", bind("/a", "/b", create_source=True, readonly=True)),
        ("/a:/b:rslave", bind("/a", "/b", create_source=True, propagation="rslave")),
        ("/a/../c:/b/./d/", bind("/c", "/b/d", create_source=True)),
        ("./a:/b", bind("/home/user/a", "/b", create_source=True)),
        ("..:/b", bind("/home", "/b", create_source=True)),
        ("data:/b", volume("data", "/b")),
        ("data:/b:ro,nocopy", volume("data", "/b", readonly=True, volume_nocopy=True)),
        ("/b", volume("", "/b")),
        ("//b", volume("", "/b")),
    ],
)
def test_volume(text: str, mount: MountConfig) -> None:
    assert parse_volume(text, "/home/user") == mount


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "invalid empty volume spec"),
        (":", "invalid volume specification: ':'"),
        (":/b", "invalid volume specification: ':/b'"),
        ("/a:", "invalid volume specification: '/a:'"),
        ("/a:/b:ro:x", "invalid volume specification: '/a:/b:ro:x'"),
        ("/b:ro", "mount path must be absolute"),
        ("a:b", "mount path must be absolute"),
        ("b", "invalid mount path: 'b' mount path must be absolute"),
        ("/a:/", "destination can't be '/'"),
        ("/a:/..", "destination can't be '/'"),
        ("/a:/b:foo", "invalid mode: foo"),
        ("/a:/b:ro,rw", "invalid mode: ro,rw"),
        ("/a:/b:rslave,shared", "invalid mode: rslave,shared"),
        ("/a:/b:nocopy", "nocopy is for volumes"),
        ("data:/b:rshared", "rshared is for bind mounts"),
        ("-data:/b", '"-data" includes invalid characters for a volume name'),
        ("a/b:/c", "for a host directory use an absolute path"),
        ("a:/c", '"a" includes invalid characters'),
    ],
)
def test_wrong_volume(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_volume(text, "/home/user")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("type=bind,source=/a,target=/b", bind("/a", "/b")),
        ("type=bind,src=/a,dst=/b,ro", bind("/a", "/b", readonly=True)),
        ("type=bind,src=/a,destination=/b,readonly=1", bind("/a", "/b", readonly=True)),
        ("type=bind,src=/a,dst=/b,readonly=false", bind("/a", "/b")),
        ("TYPE=Bind,Src=/a,DST=/b", bind("/a", "/b")),
        ("type=bind,src=./a,dst=/b", bind("/home/user/a", "/b")),
        (
            "type=bind,src=/a,dst=/b,bind-propagation=shared",
            bind("/a", "/b", propagation="shared"),
        ),
        ("type=bind,src=/a,dst=/b,bind-recursive=disabled", bind("/a", "/b", recursive=False)),
        ("type=bind,src=/a,dst=/b,bind-nonrecursive", bind("/a", "/b", recursive=False)),
        ("type=bind,src=/a,dst=/b,ro,bind-recursive=readonly", bind("/a", "/b", readonly=True)),
        ("type=bind,src=/a,dst=/b,consistency=cached", bind("/a", "/b")),
        ('type=bind,"src=/a,b",dst=/b', bind("/a,b", "/b")),
        ("dst=/b", volume("", "/b")),
        ("type=volume,dst=/b", volume("", "/b")),
        (
            "type=volume,src=data,dst=/b,ro,volume-nocopy,volume-subpath=x/y",
            volume("data", "/b", readonly=True, volume_nocopy=True, volume_subpath="x/y"),
        ),
        ("type=tmpfs,dst=/b", tmpfs("/b")),
        (
            "type=tmpfs,dst=/b,tmpfs-size=64m,tmpfs-mode=700,ro",
            tmpfs("/b", tmpfs_size_bytes=64 << 20, tmpfs_mode=0o700, readonly=True),
        ),
        ("type=tmpfs,dst=/b,tmpfs-mode=01777", tmpfs("/b")),
    ],
)
def test_mount(text: str, mount: MountConfig) -> None:
    assert parse_mount(text, "/home/user") == mount


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("type=bind,src=/a", "target is required"),
        ("type=bind,dst=/b", "source is required for mount type 'bind'"),
        ("type=bind,src=a,dst=/b", "invalid mount path: 'a'"),
        ("type=bind,src=/a,dst=b", "invalid mount path: 'b'"),
        ("foo", "invalid field 'foo' must be a key=value pair"),
        ("type=bind,src,dst=/b", "invalid field 'src' must be a key=value pair"),
        ("type=bind,dst=/x,foo=bar", "unexpected key 'foo' in 'foo=bar'"),
        ("type=bind,dst=/x,src=/y,readonly=zz", "invalid value for readonly: zz"),
        ("type=bind,dst=/x,src=/y,tmpfs-size=1", "cannot mix 'tmpfs-*' options with mount type"),
        ("type=volume,dst=/x,bind-propagation=slave", "cannot mix 'bind-*' options"),
        ("type=tmpfs,dst=/x,volume-nocopy", "cannot mix 'volume-*' options"),
        ("type=tmpfs,dst=/x,src=/y", "source is not allowed for mount type 'tmpfs'"),
        ("type=tmpfs,dst=/x,tmpfs-size=zz", "invalid value for tmpfs-size: zz"),
        ("type=tmpfs,dst=/x,tmpfs-mode=9", "invalid value for tmpfs-mode: 9"),
        ("type=tmpfs,dst=/x,tmpfs-mode=77777", "invalid value for tmpfs-mode: 77777"),
        ("type=bind,dst=/x,src=/y,bind-propagation=x", "invalid propagation: x"),
        ("type=bind,dst=/x,src=/y,bind-recursive=x", "invalid value for bind-recursive: x"),
        ("type=bind,dst=/x,src=/y,bind-recursive=readonly", "requires 'readonly'"),
        ("type=bind,dst=/x,src=/y,bind-recursive=writable", "writable is not available"),
        ("type=volume,dst=/x,volume-driver=nfs", "volume-driver is not available"),
        ("type=volume,dst=/x,src=/y", "includes invalid characters for a volume name"),
        ("type=npipe,dst=/x", "mount type 'npipe' is unknown; use bind, volume or tmpfs"),
        ('type=bind,"src=/a', "parse error"),
    ],
)
def test_wrong_mount(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_mount(text, "/home/user")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("/run", tmpfs("/run")),
        ("/run:size=64m", tmpfs("/run", tmpfs_size_bytes=64 << 20)),
        ("/run:ro,mode=755", tmpfs("/run", readonly=True, tmpfs_mode=0o755)),
        (
            "/run:rw,noexec,uid=5,size=50%",
            tmpfs("/run", tmpfs_options=("noexec", "uid=5", "size=50%")),
        ),
    ],
)
def test_tmpfs(text: str, mount: MountConfig) -> None:
    assert parse_tmpfs(text) == mount


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("run", "invalid mount path: 'run'"),
        ("", "invalid mount path: ''"),
        ("/run:foo", 'invalid tmpfs option "foo"'),
        ("/run:noexec=1", 'invalid tmpfs option "noexec=1"'),
        ("/run:uid", 'invalid tmpfs option "uid"'),
        ("/run:size=x", "invalid value for size: x"),
        ("/run:mode=8", "invalid value for mode: 8"),
    ],
)
def test_wrong_tmpfs(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_tmpfs(text)
    assert message in str(caught.value)


def test_the_flag_and_its_value_are_named() -> None:
    ended = proa("run", "-v", "/a:/b:foo", "img")
    assert ended.code == 125
    assert ended.stderr == (
        'invalid argument "/a:/b:foo" for "-v, --volume" flag: invalid mode: foo: \'/a:/b:foo\'\n\n'
        "Usage:  proa run [OPTIONS] IMAGE [COMMAND] [ARG...]\n\n"
        "Run 'proa run --help' for more information\n"
    )
    assert not ended.engine.calls


def test_one_place_is_mounted_once() -> None:
    ended = proa("create", "-v", "/a:/x", "--tmpfs", "/x", "img")
    assert (ended.code, ended.stderr.splitlines()[0]) == (125, "proa: duplicate mount point: /x")
