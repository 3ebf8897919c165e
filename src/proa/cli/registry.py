"""Which commands exist, what they are called and where they live.

Only names are here: the module of a command is imported when the command is called. A command has
one canonical name (``container ls``) and may have others (``ps``); ``NOT_BUILT`` answers Docker's
words that Proa does not have with what to use instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Protocol, cast

import msgspec

from proa.cli.invocation import Invocation
from proa.cli.parser import EXIT_FAILURE, Command, UsageError

NOUNS = {
    "container": "Manage containers",
    "image": "Manage images",
    "manifest": "Look at images in registries",
    "system": "Look at the engine and its machine",
}

COMMANDS = {
    "container create": "proa.cli.container.create",
    "container inspect": "proa.cli.container.inspect",
    "container kill": "proa.cli.container.kill",
    "container logs": "proa.cli.container.logs",
    "container ls": "proa.cli.container.ls",
    "container rm": "proa.cli.container.rm",
    "container run": "proa.cli.container.run",
    "container start": "proa.cli.container.start",
    "container stop": "proa.cli.container.stop",
    "container wait": "proa.cli.container.wait",
    "image bootstrap": "proa.cli.image.bootstrap",
    "image history": "proa.cli.image.history",
    "image import": "proa.cli.image.import_",
    "image inspect": "proa.cli.image.inspect",
    "image load": "proa.cli.image.load",
    "image ls": "proa.cli.image.ls",
    "image pull": "proa.cli.image.pull",
    "image push": "proa.cli.image.push",
    "image rm": "proa.cli.image.rm",
    "image save": "proa.cli.image.save",
    "image tag": "proa.cli.image.tag",
    "inspect": "proa.cli.system.inspect",
    "login": "proa.cli.registries.login",
    "logout": "proa.cli.registries.logout",
    "manifest inspect": "proa.cli.manifest.inspect",
    "search": "proa.cli.registries.search",
    "system info": "proa.cli.system.info",
    "version": "proa.cli.system.version",
}

SYNONYMS = {
    "container list": "container ls",
    "container ps": "container ls",
    "container remove": "container rm",
    "create": "container create",
    "history": "image history",
    "image list": "image ls",
    "image remove": "image rm",
    "images": "image ls",
    "import": "image import",
    "info": "system info",
    "kill": "container kill",
    "load": "image load",
    "logs": "container logs",
    "ps": "container ls",
    "pull": "image pull",
    "push": "image push",
    "rm": "container rm",
    "rmi": "image rm",
    "run": "container run",
    "save": "image save",
    "start": "container start",
    "stop": "container stop",
    "tag": "image tag",
    "wait": "container wait",
}

_RUN = "give the command to a new container with 'proa run'"
_MOUNT = "share a directory with the container (proa run -v DIRECTORY:PATH)"
_BUILD = "prepare a root filesystem and take it in with 'proa import'"
_CLUSTER = "Proa runs containers on one machine and has no Swarm"
_CLIENT = "Proa needs no daemon, so there is nothing to connect to"

NOT_BUILT = {
    "attach": "start containers in the foreground, or follow them with 'proa logs -f'",
    "build": _BUILD,
    "builder": _BUILD,
    "buildx": _BUILD,
    "checkpoint": "stop the container with 'proa stop' and start it again",
    "commit": _BUILD,
    "compose": "start the containers one by one with 'proa run'",
    "config": _CLUSTER,
    "context": _CLIENT,
    "cp": _MOUNT,
    "diff": "look at the container's files from inside it",
    "events": "look at 'proa ps -a', or wait for one container with 'proa wait'",
    "exec": _RUN,
    "export": _MOUNT,
    "network": "use '--network none' or '--network host'",
    "node": _CLUSTER,
    "pause": "stop the container with 'proa stop'",
    "plugin": "Proa has no plugins",
    "port": "use '--network host'",
    "prune": "remove containers with 'proa rm' and images with 'proa rmi'",
    "rename": "make the container again with '--name'",
    "restart": "use 'proa stop' and 'proa start'",
    "secret": _CLUSTER,
    "service": _CLUSTER,
    "stack": _CLUSTER,
    "stats": "look at the processes on the host; 'proa inspect' shows the limits",
    "swarm": _CLUSTER,
    "top": "look at the processes on the host with 'ps'",
    "trust": "images carry digests that are always verified",
    "unpause": "stop the container with 'proa stop'",
    "update": "make the container again with other limits",
    "volume": "name the volume in 'proa run -v NAME:PATH'",
    "df": "look at the disk with 'proa images' and 'proa ps -s'",
}


class Verb(Protocol):
    """What the module of a command provides."""

    COMMAND: Command

    def execute(self, call: Invocation) -> int:
        """Do it and return the exit code."""


class Found(msgspec.Struct, frozen=True):
    """A command, or a noun whose verbs are asked for.

    Attributes:
        words: canonical name of the command; the noun when ``verb`` is None.
        called: as the user wrote it, with ``proa``.
        rest: the words behind the name.
        is_noun: the words name a noun and no verb.
    """

    words: str
    called: str
    rest: tuple[str, ...]
    is_noun: bool = False


def find(words: Sequence[str]) -> Found:
    """Find the command that the words begin with.

    Raises:
        UsageError: there is no such command; names the nearest one, or what to use instead.
    """
    first = words[0]
    if first in NOUNS:
        if len(words) == 1 or words[1].startswith("-"):
            return Found(first, f"proa {first}", tuple(words[1:]), is_noun=True)
        name, count = f"{first} {words[1]}", 2
    else:
        name, count = first, 1
    canonical = SYNONYMS.get(name, name)
    if canonical not in COMMANDS:
        raise _unknown(name)
    return Found(canonical, f"proa {name}", tuple(words[count:]))


def load(words: str) -> Verb:
    """Import the module of a command by its canonical name."""
    return cast("Verb", import_module(COMMANDS[words]))


def names_of(words: str) -> list[str]:
    """All names of a command, the canonical one first and the short one last."""
    others = [name for name, canonical in SYNONYMS.items() if canonical == words]
    return [words, *sorted(others, key=lambda name: (" " not in name, name))]


def verbs_of(noun: str) -> list[str]:
    """Canonical names of a noun's commands."""
    return [name for name in COMMANDS if name.startswith(f"{noun} ")]


def _unknown(name: str) -> UsageError:
    noun, _, verb = name.rpartition(" ")
    instead = NOT_BUILT.get(verb)
    if instead:
        return UsageError(f"'proa {name}' is not built yet: {instead}", exit_code=EXIT_FAILURE)
    message = f"unknown command: proa {name}"
    near = _nearest(noun, verb)
    if near:
        message += f"\n\nDid you mean 'proa {near}'?"
    return UsageError(message, exit_code=EXIT_FAILURE)


def _nearest(noun: str, verb: str) -> str:
    from difflib import get_close_matches

    names = [*COMMANDS, *SYNONYMS, *NOUNS, "help"]
    if noun:
        candidates = {name.partition(" ")[2]: name for name in names if name.startswith(noun + " ")}
    else:
        candidates = {name: name for name in names if " " not in name}
    near = get_close_matches(verb, candidates, n=1)
    return candidates[near[0]] if near else ""
