"""The processors and memory that this process may use, as limited by hardware, affinity and control groups.

Containers and clusters set their limits in control groups. A process in a cgroup namespace finds its own group at
`/`, and the limit there, where the hierarchy's real root has none: so every group from ours up to the mount's root
counts. See Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst, scheduler/sched-bwc.rst and cgroups(7).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import attrs

_SYSTEM = Path("/")
_MAX_FILE_BYTES = 1 << 20
_MAX_GROUPS = 4_096


@attrs.frozen(kw_only=True)
class Demand:
    """A number of processors and bytes of memory: of a job, or of a machine."""

    cpu: int
    memory_bytes: int


def machine(root: Path = _SYSTEM) -> Demand:
    """Return the processors and memory that this process may use. `root`: the directory with `proc` and `sys`.

    The least of its CPU affinity (which cpusets narrow), the machine's memory, and the limits of its control
    groups.
    """
    cpu = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    # some containers have their own version of it (lxcfs)
    for line in _text(root / "proc/meminfo").splitlines():
        words = line.split()
        if len(words) == 3 and words[0] == "MemTotal:" and words[1].isdecimal():
            memory = min(memory, int(words[1]) * 1024)
    for group in _groups(root, "memory"):
        for name in ("memory.max", "memory.high", "memory.limit_in_bytes"):
            memory = min([memory, *(number for number in _numbers(group / name)[:1] if number)])
    for group in _groups(root, "cpu"):
        v2, quota, period = (
            _numbers(group / name) for name in ("cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us")
        )
        pair = v2 if len(v2) == 2 else [*quota, *period]
        if len(pair) == 2 and all(number > 0 for number in pair):
            cpu = min(cpu, max(1, pair[0] // pair[1]))
    return Demand(cpu=cpu, memory_bytes=memory)


def memory_kills(root: Path = _SYSTEM) -> int:
    """Return how many processes the kernel has killed for exceeding the memory of our control groups, if it counts them.

    A group's count includes those of the groups below it (cgroup v2), so the greatest is returned.
    """
    counts = [0]
    for group in _groups(root, "memory"):
        for name in ("memory.events", "memory.oom_control"):
            for line in _text(group / name).splitlines():
                word, _, number = line.partition(" ")
                if word == "oom_kill" and number.isdecimal():
                    counts.append(int(number))
    return max(counts)


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the directories of our control groups that a controller has limits in: ours first, the root's last."""
    memberships = dict(_memberships(root))
    for kind in ("", controller):  # the unified hierarchy of version 2, and the controller's own of version 1
        if kind not in memberships:
            continue
        for mount, shown in _mounts(root, kind):
            path = memberships[kind]
            try:
                inside = path.relative_to(shown)
            except ValueError:
                # The mount shows another part of the hierarchy, or all of it from within a namespace.
                inside = path.relative_to("/")
            parts = [part for part in inside.parts if part != ".."]
            # A mount from before the namespace shows more than the namespace: our group's name in it is unknown.
            above = shown.parts.count("..")
            if above:
                parts = _own_group(mount, above + len(parts))
            for end in range(len(parts), -1, -1):
                yield mount.joinpath(*parts[:end])


def _own_group(mount: Path, depth: int) -> list[str]:
    """Return the directories that lead to our group, so far below a mount; none if it is not found."""
    level = [mount]
    for _ in range(depth):
        level = [child for group in level for child in _children(group)][:_MAX_GROUPS]
    own = str(os.getpid())
    found = (group for group in level if own in _text(group / "cgroup.procs").split())
    return list(next(found, mount).relative_to(mount).parts)


def _children(group: Path) -> list[Path]:
    try:
        return [Path(entry) for entry in os.scandir(group) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _memberships(root: Path) -> Iterator[tuple[str, PurePosixPath]]:
    """Yield each controller, the empty string for version 2, and the path of our group in its hierarchy."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        fields = line.split(":", 2)
        if len(fields) == 3 and fields[2].startswith("/"):
            for controller in fields[1].split(","):
                yield controller, PurePosixPath(fields[2])


def _mounts(root: Path, controller: str) -> list[tuple[Path, PurePosixPath]]:
    """Return where a controller's hierarchy is mounted, and which of its directories the mount shows (proc(5))."""
    found = []
    for line in _text(root / "proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 5 or len(kind) < 3:
            continue
        if (
            kind[0] == "cgroup2"
            if not controller
            else kind[0] == "cgroup" and controller in kind[2].split(",")
        ):
            found.append((root / _unescaped(fields[4]).lstrip("/"), PurePosixPath(_unescaped(fields[3]))))
    usual = root / "sys/fs/cgroup"
    return found or [(usual / controller if controller else usual, PurePosixPath("/"))]


def _unescaped(text: str) -> str:
    """Return a path with mountinfo's octal escapes decoded."""
    return text.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")


def _numbers(path: Path) -> list[int]:
    """Return the numbers in a limit's file; none if there is no limit."""
    words = _text(path).split()
    return [int(word) for word in words] if words and all(word.isdecimal() for word in words) else []


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_FILE_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
