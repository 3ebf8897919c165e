"""The OCI runtime interface without root: documents, words, and what is written where."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from proa.cli.io import IO
from proa.cli.ociruntime import documents, main
from proa.errors import Conflict, Invalid, NotFound, Unsupported
from proa.oci import spec as oci
from proa.oci.isolation import DirectoryRoot, SandboxSpec
from proa.oci.seccomp import LinuxSeccomp
from proa.runtime.bundle import config, hooks
from proa.runtime.bundle.store import Record, Store, is_alive
from proa.runtime.steps import finish
from proa.runtime.validate import validate
from tests.support.sandboxes import make_process, make_spec


def bundle(tmp_path: Path, **changes: Any) -> str:
    """A bundle of the default spec with members of its linux section replaced."""
    document = json.loads(oci.encode(documents.default_spec()))
    mounts = changes.pop("mounts", [])
    document["mounts"] += mounts
    document["linux"].update(changes)
    (tmp_path / "config.json").write_text(json.dumps(document))
    (tmp_path / "rootfs").mkdir(exist_ok=True)
    return str(tmp_path)


def linux(spec: oci.Spec) -> oci.Linux:
    assert spec.linux is not None
    return spec.linux


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("", "/proa/web"),
        ("/docker/abc", "/docker/abc"),
        ("pods/abc", "/pods/abc"),
        ("system.slice:docker:abc", "/system.slice/docker-abc.scope"),
        ("a-b.slice:cri:abc", "/a.slice/a-b.slice/cri-abc.scope"),
    ],
)
def test_cgroup_paths_in_every_form(tmp_path: Path, given: str, wanted: str) -> None:
    spec = config.load_spec(bundle(tmp_path, cgroupsPath=given), "web")
    assert linux(spec).cgroups_path == wanted


def test_relative_bind_sources_start_at_the_bundle(tmp_path: Path) -> None:
    mount = {"destination": "/x", "source": "data/../x", "options": ["bind"]}
    spec = config.load_spec(bundle(tmp_path, mounts=[mount]), "web")
    assert spec.mounts[-1].source == f"{tmp_path}/x"


def test_null_members_mean_absent(tmp_path: Path) -> None:
    spec = config.load_spec(bundle(tmp_path, sysctl=None, seccomp=None, maskedPaths=None), "web")
    assert linux(spec).masked_paths == ()


def test_shown_cgroups_are_the_containers_own(tmp_path: Path) -> None:
    kinds = [{"type": "mount"}, {"type": "pid"}]
    spec = config.load_spec(bundle(tmp_path, namespaces=kinds), "web")
    assert "cgroup" in {namespace.type for namespace in linux(spec).namespaces}


def test_standard_devices_are_not_made_twice(tmp_path: Path) -> None:
    listed = [{"type": "c", "path": path, "major": 1, "minor": 3} for path in ("/dev/null", "/d")]
    spec = config.load_spec(bundle(tmp_path, devices=listed), "web")
    assert [device.path for device in linux(spec).devices] == ["/d"]


def test_a_bundle_without_config_or_with_nonsense(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"config\.json not found"):
        config.load_spec(str(tmp_path), "web")
    (tmp_path / "config.json").write_text('{"process": 7}')
    with pytest.raises(Invalid, match="process"):
        config.load_spec(str(tmp_path), "web")


def test_an_id_is_taken_once_and_free_again(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.reserve("web", documents.default_spec())
    with pytest.raises(Conflict, match="already exists"):
        store.reserve("web", documents.default_spec())
    assert store.ids() == ["web"]
    store.save(Record(id="web", bundle="/b", rootfs="/b/rootfs", pid=1))
    assert store.load("web").bundle == "/b"
    store.remove("web")
    with pytest.raises(NotFound, match="does not exist"):
        store.load("web")
    assert store.ids() == []


@pytest.mark.parametrize("name", ["../x", "", "a/b", ".hidden", "x" * 300])
def test_ids_that_are_no_directory_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(Invalid, match="invalid container ID"):
        Store(str(tmp_path)).reserve(name, documents.default_spec())


def test_a_recycled_pid_is_not_the_container() -> None:
    record = Record(id="web", bundle="", rootfs="", pid=os.getpid(), start_ticks=1)
    assert not is_alive(record)


def test_hooks_with_relative_paths_or_no_time_are_refused() -> None:
    with pytest.raises(Invalid, match="not absolute"):
        hooks.validate(oci.Hooks(prestart=(oci.Hook(path="true"),)))
    with pytest.raises(Invalid, match="timeout"):
        hooks.validate(oci.Hooks(poststop=(oci.Hook(path="/bin/true", timeout=0),)))


def test_a_seccomp_listener_is_refused() -> None:
    filter_ = LinuxSeccomp(default_action="SCMP_ACT_ALLOW", listener_path="/run/agent.sock")
    spec = make_spec(make_process("true"), seccomp=filter_)
    sandbox = SandboxSpec(id="web", spec=spec, root=DirectoryRoot(path="/"), bundle="/")
    with pytest.raises(Unsupported, match="seccomp listeners"):
        validate(sandbox)


def test_preserved_descriptors_are_left_open() -> None:
    kept = {step.syscall: step.args for step in finish.seal(parked=True, preserved=2).steps}
    assert kept["close_range"][0] == finish.HOLD_FD + 3


def run(*words: str, cwd: str = "/") -> tuple[int, str, str]:
    """Exit code, output and error output of one command line."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        code = main.run(list(words), IO(stdout_fd=out.fileno(), stderr_fd=err.fileno(), cwd=cwd))
        out.seek(0)
        err.seek(0)
        return code, out.read(), err.read()


def test_the_written_spec_is_the_one_that_is_read(tmp_path: Path) -> None:
    assert run("spec", "--bundle", str(tmp_path))[0] == 0
    read = oci.decode((tmp_path / "config.json").read_bytes())
    assert read == documents.default_spec()
    assert run("spec", cwd=str(tmp_path))[0] == 1


def test_features_name_the_hooks_and_namespaces() -> None:
    code, out, _ = run("features")
    document = json.loads(out)
    assert code == 0
    assert "startContainer" in document["hooks"]
    assert "user" in document["linux"]["namespaces"]


def test_errors_go_to_the_log_in_json_and_to_stderr(tmp_path: Path) -> None:
    log = tmp_path / "log.json"
    words = ("--root", str(tmp_path), "--log", str(log), "--log-format", "json")
    code, _, err = run(*words, "state", "missing")
    entry = json.loads(log.read_text())
    assert (code, entry["level"]) == (1, "error")
    assert entry["msg"] == "container does not exist: missing"
    assert entry["msg"] in err


def test_no_pivot_is_refused_by_name(tmp_path: Path) -> None:
    code, _, err = run("--root", str(tmp_path), "create", "--no-pivot", "web", cwd=str(tmp_path))
    assert code == 1
    assert "--no-pivot is not available" in err


def test_deleting_what_is_not_there_is_an_error_without_force(tmp_path: Path) -> None:
    assert run("--root", str(tmp_path), "delete", "web")[0] == 1
    assert run("--root", str(tmp_path), "delete", "--force", "web")[0] == 0


def test_a_terminal_needs_a_console_socket(tmp_path: Path) -> None:
    made = bundle(tmp_path)
    code, _, err = run("--root", str(tmp_path / "r"), "create", "-b", made, "web")
    assert code == 1
    assert "console socket" in err
    assert Store(str(tmp_path / "r")).ids() == []
