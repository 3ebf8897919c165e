"""The OCI runtime state document (``runtime.md``, "State"): what hooks and ``state`` are given."""

from __future__ import annotations

from typing import Literal

import msgspec

from proa.oci.spec import VERSION

Status = Literal["creating", "created", "running", "stopped"]


class State(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A container as the runtime spec describes it to hooks and callers.

    Attributes:
        pid: host pid of the init process, 0 once it has ended.
        bundle: absolute path of the container's bundle directory.
    """

    oci_version: str = VERSION
    id: str
    status: Status
    pid: int = 0
    bundle: str
    annotations: dict[str, str] = {}
