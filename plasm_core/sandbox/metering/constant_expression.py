"""Constant expressions, with which globals and segments begin (WebAssembly 2.0, section 5.4.9)."""

from __future__ import annotations

from plasm_core.errors import BadModuleError
from plasm_core.sandbox.metering.binary import Reader
from plasm_core.sandbox.metering.module import Module

_EXTENDED = {
    0x6A: int.__add__,
    0x6B: int.__sub__,
    0x6C: int.__mul__,
    0x7C: int.__add__,
    0x7D: int.__sub__,
    0x7E: int.__mul__,
}

_MASK = 0xFFFF_FFFF_FFFF_FFFF


def read_constant(module: Module, reader: Reader) -> int | None:
    """Read a constant expression, and record its features.

    Return its value as a u32 if the module states it, else None.

    Raises: `BadModuleError`.
    """
    value = constant_value(module, reader)
    return None if value is None else value & 0xFFFF_FFFF


def constant_value(module: Module, reader: Reader) -> int | None:
    """Read a constant expression, and record its features.

    Return its value if the module states an i32 or i64, else None.

    Only the low 32 or 64 bits belong to the value. Raises: `BadModuleError`.
    """
    stack: list[int | None] = []
    while True:
        opcode = reader.byte()
        if opcode == 0x0B:
            break
        if opcode == 0x43:
            module.note_f32(reader.bytes(4))
            stack.append(None)
        elif opcode in (0x41, 0x42):
            stack.append(reader.signed(32 if opcode == 0x41 else 64))
        elif opcode == 0x44:
            reader.bytes(8)
            stack.append(None)
        elif opcode == 0x23:  # global.get, of an imported global: those are refused
            reader.unsigned()
            stack.append(None)
        elif opcode == 0xD0:
            module.note_value_type(reader.signed(33) & 0x7F)
            module.features.add("reference-types")
            stack.append(None)
        elif opcode == 0xD2:
            reader.unsigned()
            module.features.add("reference-types")
            stack.append(None)
        elif opcode == 0xFD and reader.unsigned() == 12:
            reader.bytes(16)
            module.features.add("simd")
            stack.append(None)
        elif opcode in _EXTENDED and len(stack) >= 2:
            module.features.add("extended-const")
            right, left = stack.pop(), stack.pop()
            value = None if left is None or right is None else _EXTENDED[opcode](left, right)
            # Wrapped at once, or numbers grow with the expression and reading it takes quadratic time.
            stack.append(None if value is None else value & _MASK)
        else:
            raise BadModuleError("feature", "the module has a constant expression of an unknown feature")
    return stack[0] if len(stack) == 1 else None
