"""Structured control: the blocks that are open, and the types they have (WebAssembly 2.0, section 2.4.8)."""

from __future__ import annotations

import attrs

from plasm_core.sandbox.metering.binary import Reader, malformed, signed, unsigned, vector
from plasm_core.sandbox.metering.module import Module

_EMPTY = -0x40
_CATCH_ALL, _CATCH_ALL_REF = 2, 3
_FLOATS = (0x7D, 0x7C)
VALUE_BLOCKS = {0x40: (0, False), 0x7F: (1, False), 0x7E: (1, False), 0x7D: (1, True), 0x7C: (1, True)}
"""Block types of WebAssembly 1.0, by their byte: the number of results, and whether it is a float."""


@attrs.define
class Label:
    """An open block. `height`: the operand stack's height below its parameters.

    `takes_float`: whether the last value that a branch to its end carries is a float.
    """

    opcode: int
    height: int
    params: int
    results: int
    takes_float: bool = False
    start: int = 0
    """Where the output of a loop's first run begins."""
    catches: bool = False
    """Whether an exception handler begins at its end, or at a loop's start."""


def ends_in_float(results: bytes) -> bool:
    """Return whether the last of some value types is f32 or f64."""
    return bool(results) and results[-1] in _FLOATS


def read_block_type(module: Module, reader: Reader) -> tuple[bytes, int, bytes]:
    """Read a block's type, and record its features. Raises: `BadModuleError`.

    Returns the encoded type, the number of its parameters, and its results.
    """
    value = reader.signed(33)
    if value < 0:
        if value != _EMPTY:
            module.note_value_type(value & 0x7F)
        return signed(value), 0, b"" if value == _EMPTY else bytes((value & 0x7F,))
    if value >= len(module.types):
        raise malformed("a type index is out of range")
    kind = module.types[value]
    if kind.params or len(kind.results) > 1:
        module.features.add("multi-value")
    return signed(value), len(kind.params), kind.results


def read_catches(reader: Reader) -> list[tuple[int, int | None, int]]:
    """Read the handlers of a `try_table`: for each its kind, its tag, and the depth of its label outside the block.

    Kinds (WebAssembly 3.0, section 5.4.2): `catch`, `catch_ref`, `catch_all`, `catch_all_ref`, from 0. The last two
    have no tag. Raises: `BadModuleError`.
    """
    catches = []
    for _ in range(reader.count()):
        kind = reader.byte()
        if kind > _CATCH_ALL_REF:
            raise malformed("an exception handler is of an unknown kind")
        tag = reader.unsigned() if kind < _CATCH_ALL else None
        catches.append((kind, tag, reader.unsigned()))
    return catches


def write_catches(catches: list[tuple[int, int | None, int]]) -> bytes:
    """Encode handlers as `read_catches` returns them."""
    return vector(
        [
            bytes((kind,)) + (b"" if tag is None else unsigned(tag)) + unsigned(depth)
            for kind, tag, depth in catches
        ]
    )
