"""The table of the flags of ``run`` and ``create``, in Docker's words.

``SHARED`` belongs to both commands, ``ONLY_RUN`` to ``run``. The flags that Docker has and Proa has
not are here too: using one is answered with what to do instead.
"""

from __future__ import annotations

from typing import Any

from proa.cli.kinds import (
    BOOL,
    INT,
    LIST,
    OPTIONAL_INT,
    STRING,
    UNSIGNED,
    repeated,
    scalar,
)
from proa.cli.kinds import BYTES as SIZE
from proa.cli.parser import Flag, Kind
from proa.cli.runflags import health, network, values
from proa.cli.signals import SIGNAL_NAME
from proa.engine.config import RestartPolicy

_PAIRS = repeated("map", values.read_pair)
_LABELS = repeated("list", values.read_label)
_THROTTLE_BPS = repeated("list", values.read_throttle_bps)
_THROTTLE_IOPS = repeated("list", values.read_throttle_iops)
_ADDRESSES = repeated("list", values.read_address)

# What runs.
ENTRYPOINT = Flag("entrypoint", STRING, "Overwrite the default ENTRYPOINT of the image")
ENV = Flag("env", repeated("list", values.read_env), "Set environment variables", short="e")
ENV_FILE = Flag("env-file", LIST, "Read in a file of environment variables")
WORKDIR = Flag("workdir", STRING, "Working directory inside the container", short="w")
USER = Flag("user", STRING, "Username or UID (format: <name|uid>[:<group|gid>])", short="u")
GROUP_ADD = Flag("group-add", LIST, "Add additional groups to join")
INIT = Flag("init", BOOL, "Run an init inside the container that reaps processes")
STOP_SIGNAL = Flag("stop-signal", SIGNAL_NAME, "Signal to stop the container")
STOP_TIMEOUT = Flag("stop-timeout", OPTIONAL_INT, "Timeout (in seconds) to stop a container")
RESTART = Flag(
    "restart",
    scalar("string", values.read_restart, RestartPolicy()),
    'Restart policy to apply when a container exits (default "no")',
)
PLATFORM = Flag("platform", STRING, "Platform of the image, os/arch[/variant]")
PULL = Flag(
    "pull", STRING, 'Pull image before running ("always", "missing", "never")', "", "missing"
)
POLICY = Flag("policy", STRING, "The same as --pull, as 'proa pull' calls it", default="missing")
QUIET = Flag("quiet", BOOL, "Suppress the pull output", short="q")

# Its name and its words.
NAME = Flag("name", STRING, "Assign a name to the container")
CIDFILE = Flag("cidfile", STRING, "Write the container ID to the file")
LABEL = Flag("label", _LABELS, "Set meta data on a container", short="l")
LABEL_FILE = Flag("label-file", LIST, "Read in a line delimited file of labels")
ANNOTATION = Flag("annotation", _PAIRS, "Add an annotation to the container's runtime spec")
RM = Flag("rm", BOOL, "Remove the container and its anonymous volumes when it exits")

# Its streams.
ATTACH = Flag(
    "attach", repeated("list", values.read_attach), "Attach to STDIN, STDOUT or STDERR", short="a"
)
INTERACTIVE = Flag("interactive", BOOL, "Keep STDIN open even if not attached", short="i")
TTY = Flag("tty", BOOL, "Allocate a pseudo-TTY", short="t")
DETACH = Flag("detach", BOOL, "Run container in background and print container ID", short="d")
DETACH_KEYS = Flag(
    "detach-keys",
    scalar("string", values.read_detach_keys, ""),
    "Override the key sequence for detaching a container",
)
SIG_PROXY = Flag("sig-proxy", BOOL, "Proxy received signals to the process", default=True)
LOG_DRIVER = Flag("log-driver", STRING, "Logging driver for the container (json-file, none)")
LOG_OPT = Flag("log-opt", _PAIRS, "Log driver options")

# Its files.
VOLUME = Flag("volume", LIST, "Bind mount a volume", short="v")
MOUNT = Flag("mount", LIST, "Attach a filesystem mount to the container")
TMPFS = Flag("tmpfs", LIST, "Mount a tmpfs directory")
VOLUMES_FROM = Flag("volumes-from", LIST, "Mount volumes from the specified container(s)")
READ_ONLY = Flag("read-only", BOOL, "Mount the container's root filesystem as read only")
SHM_SIZE = Flag("shm-size", scalar("bytes", values.read_shm_size, 0), "Size of /dev/shm")

