"""The contract suite of runtimes: every engine's plugin runs it over its own component."""

from __future__ import annotations

from plasm_core.testing.engine_contract import EngineContract
from plasm_core.testing.machine_contract import MachineContract


class RuntimeContract(EngineContract, MachineContract):
    """All that docs/determinism.md asks of a runtime. A subclass named `Test…` gives `runtime()`."""
