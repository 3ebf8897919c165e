"""What the steps of a launch promise, read off the compiled plan."""

from __future__ import annotations

import struct

import msgspec
import pytest

from proa.errors import Invalid
from proa.linux.openat2 import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS
from proa.oci.isolation import DirectoryRoot, OverlayRoot, SandboxSpec
from proa.oci.spec import (
    Linux,
    LinuxCapabilities,
    LinuxIDMapping,
    LinuxNamespace,
    LinuxSeccomp,
    LinuxTimeOffset,
    Mount,
    Process,
    Root,
    Spec,
    User,
)
from proa.runtime import defaults, slots
from proa.runtime.compose import Host, compose_init, compose_start
from proa.runtime.execute import compose_exec
from proa.runtime.plan import Plan, Slot, Step
from proa.runtime.steps import finish, root, sysctl, target
from proa.runtime.steps.options import parse_options

KINDS = ("mount", "pid", "network", "ipc", "uts", "cgroup", "time", "user")
ALLOW = LinuxSeccomp(default_action="SCMP_ACT_ALLOW")
HOST = Host(2, (("memory", "memory"),), unified=False, limits=(), parked=False)
DIRECTORY = DirectoryRoot(path="/rootfs")


def make_spec(*, kinds: tuple[str, ...] = KINDS, **process: object) -> Spec:
    mapping: tuple[LinuxIDMapping, ...] = ()
    if "user" in kinds:
        mapping = (LinuxIDMapping(container_id=0, host_id=100000, size=65536),)
    words: dict[str, object] = {
        "args": ("true",),
        "env": ("PATH=/bin",),
        "no_new_privileges": True,
        "capabilities": LinuxCapabilities(bounding=("CAP_KILL",)),
        **process,
    }
    return Spec(
        process=Process(**words),  # type: ignore[arg-type]
        root=Root(),
        mounts=defaults.MOUNTS,
        linux=Linux(
            namespaces=tuple([LinuxNamespace(type=kind) for kind in kinds]),
            uid_mappings=mapping,
            gid_mappings=mapping,
            seccomp=ALLOW,
            masked_paths=defaults.MASKED_PATHS,
            readonly_paths=defaults.READONLY_PATHS,
        ),
    )


def compose(
    spec: Spec, *, where: OverlayRoot | DirectoryRoot = DIRECTORY, host: Host = HOST
) -> Plan:
    return compose_init(SandboxSpec(id="c", spec=spec, root=where, bundle="/"), {}, host)


def names(plan: Plan) -> list[str]:
    return [step.name for step in plan.steps()]


def position(plan: Plan, name: str, call: str = "") -> int:
    for index, step in enumerate(plan.steps()):
        if step.name == name and call in ("", step.syscall):
            return index
    raise AssertionError(f"no step {name!r} in the plan")


def opens(plan: Plan) -> list[tuple[bytes, int]]:
    """Path and resolve flags of every openat2 step."""
    found = []
    for step in plan.steps():
        if step.syscall == "openat2":
            path, how = step.args[1], step.args[2]
            assert isinstance(path, bytes)
            assert isinstance(how, bytes)
            found.append((path, struct.unpack("<3Q", how)[2]))
    return found


def test_the_child_dies_with_its_parent_before_it_does_anything_else() -> None:
    (first,) = compose_start(0)
    assert first.steps[0].name == "die with the supervisor"
    assert first.steps[0].args == (1, 9)


def test_waiting_ends_when_the_parent_dies() -> None:
    (first,) = compose_start(0)
    poll, read = first.steps[-2:]
    assert (poll.syscall, poll.args[1]) == ("ppoll", 2)
    assert (read.syscall, read.args[0]) == ("read", Slot(slots.READY))
    assert not read.tolerate


def test_every_path_of_the_container_is_opened_confined_to_its_root() -> None:
    for path, resolve in opens(compose(make_spec(cwd="/work/dir"))):
        assert resolve & RESOLVE_IN_ROOT, path
        assert resolve & RESOLVE_NO_MAGICLINKS, path


def test_no_link_is_followed_in_kernel_trees() -> None:
    for path, resolve in opens(compose(make_spec())):
        if target.is_kernel_tree("/" + path.decode()):
            assert resolve & RESOLVE_NO_SYMLINKS, path


