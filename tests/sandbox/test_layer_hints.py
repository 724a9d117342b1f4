"""Hold what users are told of a missing sandbox layer: the true cause, in confinement as on a bare machine."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from plasm_core.sandbox.layer_hints import layer_hint

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the layers are Linux's")
FILTERED = """\
import errno, os, sys
import pyseccomp
rules = pyseccomp.SyscallFilter(defaction=pyseccomp.ALLOW)
for name in ("unshare", "landlock_create_ruleset"):
    rules.add_rule(pyseccomp.ERRNO(errno.EPERM), name)
rules.load()
os.execv(sys.argv[1], sys.argv[1:])
"""


def proc(root: Path, **more: str) -> Path:
    """Make the files of a proc file system that are looked at: an ordinary machine's, but for what is given."""
    status = "Name:\tplasm\nCapEff:\t0000000000000000\nSeccomp:\t0\n"
    mounts = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
    files = {"self/status": status, "self/mountinfo": mounts} | more
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def namespaces(where: Path, number: int = errno.EPERM, *, is_root: bool = False) -> str:
    return str(layer_hint("namespaces", os.strerror(number), proc=where, is_root=is_root))


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({"self/status": "CapEff:\t0\nSeccomp:\t2\n"}, "a seccomp filter"),
        ({"sys/kernel/unprivileged_userns_clone": "0\n"}, "kernel.unprivileged_userns_clone=1"),
        ({"sys/kernel/apparmor_restrict_unprivileged_userns": "1\n"}, "AppArmor"),
        ({"self/mountinfo": "30 22 0:5 / /proc rw - proc proc rw\n"}, "chroot"),
        ({}, "needs root"),
    ],
)
def test_the_setting_that_forbids_namespaces_to_ordinary_users_is_named(
    tmp_path: Path, files: dict[str, str], named: str
) -> None:
    assert named in namespaces(proc(tmp_path, **files))


def test_root_gets_no_hint_to_become_root(tmp_path: Path) -> None:
    few = proc(tmp_path / "few")
    all_of_them = proc(tmp_path / "all", **{"self/status": "CapEff:\t000001ffffffffff\nSeccomp:\t2\n"})

    assert "CAP_SYS_ADMIN" in namespaces(few, is_root=True)
    assert "a seccomp filter" in namespaces(all_of_them, is_root=True)


def test_a_limit_of_namespaces_is_reported_as_a_limit(tmp_path: Path) -> None:
    assert "user.max_user_namespaces" in namespaces(proc(tmp_path), errno.ENOSPC)


def test_a_kernel_without_namespaces_is_reported_as_such(tmp_path: Path) -> None:
    assert "CONFIG_USER_NS" in namespaces(proc(tmp_path), errno.EINVAL)


@pytest.mark.parametrize(
    ("number", "status", "named"),
    [
        (errno.EPERM, "Seccomp:\t2\n", "a seccomp filter"),
        (errno.EOPNOTSUPP, "Seccomp:\t0\n", "lsm="),
        (errno.ENOSYS, "Seccomp:\t0\n", "Linux 5.13"),
    ],
)
def test_the_problems_of_landlock_are_distinguished(
    tmp_path: Path, number: int, status: str, named: str
) -> None:
    where = proc(tmp_path, **{"self/status": status})

    assert named in str(layer_hint("landlock", os.strerror(number), proc=where, is_root=False))


def test_without_a_proc_file_system_a_hint_is_still_given(tmp_path: Path) -> None:
    assert "needs root" in namespaces(tmp_path / "none")


def doctor(tmp_path: Path, *before: str) -> dict[str, str]:
    """Run `plasm doctor` under a confinement, and return the hints by the names of the checks."""
    done = subprocess.run(
        [*before, str(Path(sysconfig.get_path("scripts")) / "plasm"), "doctor", "--json"],
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return {check["name"]: check["hint"] or "" for check in json.loads(done.stdout)}


@LINUX
def test_doctor_tells_of_a_filter_under_a_filter(tmp_path: Path) -> None:
    """As in a container: `needs root` would send its user on the wrong way."""
    pytest.importorskip("pyseccomp")
    hints = doctor(tmp_path, sys.executable, "-c", FILTERED)

    assert hints["sandbox namespaces"].startswith("a seccomp filter")
    assert hints["sandbox landlock"].startswith("a seccomp filter")


@LINUX
@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None,
    reason="needs root, and setpriv to drop a capability",
)
def test_doctor_tells_root_of_a_container_which_capability_is_missing(tmp_path: Path) -> None:
    hints = doctor(tmp_path, "setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin")

    assert "CAP_SYS_ADMIN" in hints["sandbox namespaces"]
