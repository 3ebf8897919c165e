"""``proa-runtime`` in a worker of the zygote, for a client that waits for the exit code."""

from __future__ import annotations

from proa.cli.io import IO
from proa.cli.ociruntime import main
from proa.cli.ociruntime.client import DECLINED
from proa.cli.ociruntime.surroundings import read_surroundings
from proa.engine.ipc import host


def serve(argv: list[str], io: IO) -> int:
    """Run one command line, if what its client hands down is what this worker would.

    Returns:
        The exit code, or :data:`DECLINED`.
    """
    worker = host.current
    if worker is None or worker.peer is None:
        return DECLINED
    try:
        if read_surroundings(host.client_pid()) != read_surroundings("self"):
            return DECLINED
    except OSError:
        return DECLINED
    code = main.run(argv, io)
    worker.settle()
    return code
