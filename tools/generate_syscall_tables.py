"""Write ``src/proa/linux/syscall_tables/*.py`` from the headers in Debian's kernel packages.

Two packages are the source, unpacked and never installed (``apt-get download``, ``dpkg-deb -x``):

* ``linux-libc-dev`` (6.12 or newer, which carries the headers of every architecture below
  ``usr/lib/linux/uapi``): names and numbers.
* ``linux-headers-*-common``: ``include/linux/syscalls.h``, the kernel's own prototypes, from which
  the width of every argument is taken.

Usage::

    python tools/generate_syscall_tables.py --libc-dev DIR --headers DIR
"""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path

OUT = Path(__file__).parent.parent / "src/proa/linux/syscall_tables"
UAPI = "usr/lib/linux/uapi"
X32_BIT = 0x40000000
ARM_PRIVATE_BASE = 0xF0000

# Architecture as libseccomp says it, header with the numbers, where numbers start.
HEADERS = {
    "x86_64": "x86/asm/unistd_64.h",
    "x86": "x86/asm/unistd_32.h",
    "x32": "x86/asm/unistd_x32.h",
    "aarch64": "arm64/asm/unistd_64.h",
    "arm": "arm/asm/unistd-eabi.h",
}

# C types that a 64-bit kernel reads as 32 bits or fewer from the argument's register.
NARROW = {
    "int", "unsigned", "unsigned int", "uint", "u32", "s32", "__u32", "__s32", "__be32", "umode_t",
    "uint32_t", "mode_t", "pid_t", "uid_t", "gid_t", "key_t", "qid_t", "clockid_t", "timer_t",
    "mqd_t", "key_serial_t", "rwf_t", "old_uid_t", "old_gid_t", "enum landlock_rule_type",
    "const clockid_t", "const int", "const __u32",
}  # fmt: skip
WIDE = {
    "long", "unsigned long", "size_t", "ssize_t", "off_t", "loff_t", "u64", "__u64",
    "aio_context_t", "compat_ulong_t", "old_sigset_t", "__sighandler_t", "const size_t",
    "cap_user_header_t", "cap_user_data_t", "const cap_user_data_t",
}  # fmt: skip

# Kernel function -> names in the tables, where they differ.
ALIASES = {
    "newuname": ("uname",),
    "newstat": ("stat",),
    "newlstat": ("lstat",),
    "newfstat": ("fstat",),
    "umount": ("umount2",),
    "sendfile64": ("sendfile",),
    "select": ("select", "_newselect"),
    "llseek": ("_llseek",),
    "sync_file_range2": ("sync_file_range2", "arm_sync_file_range"),
}

# Entries that have no prototype in syscalls.h, or whose prototype says less than the code.
OVERRIDES = {
    # kernel/fork.c: lower_32_bits(clone_flags)
    "clone": (0,),
    # arch/x86: SYSCALL_DEFINE2(arch_prctl, int, option, ...), iopl(unsigned int level),
    # modify_ldt(int func, ...), ioperm(..., int turn_on)
    "arch_prctl": (0,),
    "iopl": (0,),
    "modify_ldt": (0,),
    "ioperm": (2,),
}


def parse_numbers(header: str) -> dict[str, int]:
    """Return name to number; x32 numbers without their marker bit."""
    found: dict[str, int] = {}
    pattern = r"^#define __NR_(\w+)\s+(?:\((?:__X32_SYSCALL_BIT|__NR_SYSCALL_BASE) \+ )?(\d+)\)?"
    for name, number in re.findall(pattern, header, re.MULTILINE):
        if name not in ("SYSCALL_BASE", "SYSCALL_MASK", "OABI_SYSCALL_BASE"):
            found[name] = int(number)
    return found


def parse_arm_private(header: str) -> dict[str, int]:
    """Return ARM's private calls (``cacheflush`` ...), which live far above the others."""
    pairs = re.findall(r"^#define __ARM_NR_(\w+)\s+\(__ARM_NR_BASE\+(\d+)\)", header, re.MULTILINE)
    return {name: ARM_PRIVATE_BASE + int(number) for name, number in pairs}


