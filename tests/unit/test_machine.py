"""The limits that containers and clusters set: read wherever a control group has them, and never believed higher."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from plasm_core.machine import Demand, machine, memory_kills
from plasm_core.sandbox.process.kill_cause import Kills
from tests.support.cgroups import memory_group

MIB = 1 << 20
HARDWARE = machine(Path("/nowhere"))
V2_MOUNT = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"
V1_MEMORY = "36 31 0:32 {shown} /sys/fs/cgroup/memory ro,nosuid - cgroup cgroup rw,memory"
V1_CPU = "33 31 0:30 {shown} /sys/fs/cgroup/cpu,cpuacct ro,nosuid - cgroup cgroup rw,cpu,cpuacct"


class Tree:
    """A root directory with the files of /proc and /sys that tell of limits."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def put(self, name: str, text: str) -> None:
        """Write a file."""
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text + "\n")

    def group(self, membership: str, *mounts: str) -> None:
        """Say which groups the process is in, and where their hierarchies are mounted."""
        self.put("proc/self/cgroup", membership)
        if mounts:
            self.put("proc/self/mountinfo", "\n".join(["22 27 0:21 / /proc rw - proc proc rw", *mounts]))

    def memory_mib(self) -> int:
        """Return the memory that is found."""
        return machine(self.path).memory_bytes // MIB


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_without_control_groups_the_hardware_counts(tree: Tree) -> None:
    assert machine(tree.path) == HARDWARE
    assert HARDWARE.cpu == len(os.sched_getaffinity(0))
    assert HARDWARE.memory_bytes == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("mounts", [(), (V2_MOUNT,)], ids=["unmounted", "mounted"])
def test_a_limit_at_the_root_of_a_namespace_is_read(tree: Tree, mounts: tuple[str, ...]) -> None:
    """In a container our own group is `/`: the limit is in the mount's root."""
    tree.group("0::/", *mounts)
    tree.put("sys/fs/cgroup/memory.max", str(40 * MIB))
    tree.put("sys/fs/cgroup/cpu.max", "100000 100000")

    assert machine(tree.path) == Demand(cpu=1, memory_bytes=40 * MIB)


def test_the_least_limit_of_all_groups_above_counts(tree: Tree) -> None:
    tree.group("0::/pod/container/inner", V2_MOUNT)
    tree.put("sys/fs/cgroup/pod/container/inner/memory.max", "max")
    tree.put("sys/fs/cgroup/pod/container/memory.max", str(90 * MIB))
    tree.put("sys/fs/cgroup/pod/memory.max", str(70 * MIB))
    tree.put("sys/fs/cgroup/memory.max", str(80 * MIB))

    assert tree.memory_mib() == 70


def test_a_throttling_limit_counts_like_a_killing_one(tree: Tree) -> None:
    """Beyond memory.high the kernel slows a group down until nothing moves."""
    tree.group("0::/", V2_MOUNT)
    tree.put("sys/fs/cgroup/memory.max", str(64 * MIB))
    tree.put("sys/fs/cgroup/memory.high", str(48 * MIB))

    assert tree.memory_mib() == 48


@pytest.mark.parametrize(
    ("shown", "where"),
    [
        ("/", "docker/abc/"),  # the host's whole hierarchy is mounted
        ("/docker/abc", ""),  # a container's own part of it
        ("/docker", "abc/"),
        ("/kubepods/other", "docker/abc/"),  # another's: the path is tried as it is
    ],
)
def test_limits_of_version_1_are_read(tree: Tree, shown: str, where: str) -> None:
    tree.group(
        "4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc",
        *(V1_MEMORY.format(shown=shown), V1_CPU.format(shown=shown)),
    )
    tree.put(f"sys/fs/cgroup/memory/{where}memory.limit_in_bytes", str(33 * MIB))
    tree.put(f"sys/fs/cgroup/cpu,cpuacct/{where}cpu.cfs_quota_us", "50000")
    tree.put(f"sys/fs/cgroup/cpu,cpuacct/{where}cpu.cfs_period_us", "100000")

    assert machine(tree.path) == Demand(cpu=1, memory_bytes=33 * MIB)


