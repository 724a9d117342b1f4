"""Support for tests of plugins: a contract suite for each kind, test modules, claims and fakes. It needs pytest.

The author of a verifier installs the plugin and writes:

    from plasm_core.testing.contract import VerifierContract

    class TestMine(VerifierContract):
        @classmethod
        def verifier(cls):
            return MyVerifier()
"""

import pytest

pytest.register_assert_rewrite(
    "plasm_core.testing.bench",
    "plasm_core.testing.clock_contract",
    "plasm_core.testing.descriptor_contract",
    "plasm_core.testing.engine_contract",
    "plasm_core.testing.machine_contract",
    "plasm_core.testing.signer_contract",
    "plasm_core.testing.transport_contract",
    "plasm_core.testing.verifier_contract",
)
