"""The runtime spec's JSON, both ways."""

from __future__ import annotations

import json

import msgspec
import pytest

from proa.oci import spec as oci
from proa.runtime import defaults

DOCUMENT = {
    "ociVersion": "1.0.2",
    "process": {
        "cwd": "/",
        "args": ["sh"],
        "user": {"uid": 1, "gid": 2, "additionalGids": [3]},
        "capabilities": {"bounding": ["CAP_KILL"]},
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2**64 - 1}],
        "noNewPrivileges": True,
        "execCPUAffinity": {"initial": "0"},
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
    },
    "mounts": [{"destination": "/x", "source": "/y", "options": ["rbind"]}],
    "linux": {
        "uidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}],
        "namespaces": [{"type": "mount"}],
        "timeOffsets": {"boottime": {"secs": -1}},
        "resources": {
            "blockIO": {"throttleReadIOPSDevice": [{"major": 8, "minor": 0, "rate": 5}]},
            "memory": {"limit": 1, "disableOOMKiller": True, "kernelTCP": 2},
            "network": {"classID": 7},
        },
        "seccomp": {
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [
                {
                    "names": ["personality"],
                    "action": "SCMP_ACT_ALLOW",
                    "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}],
                }
            ],
        },
    },
    "hooks": {"createRuntime": [{"path": "/bin/hook"}]},
}


def test_names_follow_the_schema_both_ways() -> None:
    spec = oci.decode(json.dumps(DOCUMENT))
    again = json.loads(oci.encode(spec))
    assert again == DOCUMENT
    assert oci.decode(oci.encode(spec)) == spec


def test_what_the_schema_requires_is_always_written() -> None:
    assert json.loads(oci.encode(oci.Spec())) == {"ociVersion": oci.VERSION}
    spec = oci.Spec(process=oci.Process(args=("sh",)), root=oci.Root())
    document = json.loads(oci.encode(spec))
    assert document["process"] == {"cwd": "/", "args": ["sh"]}
    assert document["root"] == {"path": "rootfs"}


def test_sections_of_other_platforms_are_ignored() -> None:
    assert oci.decode('{"ociVersion": "1.2.0", "windows": {"x": 1}}') == oci.Spec()


def test_wrong_types_are_refused_with_their_place() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"\$\.process\.args"):
        oci.decode('{"process": {"cwd": "/", "args": "sh"}}')


def test_specs_can_be_keys() -> None:
    assert len({defaults.MOUNTS, defaults.PRIVILEGED_MOUNTS}) == 2
