"""Image configs (OCI image spec, "Image Configuration") with Docker's additions.

Everything here was written by whoever made the image: defaults for a container, never control input
of the engine.
"""

from __future__ import annotations

import msgspec

from proa.errors import Corrupt
from proa.oci.codec import decode_without_nulls
from proa.oci.digest import DiffID, parse_diff_id
from proa.oci.platform import Platform, normalize


class Healthcheck(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="pascal"):
    """Docker's ``HEALTHCHECK``; durations are nanoseconds, 0 for the default."""

    test: tuple[str, ...] = ()
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class ContainerDefaults(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="pascal"
):
    """The ``config`` object: what a container starts with unless its user says otherwise.

    Attributes:
        exposed_ports: keys such as ``80/tcp``; volumes: keys are paths.
        args_escaped: Windows only; kept because writers set it.
    """

    user: str = ""
    exposed_ports: dict[str, dict[str, str]] = {}
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    volumes: dict[str, dict[str, str]] = {}
    working_dir: str = ""
    labels: dict[str, str] = {}
    stop_signal: str = ""
    healthcheck: Healthcheck | None = None
    on_build: tuple[str, ...] = ()
    shell: tuple[str, ...] = ()
    args_escaped: bool = False


class RootFS(msgspec.Struct, frozen=True, kw_only=True):
    """The layers by the digests of their uncompressed tars, lowest first."""

    type: str
    diff_ids: tuple[DiffID, ...]

    def __post_init__(self) -> None:
        for diff_id in self.diff_ids:
            try:
                parse_diff_id(diff_id)
            except Exception as error:
                raise ValueError(str(error)) from error


class History(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How one layer came to be; ``empty_layer`` marks a step that changed only the config."""

    created: str = ""
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


class ImageConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The image config; its digest is the image id."""

    architecture: str
    os: str
    rootfs: RootFS
    created: str = ""
    author: str = ""
    variant: str = ""
    os_version: str = msgspec.field(default="", name="os.version")
    os_features: tuple[str, ...] = msgspec.field(default=(), name="os.features")
    config: ContainerDefaults = ContainerDefaults()
    history: tuple[History, ...] = ()

    @property
    def platform(self) -> Platform:
        """What the image is made for, normalized."""
        return normalize(
            Platform(
                os=self.os,
                architecture=self.architecture,
                variant=self.variant,
                os_version=self.os_version,
                os_features=self.os_features,
            )
        )


def parse_image_config(data: bytes, what: str) -> ImageConfig:
    """Read an image config; ``null`` means "not set" everywhere, as Docker writes it.

    Raises:
        Corrupt: no image config.
    """
    config = decode_without_nulls(data, ImageConfig, what, depth=4)
    if config.rootfs.type != "layers":
        raise Corrupt(f"{what} has the rootfs type {config.rootfs.type[:40]!r} instead of layers")
    return config
