"""The rewriting of single instructions: charges for operands, growth, canonical NaNs, checks before traps."""

from __future__ import annotations

from typing import Protocol

from plasm_core.errors import BadModuleError
from plasm_core.sandbox.metering import module as wasm
from plasm_core.sandbox.metering import opcodes as op
from plasm_core.sandbox.metering.binary import Reader, malformed, signed, skip_integers, unsigned, vector
from plasm_core.sandbox.metering.control import Label
from plasm_core.sandbox.metering.local_reads import LocalReads
from plasm_core.sandbox.metering.locals import Locals

_V128 = 0x7B


class Injected(Protocol):
    """The functions, globals and types that the rewriter adds to a module, by index, for use in function bodies."""

    module: wasm.Module
    gas: bytes
    stack: bytes
    fault: bytes
    charge: bytes
    grow: bytes
    arities: list[tuple[int, int]]
    function_arities: list[tuple[int, int]]
    canonical_nans: bool
    trap_checks: bool

    def check_gas(self) -> bytes:
        """Return code that traps if the gas is below zero."""

    def check_local(self, local: bytes) -> bytes:
        """Return code that traps if a local that has the gas is below zero."""

    def raise_fault(self, number: int) -> bytes:
        """Return code that stores the kind of fault, a `FAULT_` constant, and traps."""

    def table_grow(self, table: int) -> bytes:
        """Return the encoded index of the function that grows a table."""

    def null_check(self, table: int) -> bytes:
        """Return the encoded index of the function that faults if a table's element is null."""

    def nan_check(self, value_type: int) -> bytes:
        """Return the encoded index of the function that faults if a float of the type is NaN."""

    def result_block(self, results: bytes) -> bytes:
        """Return the encoded type of a block that takes nothing and leaves values of these types."""