# Its network.
_NETWORKS = repeated("network", network.read_network)
NETWORK = Flag("network", _NETWORKS, "Connect a container to a network")
NET = Flag("net", _NETWORKS, "Connect a container to a network", hidden=True)
IP = Flag("ip", scalar("ip", network.read_address4, ""), "IPv4 address (e.g., 172.30.100.104)")
IP6 = Flag("ip6", scalar("ip", network.read_address6, ""), "IPv6 address (e.g., 2001:db8::33)")
MAC_ADDRESS = Flag(
    "mac-address", scalar("string", network.read_mac, ""), "Container MAC address (02:42:...)"
)
NETWORK_ALIAS = Flag("network-alias", LIST, "Add network-scoped alias for the container")
NET_ALIAS = Flag("net-alias", LIST, "Add network-scoped alias for the container", hidden=True)
PUBLISH = Flag(
    "publish",
    repeated("list", network.read_publish),
    "Publish a container's port(s) to the host",
    short="p",
)
PUBLISH_ALL = Flag("publish-all", BOOL, "Publish all exposed ports to random ports", short="P")
EXPOSE = Flag("expose", LIST, "Expose a port or a range of ports")
RATE_IN = Flag(
    "rate-in", scalar("rate", network.read_rate, 0), "Bandwidth to the container (10mbit, 2m)"
)
RATE_OUT = Flag(
    "rate-out", scalar("rate", network.read_rate, 0), "Bandwidth from the container (10mbit, 2m)"
)
_RULES: Kind[tuple[str, ...]] = scalar("rule", network.read_egress, ())
EGRESS = Flag(
    "egress",
    _RULES,
    "Where the container may connect to: none, or allow=CIDR,DOMAIN",
)
HOSTNAME = Flag("hostname", STRING, "Container host name", short="h")
DOMAINNAME = Flag("domainname", STRING, "Container NIS domain name")
ADD_HOST = Flag(
    "add-host", repeated("list", values.read_extra_host), "Add a host-to-IP mapping (host:ip)"
)
DNS = Flag("dns", _ADDRESSES, "Set custom DNS servers")
DNS_OPTION = Flag("dns-option", LIST, "Set DNS options")
DNS_OPT = Flag("dns-opt", LIST, "Set DNS options", hidden=True)
DNS_SEARCH = Flag("dns-search", LIST, "Set custom DNS search domains")

# Its limits.
MEMORY = Flag("memory", SIZE, "Memory limit", short="m")
MEMORY_RESERVATION = Flag("memory-reservation", SIZE, "Memory soft limit")
MEMORY_SWAP = Flag(
    "memory-swap",
    scalar("bytes", values.read_memory_swap, 0),
    "Swap limit equal to memory plus swap: '-1' to enable unlimited swap",
)
CPUS = Flag("cpus", scalar("decimal", values.read_cpus, 0), "Number of CPUs")
CPU_SHARES = Flag("cpu-shares", UNSIGNED, "CPU shares (relative weight)", short="c")
CPU_PERIOD = Flag("cpu-period", UNSIGNED, "Limit CPU CFS period, in microseconds")
CPU_QUOTA = Flag("cpu-quota", INT, "Limit CPU CFS quota, in microseconds")
CPUSET_CPUS = Flag("cpuset-cpus", STRING, "CPUs in which to allow execution (0-3, 0,1)")
CPUSET_MEMS = Flag("cpuset-mems", STRING, "MEMs in which to allow execution (0-3, 0,1)")
PIDS_LIMIT = Flag("pids-limit", OPTIONAL_INT, "Tune container pids limit (set -1 for unlimited)")
BLKIO_WEIGHT = Flag(
    "blkio-weight",
    scalar("uint16", values.read_blkio_weight, 0),
    "Block IO (relative weight), between 10 and 1000, or 0 to disable",
)
DEVICE_READ_BPS = Flag(
    "device-read-bps", _THROTTLE_BPS, "Limit read rate (bytes per second) from a device"
)
DEVICE_WRITE_BPS = Flag(
    "device-write-bps", _THROTTLE_BPS, "Limit write rate (bytes per second) to a device"
)
DEVICE_READ_IOPS = Flag(
    "device-read-iops", _THROTTLE_IOPS, "Limit read rate (IO per second) from a device"
)
DEVICE_WRITE_IOPS = Flag(
    "device-write-iops", _THROTTLE_IOPS, "Limit write rate (IO per second) to a device"
)
OOM_KILL_DISABLE = Flag("oom-kill-disable", BOOL, "Disable OOM Killer")
OOM_SCORE_ADJ = Flag(
    "oom-score-adj",
    scalar("int", values.read_oom_score, 0),
    "Tune host's OOM preferences (-1000 to 1000)",
)
ULIMIT = Flag("ulimit", repeated("ulimit", values.read_ulimit), "Ulimit options")
CGROUP_PARENT = Flag("cgroup-parent", STRING, "Optional parent cgroup for the container")

