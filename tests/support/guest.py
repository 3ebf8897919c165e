"""Run a command of this checkout in a guest with Debian's kernel: pure cgroup v2, no leftovers.

    python -m tests.support.guest [--timeout S] -- COMMAND...

The guest's root is the host's, read-only over virtiofs under an overlay in the guest's memory, so
that the same interpreter, tools and caches are there; a scratch disk stands for ``/var/tmp`` and
``/tmp``, because ID-mapped mounts need a real file system. The guest has no network but its own
loopback. Its console is shown; its exit code is the command's.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

import msgspec

from proa.errors import NotFound
from proa.linux import process
from proa.vm.accel import choose_accelerator
from proa.vm.guestspec import Share
from proa.vm.initramfs.cpio import CpioWriter
from proa.vm.initramfs.modules import KernelModules
from proa.vm.kernel import Kernel
from proa.vm.qemu.argv import build_command, tuned_parameters
from proa.vm.qemu.machine import Disk, File, Inherited, KernelBoot, Machine
from proa.vm.qemu.machine import Share as QemuShare
from proa.vm.qemu.process import Confinement, Qemu, spawn
from proa.vm.shares import SharedTree
from tests.support.images import cache_directory
from tests.support.kernels import cached_root

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MEMORY_BYTES = 2 << 30
SCRATCH_BYTES = 4 << 30
UID = 1_600_000_001

_MODULES = (
    "virtio_mmio", "virtio_blk", "virtio_rng", "virtiofs", "overlay", "ext4", "tun", "veth",
    "bridge", "dummy", "macvlan", "ipvlan", "loop", "binfmt_misc", "nf_tables", "nft_chain_nat",
    "nft_masq", "nft_redir", "nft_ct", "nft_nat", "nft_log", "nft_limit", "nft_reject_inet",
    "nft_reject_ipv4", "nft_reject_ipv6", "nft_fib_inet", "nft_fib_ipv4", "nft_fib_ipv6",
    "nft_numgen", "nft_hash", "nfnetlink_log", "nf_conntrack_netlink", "br_netfilter", "sch_tbf",
    "sch_ingress", "sch_htb", "sch_fq_codel", "act_police", "act_mirred", "cls_u32", "cls_matchall",
    "cls_bpf", "ifb", "8021q", "xt_MASQUERADE", "erofs", "squashfs",
)  # fmt: skip

_INIT = r"""#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs devtmpfs /dev
for name in $(cat /modules/order); do insmod /modules/$name.ko 2>/dev/null; done
mkdir -p /host /memory /root
mount -t virtiofs -o ro host /host
mount -t tmpfs -o size=75% memory /memory
over() {  # SHARE TARGET
    mkdir -p /lower/$1 /memory/$1.u /memory/$1.w $2
    # Shares are mounted when they are looked into; overlayfs wants that to have happened.
    ls /host/$1/ >/dev/null; mount -o bind /host/$1 /lower/$1
    mount -t overlay -o lowerdir=/lower/$1,upperdir=/memory/$1.u,workdir=/memory/$1.w over $2
}
over root /root
@EXTRA@
mount -t proc proc /root/proc; mount -t sysfs sysfs /root/sys
mount -t devtmpfs devtmpfs /root/dev
mkdir -p /root/dev/pts /root/dev/shm /root/dev/mqueue
mount -t devpts -o mode=620,ptmxmode=666 devpts /root/dev/pts
mount -t tmpfs tmpfs /root/dev/shm; mount -t tmpfs tmpfs /root/run
mount -t mqueue mqueue /root/dev/mqueue
mount -t cgroup2 cgroup2 /root/sys/fs/cgroup
mkdir /checkout; mount -o bind /root@CHECKOUT@ /checkout
mount -t ext4 /dev/vda /root/var/tmp
mkdir -p -m 1777 /root/var/tmp/tmp; mount -o bind /root/var/tmp/tmp /root/tmp
# The scratch disk may cover it.
mkdir -p /root@CHECKOUT@; mount -o bind /checkout /root@CHECKOUT@
hostname guest; ip link set lo up
ln -sf /proc/self/fd /root/dev/fd
cp /job /root/run/job
exec switch_root /root /bin/sh /run/job
"""

_JOB = """export PATH={path} HOME=/root LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1 TERM=dumb
export PROA_TEST_EMULATED=1 PROA_TEST_DIR=/var/tmp PROA_TEST_CACHE={cache}
export PROA_TEST_PROMISES={promises}
cd {directory}
{command}
echo "guest-exit-code: $?"
sync
echo b > /proc/sysrq-trigger
"""

_EXIT = re.compile(rb"guest-exit-code: (\d+)")


def run(command: Sequence[str], timeout_s: float, output_fd: int = 1) -> int:
    """Run a command; return its exit code, 124 when it took too long, 125 when the guest failed.

    Args:
        command: in the checkout's directory.
        timeout_s: of the whole guest.
        output_fd: gets what the console says.
    """
    root = cached_root()
    kernel = _kernel(root)
    chosen = choose_accelerator(root, kernel)
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="proa-guest-", dir="/var/tmp")
        )
        scratch = f"{place}/scratch.img"
        _make_scratch(scratch)
        extra = _extra_shares()
        initramfs = f"{place}/initramfs"
        with open(initramfs, "wb") as stream:
            stream.write(_build_initramfs(kernel, command, extra))
        os.chmod(initramfs, 0o644)
        os.mkdir(f"{place}/tree")
        shares = [Share(name="root", source="/", readonly=True, recursive=False)]
        shares += [
            Share(name=name, source=path, readonly=True, recursive=False)
            for name, path in extra.items()
        ]
        tree = SharedTree(shares, f"{place}/tree", ())
        stack.callback(tree.close)
        ours, theirs = socket.socketpair()
        stack.callback(ours.close)
        boot = KernelBoot(kernel=File(kernel.vmlinux or kernel.image), initrd=File(initramfs))
        machine = Machine(
            name="tests",
            board="microvm" if kernel.vmlinux else "q35",
            accelerator=chosen.accelerator,
            vcpus=os.cpu_count() or 1,
            memory_bytes=MEMORY_BYTES,
            memory_shared=True,
            boot=boot,
            console=Inherited(theirs.fileno()),
            shares=(QemuShare(tag="host", socket=Inherited(tree.peer.fileno())),),
            disks=(Disk(source=File(scratch, writable=True), cache="unsafe"),),
        )
        line = tuned_parameters(machine, chosen.tsc_khz) + " rdinit=/init"
        boot = msgspec.structs.replace(boot, command_line=line)
        confinement = Confinement(uid=UID, kvm=chosen.accelerator == "kvm")
        qemu = spawn(build_command(msgspec.structs.replace(machine, boot=boot)), confinement)
        stack.callback(qemu.close)
        theirs.close()
        return _follow(qemu, ours, timeout_s, output_fd)


def _follow(qemu: Qemu, console: socket.socket, timeout_s: float, output_fd: int) -> int:
    deadline = time.monotonic() + timeout_s
    said = b""
    while True:
        console.settimeout(max(0.01, deadline - time.monotonic()))
        try:
            data = console.recv(65536)
        except TimeoutError:
            os.write(2, f"the guest did not end within {timeout_s:.0f} s\n".encode())
            return 124
        except ConnectionError:
            data = b""
        if data:
            os.write(output_fd, data.replace(b"\r", b""))
        said = (said + data)[-4096:]
        match = _EXIT.search(said)
        if match and said.endswith(b"\n"):
            return int(match.group(1))
        if not data:
            qemu.wait()
            os.write(2, f"{qemu.failure('finish the tests in a guest')}\n".encode())
            return 125


def _kernel(root: str) -> Kernel:
    from proa.vm.kernel import get_kernel

    return get_kernel(root)


def _make_scratch(path: str) -> None:
    with open(path, "wb") as stream:
        stream.truncate(SCRATCH_BYTES)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-O", "^has_journal", path], check=True)


def _extra_shares() -> dict[str, str]:
    """Directories that are needed and lie on other file systems than the root."""
    device = os.stat("/").st_dev
    wanted = (ROOT, sys.base_prefix, sys.prefix, cache_directory())
    paths = {os.path.realpath(path) for path in wanted if os.stat(path).st_dev != device}
    return {f"extra{number}": path for number, path in enumerate(sorted(paths))}


def _build_initramfs(kernel: Kernel, command: Sequence[str], extra: dict[str, str]) -> bytes:
    archive = CpioWriter()
    for name in ("dev", "proc", "sys"):
        archive.add_directory(name)
    for name, major, minor in (("console", 5, 1), ("null", 1, 3)):
        archive.add_character_device(f"dev/{name}", major, minor)
    with open("/bin/busybox", "rb") as stream:
        archive.add_file("bin/busybox", stream.read(), 0o755)
    order = []
    modules = KernelModules(kernel.modules)
    found: dict[str, bytes] = {}
    for name in _MODULES:
        # A kernel may have less, or have it built in.
        with contextlib.suppress(NotFound):
            found.update((module.name, module.data) for module in modules.collect((name,)))
    for name, data in found.items():
        archive.add_file(f"modules/{name}.ko", data)
        order.append(name)
    archive.add_file("modules/order", "\n".join(order).encode())
    lines = [f"over {name} /root{shlex.quote(path)}" for name, path in extra.items()]
    script = _INIT.replace("@EXTRA@", "\n".join(lines))
    script = script.replace("@CHECKOUT@", shlex.quote(os.getcwd()))
    archive.add_file("init", script.encode(), 0o755)
    job = _JOB.format(
        path=shlex.quote(os.environ.get("PATH", os.defpath)),
        cache=shlex.quote(cache_directory()),
        promises=shlex.quote(os.environ.get("PROA_GUEST_PROMISES", "")),
        directory=shlex.quote(ROOT),
        command=shlex.join(command),
    )
    archive.add_file("job", job.encode())
    return archive.finish()


def main() -> int:
    """Run the command line's command."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.guest")
    parser.add_argument("--timeout", type=float, default=600.0, metavar="S")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    command = [word for word in options.command if word != "--" or word is not options.command[0]]
    # Whoever started this may be gone; the guest must not outlive it.
    process.set_child_subreaper(False)
    return run(command[1:] if command[:1] == ["--"] else command, options.timeout)


if __name__ == "__main__":
    sys.exit(main())
