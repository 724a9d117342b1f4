"""The rewriter's output is what it has always been, byte for byte, however fast it is made.

The digests were taken of the rewriter as it was before it knew exceptions, and before any of it ran as WebAssembly. `digests.py` compares more modules.
"""

from __future__ import annotations

import pytest

from tests.sandbox.metering.digests import KINDS, digests

RECORDED = {
    "plain": (
        "fd3080847a2831a1f53afef74e8eb5907cf92676ffb8c91808a7c477f917ea1f",
        "84c4806bda801967a75e45ea7852ee5b01a98a6565796b38c55cff51b2ee3462",
    ),
    "floats": (
        "8371aa1b0d57a37f0b5e8b952be067beba73065a8ceb7515c374f4f90b9f0fc3",
        "dea452b6064171838d52e4defe8246a628f2b16504d087f5207def2b891960cd",
    ),
    "lowered": (
        "e383b0ba3ca8912e935833e761936eb105cbdc8c4a333fc4efe7c1a92fe6dabc",
        "728b7dcefc3249ca8c3fdd5971264b80bb0874420cc7b546565a3e7db77f2818",
    ),
    "large": (
        "300eb059ea29bb18f6aebe19427c132c46b606bd1e49b61b8ee4ce8e6f72a169",
        "81567616bad7f5347eddeffaa8e78ade890153874fec069f65dbcd3fd4e61254",
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
