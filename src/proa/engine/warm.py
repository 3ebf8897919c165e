"""Warming a zygote up: everything that the first start would find out, before the first fork."""

from __future__ import annotations

from proa.engine.compose.process import resolve_command
from proa.engine.compose.spec import compose_sandbox
from proa.engine.config import ContainerConfig
from proa.engine.context import Context
from proa.engine.ipc import wire
from proa.engine.model import ContainerRecord, ContainerState
from proa.engine.names import generate_id
from proa.errors import ProaError
from proa.image.model import Image
from proa.oci.digest import Digest
from proa.oci.imageconfig import ContainerDefaults, ImageConfig, RootFS
from proa.oci.platform import host_platform
from proa.runtime import warm as runtime
from proa.runtime.security import userns


def warm(context: Context) -> None:
    """Compose a container of default settings, and drop it.

    A failure is nobody's error here: the first command will meet it and say what is wrong.
    """
    try:
        context.layout.ensure()
        userns.probe(context.layout.root)
        context.warm()
        config = ContainerConfig(image="warm", command=("true",), network_mode="none")
        wire.decode_run(wire.encode(wire.RunRequest(config=config)))
        record = _record(config, context)
        spec, _ = compose_sandbox(context, record, _image())
        runtime.warm(spec)
    except (ProaError, OSError):
        pass
    finally:
        context.state.close()


def cool() -> None:
    """Give up what :func:`warm` keeps in the kernel."""
    try:
        runtime.cool()
    except (ProaError, OSError):
        pass


def _record(config: ContainerConfig, context: Context) -> ContainerRecord:
    own = userns.probe(context.layout.root) is None
    return ContainerRecord(
        id=generate_id(),
        name="warm",
        image_id="",
        created_at_ns=0,
        config=config,
        state=ContainerState(),
        userns_base=524288 if own else -1,
        path=resolve_command(config, ContainerDefaults())[0],
    )


def _image() -> Image:
    host = host_platform()
    empty = Digest("sha256:" + "0" * 64)
    return Image(
        id=empty,
        manifest_digest=empty,
        config=ImageConfig(
            architecture=host.architecture,
            os=host.os,
            rootfs=RootFS(type="layers", diff_ids=()),
        ),
        layers=(),
        lowers=("snapshots/l/warm",),
        size_bytes=0,
        content_bytes=0,
        created_at_ns=0,
    )
