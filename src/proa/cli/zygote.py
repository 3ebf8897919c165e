"""The zygote's program: the engine's fork server with the command line on board.

Started by :mod:`proa.engine.ipc.connect` as ``python -I -S -c "... main(...)"``.
"""

from __future__ import annotations

import os
import signal

import proa.cli.main
from proa.cli.io import IO
from proa.cli.ociruntime.client import MARK
from proa.cli.ociruntime.service import serve
from proa.engine import context as contexts
from proa.engine.layout import Layout
from proa.engine.warm import cool, warm
from proa.engine.zygote.server import Zygote
from proa.linux import process


def main(ready_fd: int, root: str, run: str, idle_s: float) -> None:
    """Detach, listen and serve until idle.

    Args:
        ready_fd: written one byte to once requests are accepted, then closed.
        root: state root.
        run: volatile root.
        idle_s: seconds without a request after which the zygote leaves.
    """
    if os.fork():
        os._exit(0)
    os.setsid()
    os.chdir("/")
    process.set_process_name("proa-zygote")
    # An ended keeper's zombie comes to the zygote, not to an init that may not reap.
    process.set_child_subreaper(True)
    # Whoever happens to come first must not bind all containers to their CPUs.
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    proa.cli.main.preload()
    layout = Layout(root, run)
    warm(contexts.get(layout))
    zygote = Zygote(layout, _run_command, idle_s)
    zygote.listen()
    os.write(ready_fd, b"1")
    os.close(ready_fd)
    try:
        zygote.serve()
    finally:
        cool()


def _run_command(argv: list[str]) -> int:
    if argv[:1] == [MARK]:
        return serve(argv[1:], IO.standard())
    return proa.cli.main.run(argv, IO.standard())
