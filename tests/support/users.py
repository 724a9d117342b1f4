"""Start Python as this user, or as one that may do less."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.support.receipts import ROOT

NOBODY = 65_534
USERS = ("root", "ordinary")


@attrs.frozen(kw_only=True)
class Interpreter:
    """How to start Python as some user: the program, its environment, and keywords for `Popen`."""

    python: str
    environment: dict[str, str]
    options: dict[str, Any]

    def run(self, *arguments: str, timeout_s: float = 120) -> subprocess.CompletedProcess[bytes]:
        """Run it to its end."""
        return subprocess.run(
            [self.python, *arguments],
            env=self.environment,
            cwd=ROOT,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=timeout_s,
            **self.options,
        )

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start it."""
        return subprocess.Popen(
            [self.python, *arguments],
            env=self.environment,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            **self.options,
        )


def interpreter_of(user: str) -> Interpreter:
    """Return the interpreter of `root` or of an `ordinary` user. Skips the test if there is no such."""
    own_is_root = os.geteuid() == 0
    if (user == "root") == own_is_root:
        return _interpreter(sys.executable, sys.path, {})
    if user == "root":
        pytest.skip("the tests do not run as root")
    found = _of_nobody()
    if isinstance(found, str):
        pytest.skip(f"user {NOBODY} cannot run Plasm here: {found}")
    return found


def _interpreter(python: str, path: Sequence[str], options: dict[str, Any]) -> Interpreter:
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "PYTHONPATH": os.pathsep.join([str(ROOT), *path]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONWARNINGS": "error",
        "HOME": "/",
    }
    return Interpreter(python=python, environment=environment, options=options)


@functools.cache
def _of_nobody() -> Interpreter | str:
    """Return an interpreter that another user may execute, or why there is none."""
    options = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    minor = f"python3.{sys.version_info.minor}"
    system = shutil.which(minor, path="/usr/local/bin:/usr/bin")
    outside = [item for item in sys.path if not Path(item).is_relative_to(sys.base_prefix)]
    why = f"no {minor} of the system"
    for python, path in ((sys.executable, sys.path), (system, outside)):
        if python is None:
            continue
        found = _interpreter(python, path, options)
        try:
            done = found.run("-c", "import plasm_core.execution, tests.support.hostile")
        except OSError as exc:
            why = f"{python}: {exc.strerror}"
            continue
        if not done.returncode:
            return found
        why = done.stderr.decode().strip().rpartition("\n")[2]
    return why
