"""What the process that workers are forked from imports: each worker pays for its size with every job."""

from __future__ import annotations

import subprocess
import sys

_SCRIPT = """
import sys
before = set(sys.modules)
import plasm_core.sandbox.process.zygote
print(*(set(sys.modules) - before))
"""
# Small modules, most of them in C. tempfile, for one, brings twenty others, and a worker then takes a quarter longer.
_FEW = {"__future__", "bisect", "ctypes", "gc", "resource", "struct", "types"} | {
    "_bisect",
    "_ctypes",
    "_sha2",
    "_sha256",
    "_socket",
    "_struct",
}


def test_workers_are_forked_from_a_process_that_imports_little() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT], capture_output=True, text=True, timeout=60, check=True
    )
    found = {name.partition(".")[0] for name in done.stdout.split()}

    assert "plasm_core" in found
    assert found - {"plasm_core"} <= _FEW
