"""Hold what the list of processes shows of the children that run jobs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import processes
from tests.support.cli import HELLO
from tests.support.daemon import Daemon

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process write its title")

_TITLED = """
import sys
from plasm_core.sandbox.process.title import set_title
set_title(sys.argv[1])
print(open("/proc/self/cmdline").read().rstrip("\\0"), end="")
"""


@pytest.mark.parametrize("title", ["plasm worker wasmtime", "x", "ü"])
def test_a_title_replaces_the_command_line(title: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _TITLED, title], capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout == title


def test_a_title_that_is_too_long_is_cut() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _TITLED, "y" * 3000], capture_output=True, text=True, check=True, timeout=60
    )

    assert set(done.stdout) == {"y"}


def test_the_processes_of_a_daemon_are_named(tmp_path: Path) -> None:
    """They showed the whole program with its filters: five kilobytes each, in `ps` and in `top`."""
    with Daemon(tmp_path) as daemon:
        daemon.start()
        daemon.plasm("result", "-", stdin=daemon.plasm("submit", HELLO, stdin=b"abc").stdout)
        assert daemon.process is not None
        children = processes.descendants(daemon.process.pid)
        shown = {Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0") for pid in children}

    assert shown == {b"plasm worker wasmtime"}
