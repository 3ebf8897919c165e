"""Acting for a keeper: a worker as the supervisor of a container that was idle until now."""

from __future__ import annotations

from proa.engine.context import Context
from proa.engine.ipc import host
from proa.engine.names import is_id
from proa.engine.supervisor import hibernation
from proa.engine.supervisor.hibernation import Sleeper
from proa.engine.supervisor.sleeping import SleepingSupervisor
from proa.errors import Invalid, ProaError, from_os_error


def wake_here(worker: host.Host, context: Context, container_id: str) -> None:
    """Serve a container until it is idle again, or has ended.

    Raises:
        Invalid: no container id.
        ProaError: the keeper is gone, or cannot be acted for.
    """
    if not is_id(container_id):
        raise Invalid(f"{container_id[:80]!r} is no container id")
    try:
        held = hibernation.load(context.layout.container(container_id))
        sleeper = Sleeper(held.keeper)
    except OSError as error:
        raise from_os_error(error, f"cannot wake container {container_id[:12]}") from error
    record = context.state.containers.find(container_id)
    if record is None:
        sleeper.end()
        return
    try:
        image = context.images.get(record.image_id)
        kept = sleeper.copy(held)
        supervisor = SleepingSupervisor.resume(context, record, image, held, kept, sleeper)
    except (OSError, ProaError) as error:
        # Nobody can act for it: its container ends, and the next look at it tells so.
        sleeper.end()
        message = f"cannot act for container {container_id[:12]}"
        raise (from_os_error(error, message) if isinstance(error, OSError) else error) from error
    supervisor.run_detached()
    if supervisor.asleep:
        supervisor.let_go()
    else:
        worker.defer(supervisor.tear_down)
    worker.settle()