def test_hybrid_hierarchies_count_both(tree: Tree) -> None:
    unified = V2_MOUNT.replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
    tree.group("4:memory:/a\n0::/b", V1_MEMORY.format(shown="/"), unified)
    tree.put("sys/fs/cgroup/memory/a/memory.limit_in_bytes", str(60 * MIB))
    tree.put("sys/fs/cgroup/unified/b/memory.max", str(50 * MIB))

    assert tree.memory_mib() == 50


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("memory.max", "max"),
        ("memory.max", ""),
        ("memory.max", "a lot"),
        ("memory.max", "0"),
        ("memory.max", "9223372036854771712"),
        ("cpu.max", "max 100000"),
        ("cpu.max", "100000 0"),
        ("cpu.max", "100000"),
        ("cpu.cfs_quota_us", "-1"),
    ],
)
def test_a_missing_limit_is_none(tree: Tree, name: str, text: str) -> None:
    tree.group("0::/", V2_MOUNT)
    tree.put(f"sys/fs/cgroup/{name}", text)
    tree.put("sys/fs/cgroup/cpu.cfs_period_us", "100000")

    assert machine(tree.path) == HARDWARE


def test_a_containers_own_meminfo_counts(tree: Tree) -> None:
    tree.put("proc/meminfo", "MemTotal:         102400 kB\nMemFree:   1 kB")

    assert tree.memory_mib() == 100


def test_paths_outside_the_namespace_are_ignored(tree: Tree) -> None:
    """The kernel writes `/../..` for a group above the namespace's root."""
    tree.group("0::/../../elsewhere", V2_MOUNT)
    tree.put("sys/fs/cgroup/memory.max", str(20 * MIB))
    (tree.path.parent / "elsewhere").mkdir(exist_ok=True)
    (tree.path.parent / "elsewhere" / "memory.max").write_text("1")

    assert tree.memory_mib() == 20


@pytest.mark.parametrize(("shown", "membership"), [("/../..", "/"), ("/..", "/b")])
def test_a_mount_from_before_the_namespace_is_searched_for_our_group(
    tree: Tree, shown: str, membership: str
) -> None:
    """Its directories above the namespace have names that no file tells."""
    tree.group(f"4:memory:{membership}", V1_MEMORY.format(shown=shown))
    mount = "sys/fs/cgroup/memory"
    own = os.getpid()  # any number: the first processes of a container have small ones
    for name, pid in (("a/b", own), ("a/c", own + 1), ("x/b", own + 2)):
        tree.put(f"{mount}/{name}/cgroup.procs", f"{own + 3}\n{pid}")
        tree.put(f"{mount}/{name}/memory.limit_in_bytes", str((40 if name == "a/b" else 20) * MIB))
    tree.put(f"{mount}/a/memory.limit_in_bytes", str(70 * MIB))

    assert tree.memory_mib() == 40


def test_kills_for_memory_are_distinguished_from_others(tree: Tree) -> None:
    tree.group("0::/pod", V2_MOUNT)
    tree.put("sys/fs/cgroup/pod/memory.events", "low 0\nhigh 0\nmax 7\noom 1\noom_kill 2\noom_group_kill 0")
    kills = Kills(tree.path)

    assert memory_kills(tree.path) == 2
    assert kills.explain() == "killed by the kernel, probably for memory (SIGKILL)"
    tree.put("sys/fs/cgroup/pod/memory.events", "oom 1\noom_kill 3")
    assert kills.explain().endswith("its control group's memory was used up")
    assert kills.explain() == "killed by the kernel, probably for memory (SIGKILL)"


def test_a_real_control_group_is_believed() -> None:
    program = (
        "import os, pathlib, sys; pathlib.Path(sys.argv[1]).write_text(str(os.getpid()));"
        "from plasm_core.machine import machine; print(machine().memory_bytes)"
    )

    with memory_group(96 * MIB) as group:
        command = [sys.executable, "-c", program, str(group / "cgroup.procs")]
        found = subprocess.run(command, capture_output=True, text=True, check=True)

    assert int(found.stdout) == 96 * MIB
