"""Hints for missing sandbox layers. The hint depends on the cause, and containers have other causes than bare
machines.

Sources: namespaces(7), user_namespaces(7) (what `EPERM` and `ENOSPC` mean), landlock_create_ruleset(2),
seccomp(2), proc_pid_status(5).
"""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

_CAP_SYS_ADMIN = 21
_FILTERED = "a seccomp filter of the container or of the service manager forbids it: "


def layer_hint(
    layer: str, reason: str, *, proc: Path = Path("/proc"), is_root: bool | None = None
) -> str | None:
    """Return the cure for a missing layer, None if none is known.

    `reason`: what the kernel said, as `os.strerror` words it. `proc`: the proc file system.
    """
    root = os.geteuid() == 0 if is_root is None else is_root
    if layer == "namespaces":
        return _namespaces(reason, proc, root)
    if layer == "landlock":
        return _landlock(reason, proc)
    if layer == "seccomp":
        if reason == os.strerror(errno.EPERM) or reason == os.strerror(errno.EINVAL):
            return "the kernel, or the container, permits no seccomp filter (CONFIG_SECCOMP_FILTER)"
        return "install libseccomp (Debian: apt install libseccomp2)"
    if layer == "unprivileged_uid":
        return "root here may not become another user, as in a container: run Plasm as an ordinary user"
    return "needs Linux" if layer == "no_new_privs" else None


def _namespaces(reason: str, proc: Path, is_root: bool) -> str:
    if reason in (os.strerror(errno.ENOSPC), os.strerror(errno.EUSERS)):
        return "the number of namespaces is limited: raise user.max_user_namespaces (sysctl), 0 means none"
    if reason != os.strerror(errno.EPERM):
        return "needs a kernel with namespaces (CONFIG_USER_NS, CONFIG_NET_NS, CONFIG_IPC_NS)"
    if is_root and not _has_capability(proc, _CAP_SYS_ADMIN):
        return (
            "root here lacks CAP_SYS_ADMIN, as in a container: run Plasm as an ordinary user who may create user "
            "namespaces, or give the container that capability"
        )
    if is_filtered(proc):
        return _FILTERED + (
            "permit unshare (systemd: RestrictNamespaces=no; Docker and Podman: a profile in --security-opt seccomp=)"
        )
    if _read(proc / "sys/kernel/unprivileged_userns_clone") == "0":
        return "ordinary users may not create user namespaces: sudo sysctl kernel.unprivileged_userns_clone=1"
    if _read(proc / "sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
        return "AppArmor restricts user namespaces: install the profile (docs/install.md, The unit, and how to loosen it)"
    if _is_chroot(proc):
        return "the kernel creates no user namespace in a chroot: run Plasm in a container or outside"
    return "needs root, or a kernel that lets ordinary users make user namespaces"


def _landlock(reason: str, proc: Path) -> str:
    if reason == os.strerror(errno.EPERM) and is_filtered(proc):
        return _FILTERED + "permit landlock_create_ruleset and landlock_restrict_self"
    if reason == os.strerror(errno.EOPNOTSUPP):
        return "the kernel has Landlock, and it is switched off: add landlock to the kernel's parameter lsm="
    return "needs Linux 5.13 or newer with Landlock in its list of security modules"


def is_filtered(proc: Path = Path("/proc")) -> bool:
    """Return whether a seccomp filter is in force for this process, which it was started with."""
    return _status(proc, "Seccomp") == "2"


def _has_capability(proc: Path, number: int) -> bool:
    found = _status(proc, "CapEff")
    return found is None or bool(int(found, 16) >> number & 1)


def _status(proc: Path, field: str) -> str | None:
    match = re.search(rf"^{field}:\s*(\S+)$", _read(proc / "self/status") or "", re.MULTILINE)
    return match[1] if match else None


def _is_chroot(proc: Path) -> bool:
    """Return whether the root directory is no mount, so that it can only be a chroot's."""
    mounts = _read(proc / "self/mountinfo")
    return mounts is not None and all(line.split()[4] != "/" for line in mounts.splitlines() if line)


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
