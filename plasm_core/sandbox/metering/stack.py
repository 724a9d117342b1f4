"""The stack limit: what each function weighs, and the code that counts it (docs/determinism.md, "Stack")."""

from __future__ import annotations

from plasm_core.sandbox.metering.binary import signed

STACK_UNITS = 262_144
FRAME_UNITS = 4
BYTES_PER_UNIT = 128


def weight_of(*, values: int, nesting: int, size_bytes: int) -> int:
    """Return a function's weight in stack units: the most that its frame takes on any engine.

    The code's size counts, because compilers do not always reuse spill slots: 100 vector locals in 100 KB of code
    took 28 KB of native stack, and 8 bytes of code can make a slot of 16.
    """
    return FRAME_UNITS + values + nesting + size_bytes // BYTES_PER_UNIT


def enter(stack: bytes, weight: int, exhausted: bytes) -> bytes:
    """Return code that adds a weight to the global `stack`, and runs `exhausted` above the limit."""
    added = b"\x23" + stack + b"\x41" + signed(weight) + b"\x6a\x24" + stack
    return added + b"\x23" + stack + b"\x41" + signed(STACK_UNITS) + b"\x4b\x04\x40" + exhausted + b"\x0b"


def leave(stack: bytes, weight: int) -> bytes:
    """Return code that subtracts a weight from the global `stack`."""
    return b"\x23" + stack + b"\x41" + signed(weight) + b"\x6b\x24" + stack
