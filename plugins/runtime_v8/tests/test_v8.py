"""Hold the V8 engine to the contract."""

from __future__ import annotations

import pytest

from plasm_core.plugins.interfaces import Runtime
from plasm_core.testing.contract import RuntimeContract
from plasm_runtime_v8.runtime import V8Runtime

pytest.importorskip("py_mini_racer")


class TestV8(RuntimeContract):
    @classmethod
    def runtime(cls) -> Runtime:
        return V8Runtime()
