"""Lower one function's metered code: f32 to its bits, blocks of several values to locals, bulk memory to calls."""

from __future__ import annotations

from typing import Protocol

import attrs

from plasm_core.sandbox.lowering import scan
from plasm_core.sandbox.lowering.types import F32, I32, LoweredType, without_f32
from plasm_core.sandbox.metering import opcodes as op
from plasm_core.sandbox.metering.binary import Reader, malformed, signed, unsigned, vector
from plasm_core.sandbox.metering.module import FunctionType

_EMPTY = b"\x40"
_I64, _F64 = 0x7E, 0x7C
_AS_F32, _AS_I32 = b"\xbe", b"\xbc"
_SIGN = b"\x41" + signed(-(1 << 31))
_MAGNITUDE = b"\x41" + signed((1 << 31) - 1)


class Lowering(Protocol):
    """The parts of a module that the lowering of each function needs."""

    f32: bool
    control: bool
    original_types: list[FunctionType]
    types: list[LoweredType]
    function_types: list[int]
    adds_parameters: bool

    def init_function(self, segment: int) -> bytes:
        """Return the encoded index of the function that does `memory.init` of a segment."""

    def drop_segment(self, segment: int) -> bytes:
        """Return code that does `data.drop` of a segment."""

    def table_check(self, table: int) -> bytes:
        """Return code (i) → i that faults where a table's element i is null, empty if none is."""


@attrs.define
class _Label:
    """A block that is open. `carried` are the types of the values that a branch to it carries.

    `kept`: the locals, with their types, that keep an `if`'s parameters for its `else`. `has_else`: whether that was met.
    """

    opcode: int
    results: bytes
    carried: bytes
    kept: list[tuple[bytes, int]] = attrs.field(factory=list)
    has_else: bool = False


