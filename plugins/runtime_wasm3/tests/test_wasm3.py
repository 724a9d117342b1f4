"""Hold the wasm3 engine to the contract."""

from __future__ import annotations

import pytest

from plasm_core.abc import Runtime
from plasm_core.testing.contract import RuntimeContract
from plasm_runtime_wasm3.runtime import Wasm3Runtime

pytest.importorskip("wasm3")


class TestWasm3(RuntimeContract):
    @classmethod
    def runtime(cls) -> Runtime:
        return Wasm3Runtime()
