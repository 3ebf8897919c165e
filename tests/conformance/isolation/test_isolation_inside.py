"""What a container sees and may do, in any isolation."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import msgspec
import pytest

from proa.oci.spec import (
    Box,
    LinuxCapabilities,
    LinuxTimeOffset,
    Mount,
    POSIXRlimit,
    Spec,
    User,
)
from proa.runtime import defaults
from proa.runtime.security.capabilities import DEFAULT
from proa.vm.isolation import VmIsolation
from tests.support.sandboxes import Boxes, Pipes, make_process, make_spec, status_of, wait

pytestmark = pytest.mark.requires("root", "userns", "idmap", "overlay", "busybox", "seccomp")


def with_mounts(spec: Spec, *mounts: Mount) -> Spec:
    return msgspec.structs.replace(spec, mounts=(*spec.mounts, *mounts))


def test_it_is_alone_with_its_processes(boxes: Boxes) -> None:
    outcome = boxes.shell("echo $$; ls /proc | grep -c '^[0-9]'")
    assert outcome.lines[0] == "1"
    assert int(outcome.lines[1]) <= 4


def test_its_host_name_is_its_own(boxes: Boxes) -> None:
    spec = msgspec.structs.replace(make_spec(make_process("hostname")), hostname="box")
    assert boxes.run(spec).out == "box\n"
    assert os.uname().nodename != "box"


def test_its_network_has_loopback_only_and_up(boxes: Boxes) -> None:
    out = boxes.shell("ls /sys/class/net; ip addr show lo").out
    assert out.splitlines()[0] == "lo"
    assert "127.0.0.1/8" in out
    assert "UP" in out


def test_only_the_default_capabilities_and_no_more(boxes: Boxes) -> None:
    status = status_of(boxes.shell("cat /proc/self/status").out)
    from proa.linux.capability import mask_of

    kept = f"{mask_of(DEFAULT):016x}"
    assert (status["CapPrm"], status["CapEff"], status["CapBnd"]) == (kept, kept, kept)
    assert (status["CapInh"], status["CapAmb"]) == ("0" * 16, "0" * 16)
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"


def test_another_user_has_no_capabilities(boxes: Boxes) -> None:
    kept = tuple(sorted(DEFAULT))
    outcome = boxes.shell(
        "id -u; id -g; id -G; cat /proc/self/status",
        user=User(uid=1000, gid=1001, additional_gids=(7, 8), umask=0o027),
        capabilities=LinuxCapabilities(bounding=kept),
    )
    assert outcome.lines[:3] == ["1000", "1001", "1001 7 8"]
    status = status_of(outcome.out)
    assert (status["CapPrm"], status["CapEff"]) == ("0" * 16, "0" * 16)
    assert status["Umask"] == "0027"


def test_capabilities_of_another_user_can_be_kept(boxes: Boxes) -> None:
    sets = LinuxCapabilities(
        bounding=("CAP_NET_RAW",),
        permitted=("CAP_NET_RAW",),
        effective=("CAP_NET_RAW",),
        inheritable=("CAP_NET_RAW",),
        ambient=("CAP_NET_RAW",),
    )
    out = boxes.shell("cat /proc/self/status", user=User(uid=9, gid=9), capabilities=sets).out
    status = status_of(out)
    assert {status[name] for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")} == {
        "0000000000002000"
    }


def test_a_user_can_open_its_own_stdio_by_name(boxes: Boxes) -> None:
    for identity in (User(), User(uid=1000, gid=1000)):
        outcome = boxes.shell("echo out > /dev/stdout; echo err > /dev/stderr", user=identity)
        assert (outcome.out, outcome.err) == ("out\n", "err\n")


def test_stdio_is_all_it_inherits(boxes: Boxes) -> None:
    os.set_inheritable(leak := os.open("/", os.O_RDONLY), True)
    try:
        # 3 is the directory that ls itself reads.
        assert boxes.shell("ls /proc/self/fd").out.split() == ["0", "1", "2", "3"]
    finally:
        os.close(leak)


def test_the_environment_is_exactly_what_was_asked_for(boxes: Boxes) -> None:
    spec = make_spec(make_process("env", env=("PATH=/bin", "A=b=c", "EMPTY=")))
    assert boxes.run(spec).lines == ["PATH=/bin", "A=b=c", "EMPTY="]


def test_the_working_directory_is_made(boxes: Boxes) -> None:
    assert boxes.shell("pwd", cwd="/made/for/me").out == "/made/for/me\n"


def test_devices_are_the_standard_ones_and_work(boxes: Boxes) -> None:
    script = (
        "ls /dev; head -c 8 /dev/zero | wc -c; head -c 8 /dev/urandom | wc -c; echo x >/dev/null"
    )
    outcome = boxes.shell(script)
    assert outcome.err == ""
    assert outcome.lines[-2:] == ["8", "8"]
    assert set(outcome.lines[:-2]) == {
        "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin",
        "stdout", "tty", "urandom", "zero",
    }  # fmt: skip


def test_masked_and_read_only_paths(boxes: Boxes) -> None:
    outcome = boxes.shell(
        "wc -c < /proc/keys; stat -c '%t:%T' /proc/keys /proc/timer_list;"
        "ls /sys/firmware | wc -l; echo 1 > /proc/sys/net/ipv4/ip_forward; touch /sys/x"
    )
    assert outcome.lines == ["0", "1:3", "1:3", "0"]
    assert outcome.err.count("Read-only") == 2


def test_the_cgroup_view_is_private_and_read_only(boxes: Boxes) -> None:
    outcome = boxes.shell(
        "cut -d: -f3 /proc/self/cgroup | sort -u;"
        "for group in /sys/fs/cgroup /sys/fs/cgroup/*/; do mkdir $group/x; done"
    )
    assert outcome.lines == ["/"]
    assert "Read-only" in outcome.err


def test_a_bind_shows_files_with_their_owners(boxes: Boxes, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_text("text")
    os.chown(source / "file", 12, 34)
    mount = Mount(destination="/data/deep", source=str(source), options=("rbind",))
    script = "cat /data/deep/file; stat -c ' %u:%g' /data/deep/file; echo new > /data/deep/new"
    outcome = boxes.run(with_mounts(make_spec(make_process("sh", "-c", script)), mount))
    assert outcome.out == "text 12:34\n"
    assert (source / "new").read_text() == "new\n"
    assert (source / "new").stat().st_uid == 0


def test_a_read_only_bind_refuses_writing(boxes: Boxes, tmp_path: Path) -> None:
    mount = Mount(destination="/data", source=str(tmp_path), options=("rbind", "ro", "rro"))
    spec = with_mounts(make_spec(make_process("touch", "/data/x")), mount)
    outcome = boxes.run(spec)
    assert "Read-only" in outcome.err


def test_a_file_can_be_bound_also_on_a_link_that_leads_nowhere(
    boxes: Boxes, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mounted\n")
    root = boxes.overlay()
    os.mkdir(f"{boxes.directory}/{root.upper}/etc", 0o755)
    os.symlink("../run/none", f"{boxes.directory}/{root.upper}/etc/resolv.conf")
    mounts = [
        Mount(destination=f"/etc/{name}", source=str(tmp_path / "file"), options=("bind",))
        for name in ("resolv.conf", "hosts")
    ]
    spec = make_spec(make_process("cat", "/etc/resolv.conf", "/etc/hosts"))
    assert boxes.run(with_mounts(spec, *mounts), root).out == "mounted\nmounted\n"


def test_a_tmpfs_has_its_size_and_mode(boxes: Boxes) -> None:
    options = ("nosuid", "nodev", "size=1m", "mode=1770")
    mount = Mount(destination="/scratch", type="tmpfs", source="tmpfs", options=options)
    script = "stat -c %a /scratch; head -c 2000000 /dev/zero >/scratch/x; wc -c </scratch/x"
    outcome = boxes.run(with_mounts(make_spec(make_process("sh", "-c", script)), mount))
    assert outcome.lines == ["1770", "1048576"]
    assert outcome.err != ""


def test_resource_limits(boxes: Boxes) -> None:
    limits = (POSIXRlimit(type="RLIMIT_NOFILE", soft=64, hard=128),)
    assert boxes.shell("ulimit -Sn; ulimit -Hn", rlimits=limits).lines == ["64", "128"]


def test_sysctls_of_its_namespaces(boxes: Boxes) -> None:
    sysctls = {**defaults.NETWORK_SYSCTLS, "kernel.shm_rmid_forced": "1"}
    script = "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shm_rmid_forced"
    spec = make_spec(make_process("sh", "-c", script), sysctl=sysctls)
    assert boxes.run(spec).lines == ["0", "1"]


def test_clocks_of_its_time_namespace(boxes: Boxes) -> None:
    offsets = {"boottime": LinuxTimeOffset(secs=1_000_000)}
    spec = make_spec(make_process("cat", "/proc/uptime"), time_offsets=offsets)
    if isinstance(boxes.isolation, VmIsolation) or os.uname().release.startswith("6.1."):
        pytest.skip("the kernel enters a time namespace in a fork only (before Linux 6.2)")
    own = float(Path("/proc/uptime").read_text().split()[0])
    inside = float(boxes.run(spec).out.split()[0])
    assert 999_000 < inside - own < 1_001_000


def test_a_terminal_is_a_session_of_its_own(boxes: Boxes) -> None:
    from proa.oci.isolation import Stdio

    process = make_process(
        "sh",
        "-c",
        "tty; stty size; echo note > /dev/console; read line; echo got $line; stty size",
        terminal=True,
        console_size=Box(height=11, width=22),
        user=User(uid=1000, gid=1000),
    )
    sandbox = boxes.create(make_spec(process), Stdio(-1, -1, -1))
    console = sandbox.init.console
    seen = b""
    while b"note\r\n" not in seen:
        seen += os.read(console, 1000)
    sandbox.init.resize(33, 44)
    os.write(console, b"words\n")
    assert wait(sandbox.init).code == 0
    try:
        while chunk := os.read(console, 1000):
            seen += chunk
    except OSError:
        pass  # EIO: the other side is closed
    lines = seen.decode().replace("\r", "").splitlines()
    assert lines == ["/dev/pts/0", "11 22", "note", "words", "got words", "33 44"]


def test_resizing_without_a_terminal_is_a_conflict(boxes: Boxes) -> None:
    from proa.errors import Conflict

    with boxes.running() as sandbox, pytest.raises(Conflict):
        sandbox.init.resize(1, 1)


def test_exec_joins_the_container(boxes: Boxes) -> None:
    with boxes.running() as sandbox:
        outcome = boxes.exec(
            sandbox,
            make_process(
                "sh",
                "-c",
                "id -u; pwd; cat /proc/self/status; readlink /proc/1/exe;"
                "for n in user mnt pid net ipc uts cgroup; do"
                " [ $(readlink /proc/1/ns/$n) = $(readlink /proc/self/ns/$n) ] || echo differs $n;"
                " done; ls /proc/self/fd",
                cwd="/etc",
                user=User(uid=0, gid=0),
            ),
        )
        assert outcome.err == ""
        assert outcome.lines[:2] == ["0", "/etc"]
        status = status_of(outcome.out)
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
        assert (status["CapInh"], status["CapAmb"]) == ("0" * 16, "0" * 16)
        assert outcome.lines[-5:] == ["/bin/busybox", "0", "1", "2", "3"]


def test_exec_sees_and_changes_the_same_files(boxes: Boxes) -> None:
    with boxes.running() as sandbox:
        boxes.exec(sandbox, make_process("touch", "/made"))
        assert boxes.exec(sandbox, make_process("ls", "/made")).out == "/made\n"
        assert not os.path.exists("/made")


def test_exec_with_a_terminal(boxes: Boxes) -> None:
    from proa.oci.isolation import Stdio

    with boxes.running() as sandbox:
        process = make_process(
            "sh", "-c", "tty; stty size", terminal=True, console_size=Box(height=5, width=6)
        )
        handle = sandbox.exec(process, Stdio(-1, -1, -1))
        assert stat.S_ISCHR(os.fstat(handle.console).st_mode)
        assert wait(handle).code == 0
        shown = b""
        while shown.count(b"\n") < 2:  # the terminal hands on line by line
            shown += os.read(handle.console, 1000)
        assert shown == b"/dev/pts/0\r\n5 6\r\n"
        handle.close()


def test_exec_reports_its_own_end_and_errors(boxes: Boxes) -> None:
    from proa.errors import CommandNotExecutable, CommandNotFound

    with boxes.running() as sandbox:
        assert boxes.exec(sandbox, make_process("sh", "-c", "exit 4")).status.code == 4
        with pytest.raises(CommandNotFound):
            boxes.exec(sandbox, make_process("missing"))
        with pytest.raises(CommandNotExecutable):
            boxes.exec(sandbox, make_process("/etc"))
        with pytest.raises(CommandNotFound, match="working directory"):
            boxes.exec(sandbox, make_process("ls", cwd="/missing"))
        assert boxes.exec(sandbox, make_process("true")).status.code == 0


def test_pause_update_stats_and_processes(boxes: Boxes) -> None:
    from proa.oci.resources import LinuxMemory, LinuxPids, LinuxResources

    with boxes.running() as sandbox:
        pipes = Pipes()
        handle = sandbox.exec(make_process("sh", "-c", "read x; echo $x"), pipes.stdio)
        pipes.started()
        assert set(sandbox.processes()) >= {sandbox.init.pid, handle.pid}
        sandbox.pause()
        os.write(pipes.stdin, b"word\n")
        sandbox.resume()
        assert pipes.finish(handle).out == "word\n"
        pipes.close()
        handle.close()
        limit = 64 * 1024 * 1024
        sandbox.update(LinuxResources(memory=LinuxMemory(limit=limit), pids=LinuxPids(limit=50)))
        reading = sandbox.stats()
        assert (reading.memory_limit_bytes, reading.pids_limit) == (limit, 50)
        assert reading.pids_current == 1
        assert reading.memory_usage_bytes > 0


def test_kill_everything_reaches_all(boxes: Boxes) -> None:
    import signal

    with boxes.running() as sandbox:
        pipes = Pipes()
        handle = sandbox.exec(make_process("sleep", "1000"), pipes.stdio)
        pipes.started()
        sandbox.kill(signal.SIGKILL, everything=True)
        assert pipes.finish(handle).status.code == 137
        assert wait(sandbox.init).code == 137
        pipes.close()
        handle.close()


def test_a_memory_hog_is_reported(boxes: Boxes) -> None:
    from proa.oci.resources import LinuxMemory, LinuxResources

    limit = 16 * 1024 * 1024
    spec = make_spec(
        make_process("sh", "-c", "tail -c 100000000 /dev/zero"),
        resources=LinuxResources(memory=LinuxMemory(limit=limit, swap=limit)),
    )
    outcome = boxes.run(spec)
    assert outcome.status.oom_killed
