"""Finds the instructions that must be lowered, and skips runs of all others at the speed of `re`.

The code is metered, so it has no dead code and only instructions that the rewriter knows.
"""

from __future__ import annotations

import functools
import re

from plasm_core.sandbox.metering import opcodes as op

LEB = rb"[\x80-\xff]*[\x00-\x7f]"
_VALUE_BLOCK = rb"[\x40\x7f\x7e\x7d\x7c]"
_MOST = 400  # instructions in one match: what `re` keeps for each is given back behind it

F32_LOAD, F32_STORE = 0x2A, 0x38
F32_COMPARISONS = range(0x5B, 0x61)
F32_ABS, F32_NEG, F32_COPYSIGN = 0x8B, 0x8C, 0x98
F32_ROUNDING = range(0x8D, 0x92)  # ceil … sqrt
F32_BINARY = range(0x92, 0x98)  # add … max
F32_MADE = range(0xB2, 0xB7)  # convert_i32_s … demote_f64
F32_TAKEN = (0xA8, 0xA9, 0xAE, 0xAF, 0xBB)  # truncations and promotion
I32_REINTERPRET_F32, F32_REINTERPRET_I32 = 0xBC, 0xBE
F32_SATURATING = (0, 1, 4, 5)  # behind 0xFC

_F32 = frozenset(
    {
        F32_LOAD,
        F32_STORE,
        op.F32_CONST,
        *F32_COMPARISONS,
        *range(F32_ABS, F32_COPYSIGN + 1),
        *F32_MADE,
        *F32_TAKEN,
        I32_REINTERPRET_F32,
        F32_REINTERPRET_I32,
    }
)
_CONTROL = frozenset({op.BLOCK, op.LOOP, op.IF, op.ELSE, op.END, op.BR, op.BR_IF, op.RETURN, op.UNREACHABLE})
_LOCALS = frozenset({op.LOCAL_GET, op.LOCAL_SET, op.LOCAL_TEE})
_HANDLED = frozenset({op.BR_TABLE, op.CALL_INDIRECT, op.SELECT_T, op.PREFIX_FC, op.PREFIX_FD})
"""Looked at one by one always: they are rare, or of several shapes."""


@functools.cache
def others(*, f32: bool, control: bool, local_indices: bool, calls: bool) -> re.Pattern[bytes]:
    """Return a pattern for some instructions, one behind the other, none of which is of the kinds named."""
    stopped = set(_HANDLED)
    stopped |= _F32 if f32 else set()
    stopped |= _CONTROL if control else set()
    stopped |= _LOCALS if local_indices else set()
    stopped |= {op.CALL} if calls else set()
    shapes: dict[bytes, set[int]] = {}
    for opcode, follows in enumerate(op.FOLLOWS):
        if opcode in stopped or follows == op.INVALID:
            continue
        if opcode in (op.BLOCK, op.LOOP, op.IF):
            # A type that is an index, or f32, is encoded again.
            following = rb"[\x40\x7f\x7e\x7c]" if f32 else _VALUE_BLOCK
        else:
            following = _following(opcode, follows)
        shapes.setdefault(following, set()).add(opcode)
    ways = [
        b"[" + b"".join(b"\\x%02x" % opcode for opcode in sorted(opcodes)) + b"]" + following
        for following, opcodes in shapes.items()
    ]
    return re.compile(rb"(?s:" + b"|".join(ways) + b"){1,%d}" % _MOST)


def _following(opcode: int, follows: int) -> bytes:
    """Return a pattern for the immediates of an opcode."""
    if follows in (op.INDEX, op.LOCAL) or opcode in (op.BR, op.BR_IF, op.CALL, op.MEMORY_GROW):
        return LEB
    if follows == op.MEMARG or opcode == F32_LOAD:
        return LEB + LEB
    if opcode in op.NOTED_AS:
        return LEB * op.NOTED_AS[opcode][1]
    if opcode in (op.F32_CONST, op.F64_CONST):
        return b".{%d}" % (4 if opcode == op.F32_CONST else 8)
    return b""
