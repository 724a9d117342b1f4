"""The rewriter's output is what it has been, byte for byte, however fast it is made.

The digests were taken when the gas counter got a local beside its global: docs/determinism.md ("What counting costs"). `digests.py` compares more modules.
"""

from __future__ import annotations

import pytest

from tests.sandbox.metering.digests import KINDS, digests

RECORDED = {
    "plain": (
        "fd3080847a2831a1f53afef74e8eb5907cf92676ffb8c91808a7c477f917ea1f",
        "09a1d85f995f859524a5f6a1ebe6a6c72302ea0cc1ba42148e15acc83130a131",
    ),
    "floats": (
        "8371aa1b0d57a37f0b5e8b952be067beba73065a8ceb7515c374f4f90b9f0fc3",
        "9518e43aaaaa1c48439fa3ef095704e932a0b8efb2a26e11c377083cbcc42c3d",
    ),
    "lowered": (
        "e383b0ba3ca8912e935833e761936eb105cbdc8c4a333fc4efe7c1a92fe6dabc",
        "660798a437ad9936773f753956637f5d5639084a7cee5cf017809fbe3a9826c6",
    ),
    "large": (
        "300eb059ea29bb18f6aebe19427c132c46b606bd1e49b61b8ee4ce8e6f72a169",
        "479f74cb7e9bb45e0aa737f557cb929b5b8bfbda08c533caf77096360f7262aa",
    ),
}
"""Kind of modules → the digest of the first hundred, and of what they are metered to in every way."""


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_generated_modules_are_metered_to_the_recorded_bytes(kind: str) -> None:
    """A difference is a change of `plasm.gas/v1` or of the stack's units, unless the generator changed."""
    given, made = next(digests(kind))
    recorded_given, recorded_made = RECORDED[kind]

    assert given == recorded_given, (
        "the generator changed: record the digests again with the rewriter as it was"
    )
    assert made == recorded_made
