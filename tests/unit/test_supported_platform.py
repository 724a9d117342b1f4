"""Hold what users of an unsupported system are told, before anything fails deep inside."""

from __future__ import annotations

import subprocess
import sys

import pytest

ON_WINDOWS = "import sys; sys.platform = 'win32'; "
MESSAGE = "Plasm does not run on Windows"


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", ON_WINDOWS + program], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("module", ["plasm_core.cli", "plasm_core.daemon.entry"])
def test_the_commands_say_at_once_that_windows_is_not_supported(module: str) -> None:
    done = run(f"from {module} import main; main(['--version'])")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {MESSAGE}")
    assert len(done.stderr.splitlines()) == 1


def test_the_import_of_the_client_says_so_too() -> None:
    done = run("from plasm_core import Client")

    assert done.stderr.splitlines()[-1].startswith(f"ImportError: {MESSAGE}")
