"""What the ``inspect`` commands share: an array of objects, or a template for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from proa.cli.invocation import Invocation
from proa.cli.kinds import STRING
from proa.cli.parser import Flag
from proa.cli.render import to_json
from proa.engine.template import Template
from proa.errors import ProaError

FORMAT = Flag("format", STRING, "Format output: 'json', or a Go template", short="f")


def _with_health(item: Mapping[str, object]) -> dict[str, object]:
    """Let templates ask for what a container's document has only with a health check."""
    state = item.get("State")
    if not isinstance(state, dict) or "Health" in state:
        return dict(item)
    return {**item, "State": {**state, "Health": None}}


def show(call: Invocation, inspect: Callable[[str], Mapping[str, object]]) -> int:
    """Show what ``inspect`` says about every argument.

    Args:
        call: its arguments name the objects, its ``--format`` says how to show them.
        inspect: gets one argument and returns the object; what it raises is shown at the end.

    Returns:
        0, or 1 when an object was not there.
    """
    text = call[FORMAT]
    template = Template(text) if text not in ("", "json") else None
    found: list[Mapping[str, object]] = []
    failures: list[ProaError] = []
    for name in call.arguments:
        try:
            found.append(inspect(name))
        except ProaError as error:
            failures.append(error)
    if template is not None:
        for item in found:
            call.io.out(template.render(_with_health(item)))
    elif text == "json":
        call.io.out(to_json(found))
    else:
        call.io.out(to_json(found, indent=4))
    for failure in failures:
        call.complain(failure)
    return 1 if failures else 0
