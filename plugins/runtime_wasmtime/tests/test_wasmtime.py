"""Hold the wasmtime engine to the contract: compiled natively, and for its interpreter."""

from __future__ import annotations

from plasm_runtime_wasmtime.runtime import WasmtimeRuntime

from plasm_core.abc import Runtime
from plasm_core.testing.contract import RuntimeContract


class TestNative(RuntimeContract):
    @classmethod
    def runtime(cls) -> Runtime:
        return WasmtimeRuntime()
