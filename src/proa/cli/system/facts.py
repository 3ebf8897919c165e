"""Named facts, nested, as ``docker info`` shows them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from proa.cli.io import IO
from proa.cli.kinds import STRING
from proa.cli.parser import Flag
from proa.cli.render import to_json
from proa.engine.template import Template

FORMAT = Flag("format", STRING, "Format output: 'json', or a Go template", short="f")

# "KernelVersion" reads "Kernel Version"; runs of capitals ("NCPU", "OSType") stay together.
_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def show_facts(io: IO, facts: Mapping[str, object], format_text: str) -> None:
    """Print facts as indented lines, as JSON, or through a template."""
    if format_text == "json":
        io.out(to_json(facts))
    elif format_text:
        io.out(Template(format_text).render(dict(facts)))
    else:
        io.out("\n".join(_lines(facts, "")))


def _lines(facts: Mapping[str, object], indent: str) -> Iterator[str]:
    for name, value in facts.items():
        label = indent + _WORDS.sub(" ", name)
        if isinstance(value, Mapping):
            yield f"{label}:"
            yield from _lines(value, indent + " ")
        elif isinstance(value, list | tuple) and any(isinstance(v, Mapping) for v in value):
            yield f"{label}:"
            for item in value:
                if isinstance(item, Mapping):
                    yield from _lines(item, indent + " ")
                else:
                    yield f"{indent} {item}"
        elif isinstance(value, list | tuple):
            yield f"{label}: {' '.join(str(item) for item in value)}".rstrip()
        elif isinstance(value, bool):
            yield f"{label}: {str(value).lower()}"
        else:
            yield f"{label}: {value}".rstrip()
