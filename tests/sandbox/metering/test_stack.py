"""The stack that the module counts ends before the engine's own, also in code made to prevent it."""

from __future__ import annotations

import itertools

import pytest

from plasm_core.sandbox.metering.binary import signed, sized, unsigned, vector
from plasm_core.testing.bench import Bench, trapped
from tests.sandbox.modules import CODE, EXPORT, FUNCTION, GLOBAL, MEMORY, TYPE, section

V128, I32 = b"\x7b", b"\x7f"
COMPARISONS = range(0x23, 0x4D)
"""Vector comparisons: two bytes of opcode, and no two give the same."""


def spilling(values: int, locals_count: int = 40) -> bytes:
    """Encode a module that recurses without end in a function that keeps many vectors across its call.

    Each is the comparison of two locals, six bytes of code and two to use it, all in a loop that the call
    stands in: what does not change in a loop, a compiler computes before it, and must keep.
    """
    pairs = itertools.permutations(range(locals_count), 2)
    kinds = itertools.islice(itertools.product(pairs, COMPARISONS), values)
    load = b"".join(
        b"\x41" + signed(16 * number) + b"\xfd\0\0\0\x21" + unsigned(number) for number in range(locals_count)
    )
    use = b"".join(
        b"\x20" + unsigned(left) + b"\x20" + unsigned(right) + b"\xfd" + unsigned(opcode) + b"\xfd\x51"
        for (left, right), opcode in kinds
    )
    loop = b"\x03\x40\x10\0\x23\0" + use + b"\x24\0\x23\1\x0d\0\x0b"
    deeper = vector([unsigned(locals_count) + V128]) + load + loop + b"\x0b"
    return (
        b"\0asm\1\0\0\0"
        + section(TYPE, vector([b"\x60\0\0"]))
        + section(FUNCTION, vector([b"\0", b"\0"]))
        + section(MEMORY, vector([b"\0\1"]))
        + section(GLOBAL, vector([V128 + b"\1\xfd\x0c" + bytes(16) + b"\x0b", I32 + b"\1\x41\0\x0b"]))
        + section(EXPORT, vector([sized(b"_start") + b"\0\1", sized(b"memory") + b"\2\0"]))
        + section(CODE, vector([sized(deeper), sized(b"\0\x10\0\x0b")]))
    )


@pytest.mark.parametrize("values", [500, 3_000, 10_000])
def test_frames_of_many_values_are_counted_large_enough(bench: Bench, values: int) -> None:
    """80 KB of module, the last, whose frame takes 160 KB."""
    assert bench.run(spilling(values)).outcome == trapped("stack_exhausted")