def test_devices_are_bound_in_a_user_namespace_and_made_without() -> None:
    bound = [s.syscall for s in compose(make_spec()).steps() if s.name == "make /dev/null"]
    assert bound == ["mknodat", "open_tree", "openat", "move_mount", "close", "close"]
    spec = make_spec(kinds=("mount", "pid", "network", "ipc", "uts", "cgroup"))
    made = [s for s in compose(spec).steps() if s.name == "make /dev/null"]
    assert [s.syscall for s in made] == ["mknodat"]
    assert made[0].args[2:] == (0o020666, 0x103)


def test_sysctls_are_written_before_proc_sys_is_read_only() -> None:
    spec = make_spec()
    assert spec.linux is not None
    linux = msgspec.structs.replace(spec.linux, sysctl={"net.ipv4.ip_forward": "1"})
    plan = compose(msgspec.structs.replace(spec, linux=linux))
    written = position(plan, "set the sysctl net.ipv4.ip_forward", "write")
    assert written < position(plan, "make /proc/sys read-only")


def test_masks_come_before_the_root_is_entered_and_never_fail_on_missing_paths() -> None:
    plan = compose(make_spec())
    steps = list(plan.steps())
    first = steps[position(plan, "mask /proc/kcore", "openat2")]
    assert (first.skip, first.skip_on) == (4, "error")
    assert position(plan, "mask /proc/kcore") < position(plan, "pivot to the root")


def test_the_old_root_is_detached_before_the_command() -> None:
    plan = compose(make_spec())
    assert position(plan, "pivot to the root") < position(plan, "detach the old root")
    assert position(plan, "detach the old root") < position(plan, "execute /bin/true")


def test_capabilities_go_in_the_order_that_capabilities_7_asks_for() -> None:
    plan = compose(make_spec(user=User(uid=7, gid=8)))
    order = [
        position(plan, "lower the bounding set"),
        position(plan, "set supplementary groups"),
        position(plan, "set the group"),
        position(plan, "set the user"),
        position(plan, "protect the address space"),
        position(plan, "look after the supervisor"),
        position(plan, "set capabilities", "capset"),
        position(plan, "forbid new privileges"),
        position(plan, "close descriptors", "close_range"),
        position(plan, "load the seccomp filter"),
        position(plan, "execute /bin/true"),
    ]
    assert order == sorted(order)


def test_the_parent_death_signal_is_renewed_after_the_ids_have_changed() -> None:
    plan = compose(make_spec())
    renewed = [i for i, name in enumerate(names(plan)) if name == "die with the supervisor"]
    assert len(renewed) == 1
    assert renewed[0] > position(plan, "set the user")


def test_without_no_new_privileges_the_filter_is_loaded_while_it_may_be() -> None:
    plan = compose(make_spec(no_new_privileges=False))
    assert position(plan, "load the seccomp filter") < position(plan, "set capabilities")
    assert "forbid new privileges" not in names(plan)


def test_capabilities_survive_the_change_of_user_only_when_wanted() -> None:
    assert "keep capabilities" not in names(compose(make_spec(user=User(uid=7))))
    kept = LinuxCapabilities(bounding=("CAP_KILL",), permitted=("CAP_KILL",))
    plan = compose(make_spec(user=User(uid=7), capabilities=kept))
    assert names(plan).count("keep capabilities") == 2


def test_a_parked_child_waits_after_everything_but_the_filter() -> None:
    plan = compose(make_spec(), host=HOST._replace(parked=True))
    assert position(plan, "close descriptors", "close_range") < position(plan, "park")
    assert position(plan, "park") < position(plan, "load the seccomp filter")
    steps = list(plan.steps())
    last = steps[position(plan, "park", "read") + 1 :]
    assert not any(isinstance(argument, Slot) for step in last for argument in step.args)


def test_the_working_directory_is_made_for_init_only() -> None:
    assert position(compose(make_spec(cwd="/a/b")), "enter the working directory /a/b", "mkdirat")
    spec = make_spec(cwd="/a/b")
    assert spec.process is not None
    assert spec.linux is not None
    calls = [s.syscall for s in compose_exec(spec.process, spec.linux, HOST).steps()]
    assert "mkdirat" not in calls
    assert "fchdir" in calls


