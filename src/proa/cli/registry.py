"""Which commands exist, what they are called and where they live.

Only names are here: the module of a command is imported when the command is called. A command has
one canonical name (``container ls``) and may have others (``ps``); ``NOT_BUILT`` and ``NOT_HERE``
answer Docker's words that Proa does not have with what to use instead.
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
    "machine": "Manage a Linux machine with the engine inside",
    "manifest": "Look at images in registries",
    "network": "Manage networks",
    "system": "Look at the engine and its machine",
    "vm": "Manage full virtual machines and kernels for guests",
    "volume": "Manage volumes",
}

COMMANDS = {
    "completion": "proa.cli.shells.completion",
    "compare": "proa.cli.compare",
    "container attach": "proa.cli.container.attach",
    "container commit": "proa.cli.container.commit",
    "container cp": "proa.cli.container.cp",
    "container create": "proa.cli.container.create",
    "container diff": "proa.cli.container.diff",
    "container exec": "proa.cli.container.exec",
    "container export": "proa.cli.container.export",
    "container inspect": "proa.cli.container.inspect",
    "container kill": "proa.cli.container.kill",
    "container logs": "proa.cli.container.logs",
    "container ls": "proa.cli.container.ls",
    "container pause": "proa.cli.container.pause",
    "container port": "proa.cli.container.port",
    "container prune": "proa.cli.container.prune",
    "container rename": "proa.cli.container.rename",
    "container restart": "proa.cli.container.restart",
    "container rm": "proa.cli.container.rm",
    "container run": "proa.cli.container.run",
    "container start": "proa.cli.container.start",
    "container stats": "proa.cli.container.stats",
    "container stop": "proa.cli.container.stop",
    "container top": "proa.cli.container.top",
    "container unpause": "proa.cli.container.unpause",
    "container update": "proa.cli.container.update",
    "container wait": "proa.cli.container.wait",
    "image bootstrap": "proa.cli.image.bootstrap",
    "image history": "proa.cli.image.history",
    "image import": "proa.cli.image.import_",
    "image inspect": "proa.cli.image.inspect",
    "image load": "proa.cli.image.load",
    "image ls": "proa.cli.image.ls",
    "image prune": "proa.cli.image.prune",
    "image pull": "proa.cli.image.pull",
    "image push": "proa.cli.image.push",
    "image rm": "proa.cli.image.rm",
    "image save": "proa.cli.image.save",
    "image tag": "proa.cli.image.tag",
    "image to-disk": "proa.cli.image.todisk",
    "inspect": "proa.cli.system.inspect",
    "login": "proa.cli.registries.login",
    "logout": "proa.cli.registries.logout",
    "machine rm": "proa.cli.machine.rm",
    "machine ssh": "proa.cli.machine.ssh",
    "machine start": "proa.cli.machine.start",
    "machine status": "proa.cli.machine.status",
    "machine stop": "proa.cli.machine.stop",
    "manifest inspect": "proa.cli.manifest.inspect",
    "network connect": "proa.cli.network.connect",
    "network create": "proa.cli.network.create",
    "network disconnect": "proa.cli.network.disconnect",
    "network inspect": "proa.cli.network.inspect",
    "network ls": "proa.cli.network.ls",
    "network prune": "proa.cli.network.prune",
    "network rm": "proa.cli.network.rm",
    "search": "proa.cli.registries.search",
    "serve": "proa.cli.serve",
    "system df": "proa.cli.system.df",
    "system emulate": "proa.cli.system.emulate",
    "system events": "proa.cli.system.events",
    "system info": "proa.cli.system.info",
    "system prune": "proa.cli.system.prune",
    "system recover": "proa.cli.system.recover",
    "version": "proa.cli.system.version",
    "vm console": "proa.cli.vm.console",
    "vm create": "proa.cli.vm.create",
    "vm inspect": "proa.cli.vm.inspect",
    "vm kernel": "proa.cli.vm.kernel",
    "vm ls": "proa.cli.vm.ls",
    "vm rm": "proa.cli.vm.rm",
    "vm snapshot": "proa.cli.vm.snapshot",
    "vm start": "proa.cli.vm.start",
    "vm stop": "proa.cli.vm.stop",
    "volume create": "proa.cli.volume.create",
    "volume inspect": "proa.cli.volume.inspect",
    "volume ls": "proa.cli.volume.ls",
    "volume prune": "proa.cli.volume.prune",
    "volume rm": "proa.cli.volume.rm",
}

SYNONYMS = {
    "attach": "container attach",
    "commit": "container commit",
    "container list": "container ls",
    "container ps": "container ls",
    "container remove": "container rm",
    "cp": "container cp",
    "create": "container create",
    "diff": "container diff",
    "events": "system events",
    "exec": "container exec",
    "export": "container export",
    "history": "image history",
    "image list": "image ls",
    "image remove": "image rm",
    "images": "image ls",
    "import": "image import",
    "info": "system info",
    "kill": "container kill",
    "load": "image load",
    "logs": "container logs",
    "network list": "network ls",
    "network remove": "network rm",
    "pause": "container pause",
    "port": "container port",
    "ps": "container ls",
    "pull": "image pull",
    "push": "image push",
    "rename": "container rename",
    "restart": "container restart",
    "rm": "container rm",
    "rmi": "image rm",
    "run": "container run",
    "save": "image save",
    "start": "container start",
    "stats": "container stats",
    "stop": "container stop",
    "tag": "image tag",
    "top": "container top",
    "unpause": "container unpause",
    "update": "container update",
    "vm list": "vm ls",
    "vm remove": "vm rm",
    "volume list": "volume ls",
    "volume remove": "volume rm",
    "wait": "container wait",
}

_BUILD = "prepare a root filesystem and take it in with 'proa import'"
_CLUSTER = "Proa runs containers on one machine; start them there with 'proa run --restart always'"
_FILE = "show the container a file instead: 'proa run -v ./secret:/run/secrets/name:ro'"
_SCAN = "give the archive of 'proa save' to a scanner of your choice"
_DESKTOP = "it belongs to Docker Desktop"

NOT_BUILT = {
    "build": _BUILD,
    "builder": _BUILD,
    "buildx": _BUILD,
    "compose": "start the containers one by one with 'proa run'",
}
"""Docker's commands that are to come, and what to do until then."""

NOT_HERE = {
    "checkpoint": "pause the container with 'proa pause'",
    "config": _FILE,
    "context": "there is no daemon to connect to; --root chooses another state",
    "daemon": "no daemon is needed; 'proa serve' answers clients of Docker's API",
    "debug": "'proa exec' runs a command in a container, 'proa cp' brings tools in",
    "desktop": _DESKTOP,
    "extension": _DESKTOP,
    "init": "write the Dockerfile by hand, or begin with 'proa image bootstrap'",
    "model": _DESKTOP,
    "node": _CLUSTER,
    "offload": _DESKTOP,
    "plugin": "networks, volumes and logs are built in",
    "pod": "share a network with 'proa run --network container:NAME'",
    "sbom": _SCAN,
    "scout": _SCAN,
    "secret": _FILE,
    "service": _CLUSTER,
    "stack": _CLUSTER,
    "swarm": _CLUSTER,
    "trust": "images are verified by digest; name one as NAME@sha256:...",
}
"""Words of Docker's (and Podman's) that make no sense here, and what to use."""


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
    for words, why in ((NOT_BUILT, "is not built yet"), (NOT_HERE, "is not part of Proa")):
        if verb in words:
            return UsageError(f"'proa {name}' {why}: {words[verb]}", exit_code=EXIT_FAILURE)
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