class Instructions:
    """The rewriting of one function's body: the instructions whose replacement does not depend on their place."""

    def __init__(
        self, rewriter: Injected, kind: wasm.FunctionType, reader: Reader, *, copies: bool = False
    ) -> None:
        self.rewriter = rewriter
        self.kind = kind
        self.reader = reader
        self.data = reader.data
        self.position = reader.position
        self.size_bytes = reader.end - reader.position
        self.out = bytearray()  # finished runs
        self.run = bytearray()  # the present run's code, without what follows `copied`
        self.copied = 0
        self.cost = 0
        self.height = 0
        self.peak = 0
        self.nesting = 0
        self.widest_call = 0
        self.labels: list[Label] = []
        self.instruction = b""  # the present call, encoded
        self.restore = (
            b""  # restores the stack's height where an exception handler begins; empty if there is none
        )
        self.patches: list[tuple[int, int]] = []
        """Where in `out` code is to be inserted that is known only at the end, and which."""
        self.locals: Locals
        self.gas_local: bytes | None = None
        """The local that has the counter's value, encoded. Reading it is faster than reading the global."""
        self.reload = b""
        """Code that loads it again, after a call; empty if there is none."""
        self.reads: LocalReads
        self.copies = copies

    def _keep_gas(self) -> None:
        """Keep the counter's value in a local as well as in the global.

        Each charge stores both, so that the global has the exact value wherever a run can end. Without the local, each
        charge waits for the store of the one before to be loaded again, which takes most of the time of metered code.
        """
        self.gas_local = self.locals.gas()
        if self.gas_local is not None:
            self.reload = b"\x23" + self.rewriter.gas + b"\x21" + self.gas_local

    def _charge(self) -> tuple[bytes, bytes, bytes]:
        """Return what precedes the cost in code that charges, behind a call and elsewhere, and what follows it.

        A call changes the global, and not the local.
        """
        gas, local = self.rewriter.gas, self.gas_local
        loaded, stored = b"\x23" + gas + b"\x42", b"\x24" + gas
        if local is None:
            return loaded, loaded, b"\x7d" + stored
        return loaded, b"\x20" + local + b"\x42", b"\x7d\x22" + local + stored

    def _check(self) -> bytes:
        """Return code that traps if the gas is below zero."""
        return (
            self.rewriter.check_gas() if self.gas_local is None else self.rewriter.check_local(self.gas_local)
        )

    def _replace(self, start: int, replacement: bytes) -> None:
        """Put `replacement` in place of the original from `start` to the present position."""
        self.run += self.data[self.copied : start]
        self.run += replacement
        self.copied = self.position

    def _minimal(self, start: int, opcode: int, *, count: int = 1) -> None:
        """Write an instruction's LEB128 immediates minimally. `position` is after them."""
        reader = Reader(self.data, start + 1, self.position)
        if opcode in (0x41, 0x42):
            encoded = signed(reader.signed(32 if opcode == 0x41 else 64))
        else:
            encoded = b"".join(unsigned(reader.unsigned()) for _ in range(count))
        self._replace(start, bytes((opcode,)) + encoded)

    def _index(self) -> int:
        reader = Reader(self.data, self.position, self.reader.end)
        value = reader.unsigned()
        self.position = reader.position
        return value

    def _value_type(self) -> int:
        value_type = self.data[self.position]
        self.rewriter.module.note_value_type(value_type)
        self.position += 1
        return value_type

    def _move(self, pops: int, pushes: int) -> None:
        self.height += pushes - pops
        self.peak = max(self.peak, self.height)

    def _call(self, opcode: int, start: int) -> None:
        """Keep a call, or a tail call, before which the stack's height is lowered: see `Body.patches`."""
        module = self.rewriter.module
        if opcode in (op.RETURN_CALL, op.RETURN_CALL_INDIRECT):
            module.features.add("tail-calls")
        if opcode in (op.CALL, op.RETURN_CALL):
            index = self._index()
            kind = module.function_type(index)
            self._move(len(kind.params), len(kind.results))
            self.widest_call = max(self.widest_call, len(kind.params) + len(kind.results))
            self.instruction = bytes((opcode,)) + unsigned(index)
            self._replace(start, self.instruction)
            return
        type_index, table = self._index(), self._index()
        if type_index >= len(module.types):
            raise malformed("a type index is out of range")
        module.note_call_indirect(table)
        params, results = self.rewriter.arities[type_index]
        self._move(1 + params, results)
        self.widest_call = max(self.widest_call, params + results)
        check = b"\x10" + self.rewriter.null_check(table) if self.rewriter.trap_checks else b""
        self.instruction = bytes((opcode,)) + unsigned(type_index) + unsigned(table)
        self._replace(start, check + self.instruction)

    def _other(self, opcode: int, start: int) -> None:
        features = self.rewriter.module.features
        if opcode == op.MEMORY_GROW:
            self.rewriter.module.memory_grows = True
            self._index()
            self._replace(start, b"\x10" + self.rewriter.grow + self.reload)
        elif opcode == op.SELECT_T:
            features.add("reference-types")
            types = [bytes((self._value_type(),)) for _ in range(self._index())]
            self._replace(start, bytes((opcode,)) + vector(types))
            self._move(2, 0)
        elif opcode in op.NOTED_AS:
            feature, count = op.NOTED_AS[opcode]
            features.add(feature)
            if opcode == op.REF_NULL:
                self._value_type()
            elif count:
                self.position = skip_integers(self.data, self.position, count)
                self._minimal(start, opcode, count=count)
            self._move(0, op.EFFECT[opcode])
        elif opcode == op.F32_CONST:
            self._f32_const()
        elif opcode in op.F32_ARITHMETIC:
            self._arithmetic(start, opcode, 0x7D, op.F32_NAN + b"%b\x5b")
        elif opcode in op.F64_ARITHMETIC:
            self._arithmetic(start, opcode, 0x7C, op.F64_NAN + b"%b\x61")
        elif opcode in op.TRUNCATIONS:
            check = (
                b"\x10" + self.rewriter.nan_check(op.TRUNCATIONS[opcode])
                if self.rewriter.trap_checks
                else b""
            )
            self._replace(start, check + bytes((opcode,)))
        elif opcode == op.PREFIX_FC:
            self._prefix_fc(start)
        elif opcode == op.PREFIX_FD:
            features.add("simd")
            self._prefix_fd(start)
        else:
            raise BadModuleError("feature", f"the module uses an unknown instruction (0x{opcode:02x})")

    def _f32_const(self) -> None:
        self.rewriter.module.note_f32(self.data[self.position : self.position + 4])
        self.position += 4
        self._move(0, 1)

    def _arithmetic(self, start: int, opcode: int, value_type: int, unequal: bytes) -> None:
        """Keep an arithmetic instruction. Where asked to, put the canonical NaN in place of any other it makes."""
        self._move(0, op.EFFECT[opcode])
        if not self.rewriter.canonical_nans:
            return
        local = self.locals.scratch(value_type)
        get = b"\x20" + local
        # local.tee x; nan; local.get x; local.get x; eq; select
        self._replace(start, bytes((opcode,)) + b"\x22" + local + unequal % (get + get) + b"\x1b")

    def _prefix_fc(self, start: int) -> None:
        """Rewrite an instruction 0xfc: saturating conversions, and bulk memory such as `memory.copy`.

        Bulk instructions are charged for their count operand (docs/determinism.md, "Gas").
        """
        features = self.rewriter.module.features
        number = self._index()
        if number not in op.FC:
            raise BadModuleError("feature", f"the module uses an unknown instruction (0xfc {number})")
        count, effect = op.FC[number]
        if number < op.MEMORY_INIT:
            features.add("nontrapping-float-to-int")
        else:
            features.add(op.FC_FEATURES[number])
        indices = [self._index() for _ in range(count)]
        self._move(0, effect)
        if number == op.TABLE_GROW:
            self._replace(start, b"\x10" + self.rewriter.table_grow(indices[0]) + self.reload)
            return
        before = b"\x10" + self.rewriter.charge + self.reload if number in op.OPERAND_CHARGED else b""
        encoded = b"".join(unsigned(index) for index in indices)
        self._replace(start, before + b"\xfc" + unsigned(number) + encoded)

    def _prefix_fd(self, start: int) -> None:
        number = self._index()
        if number not in op.FD:
            raise BadModuleError("feature", f"the module uses an unknown instruction (0xfd {number})")
        memarg, following, effect = op.FD[number]
        encoded = b""
        if memarg:
            encoded = unsigned(self._index()) + unsigned(self._index())
        self.position += following
        self._move(0, effect)
        rest = self.data[self.position - following : self.position]
        instruction = b"\xfd" + unsigned(number) + encoded + rest
        if self.rewriter.canonical_nans and number in op.FLOAT_LANES:
            nan, equal = op.FLOAT_LANES[number]
            get = b"\x20" + self.locals.scratch(_V128)
            # local.tee x; v128.const nan; local.get x; local.get x; eq; bitselect
            instruction += b"\x22" + get[1:] + nan + get + get + b"\xfd" + equal + b"\xfd\x52"
        self._replace(start, instruction)
