"""Dead code, which the rewriter leaves out: what stands behind a jump, up to the end of its block."""

from __future__ import annotations

from plasm_core.sandbox import opcodes as op
from plasm_core.sandbox.binary import Reader, malformed, skip_integers
from plasm_core.sandbox.control import read_block_type
from plasm_core.sandbox.module import Module


def end_of_dead_code(module: Module, reader: Reader) -> int:
    """Return where the `else` or `end` stands that ends the dead code which begins at a reader.

    Only the features that its blocks use are noted. Raises: `BadModuleError`; IndexError where the data ends.
    """
    depth = 0
    while not reader.done:
        opcode = reader.data[reader.position]
        if not depth and opcode in (op.ELSE, op.END):
            return reader.position
        reader.position += 1
        if opcode in (op.BLOCK, op.LOOP, op.IF):
            read_block_type(module, reader)
            depth += 1
        elif opcode == op.END:
            depth -= 1
        else:
            _skip_immediates(reader, opcode)
    raise malformed("the code ends too early")


def _skip_immediates(reader: Reader, opcode: int) -> None:
    follows = op.FOLLOWS[opcode]
    if follows in (op.INDEX, op.LOCAL) or opcode in (op.BR, op.BR_IF, op.CALL, op.MEMORY_GROW):
        _skip_integers(reader, 1)
    elif opcode in op.NOTED_AS:
        _skip_integers(reader, op.NOTED_AS[opcode][1])
    elif follows == op.MEMARG or opcode == op.CALL_INDIRECT:
        _skip_integers(reader, 2)
    elif follows == op.BYTES:
        reader.position += op.IMMEDIATE_BYTES[opcode]
    elif opcode == op.F32_CONST:
        reader.position += 4
    elif opcode == op.BR_TABLE:
        _skip_integers(reader, reader.unsigned() + 1)
    elif opcode == op.SELECT_T:
        count = reader.unsigned()
        reader.position += count
    elif opcode == op.PREFIX_FC:
        _skip_integers(reader, op.FC.get(reader.unsigned(), (0, 0))[0])
    elif opcode == op.PREFIX_FD:
        memarg, following, _ = op.FD.get(reader.unsigned(), (False, 0, 0))
        _skip_integers(reader, 2 if memarg else 0)
        reader.position += following


def _skip_integers(reader: Reader, count: int) -> None:
    reader.position = skip_integers(reader.data, reader.position, count)
