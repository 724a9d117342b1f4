"""Write seccomp.json to standard output: the system calls that the packaged unit allows, for docker and podman.

It needs systemd-analyze, which knows the groups that the unit names. Other lines of the unit become conditions:
RestrictNamespaces= on unshare(2), whose flags must be of the allowed namespaces (namespaces(7)); LockPersonality= on
personality(2); RestrictAddressFamilies= on socket(2).
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

UNIT = Path(__file__).parents[2] / "debian" / "plasm.plasmd.service"
NAMESPACES = {
    "cgroup": 0x02000000,
    "ipc": 0x08000000,
    "mnt": 0x00020000,
    "net": 0x40000000,
    "pid": 0x20000000,
    "time": 0x00000080,
    "user": 0x10000000,
    "uts": 0x04000000,
}
OF_THE_RUNTIME = {"setgid", "setgroups", "setresgid", "setresuid", "setuid"}
"""What docker and podman call themselves below the filter, to become the image's user."""
NOT_IN_A_CONTAINER = {
    *("add_key", "keyctl", "request_key"),  # the kernel's keyrings know no containers
    *("get_mempolicy", "kcmp", "process_madvise", "userfaultfd"),
    *("io_uring_enter", "io_uring_register", "io_uring_setup"),  # zygotes pin pages with it, and do without
}
"""What the default profiles of docker and podman forbid too, and the daemon does not need."""
FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10, "AF_NETLINK": 16}
PERSONALITIES = (0, 0xFFFFFFFF)
"""That of a Linux program, and the value that asks for the present one (personality(2))."""
ENOSYS, EPERM = 38, 1


def expanded(name: str) -> set[str]:
    """Return the system calls of a group, or the one that is named."""
    if not name.startswith("@"):
        return {name}
    text = subprocess.run(
        ["systemd-analyze", "syscall-filter", "--no-pager", name], check=True, capture_output=True, text=True
    ).stdout
    members = [line.strip() for line in text.splitlines()[1:]]
    return {call for item in members if item and not item.startswith("#") for call in expanded(item)}


def allowed(unit: str) -> set[str]:
    """Return the system calls that a unit allows."""
    found: set[str] = set()
    for line in re.findall(r"(?m)^SystemCallFilter=(.*)$", unit):
        calls = {call for word in line.lstrip("~").split() for call in expanded(word)}
        found = found - calls if line.startswith("~") else found | calls
    return found


def profile(unit: str) -> dict[str, object]:
    """Return the profile: what the unit allows, and the namespaces that it allows."""
    (line,) = re.findall(r"(?m)^RestrictNamespaces=(.*)$", unit)
    forbidden = sum(flag for name, flag in NAMESPACES.items() if name not in line.split())
    every = sum(NAMESPACES.values()) - NAMESPACES["time"]  # clone(2) has its exit signal in that bit
    (families,) = re.findall(r"(?m)^RestrictAddressFamilies=(.*)$", unit)
    conditional = {"clone", "clone3", "personality", "setns", "socket", "socketcall", "unshare"}
    always = (allowed(unit) | OF_THE_RUNTIME) - conditional - NOT_IN_A_CONTAINER
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": EPERM,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
        "syscalls": [
            {"names": sorted(always), "action": "SCMP_ACT_ALLOW"},
            *(_equal("personality", value) for value in PERSONALITIES),
            *(_equal("socket", FAMILIES[name]) for name in families.split()),
            {"names": ["unshare"], "action": "SCMP_ACT_ALLOW", "args": [_without(forbidden)]},
            {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [_without(every)]},
            # Its flags are in memory, which a filter cannot read: the C library calls clone instead.
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS},
        ],
    }


def _equal(call: str, value: int) -> dict[str, object]:
    """Return the entry that allows a call whose first argument has the value."""
    condition = {"index": 0, "value": value, "valueTwo": 0, "op": "SCMP_CMP_EQ"}
    return {"names": [call], "action": "SCMP_ACT_ALLOW", "args": [condition]}


def _without(flags: int) -> dict[str, object]:
    """Return the condition that none of the flags is in the first argument."""
    return {"index": 0, "value": flags, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}


if __name__ == "__main__":
    json.dump(profile(UNIT.read_text()), sys.stdout, indent=1)
    sys.stdout.write("\n")
