"""Reading an archive of any kind into the content store."""

from __future__ import annotations

import os

import msgspec

from proa.errors import Invalid, NotFound
from proa.image.archive import docker_archive, oci_layout
from proa.image.archive.intake import Intake
from proa.image.archive.oci_layout import FoundImage
from proa.image.border import Border
from proa.image.content.store import ContentStore
from proa.image.limits import DEFAULT, Limits
from proa.image.model import Progress, silent
from proa.oci.digest import Digest
from proa.oci.manifest import parse_manifest


def load_archive(
    content: ContentStore,
    source: str | int,
    *,
    platform: str = "",
    limits: Limits = DEFAULT,
    progress: Progress = silent,
) -> list[FoundImage]:
    """Take in every image of an archive; arguments and errors as ``ImageStore.load``."""
    intake = Intake(content, limits=limits, progress=progress)
    what = "the archive on standard input" if isinstance(source, int) else source
    with Border(f"cannot load {what}", damaged="get the archive again, or save it again"):
        if isinstance(source, int):
            intake.read_tar(source, what)
        elif os.path.isdir(source):
            intake.read_folder(source)
        else:
            fd = _open(source)
            try:
                intake.read_tar(fd, what)
            finally:
                os.close(fd)
        if intake.has("index.json") and intake.has("oci-layout"):
            found = oci_layout.find_images(intake, platform, what)
            return _merged(_with_docker_names(intake, found, what))
        if intake.has("manifest.json"):
            return _merged(docker_archive.find_images(intake, platform, what))
    raise Invalid(
        f"{what} is neither a Docker archive nor an OCI layout: it has no manifest.json and no"
        " index.json",
        "a tar of a root filesystem is taken in by: proa import",
    )


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise NotFound(f"no such archive: {path}", "check the path") from error


def _with_docker_names(intake: Intake, found: list[FoundImage], what: str) -> list[FoundImage]:
    """Add the names of ``manifest.json`` to images of the layout; it never adds an image."""
    if not intake.has("manifest.json"):
        return found
    names = docker_archive.names_by_config(intake, what)
    result = []
    for image in found:
        data = intake.content.read(image.manifest_digest)
        config = parse_manifest(data, f"manifest {image.manifest_digest}").config.digest
        more = [name for name in names.get(config, ()) if name not in image.names]
        result.append(msgspec.structs.replace(image, names=(*image.names, *more)))
    return result


def _merged(found: list[FoundImage]) -> list[FoundImage]:
    """Join entries of one image: a layout lists it once for every name."""
    names: dict[tuple[Digest, str], tuple[str, ...]] = {}
    for image in found:
        key = (image.manifest_digest, image.index)
        names[key] = names.get(key, ()) + image.names
    return [
        FoundImage(manifest_digest=digest, names=words, index=index)
        for (digest, index), words in names.items()
    ]
