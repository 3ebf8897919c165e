"""Flag values of ``run`` with a grammar of their own.

Every reader takes the text of one flag and raises ValueError with a reason in Docker's words.
"""

from __future__ import annotations

import re

from proa import units
from proa.cli.kinds import read_int, read_size, reading
from proa.engine.config import DeviceMapping, RestartPolicy, ThrottleDevice, Ulimit

_ULIMITS = frozenset(
    (
        "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc",
        "rss", "rtprio", "rttime", "sigpending", "stack",
    )
)  # fmt: skip
_SYSCTLS = frozenset(
    (
        "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall",
        "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced",
    )
)  # fmt: skip
_CONTROL_KEY = re.compile(r"ctrl-[a-z@\[\\\]^_]")
_SYSCTL_PREFIXES = ("net.", "fs.mqueue.")
_DEVICE_RULE = re.compile(r"[acb] (\d+|\*):(\d+|\*) [rwm]{1,3}")


def read_cpus(text: str) -> int:
    """Read ``--cpus`` as units of 1e-9 CPUs.

    Raises:
        ValueError: not a number of at least 0, or finer than 1e-9.
    """
    return reading(units.parse_cpus, text)


def read_memory_swap(text: str) -> int:
    """Read ``--memory-swap``: a size, or -1 for unlimited.

    Raises:
        ValueError: neither of them.
    """
    return -1 if text == "-1" else read_size(text)


def read_shm_size(text: str) -> int:
    """Read ``--shm-size``, a size above 0.

    Raises:
        ValueError: not a size, or 0.
    """
    size = read_size(text)
    if size <= 0:
        raise ValueError("the size of /dev/shm must be above 0")
    return size


def read_blkio_weight(text: str) -> int:
    """Read ``--blkio-weight``: 10 to 1000, or 0.

    Raises:
        ValueError: out of range.
    """
    weight = read_int(text)
    if weight and not 10 <= weight <= 1000:
        raise ValueError("the weight must be between 10 and 1000, or 0 to disable")
    return weight


def read_oom_score(text: str) -> int:
    """Read ``--oom-score-adj``, -1000 to 1000.

    Raises:
        ValueError: out of range.
    """
    score = read_int(text)
    if not -1000 <= score <= 1000:
        raise ValueError("the score must be between -1000 and 1000")
    return score


def read_throttle_bps(text: str) -> ThrottleDevice:
    """Read ``/dev/sda:1mb``, bytes a second.

    Raises:
        ValueError: no such form.
    """
    path, rate = _split_throttle(text)
    try:
        return ThrottleDevice(path, read_size(rate))
    except ValueError:
        raise ValueError(
            f"invalid rate for device: {text}. The correct format is "
            "<device-path>:<number>[<unit>]. Number must be a positive integer. "
            "Unit is optional and can be kb, mb, or gb"
        ) from None


def read_throttle_iops(text: str) -> ThrottleDevice:
    """Read ``/dev/sda:100``, operations a second.

    Raises:
        ValueError: no such form.
    """
    path, rate = _split_throttle(text)
    if not (rate.isascii() and rate.isdigit()):
        raise ValueError(
            f"invalid rate for device: {text}. The correct format is <device-path>:<number>. "
            "Number must be a positive integer"
        )
    return ThrottleDevice(path, int(rate))


def _split_throttle(text: str) -> tuple[str, str]:
    path, colon, rate = text.partition(":")
    if not path or not colon or ":" in rate:
        raise ValueError(f"bad format: {text}")
    if not path.startswith("/dev/"):
        raise ValueError(f"bad format for device path: {text}")
    return path, rate


def read_ulimit(text: str) -> Ulimit:
    """Read ``nofile=1024:2048``; -1 is unlimited.

    Raises:
        ValueError: unknown name, no number, or soft above hard.
    """
    name, equals, limits = text.partition("=")
    if not equals:
        raise ValueError(f"invalid ulimit argument: {text}")
    if name not in _ULIMITS:
        raise ValueError(f"invalid ulimit type: {name}")
    soft_text, *others = limits.split(":")
    if len(others) > 1:
        raise ValueError(f"too many limit value arguments - {limits}, at most soft:hard")
    soft = read_int(soft_text)
    hard = read_int(others[0]) if others else soft
    if soft < -1 or hard < -1:
        raise ValueError(f"a limit is a number of at least -1: {limits}")
    if hard != -1 and (soft == -1 or soft > hard):
        raise ValueError(
            f"ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
        )
    return Ulimit(name=name, soft=soft, hard=hard)