def test_exec_joins_the_cgroup_then_all_namespaces_in_one_call() -> None:
    spec = make_spec()
    assert spec.process is not None
    assert spec.linux is not None
    plan = compose_exec(spec.process, spec.linux, HOST)
    assert names(plan).count("join the cgroup") == 2
    (joined,) = [step for step in plan.steps() if step.syscall == "setns"]
    assert position(plan, "join the cgroup") < position(plan, joined.name)
    flags = joined.args[1]
    assert isinstance(flags, int)
    assert flags & 0x10000000, "the user namespace"
    assert not flags & 0x80, "a time namespace without offsets is left out"
    offsets = {"monotonic": LinuxTimeOffset(secs=5)}
    linux = msgspec.structs.replace(spec.linux, time_offsets=offsets)
    (joined,) = [s for s in compose_exec(spec.process, linux, HOST).steps() if s.syscall == "setns"]
    flags = joined.args[1]
    assert isinstance(flags, int)
    assert flags & 0x80


def test_a_command_with_a_slash_is_tried_once_others_in_path_order() -> None:
    (step,) = finish.execute(("./run",), ("PATH=/a:/b",)).steps
    assert step.args[0] == b"./run"
    tried = finish.execute(("run",), ("PATH=/a::/b",)).steps
    assert [s.args[0] for s in tried] == [b"/a/run", b"./run", b"/b/run"]
    assert tried[0].tolerate
    assert not tried[-1].tolerate


def test_overlay_options_are_relative_escaped_and_bounded() -> None:
    layered = OverlayRoot(
        base="/state", lowers=("l/a:b", "l/c"), upper="u,1", work="w", merged="m", volatile=True
    )
    segment = root.overlay(layered)
    options = segment.steps[0].args[4]
    assert options == (rb"lowerdir=l/a\:b:l/c,upperdir=u\,1,workdir=w,userxattr,volatile")
    many = msgspec.structs.replace(
        layered, lowers=tuple([f"snapshots/l/{i:032}" for i in range(100)])
    )
    with pytest.raises(Invalid, match="100 layers"):
        root.overlay(many)


def test_127_layers_with_short_names_fit() -> None:
    lowers = tuple([f"snapshots/l/{i:012}" for i in range(127)])
    root.overlay(OverlayRoot(base="/s", lowers=lowers, upper="u", work="w", merged="m"))


def test_a_read_only_overlay_is_noticed() -> None:
    steps = root.overlay(
        OverlayRoot(base="/s", lowers=("l",), upper="u", work="w", merged="m")
    ).steps
    assert steps[-1].syscall == "faccessat2"
    assert steps[-1].name == root.OVERLAY_CHECK


@pytest.mark.parametrize(
    ("key", "file"),
    [
        ("net.ipv4.ip_forward", "sys/net/ipv4/ip_forward"),
        ("net.ipv4.conf.eth0/1.mtu", "sys/net/ipv4/conf/eth0.1/mtu"),
    ],
)
def test_sysctl_names_become_files(key: str, file: str) -> None:
    assert sysctl.file_of(key) == file


def test_mount_options_are_sorted() -> None:
    options = parse_options(("rbind", "ro", "rnosuid", "rslave", "noatime", "size=1k", "flag"))
    assert options.bind
    assert options.recursive
    assert options.attr_set == 0x1 | 0x10
    assert options.attr_clear == 0x70
    assert options.recursive_set == 0x2
    assert options.propagation == 1 << 19
    assert options.propagation_recursive
    assert options.data == (("size", "1k"), ("flag", None))


def test_later_mount_options_win() -> None:
    assert parse_options(("ro", "rw")).attr_set == 0
    assert parse_options(("ro", "rw")).attr_clear == 1
    assert parse_options(("rw", "ro")).attr_set == 1


def test_equal_specs_give_equal_plans_from_remembered_segments() -> None:
    one, two = compose(make_spec()), compose(make_spec())
    assert [segment.code for segment in one.segments] == [segment.code for segment in two.segments]
    remembered = [a is b for a, b in zip(one.segments, two.segments, strict=True)]
    assert remembered.count(False) == 1, "only the command's own segment is compiled again"


def test_a_file_is_mounted_on_a_link_that_leads_nowhere() -> None:
    from proa.runtime.plan import Steps

    steps = Steps()
    target.attach(steps, "mount /etc/resolv.conf", Slot(9), "/etc/resolv.conf", directory=False)
    calls = [step.syscall for step in steps.steps[-5:]]
    assert calls == ["openat2", "move_mount", "close", "openat2", "move_mount"]
    found: Step = steps.steps[-5]
    assert (found.skip, found.skip_on) == (2, "error")


def test_a_bind_of_the_user_stays_a_bind() -> None:
    mount = Mount(destination="/x", source="/y", options=("rbind",))
    from proa.runtime.compose import opened_by_parent

    assert opened_by_parent(mount)
    assert not opened_by_parent(defaults.MOUNTS[0])
