"""Hold the wasmer engine to the contract, under an interpreter that has it."""

from __future__ import annotations

import os

import pytest

from plasm_core.errors import PluginMissingError
from plasm_core.plugins.interfaces import Runtime
from plasm_core.testing.contract import RuntimeContract
from plasm_runtime_wasmer.runtime import WasmerRuntime

INTERPRETER = "WASMER_PYTHON"
"""Names a CPython up to 3.10 that has wasmer, where this one does not."""
RUNTIME = WasmerRuntime(interpreter=os.environ.get(INTERPRETER, ""))

try:
    RUNTIME.check()
except PluginMissingError as exc:
    pytest.skip(f"{exc}; {INTERPRETER} may name one that has it", allow_module_level=True)


class TestWasmer(RuntimeContract):
    @classmethod
    def runtime(cls) -> Runtime:
        return RUNTIME
