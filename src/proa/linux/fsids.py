"""Making files as another user: setfsuid(2), with the rights of the one who asks.

Inside a container's user namespace the ids of the host's root do not exist: a filesystem of that
namespace refuses to make a file for them (EOVERFLOW). A thread that takes on the container's root
as its filesystem user can, and keeps its capabilities on files, which the kernel would drop.

Sources: setfsuid(2), capabilities(7) "Effect of user ID changes on capabilities", capget(2).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from proa.linux.capability import encode_capset_data, encode_capset_header, parse_status
from proa.linux.syscalls import call, number


@contextmanager
def acting_as(uid: int, gid: int) -> Iterator[None]:
    """Make files as ``uid`` and ``gid`` in this **thread** until the end of the block.

    Raises:
        OSError: EPERM; nothing has changed.
    """
    with open("/proc/thread-self/status", "rb") as status:
        sets = parse_status(status.read())
    header = encode_capset_header()
    data = encode_capset_data(
        effective=sets.effective, permitted=sets.permitted, inheritable=sets.inheritable
    )
    # Both calls return the old id and never fail loudly; files show who made them.
    gid_before = call(number("setfsgid"), gid)
    uid_before = call(number("setfsuid"), uid)
    try:
        call(number("capset"), header, data)
        yield
    finally:
        call(number("setfsuid"), uid_before)
        call(number("setfsgid"), gid_before)
        call(number("capset"), header, data)
