"""Run the real `plasm` in processes of its own, and look at the children it has."""

import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import attrs

from tests.support.receipts import ROOT

HELLO = str(ROOT / "examples" / "hello" / "hello.wasm")
OK, FAILURE, USAGE, CONFIGURATION, PLUGIN, UNREACHABLE, JOB_FAILED, REJECTED, UNDECIDED = range(9)


@attrs.frozen
class Done:
    """How a command ended: its exit code, what it put out, what it said."""

    code: int
    out: bytes
    err: str


@attrs.frozen
class Plasm:
    """The command, with homes of its own under a directory."""

    home: Path

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the environment it runs in: nothing of the user's own settings."""
        theirs = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("PLASM_") and not name.endswith("_DIRECTORY")
        }
        homes = {f"XDG_{name.upper()}_HOME": str(self.home / name) for name in ("state", "cache", "config")}
        return {**theirs, **homes, "COLUMNS": "80", "PYTHONWARNINGS": "error", **(more or {})}

    def command(self, *arguments: str) -> list[str]:
        """Return its command line."""
        return [sys.executable, "-m", "plasm_core.cli", *arguments]

    def start(self, *arguments: str, stdout: int | IO[Any] = subprocess.PIPE) -> "subprocess.Popen[bytes]":
        """Start it, with no standard input."""
        return subprocess.Popen(
            self.command(*arguments),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            env=self.environment(),
        )

    def __call__(
        self,
        *arguments: str,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
        wrapped: Sequence[str] = (),
    ) -> Done:
        """Run it to its end. Whatever went wrong, its user sees no traceback."""
        done = subprocess.run(
            [*wrapped, *self.command(*arguments)],
            capture_output=True,
            env=self.environment(env),
            timeout=120,
            stdin=subprocess.DEVNULL if stdin is None else None,
            input=stdin,
        )
        err = done.stderr.decode()
        assert "Traceback" not in err, err
        return Done(done.returncode, done.stdout, err)


def without_phases(err: str) -> str:
    """Return what a command said without the names of its phases, which it tells if one lasts for two seconds."""
    return re.sub(r"^[a-z ]+…\n", "", err, flags=re.MULTILINE)


def outliving(processes: Mapping[int, int], timeout_s: float) -> set[int]:
    """Wait until processes, given with a descriptor of each, have ended. Return those that have not."""
    deadline = time.monotonic() + timeout_s
    left = set()
    for pid, fd in processes.items():
        readable, _, _ = select.select([fd], [], [], max(0.0, deadline - time.monotonic()))
        if not readable:
            left.add(pid)
        os.close(fd)
    return left
