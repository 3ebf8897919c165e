"""``version``, ``info``, help, and the command line without its zygote."""

from __future__ import annotations

import json
import os
import platform

import pytest

from tests.support.engines import Proa

pytestmark = pytest.mark.requires("root")


def test_version(fresh_proa: Proa) -> None:
    document = json.loads(fresh_proa.ok("version", "--format", "json"))
    assert document["Server"]["KernelVersion"] == platform.release()
    assert f"Version: {document['Server']['Version']}" in fresh_proa.ok("version")
    asked = fresh_proa.ok("version", "--format", "{{.Client.Version}} {{.Server.KernelVersion}}")
    assert asked == f"{document['Client']['Version']} {document['Server']['KernelVersion']}"
    assert fresh_proa.ok("--version") == f"Proa version {document['Client']['Version']}"


def test_info(fresh_proa: Proa) -> None:
    document = json.loads(fresh_proa.ok("info", "-f", "json"))
    assert (document["Containers"], document["Images"]) == (0, 0)
    assert document["NCPU"] == os.cpu_count()
    assert document["DockerRootDir"] == fresh_proa.root
    assert "Kernel Version: " + platform.release() in fresh_proa.ok("info")


def test_another_root(fresh_proa: Proa, tmp_path_factory: pytest.TempPathFactory) -> None:
    shown = fresh_proa.ok("--root", f"{fresh_proa.root}-other", "info", "-f", "{{.DockerRootDir}}")
    assert shown == f"{fresh_proa.root}-other"


@pytest.mark.parametrize("zygote", ["0", "1"])
def test_words_of_failure_are_the_same_with_and_without_a_zygote(
    fresh_proa: Proa, zygote: str
) -> None:
    env = {"PROA_ZYGOTE": zygote}
    done = fresh_proa("ps", "--foo", env=env)
    assert (done.code, done.stdout) == (125, "")
    assert done.stderr.startswith("unknown flag: --foo\n")
    assert fresh_proa("frobnicate", env=env).code == 1
    assert fresh_proa("inspect", "nx", env=env).code == 1
    assert fresh_proa.ok("ps", "-q", env=env) == ""


def test_help(fresh_proa: Proa) -> None:
    assert fresh_proa.ok().startswith("Usage:  proa [OPTIONS] COMMAND")
    assert fresh_proa.ok("run", "--help").startswith("Usage:  proa run [OPTIONS] IMAGE")


def test_nobody_reads(fresh_proa: Proa) -> None:
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    with fresh_proa.spawn("--help", stdout=write_fd) as process:
        os.close(write_fd)
        assert process.wait(timeout=20) == 141
