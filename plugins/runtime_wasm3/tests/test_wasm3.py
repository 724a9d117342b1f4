"""Hold the wasm3 engine to the contract."""

from __future__ import annotations

import subprocess
import sys

import pytest

from plasm_core.plugins.interfaces import Runtime
from plasm_core.testing.contract import RuntimeContract
from plasm_runtime_wasm3.runtime import Wasm3Runtime

pytest.importorskip("wasm3")


class TestWasm3(RuntimeContract):
    @classmethod
    def runtime(cls) -> Runtime:
        return Wasm3Runtime()


_SCARCE = """
import resource
from plasm_core.plugins.engine import EngineFailure
from plasm_core.sandbox.metering.rewrite import meter
from plasm_core.testing.bench import module_named
from plasm_runtime_wasm3.engine import STACK_BYTES, Wasm3Engine

module = Wasm3Engine().load(meter(module_named("gas_empty")).code)
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + STACK_BYTES // 2,) * 2)
try:
    module.instantiate({})
except EngineFailure as exc:
    print(exc)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads its own size from /proc")
def test_a_stack_that_cannot_be_had_is_a_failure_of_the_engine() -> None:
    """The library returns null, and dies of it when it is given it back."""
    done = subprocess.run([sys.executable, "-c", _SCARCE], capture_output=True, text=True, timeout=60)

    assert (done.returncode, done.stdout, done.stderr) == (0, "wasm3: out of memory\n", "")
