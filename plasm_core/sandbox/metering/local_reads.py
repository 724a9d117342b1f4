"""Work around a defect of wasm3: a local that is read and changed while the read value is on the operand stack.

wasm3 reads a local only when the value is used. If the local is set before that, or a block begins, it keeps the old
value for all pending reads in one slot, and miscounts them: the upper half of a 64-bit value is overwritten once one
of two reads is used, and the count overflows at 255. Where that may happen, each read after the first must get a slot
of its own.
"""

from __future__ import annotations

from collections.abc import Container

from plasm_core.sandbox.metering.locals import RunsOfTypes
from plasm_core.sandbox.metering.module import VALUE_TYPES


def _table(value_types: Container[int]) -> bytes:
    """Return a table for `translate` that has 1 for these types, else 0."""
    return bytes(value_type in value_types for value_type in range(256))


_WIDE = _table(b"\x7e\x7c")  # i64, f64
_ALL = _table(VALUE_TYPES)
COUNTED = 250
"""Reads of one local that wasm3 can count, and a few less."""


class LocalReads:
    """Tracks values that were read from locals and not used yet, along a function's code.

    wasm3 mixes up several pending reads of one local when it is set. The first pass finds out whether that can
    happen; in the second (`copies`), each read but the first is copied to another local.
    """

    def __init__(self, types: bytes | RunsOfTypes, *, copies: bool) -> None:
        self.mixed_up = False
        self.waiting: dict[int, list[int]] = {}
        """The heights of the operand stack at which a local lies: two at most, the lowest of which lie longest."""
        self._copies = copies
        self.counts = types.translate(_ALL if copies else _WIDE)
        """Whether the reads of a local count, by its index."""

    def again(self, index: int, height: int) -> bool:
        """Record a read of a local that has been read before. Return whether it must be copied."""
        waiting = [other for other in self.waiting[index] if other < height]
        copied = self._copies and bool(waiting)
        if not copied and len(waiting) < 2:
            waiting.append(height)
        self.waiting[index] = waiting
        return copied

    def set(self, index: int, height: int) -> None:
        """Record a write to a local: values read before must keep the old value."""
        waiting = sum(other < height for other in self.waiting.pop(index, ()))
        self.mixed_up |= waiting > 1 or height > COUNTED

    def begin_block(self, height: int) -> None:
        """Record the start of a block: the values read before it must keep their values."""
        for index in tuple(self.waiting):
            self.set(index, height)
        self.mixed_up |= height > COUNTED

    def end_block(self) -> None:
        """Record the end of a block: only its results stay on the operand stack."""
        self.waiting.clear()