class FunctionLowering:
    """Lowers one function's entry in the code section, given without its length."""

    def __init__(self, lowering: Lowering, type_index: int, reader: Reader) -> None:
        self._lowering = lowering
        self._data = reader.data
        self._end = reader.end
        self._reader = reader
        self._own = lowering.types[type_index]
        self._first_shifted = len(self._own.params) - self._own.added
        self._out = bytearray()
        self._float_end = -1
        """Where `_out` ended when the topmost value last was a float's bits: then it can be had as a float."""
        self._labels: list[_Label] = []
        self._dead = False  # after a jump metered code has only the end of its block
        self._declared, self._locals = self._read_locals()
        self._scratch: dict[tuple[str, int, int], bytes] = {}
        self._free: dict[int, list[bytes]] = {}

    def lowered(self) -> bytes:
        """Return the function's code. Raises: `BadModuleError`; IndexError where the code ends too early."""
        lowering, data, end = self._lowering, self._data, self._end
        pattern = scan.others(
            f32=lowering.f32,
            control=lowering.control,
            local_indices=bool(self._own.added),
            calls=lowering.adds_parameters,
        )
        reader, out = self._reader, self._out
        while not reader.done:
            found = pattern.match(data, reader.position, end)
            if found is not None:
                out += found[0]
                reader.position = found.end()
            else:
                self._instruction(reader.byte())
        return vector(self._declared) + bytes(out)

    # -- locals

    def _read_locals(self) -> tuple[list[bytes], int]:
        """Return the declarations, each encoded, and the number of locals with the parameters."""
        declared, total = [], len(self._own.params)
        for _ in range(self._reader.count()):
            count, value_type = self._reader.unsigned(), self._reader.byte()
            total += count
            if self._lowering.f32 and value_type == F32:
                value_type = I32
            declared.append(unsigned(count) + bytes((value_type,)))
        return declared, total

    def _new_local(self, value_type: int) -> bytes:
        self._declared.append(b"\x01" + bytes((value_type,)))
        self._locals += 1
        return unsigned(self._locals - 1)

    def _local(self, purpose: str, value_type: int, number: int = 0) -> bytes:
        """Return the encoded index of a local of our own, the same for the same arguments."""
        key = purpose, number, value_type
        if key not in self._scratch:
            self._scratch[key] = self._new_local(value_type)
        return self._scratch[key]

    # -- instructions

    def _instruction(self, opcode: int) -> None:
        reader, lowering = self._reader, self._lowering
        if opcode == op.PREFIX_FC:
            self._prefix_fc(reader.unsigned())
        elif opcode == op.BR_TABLE:
            self._branch_table()
        elif opcode == op.CALL_INDIRECT:
            self._call_indirect(reader.unsigned(), reader.unsigned())
        elif opcode == op.CALL:
            index = reader.unsigned()
            added = lowering.types[lowering.function_types[index]].added
            self._out += b"\x41\x00" * added + b"\x10" + unsigned(index)
        elif opcode in (op.LOCAL_GET, op.LOCAL_SET, op.LOCAL_TEE):
            index = reader.unsigned()
            shifted = index + self._own.added if index >= self._first_shifted else index
            self._out += bytes((opcode,)) + unsigned(shifted)
        elif opcode in (op.BLOCK, op.LOOP, op.IF):
            self._begin(opcode)
        elif opcode in (op.ELSE, op.END):
            self._end_block(opcode)
        elif opcode in (op.BR, op.BR_IF):
            self._branch(opcode, reader.unsigned())
        elif opcode in (op.RETURN, op.UNREACHABLE):
            self._out.append(opcode)
            self._dead = True
        elif lowering.f32:
            self._f32(opcode)
        else:
            raise malformed(f"an instruction that cannot be lowered (0x{opcode:02x})")

    def _prefix_fc(self, number: int) -> None:
        reader = self._reader
        if number == op.MEMORY_INIT:
            segment = reader.unsigned()
            reader.unsigned()
            self._out += b"\x10" + self._lowering.init_function(segment)
        elif number == op.DATA_DROP:
            self._out += self._lowering.drop_segment(reader.unsigned())
        elif number in scan.F32_SATURATING and self._lowering.f32:
            self._as_f32()
            self._out += b"\xfc" + unsigned(number)
        else:
            count = op.FC[number][0]
            indices = b"".join(unsigned(reader.unsigned()) for _ in range(count))
            self._out += b"\xfc" + unsigned(number) + indices

    def _call_indirect(self, type_index: int, table: int) -> None:
        self._out += self._lowering.table_check(table)
        added = self._lowering.types[type_index].added
        if added:
            index = self._local("index", I32)
            self._out += b"\x21" + index + b"\x41\x00" * added + b"\x20" + index
        self._out += b"\x11" + unsigned(type_index) + unsigned(table)

    # -- f32, carried as the i32 of its bits

    def _as_f32(self) -> None:
        """Make a float of the bits on top: of those that an instruction just made, by leaving them one."""
        if len(self._out) == self._float_end:
            del self._out[-1]
        else:
            self._out += _AS_F32

    def _made_f32(self, code: bytes) -> None:
        self._out += code + _AS_I32
        self._float_end = len(self._out)

    def _two_as_f32(self) -> None:
        """Make floats of the two topmost values."""
        if len(self._out) == self._float_end:
            del self._out[-1]
            local = self._local("right", F32)
            self._out += b"\x21" + local + _AS_F32 + b"\x20" + local
        else:
            local = self._local("right", I32)
            self._out += b"\x21" + local + _AS_F32 + b"\x20" + local + _AS_F32

    def _f32(self, opcode: int) -> None:
        reader, code = self._reader, bytes((opcode,))
        if opcode in (scan.F32_LOAD, scan.F32_STORE):
            alignment, offset = reader.unsigned(), reader.unsigned()
            code = b"\x28" if opcode == scan.F32_LOAD else b"\x36"
            self._out += code + unsigned(alignment) + unsigned(offset)
        elif opcode == op.F32_CONST:
            self._out += b"\x41" + signed(int.from_bytes(reader.bytes(4), "little", signed=True))
        elif opcode in scan.F32_COMPARISONS:
            self._two_as_f32()
            self._out += code
        elif opcode == scan.F32_ABS:
            self._out += _MAGNITUDE + b"\x71"
        elif opcode == scan.F32_NEG:
            self._out += _SIGN + b"\x73"
        elif opcode == scan.F32_COPYSIGN:
            local = self._local("right", I32)
            self._out += _SIGN + b"\x71\x21" + local + _MAGNITUDE + b"\x71\x20" + local + b"\x72"
        elif opcode in scan.F32_ROUNDING:
            self._as_f32()
            self._made_f32(code)
        elif opcode in scan.F32_BINARY:
            self._two_as_f32()
            self._made_f32(code)
        elif opcode in scan.F32_MADE:
            self._made_f32(code)
        elif opcode in scan.F32_TAKEN:
            self._as_f32()
            self._out += code
        elif opcode not in (scan.I32_REINTERPRET_F32, scan.F32_REINTERPRET_I32):
            raise malformed(f"an instruction that cannot be lowered (0x{opcode:02x})")

    # -- control

    def _block_type(self) -> tuple[bytes, bytes]:
        """Read a block's type: parameters and results, without f32 where that is lowered."""
        value = self._reader.signed(33)
        if value == -0x40:
            return b"", b""
        if value < 0:
            params, results = b"", bytes((value & 0x7F,))
        elif value < len(self._lowering.original_types):
            kind = self._lowering.original_types[value]
            params, results = kind.params, kind.results
        else:
            raise malformed("a type index is out of range")
        if self._lowering.f32:
            return without_f32(params), without_f32(results)
        return params, results

    def _begin(self, opcode: int) -> None:
        params, results = self._block_type()
        code = bytes((opcode,))
        if not self._lowering.control:
            if params or len(results) > 1:
                raise malformed("a block has a type of the feature multi-value, which was not noted")
            self._out += code + (results or _EMPTY)
            return
        label = _Label(opcode, results, params if opcode == op.LOOP else results)
        if opcode == op.IF and params:
            condition = self._local("condition", I32)
            kept = [self._taken(value_type) for value_type in params]
            label.kept = list(zip(kept, params, strict=True))
            self._out += b"\x21" + condition + _set_all(kept) + b"\x20" + condition
            self._out += code + _EMPTY + _get_all(kept)
        else:
            stash = self._stash(params)
            self._out += _set_all(stash) + code + _EMPTY + _get_all(stash)
        self._labels.append(label)

    def _end_block(self, opcode: int) -> None:
        if not self._labels:  # the function's own end
            self._out.append(opcode)
            return
        label = self._labels[-1]
        stash, kept = self._stash(label.results), [local for local, _ in label.kept]
        if not self._dead:
            self._out += _set_all(stash)
        self._dead = False
        if opcode == op.ELSE:
            label.has_else = True
            self._out += b"\x05" + _get_all(kept)
            return
        if kept and not label.has_else:
            # The branch that is not taken passes its parameters on as results.
            self._out += b"\x05" + _get_all(kept) + _set_all(stash)
        self._out += b"\x0b" + _get_all(stash)
        self._labels.pop()
        for local, value_type in label.kept:
            self._free.setdefault(value_type, []).append(local)

    def _branch(self, opcode: int, depth: int) -> None:
        stash = self._stash(self._carried(depth))
        code = bytes((opcode,)) + unsigned(depth)
        if opcode == op.BR:
            self._out += _set_all(stash) + code
            self._dead = True
        elif stash:
            condition = self._local("condition", I32)
            self._out += b"\x21" + condition + _set_all(stash) + b"\x20" + condition + code + _get_all(stash)
        else:
            self._out += code

    def _branch_table(self) -> None:
        reader = self._reader
        targets = [reader.unsigned() for _ in range(reader.count())]
        default = reader.unsigned()
        if self._lowering.control:
            self._dead = True
            stash = self._stash(self._carried(default))  # the same for all: they carry the same types
            if stash:
                index = self._local("condition", I32)
                self._out += b"\x21" + index + _set_all(stash) + b"\x20" + index
        self._out += b"\x0e" + vector([unsigned(target) for target in targets]) + unsigned(default)

    def _carried(self, depth: int) -> bytes:
        """Return the types that a branch carries. A branch to the function's own end carries nothing we stash."""
        return self._labels[-1 - depth].carried if depth < len(self._labels) else b""

    def _stash(self, value_types: bytes) -> list[bytes]:
        """Return the locals in which values of these types go from a branch to its target, or into a block."""
        return [self._local("stash", value_type, number) for number, value_type in enumerate(value_types)]

    def _taken(self, value_type: int) -> bytes:
        """Return a local that nothing else uses until it is free again."""
        free = self._free.get(value_type)
        return free.pop() if free else self._new_local(value_type)


def _set_all(locals_: list[bytes]) -> bytes:
    return b"".join(b"\x21" + local for local in reversed(locals_))


def _get_all(locals_: list[bytes]) -> bytes:
    return b"".join(b"\x20" + local for local in locals_)
