"""The contract suites: every plugin runs its kind's over its own component."""

from __future__ import annotations

from plasm_core.testing.engine_contract import EngineContract
from plasm_core.testing.machine_contract import MachineContract
from plasm_core.testing.signer_contract import SignerContract
from plasm_core.testing.verifier_contract import VerifierContract

__all__ = ["RuntimeContract", "SignerContract", "VerifierContract"]


class RuntimeContract(EngineContract, MachineContract):
    """All requirements of docs/determinism.md on a runtime.

    A subclass named `Test…` defines the fixture `runtime()`.
    """
