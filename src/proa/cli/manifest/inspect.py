"""``proa manifest inspect``: what a name means in its registry."""

from __future__ import annotations

from typing import Any

from proa.cli.invocation import Invocation
from proa.cli.kinds import BOOL, STRING
from proa.cli.parser import Command, Flag

INSECURE = Flag(
    "insecure",
    BOOL,
    "Not available",
    refusal="set 'insecure = true' for the registry in registries.toml",
)
REFERRERS = Flag("referrers", BOOL, "Show what refers to the image: signatures, SBOMs and the like")
ARTIFACT_TYPE = Flag("artifact-type", STRING, "With --referrers: only of this type")
VERBOSE = Flag("verbose", BOOL, "Show the descriptor too", short="v")

COMMAND = Command(
    words="manifest inspect",
    usage="[OPTIONS] NAME[:TAG|@DIGEST]",
    summary="Show the manifest or the index of an image in its registry",
    flags=(ARTIFACT_TYPE, INSECURE, REFERRERS, VERBOSE),
    least=1,
    most=1,
    details="Nothing is pulled. The document is indented here; its digest is the original's.",
)


def execute(call: Invocation) -> int:
    """Print the document."""
    import json

    name = call.arguments[0]
    shown: Any
    if call[REFERRERS]:
        import msgspec

        entries = call.engine.registries.list_referrers(name, call[ARTIFACT_TYPE])
        shown = msgspec.to_builtins(entries)
    else:
        fetched = call.engine.registries.get_manifest(name)
        shown = json.loads(fetched.data)
        if call[VERBOSE]:
            from proa.oci.reference import parse_reference

            descriptor = fetched.descriptor
            shown = {
                "Ref": str(parse_reference(name)),
                "Descriptor": {
                    "mediaType": descriptor.media_type,
                    "digest": descriptor.digest,
                    "size": descriptor.size,
                },
                "Manifest": shown,
            }
    call.io.out(json.dumps(shown, indent=3, ensure_ascii=True))
    return 0