def read_device(text: str) -> DeviceMapping:
    """Read ``/dev/host[:/dev/inside][:rwm]``.

    Raises:
        ValueError: more than three parts, a relative path, a bad permission.
    """
    parts = text.split(":")
    if len(parts) > 3 or not parts[0]:
        raise ValueError(f"invalid device specification: {text}")
    inside, permissions = parts[0], "rwm"
    if len(parts) == 3:
        inside, permissions = parts[1], parts[2]
    elif len(parts) == 2 and _is_permissions(parts[1]):
        permissions = parts[1]
    elif len(parts) == 2:
        inside = parts[1]
    if not _is_permissions(permissions):
        raise ValueError(f"bad mode specified: {permissions}")
    for path in (parts[0], inside):
        if not path.startswith("/"):
            raise ValueError(f"{path or text} is not an absolute path")
    return DeviceMapping(host_path=parts[0], container_path=inside, permissions=permissions)


def _is_permissions(text: str) -> bool:
    return 0 < len(text) <= 3 and len(set(text)) == len(text) and set(text) <= set("rwm")


def read_device_rule(text: str) -> str:
    """Read ``c 42:* rmw``.

    Raises:
        ValueError: no such form.
    """
    if not _DEVICE_RULE.fullmatch(text):
        raise ValueError(f"invalid device cgroup format '{text}'")
    return text


def read_restart(text: str) -> RestartPolicy:
    """Read ``no|always|unless-stopped|on-failure[:COUNT]``.

    Raises:
        ValueError: another word, or a count where none belongs.
    """
    name, colon, count = text.partition(":")
    if name == "on-failure":
        if not colon:
            return RestartPolicy(name="on-failure")
        if not (count.isascii() and count.isdigit()):
            raise ValueError("maximum retry count must be an integer of at least 0")
        return RestartPolicy(name="on-failure", maximum_retry_count=int(count))
    if colon:
        raise ValueError(f"maximum retry count cannot be used with restart policy '{name}'")
    if name in ("", "no"):
        return RestartPolicy()
    if name == "always":
        return RestartPolicy(name="always")
    if name == "unless-stopped":
        return RestartPolicy(name="unless-stopped")
    raise ValueError(
        f"unknown policy '{name}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
    )


def read_env(text: str) -> str:
    """Read ``NAME=value`` or ``NAME``.

    Raises:
        ValueError: there is no name.
    """
    if not text or text.startswith("="):
        raise ValueError(f"invalid environment variable: {text}")
    return text


def read_label(text: str) -> tuple[str, str]:
    """Read ``name=value`` or ``name``.

    Raises:
        ValueError: there is no name.
    """
    name, _, value = text.partition("=")
    if not name:
        raise ValueError(f"invalid label '{text}': empty name")
    return name, value


def read_pair(text: str) -> tuple[str, str]:
    """Read ``name=value``.

    Raises:
        ValueError: there is no name or no value.
    """
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise ValueError("must be a key=value pair")
    return name, value


def read_sysctl(text: str) -> tuple[str, str]:
    """Read ``net.core.somaxconn=1024``: only what belongs to a namespace.

    Raises:
        ValueError: no value, or a setting of the whole machine.
    """
    name, equals, value = text.partition("=")
    name = name.replace("/", ".")
    if not equals or not (name in _SYSCTLS or name.startswith(_SYSCTL_PREFIXES)):
        raise ValueError(f"sysctl '{text}' is not allowed")
    return name, value


def read_attach(text: str) -> str:
    """Read one of stdin, stdout and stderr.

    Raises:
        ValueError: another word.
    """
    stream = text.lower()
    if stream not in ("stdin", "stdout", "stderr"):
        raise ValueError("valid streams are STDIN, STDOUT and STDERR")
    return stream


def read_extra_host(text: str) -> str:
    """Read ``host:ip`` or ``host=ip`` and return ``host:ip``.

    Raises:
        ValueError: no such form, or no address.
    """
    first = min((at for at in (text.find(":"), text.find("=")) if at >= 0), default=-1)
    if first <= 0:
        raise ValueError(f'bad format for add-host: "{text}"')
    host, address = text[:first], text[first + 1 :]
    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    if address != "host-gateway" and not _is_address(address):
        raise ValueError(f'invalid IP address in add-host: "{address}"')
    return f"{host}:{address}"


def read_address(text: str) -> str:
    """Read an IPv4 or IPv6 address.

    Raises:
        ValueError: it is none.
    """
    if not _is_address(text.strip()):
        raise ValueError(f"IP address is not correctly formatted: {text}")
    return text.strip()


def _is_address(text: str) -> bool:
    import socket

    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, text)
        except (OSError, ValueError):
            continue
        return True
    return False


def read_detach_keys(text: str) -> str:
    """Read ``ctrl-p,ctrl-q``: characters, or ``ctrl-`` with a letter or one of ``@[\\]^_``.

    Raises:
        ValueError: an unknown key.
    """
    for key in text.split(","):
        if not (_CONTROL_KEY.fullmatch(key) or (len(key) == 1 and key.isascii())):
            raise ValueError(f"unknown character: '{key}'")
    return text
