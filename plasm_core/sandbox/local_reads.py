"""Where wasm3 would mix up values: reads of a local that lie on the operand stack while it changes.

wasm3 reads a local only when the value is used. If the local is set before that, or a block begins, it keeps
the old value for all who wait for it in one place, and loses count of them: of a value of 64 bits the upper
half is overwritten once one of two has been used, and of others it cannot count to 255. Where that may
happen, each read but the first must get a place of its own.
"""

from __future__ import annotations

from plasm_core.sandbox.module import VALUE_TYPES

_WIDE = b"\x7e\x7c"  # i64, f64
COUNTED = 250
"""Reads of one local that wasm3 can count, and a few less."""


class LocalReads:
    """The reads of a function's locals that are not used yet, as its code goes on.

    The first time round it only finds out whether anything is mixed up; `copies`: it tells each read to copy.
    """

    def __init__(self, types: bytes, *, copies: bool) -> None:
        self.mixed_up = False
        self.waiting: dict[int, list[int]] = {}
        """The heights of the operand stack at which a local lies: two at most, the lowest of which lie longest."""
        self._copies = copies
        counted = bytes(VALUE_TYPES) if copies else _WIDE
        self.counts = bytes(value_type in counted for value_type in types)
        """Whether the reads of a local count, by its index."""

    def again(self, index: int, height: int) -> bool:
        """Take a read of a local that was read before. Return whether it must be copied."""
        waiting = [other for other in self.waiting[index] if other < height]
        copied = self._copies and bool(waiting)
        if not copied and len(waiting) < 2:
            waiting.append(height)
        self.waiting[index] = waiting
        return copied

    def set(self, index: int, height: int) -> None:
        """Take a local's change: its old value must be kept for those who wait for it."""
        waiting = sum(other < height for other in self.waiting.pop(index, ()))
        self.mixed_up |= waiting > 1 or height > COUNTED

    def begin_block(self, height: int) -> None:
        """Take the beginning of a block: the values of all locals that lie there are kept."""
        for index in tuple(self.waiting):
            self.set(index, height)
        self.mixed_up |= height > COUNTED

    def end_block(self) -> None:
        """Take the end of a block: nothing of what it read is left but its result."""
        self.waiting.clear()