def parse_narrow(header: str) -> dict[str, int]:
    """Return, for each system call, the bit mask of its arguments of 32 bits or fewer."""
    header = re.sub(r"/\*.*?\*/", "", header, flags=re.DOTALL)
    masks: dict[str, int] = {}
    for function, parameters in re.findall(
        r"asmlinkage long sys_(\w+)\(([^;]*)\);", header, re.DOTALL
    ):
        mask = 0
        for index, parameter in enumerate(parameters.split(",")):
            if _is_narrow(" ".join(parameter.split())):
                mask |= 1 << index
        for name in ALIASES.get(function, (function,)):
            # The same function may be declared once per calling convention: only what is narrow in
            # every one of them is narrow.
            masks[name] = masks.get(name, 0x3F) & mask
    for name, indexes in OVERRIDES.items():
        masks[name] = sum(1 << index for index in indexes)
    return masks


def _is_narrow(parameter: str) -> bool:
    if "*" in parameter or parameter in ("void", ""):
        return False
    for known, narrow in ((NARROW, True), (WIDE, False)):
        if parameter in known or parameter.rpartition(" ")[0] in known:
            return narrow
    raise SystemExit(f"unclassified parameter type: {parameter!r}")


def render_numbers(arch: str, numbers: Mapping[str, int], source: str) -> str:
    """Write numbers as runs: a number, then the names from there on."""
    tokens: list[str] = []
    expected = -1
    for name, number in sorted(numbers.items(), key=lambda item: item[1]):
        if number != expected:
            tokens.append(str(number))
        tokens.append(name)
        expected = number + 1
    return _module(
        f"System calls of {arch}: a number, then the names that count up from it.",
        source,
        "RUNS",
        tokens,
    )


def render_narrow(masks: Mapping[str, int], names: set[str], source: str) -> str:
    """Write argument widths as runs: a mask, then the names that have it."""
    by_mask: dict[int, list[str]] = {}
    for name in sorted(names):
        if masks.get(name):
            by_mask.setdefault(masks[name], []).append(name)
    tokens: list[str] = []
    for mask, group in sorted(by_mask.items()):
        tokens += [str(mask), *group]
    return _module(
        "Arguments that the kernel reads as 32 bits: a bit mask of indexes, then its names.",
        source,
        "RUNS",
        tokens,
    )


def _module(title: str, source: str, name: str, tokens: list[str]) -> str:
    body = textwrap.wrap(" ".join(tokens), 93, break_long_words=False, break_on_hyphens=False)
    lines = "\n".join(f'    "{line} "' for line in body)
    return (
        f'"""{title}\n\nGenerated by tools/generate_syscall_tables.py from {source}.\n"""\n\n'
        f"{name} = (\n{lines}\n)\n"
    )


def main() -> None:
    """Generate every table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--libc-dev", type=Path, required=True, help="unpacked linux-libc-dev")
    parser.add_argument("--headers", type=Path, required=True, help="unpacked linux-headers-common")
    arguments = parser.parse_args()
    version = (arguments.libc_dev / "usr/include/linux/version.h").read_text()
    parts = [re.search(rf"{part} (\d+)", version) for part in ("MAJOR", "PATCHLEVEL", "SUBLEVEL")]
    source = "Linux " + ".".join(part[1] for part in parts if part)
    names: set[str] = set()
    for arch, header in HEADERS.items():
        numbers = parse_numbers((arguments.libc_dev / UAPI / header).read_text())
        if arch == "arm":
            numbers |= parse_arm_private(
                (arguments.libc_dev / UAPI / "arm/asm/unistd.h").read_text()
            )
        names |= numbers.keys()
        (OUT / f"{arch}.py").write_text(render_numbers(arch, numbers, source))
    (prototypes,) = arguments.headers.glob("usr/src/*/include/linux/syscalls.h")
    masks = parse_narrow(prototypes.read_text())
    (OUT / "narrow.py").write_text(render_narrow(masks, names, source))


if __name__ == "__main__":
    main()
