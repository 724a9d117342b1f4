"""What tests of plugins need: the contract suite of runtimes, test modules, and fakes. It needs pytest.

An engine's author writes, beside an installed plugin:

    from plasm_core.testing.contract import RuntimeContract

    class TestMine(RuntimeContract):
        @classmethod
        def runtime(cls):
            return MyRuntime()
"""

import pytest

pytest.register_assert_rewrite(
    "plasm_core.testing.bench", "plasm_core.testing.engine_contract", "plasm_core.testing.machine_contract"
)
