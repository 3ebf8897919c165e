"""A supervisor that sleeps while there is nothing to do, and one that acts for a keeper.

:mod:`~proa.engine.supervisor.hibernation` says how; here is what of a supervisor goes along.
"""

from __future__ import annotations

import os
import time
from typing import cast

import msgspec

from proa.engine.compose.spec import compose_sandbox
from proa.engine.context import Context
from proa.engine.model import ContainerRecord
from proa.engine.supervisor import hibernation
from proa.engine.supervisor.hibernation import Kept, Sleeper
from proa.engine.supervisor.loop import READ
from proa.engine.supervisor.streams import StreamName
from proa.engine.supervisor.supervisor import Supervisor
from proa.image.model import Image
from proa.runtime.adopt import adopt
from proa.runtime.sandbox import ProcessSandbox


class SleepingSupervisor(Supervisor):
    """A supervisor whose container may be idle for long."""

    _sleeper: Sleeper | None = None
    _held: Kept | None = None
    """What the keeper holds, by its numbers: it cannot be given more or less."""
    _copied: Kept | None = None
    _idle_s = hibernation.IDLE_S

    @classmethod
    def resume(
        cls,
        context: Context,
        record: ContainerRecord,
        image: Image,
        held: Kept,
        kept: Kept,
        sleeper: Sleeper,
    ) -> SleepingSupervisor:
        """Act for a keeper.

        Args:
            context: the engine.
            record: as stored.
            image: unpacked.
            held: what the keeper holds, by its own numbers.
            kept: with descriptors of this process, taken over.
            sleeper: the keeper, taken over.
        """
        supervisor = cls(context, record, image, kept.lock)
        supervisor._sleeper = sleeper
        supervisor._held, supervisor._copied = held, kept
        calm = time.time_ns() - kept.since_ns > hibernation.CALM_NS
        supervisor._idle_s = (
            hibernation.IDLE_S if calm else min(2 * kept.idle_s, hibernation.LONGEST_IDLE_S)
        )
        supervisor._restart.count = kept.restart_count
        supervisor._open_log()
        supervisor._log.restore_pending(cast("dict[StreamName, bytes]", kept.pending))
        spec, _ = compose_sandbox(context, record, image)
        supervisor._sandbox = adopt(
            spec, kept.init, pidfd=kept.init_pidfd, console=kept.console, devpts=kept.devpts
        )
        supervisor._journal.resume()
        supervisor.stdio.resume(kept, terminal=record.config.tty, once=record.config.stdin_once)
        supervisor._clients.listen(context.layout.control(record.id), kept.control)
        supervisor._loop.add(kept.init_pidfd, READ, supervisor._on_exit)
        if kept.network is not None:
            supervisor._network.resume(kept.network)
        return supervisor

    def run_detached(self) -> None:
        """Serve without a client: to the end, or until there is nothing to do.

        A supervisor that owns its container becomes a keeper and never returns; one that acts for a
        keeper returns, and :attr:`asleep` tells.
        """
        self._loop.when_idle(self._idle_s, self._on_idle)
        self.run()

    @property
    def asleep(self) -> bool:
        """The container lives and its keeper watches it."""
        return self._sleeper is not None and self._end is None

    def let_go(self) -> None:
        """Close everything of this process; the keeper goes on."""
        assert self._sleeper is not None
        self._clients.forget()
        self.stdio.close()
        self._network.forget()
        if isinstance(self._sandbox, ProcessSandbox):
            self._sandbox.forget()
        self._log.close()
        self._loop.close()
        self._sleeper.close()
        os.close(self._lock)

    def _relaunch(self) -> None:
        """Start again as the container's own parent: the keeper was that of the last run."""
        if self._sleeper is not None and not self._stopped_by_user:
            self._sleeper.end()
            self._sleeper = self._held = self._copied = None
        super()._relaunch()

    def _on_idle(self) -> None:
        kept = self._describe_kept()
        if kept is None or not self._save(kept):
            # Ask less and less often: what holds it awake may never go.
            self._idle_s = min(2 * self._idle_s, hibernation.LONGEST_IDLE_S)
            self._loop.when_idle(self._idle_s, self._on_idle)
            return
        record = self._journal.record
        if self._sleeper is not None:
            self._loop.stop()
            return
        self._context.state.close()
        hibernation.become(self._context.layout, record.id, kept)

    def _save(self, kept: Kept) -> bool:
        """Write what the next supervisor needs; on a full disk this one has to stay awake."""
        try:
            hibernation.save(self._context.layout.container(self._journal.record.id), kept)
        except OSError:
            return False
        return True

    def _describe_kept(self) -> Kept | None:
        """What a keeper would hold; None if the container needs more than one can do."""
        sandbox = self._sandbox
        if self._end is not None or not isinstance(sandbox, ProcessSandbox):
            return None
        stdin, stdout, stderr = self.stdio.fds
        network = self._network.kept
        known = {sandbox.init.pidfd, self._clients.fd, stdin, stdout, stderr}
        known.update(network.watched if network is not None else ())
        if not self._loop.watched <= known or not hibernation.available(self._context.layout):
            return None
        if self._held is not None and self._copied is not None:
            if (stdout, stderr) != (self._copied.stdout, self._copied.stderr):
                # A stream has ended: the keeper would see its end again and again.
                return None
            held = self._held.network
            if network is not None and held is not None and self._copied.network is not None:
                if not network.holds_the_same(self._copied.network):
                    # The keeper cannot be given a new descriptor: this process has to stay.
                    return None
                held = msgspec.structs.replace(held, attachments=network.attachments)
            return msgspec.structs.replace(
                self._held,
                network=held,
                restart_count=self._restart.count,
                pending={str(name): data for name, data in self._log.take_pending().items()},
                idle_s=self._idle_s,
                since_ns=time.time_ns(),
            )
        return Kept(
            keeper=os.getpid(),
            init=sandbox.init.pid,
            lock=self._lock,
            control=self._clients.fd,
            init_pidfd=sandbox.init.pidfd,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            console=sandbox.init.console,
            devpts=sandbox.devpts,
            network=network,
            restart_count=self._restart.count,
            pending={str(name): data for name, data in self._log.take_pending().items()},
            idle_s=self._idle_s,
            since_ns=time.time_ns(),
        )

    def tear_down(self) -> None:
        """Remove what the run needed, and the keeper with it."""
        super().tear_down()
        if self._sleeper is not None:
            self._sleeper.end()
