"""Structured control: the blocks that are open, and the types they have (WebAssembly 2.0, section 2.4.8)."""

from __future__ import annotations

import attrs

from plasm_core.sandbox.binary import Reader, malformed, signed
from plasm_core.sandbox.module import Module

_EMPTY = -0x40
_FLOATS = (0x7D, 0x7C)


@attrs.define
class Label:
    """A block that is open: `height` is the operand stack's below its parameters, `takes_float` is set if the
    last value that a branch to its end carries is a float.
    """

    opcode: int
    height: int
    params: int
    results: int
    takes_float: bool = False


def ends_in_float(results: bytes) -> bool:
    """Return whether the last of some value types is f32 or f64."""
    return bool(results) and results[-1] in _FLOATS


def read_block_type(module: Module, reader: Reader) -> tuple[bytes, int, bytes]:
    """Read a block's type, and note the features it uses. Raises: `BadModuleError`.

    Returns the type encoded, the number of its parameters, and its results.
    """
    value = reader.signed(33)
    if value < 0:
        module.note_value_type(value & 0x7F)
        return signed(value), 0, b"" if value == _EMPTY else bytes((value & 0x7F,))
    if value >= len(module.types):
        raise malformed("a type index is out of range")
    kind = module.types[value]
    if kind.params or len(kind.results) > 1:
        module.features.add("multi-value")
    return signed(value), len(kind.params), kind.results
