"""``proa update``: other limits, restart policy, labels, mounts, ports, also while it runs."""

from __future__ import annotations

from proa.cli.invocation import Invocation
from proa.cli.kinds import LIST, repeated, scalar
from proa.cli.parser import EXIT_FAILURE, Command, Flag, Kind, UsageError
from proa.cli.runflags import mounts as mounting
from proa.cli.runflags import network
from proa.cli.runflags import table as t
from proa.cli.runflags.values import read_label
from proa.engine.config import MountConfig, Resources

_ONE_PORT = repeated("list", network.read_publish)
PUBLISH_ADD = Flag("publish-add", _ONE_PORT, "Publish one more port to the host")
PUBLISH_RM = Flag(
    "publish-rm", _ONE_PORT, "Take back a published port (80, 8080:80, 127.0.0.1:8080:80/tcp)"
)
_RULES: Kind[tuple[str, ...]] = scalar("rule", network.read_new_egress, ())
EGRESS = Flag(
    "egress", _RULES, "Where the container may connect to: any, none, or allow=CIDR,DOMAIN"
)
MOUNT_ADD = Flag(
    "mount-add", LIST, "Mount one more directory or volume (as -v or --mount), at once if it runs"
)
MOUNT_RM = Flag("mount-rm", LIST, "Take away what is mounted at a place in the container")
LABEL_RM = Flag("label-rm", LIST, "Remove meta data of a container")
LABEL = Flag("label-add", repeated("list", read_label), "Set meta data on a container")

_LIMITS = (
    t.BLKIO_WEIGHT, t.CPU_PERIOD, t.CPU_QUOTA, t.CPU_SHARES, t.CPUS, t.CPUSET_CPUS, t.CPUSET_MEMS,
    t.MEMORY, t.MEMORY_RESERVATION, t.MEMORY_SWAP, t.PIDS_LIMIT,
)  # fmt: skip

_REFUSED = tuple(flag for flag in t.REFUSED if flag.name in ("cpu-rt-period", "cpu-rt-runtime"))

COMMAND = Command(
    words="container update",
    usage="[OPTIONS] CONTAINER [CONTAINER...]",
    summary="Update configuration of one or more containers",
    flags=(
        *_LIMITS,
        EGRESS,
        LABEL,
        LABEL_RM,
        MOUNT_ADD,
        MOUNT_RM,
        PUBLISH_ADD,
        PUBLISH_RM,
        t.RATE_IN,
        t.RATE_OUT,
        t.RESTART,
        *_REFUSED,
    ),
    least=1,
    most=None,
    details="What is not said stays as it is. A running container gets its new limits at once.",
)


def execute(call: Invocation) -> int:
    """Update each container; print the name of each."""
    options = call.options
    if not any(options.is_given(flag) for flag in COMMAND.flags):
        raise UsageError(
            "you must provide one or more flags when using this command", exit_code=EXIT_FAILURE
        )
    resources = Resources(
        memory_bytes=options[t.MEMORY],
        memory_swap_bytes=options[t.MEMORY_SWAP],
        memory_reservation_bytes=options[t.MEMORY_RESERVATION],
        nano_cpus=options[t.CPUS],
        cpu_shares=options[t.CPU_SHARES],
        cpu_period_us=options[t.CPU_PERIOD],
        cpu_quota_us=options[t.CPU_QUOTA],
        cpuset_cpus=options[t.CPUSET_CPUS],
        cpuset_mems=options[t.CPUSET_MEMS],
        pids_limit=options[t.PIDS_LIMIT],
        blkio_weight=options[t.BLKIO_WEIGHT],
    )
    restart = options[t.RESTART] if options.is_given(t.RESTART) else None
    pairs, published, unpublished = options[LABEL], options[PUBLISH_ADD], options[PUBLISH_RM]
    labels = dict(pairs)
    label_rm, mount_add, mount_rm = options[LABEL_RM], options[MOUNT_ADD], options[MOUNT_RM]
    mounts = [_read_mount(word, call.io.cwd) for word in mount_add]
    added = [port for ports in published for port in ports]
    removed = [port for ports in unpublished for port in ports]
    rate_in = options[t.RATE_IN] if options.is_given(t.RATE_IN) else None
    rate_out = options[t.RATE_OUT] if options.is_given(t.RATE_OUT) else None
    egress = options[EGRESS] if options.is_given(EGRESS) else None

    def update(name: str) -> str:
        call.engine.containers.update(
            name,
            resources=resources,
            restart=restart,
            labels=labels,
            label_rm=label_rm,
            mount_add=mounts,
            mount_rm=mount_rm,
            publish_add=added,
            publish_rm=removed,
            rate_in_bytes=rate_in,
            rate_out_bytes=rate_out,
            egress=egress,
        )
        return name

    return call.for_each(update)


def _read_mount(word: str, cwd: str) -> MountConfig:
    """Read a mount in the words of ``--mount`` (pairs) or ``-v`` (colons)."""
    is_pairs = "=" in word.partition(",")[0].partition(":")[0]
    try:
        return (mounting.parse_mount if is_pairs else mounting.parse_volume)(word, cwd)
    except ValueError as error:
        raise UsageError(f'invalid argument "{word}" for "--mount-add": {error}') from error