# Its isolation.
ISOLATION = Flag("isolation", STRING, "Container isolation technology (process, vm)")
VM_ACCEL = Flag("vm-accel", STRING, "Accelerator of the container's machine (auto, kvm, tcg)")
KERNEL = Flag("kernel", STRING, "Kernel of the container's machine: a file or a release")
RUNTIME = Flag("runtime", STRING, "Runtime to use for this container (proa, proa-vm)")
PRIVILEGED = Flag("privileged", BOOL, "Give extended privileges to this container")
CAP_ADD = Flag("cap-add", LIST, "Add Linux capabilities")
CAP_DROP = Flag("cap-drop", LIST, "Drop Linux capabilities")
SECURITY_OPT = Flag("security-opt", LIST, "Security Options")
DEVICE = Flag("device", repeated("list", values.read_device), "Add a host device to the container")
DEVICE_CGROUP_RULE = Flag(
    "device-cgroup-rule",
    repeated("list", values.read_device_rule),
    "Add a rule to the cgroup allowed devices list",
)
SYSCTL = Flag("sysctl", repeated("map", values.read_sysctl), "Sysctl options")
USERNS = Flag("userns", STRING, "User namespace to use (host: the host's; default: one of its own)")
PID = Flag("pid", STRING, "PID namespace to use (host, container:NAME)")
IPC = Flag("ipc", STRING, "IPC mode to use (private, shareable, none, host, container:NAME)")
UTS = Flag("uts", STRING, "UTS namespace to use (host)")
CGROUPNS = Flag("cgroupns", STRING, "Cgroup namespace to use (host, private)")

_WINDOWS = "it is for Windows containers"
_REFUSED: tuple[tuple[str, str, str], ...] = (
    ("blkio-weight-device", "", "use '--blkio-weight' or '--device-read-bps'"),
    ("cpu-count", "", _WINDOWS),
    ("cpu-percent", "", _WINDOWS),
    ("cpu-rt-period", "", "real-time scheduling is not offered"),
    ("cpu-rt-runtime", "", "real-time scheduling is not offered"),
    ("gpus", "", "give the device files with '--device'"),
    ("io-maxbandwidth", "", _WINDOWS),
    ("io-maxiops", "", _WINDOWS),
    ("kernel-memory", "", "Linux has no such limit any more; use '--memory'"),
    ("link", "", "put both containers on a network ('proa network create'): they find each other"),
    ("link-local-ip", "", "give an address of the network with '--ip'"),
    ("memory-swappiness", "", "use '--memory-swap'"),
    ("storage-opt", "", "the container's files share the engine's filesystem"),
    ("use-api-socket", "", "Proa has no API socket yet"),
    ("volume-driver", "", "volumes are directories of the engine"),
)

REFUSED: tuple[Flag[Any], ...] = tuple(
    Flag(name, STRING, "Not available", short, refusal=why) for name, short, why in _REFUSED
)
WITHOUT_EFFECT: tuple[Flag[Any], ...] = (
    Flag("disable-content-trust", BOOL, "Accepted: there is no content trust", hidden=True),
)

SHARED: tuple[Flag[Any], ...] = (
    ADD_HOST, ANNOTATION, ATTACH, BLKIO_WEIGHT, CAP_ADD, CAP_DROP, CGROUP_PARENT, CGROUPNS, CIDFILE,
    CPU_PERIOD, CPU_QUOTA, CPU_SHARES, CPUS, CPUSET_CPUS, CPUSET_MEMS, DEVICE, DEVICE_CGROUP_RULE,
    DEVICE_READ_BPS, DEVICE_READ_IOPS, DEVICE_WRITE_BPS, DEVICE_WRITE_IOPS, DNS, DNS_OPT,
    DNS_OPTION, DNS_SEARCH, DOMAINNAME, EGRESS, ENTRYPOINT, ENV, ENV_FILE, EXPOSE, GROUP_ADD,
    HOSTNAME, INIT, INTERACTIVE, IP, IP6, IPC, ISOLATION, KERNEL, LABEL, LABEL_FILE, LOG_DRIVER,
    LOG_OPT, MAC_ADDRESS, MEMORY, MEMORY_RESERVATION, MEMORY_SWAP, MOUNT, NAME, NET, NET_ALIAS,
    NETWORK, NETWORK_ALIAS, OOM_KILL_DISABLE, OOM_SCORE_ADJ, PID, PIDS_LIMIT, PLATFORM, POLICY,
    PRIVILEGED, PUBLISH, PUBLISH_ALL, PULL, QUIET, RATE_IN, RATE_OUT, READ_ONLY, RESTART, RM,
    RUNTIME, SECURITY_OPT, SHM_SIZE, STOP_SIGNAL, STOP_TIMEOUT, SYSCTL, TMPFS, TTY, ULIMIT, USER,
    USERNS, UTS, VM_ACCEL, VOLUME, VOLUMES_FROM, WORKDIR, *health.FLAGS, *REFUSED, *WITHOUT_EFFECT,
)  # fmt: skip

ONLY_RUN: tuple[Flag[Any], ...] = (DETACH, DETACH_KEYS, SIG_PROXY)
