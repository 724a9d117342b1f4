"""Dead code, which the rewriter leaves out: the instructions after a jump, up to the end of the block."""

from __future__ import annotations

from plasm_core.errors import BadModuleError
from plasm_core.sandbox.metering import opcodes as op
from plasm_core.sandbox.metering.binary import Reader, malformed, skip_integers
from plasm_core.sandbox.metering.control import read_block_type, read_catches
from plasm_core.sandbox.metering.module import VALUE_TYPES, Module


def end_of_dead_code(module: Module, reader: Reader) -> int:
    """Return the position of the `else` or `end` that ends the dead code at a reader's position.

    Of the dead code only its blocks' features are recorded. Raises: `BadModuleError`; IndexError at the end of the
    data.
    """
    depth = 0
    while not reader.done:
        opcode = reader.data[reader.position]
        if not depth and opcode in (op.ELSE, op.END):
            return reader.position
        reader.position += 1
        if opcode in (op.BLOCK, op.LOOP, op.IF, op.TRY_TABLE):
            read_block_type(module, reader)
            depth += 1
            if opcode == op.TRY_TABLE:
                module.features.add("exceptions")
                read_catches(reader)
        elif opcode == op.END:
            depth -= 1
        else:
            _skip_immediates(module, reader, opcode)
    raise malformed("the code ends too early")


def _skip_immediates(module: Module, reader: Reader, opcode: int) -> None:
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
        for _ in range(reader.count()):
            if reader.byte() not in VALUE_TYPES:
                raise BadModuleError("feature", "the module uses typed function references")
    elif opcode in (op.THROW, op.THROW_REF):
        module.features.add("exceptions")
        _skip_integers(reader, 1 if opcode == op.THROW else 0)
    elif opcode in (op.RETURN_CALL, op.RETURN_CALL_INDIRECT):
        module.features.add("tail-calls")
        _skip_integers(reader, 1 if opcode == op.RETURN_CALL else 2)
    elif opcode == op.PREFIX_FC:
        _skip_integers(reader, op.FC.get(reader.unsigned(), (0, 0))[0])
    elif opcode == op.PREFIX_FD:
        memarg, following, _ = op.FD.get(reader.unsigned(), (False, 0, 0))
        _skip_integers(reader, 2 if memarg else 0)
        reader.position += following


def _skip_integers(reader: Reader, count: int) -> None:
    reader.position = skip_integers(reader.data, reader.position, count)
