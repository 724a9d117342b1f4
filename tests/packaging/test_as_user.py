"""Hold script/as-user.sh to what CI relies on: it removes nothing but its own, and a checkout need not be a clone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_PR_SET_DUMPABLE = 4
NOT_ROOTS = f"""
import ctypes, sys
ctypes.CDLL(None).prctl({_PR_SET_DUMPABLE}, 0, 0, 0, 0)
print("ready", flush=True)
sys.stdin.read()
"""


def run(text: str, *, root: Path = ROOT, path: str = "", cwd: Path = ROOT) -> str:
    """Run a piece of shell after the script's functions, and return what it prints."""
    environ = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}" if path else os.environ["PATH"]}
    done = subprocess.run(
        ["sh", "-euc", f'root=$1; . "$2/script/as-user.sh"; {text}', "sh", str(root), str(ROOT)],
        env=environ,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


def test_a_user_that_it_could_not_make_is_not_removed(tmp_path: Path) -> None:
    """In a container process ids come again, and with them the name of a user that an earlier run left."""
    removed = tmp_path / "removed"
    for name, does in {
        "id": "echo 0",
        "useradd": "echo it exists; exit 9",
        "userdel": f"touch {removed}",
        "runuser": "exit 1",
        "unshare": "exit 1",
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)

    said = run("test_as_user; exit", path=str(tmp_path))

    assert said == "not tested as an ordinary user, since none can be made: it exists\n"
    assert not removed.exists()


def test_a_checkout_without_git_is_copied_whole(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    for name in ("pyproject.toml", "plasm_core/a b.py", ".venv/bin/python", ".git/config"):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text("")
    (tmp_path / "copy" / "plasm").mkdir(parents=True)

    run(f"copy={tmp_path}/copy; copy_sources", root=checkout, cwd=checkout)

    copied = sorted(path.name for path in (tmp_path / "copy" / "plasm").rglob("*"))
    assert copied == ["a b.py", "plasm_core", "pyproject.toml"]


@pytest.mark.skipif(sys.platform != "linux", reason="a user is made on Linux only")
def test_processes_whose_files_are_roots_are_found_too() -> None:
    """Workers are such processes, and userdel(8) refuses as long as one is left."""
    with subprocess.Popen(
        [sys.executable, "-c", NOT_ROOTS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"

        found = run("user=$(id -un); user_processes").split()

        process.kill()
    assert str(process.pid) in found
