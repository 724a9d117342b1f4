"""The rewriter of one function's body (see `metering`): runs are charged, `return` and growth are replaced."""

from __future__ import annotations

from typing import Protocol

import attrs

from plasm_core.errors import BadModuleError
from plasm_core.sandbox import module as wasm
from plasm_core.sandbox import opcodes as op
from plasm_core.sandbox.binary import Reader, malformed, signed, unsigned, vector
from plasm_core.sandbox.injected import FAULT_STACK
from plasm_core.sandbox.local_reads import COUNTED, LocalReads
from plasm_core.sandbox.opcodes import BYTES, CONTROL, INDEX, LOCAL, LOCAL_GET, MEMARG

STACK_UNITS = 262_144
FRAME_UNITS = 4
BYTES_PER_UNIT = 128

_BEGINS, _DEAD = 1, 2
_LARGE_FRAME = 1_000  # values, beyond which a function has a feature that not every engine has


class Injected(Protocol):
    """What a module's rewriter gives to its functions'."""

    module: wasm.Module
    gas: bytes
    stack: bytes
    charge: bytes
    grow: bytes
    arities: list[tuple[int, int]]
    canonical_nans: bool

    def check_gas(self) -> bytes:
        """Return code that traps if the gas is below zero."""

    def raise_fault(self, number: int) -> bytes:
        """Return code that notes a fault and traps."""

    def table_grow(self, table: int) -> bytes:
        """Return the index of the function that grows a table."""

    def result_block(self, results: bytes) -> bytes:
        """Return the type of a block with these results."""


@attrs.define
class _Label:
    """A control structure that is open: `height` is the operand stack's below its parameters."""

    opcode: int
    height: int
    params: int
    results: int


class Body:
    """Rewrites one function's body: in one pass, or in a second with `copies` if it reads what wasm3 mixes up."""

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
        self.labels: list[_Label] = []
        self.locals: list[bytes] = []
        self.next_local = 0
        self.scratch: dict[int, bytes] = {}
        self.types = b""  # of parameters and locals
        self.copies = copies
        self.reads = LocalReads(b"", copies=copies)

    def rewrite(self) -> bytes:
        code = self._rewritten()
        if self.reads.mixed_up and not self.copies:
            return Body(self.rewriter, self.kind, self.reader, copies=True).rewrite()
        return code

    def _rewritten(self) -> bytes:
        locals_count = self._read_locals()
        results = len(self.kind.results)
        self.labels.append(_Label(op.BLOCK, 0, 0, results))
        self.copied = self.position
        first_cost = self._instructions()
        weight = weight_of(
            values=len(self.kind.params) + locals_count + self.peak,
            nesting=self.nesting,
            size_bytes=self.size_bytes,
        )
        rewriter = self.rewriter
        declared = vector(self.locals)
        if len(self.kind.params) + results + locals_count + self.peak + self.widest_call > _LARGE_FRAME:
            rewriter.module.features.add("large-frames")
        entry = self._charge(1 + first_cost) + rewriter.check_gas()
        enter = b"\x23" + rewriter.stack + b"\x41" + signed(weight) + b"\x6a\x24" + rewriter.stack
        enter += b"\x23" + rewriter.stack + b"\x41" + signed(STACK_UNITS) + b"\x4b\x04\x40"
        enter += rewriter.raise_fault(FAULT_STACK) + b"\x0b"
        leave = b"\x23" + rewriter.stack + b"\x41" + signed(weight) + b"\x6b\x24" + rewriter.stack
        block = b"\x02" + rewriter.result_block(self.kind.results)
        return b"".join((declared, entry, enter, block, self.out, leave, b"\x0b"))

    def _read_locals(self) -> int:
        reader = Reader(self.data, self.position, self.reader.end)
        types = bytearray(self.kind.params)
        for _ in range(reader.count()):
            count, value_type = reader.unsigned(), reader.byte()
            self.rewriter.module.note_value_type(value_type)
            self.locals.append(unsigned(count) + bytes((value_type,)))
            if len(types) - len(self.kind.params) + count > 50_000:
                raise malformed("a function has too many locals")
            types += bytes((value_type,)) * count
        self.position = reader.position
        self.next_local = len(types)
        self.types = bytes(types)
        self.reads = LocalReads(self.types, copies=self.copies)
        return len(types) - len(self.kind.params)

    def _scratch(self, value_type: int) -> bytes:
        """Return the index of a local of our own of a type, made when first needed."""
        if value_type not in self.scratch:
            self.scratch[value_type] = unsigned(self.next_local)
            self.locals.append(b"\x01" + bytes((value_type,)))
            self.next_local += 1
        return self.scratch[value_type]

    # -- runs

    def _charge(self, cost: int) -> bytes:
        if not cost:
            return b""
        gas = self.rewriter.gas
        return b"\x23" + gas + b"\x42" + signed(cost) + b"\x7d\x24" + gas

    def _replace(self, start: int, replacement: bytes) -> None:
        """Put `replacement` in place of the original from `start` to the present position."""
        self.run += self.data[self.copied : start]
        self.run += replacement
        self.copied = self.position

    def _take_run(self) -> tuple[int, bytes]:
        """Close the present run: return its cost and its code."""
        self.run += self.data[self.copied : self.position]
        cost, code = self.cost, bytes(self.run)
        self.copied, self.cost = self.position, 0
        self.run.clear()
        return cost, code

    def _instructions(self) -> int:
        """Rewrite all instructions into `out`. Return the first run's cost, which the caller charges."""
        first_cost = -1
        in_loop = False
        data, labels, end = self.data, self.labels, self.reader.end
        follow_table = op.FOLLOWS_CANONICAL if self.rewriter.canonical_nans else op.FOLLOWS
        effects, costs = op.EFFECT, op.COST  # locals are faster
        reads, counts, waiting = self.reads, self.reads.counts, self.reads.waiting
        while labels:
            # One run: until an instruction that begins another.
            position, height, peak, cost = self.position, self.height, self.peak, 0
            while True:
                if position >= end:
                    raise malformed("the code ends too early")
                opcode = data[position]
                follows = follow_table[opcode]
                if follows >= CONTROL:
                    break
                start = position
                position += 1
                if follows == INDEX:
                    if data[position] >= 0x80:
                        while data[position] >= 0x80:
                            position += 1
                        if data[position] in (0x00, 0x7F):  # maybe padded
                            self.position = position + 1
                            self._minimal(start, opcode)
                    position += 1
                elif follows == LOCAL:
                    index = data[position]
                    position += 1
                    if index >= 0x80:
                        self.position = position - 1
                        index = self._index()
                        position = self.position
                        if not data[position - 1]:  # padded
                            self._minimal(start, opcode)
                    if opcode != LOCAL_GET:
                        if index in waiting or height > COUNTED:
                            reads.set(index, height)
                    elif counts[index]:
                        if index not in waiting:
                            waiting[index] = [height]
                        elif reads.again(index, height):
                            self.position = position
                            local = self._scratch(self.types[index])
                            self._replace(position, b"\x21" + local + b"\x20" + local)
                elif follows == MEMARG:
                    padded = False
                    for _ in range(2):
                        if data[position] >= 0x80:
                            while data[position] >= 0x80:
                                position += 1
                            padded |= data[position] == 0
                        position += 1
                    if padded:
                        self.position = position
                        self._minimal(start, opcode, count=2)
                elif follows == BYTES:
                    position += op.IMMEDIATE_BYTES[opcode]
                height += effects[opcode]
                if height > peak:
                    peak = height
                cost += costs[opcode]
            self.position, self.height, self.peak = position, height, peak
            self.cost += cost
            begins = self._control(opcode)
            if not begins:
                continue
            cost, code = self._take_run()
            if first_cost < 0:
                first_cost = cost
                self.out += code
            else:
                self.out += self._charge(cost)
                if in_loop:
                    self.out += self.rewriter.check_gas()
                self.out += code
            in_loop = opcode == op.LOOP
            if begins == _DEAD:
                self._skip_dead()
        if self.position != end:
            raise malformed("code follows a function's end")
        return first_cost

    def _minimal(self, start: int, opcode: int, *, count: int = 1) -> None:
        """Write an instruction's LEB128 immediates minimally. `position` stands behind them."""
        reader = Reader(self.data, start + 1, self.position)
        if opcode in (0x41, 0x42):
            encoded = signed(reader.signed(32 if opcode == 0x41 else 64))
        else:
            encoded = b"".join(unsigned(reader.unsigned()) for _ in range(count))
        self._replace(start, bytes((opcode,)) + encoded)

    # -- control

    def _index(self) -> int:
        reader = Reader(self.data, self.position, self.reader.end)
        value = reader.unsigned()
        self.position = reader.position
        return value

    def _move(self, pops: int, pushes: int) -> None:
        self.height += pushes - pops
        self.peak = max(self.peak, self.height)

    def _block_type(self) -> tuple[bytes, int, int]:
        reader = Reader(self.data, self.position, self.reader.end)
        value = reader.signed(33)
        self.position = reader.position
        if value >= 0:
            if value >= len(self.rewriter.module.types):
                raise malformed("a type index is out of range")
            params, results = self.rewriter.arities[value]
            if params or results > 1:
                self.rewriter.module.features.add("multi-value")
            return signed(value), params, results
        self.rewriter.module.note_value_type(value & 0x7F)
        return signed(value), 0, 0 if value == -0x40 else 1

    def _control(self, opcode: int) -> int:
        """Take the instruction at `position`. Return 0, or `_BEGINS` or `_DEAD` if it ends a run."""
        start = self.position
        self.position += 1
        self.cost += op.COST[opcode]
        if opcode in (op.BLOCK, op.LOOP, op.IF):
            if opcode == op.IF:
                self._move(1, 0)
            self.reads.begin_block(self.height)
            encoded, params, results = self._block_type()
            self._replace(start, bytes((opcode,)) + encoded)
            self.labels.append(_Label(opcode, self.height - params, params, results))
            self.nesting = max(self.nesting, len(self.labels) - 1)
            return 0 if opcode == op.BLOCK else _BEGINS
        if opcode in (op.END, op.ELSE):
            label = self.labels[-1]
            if self.height != label.height + label.results:
                raise malformed("an operand stack does not match its block")
            self._leave(opcode, label)
            return _BEGINS
        if opcode in (op.BR, op.BR_IF):
            self._replace(start, bytes((opcode,)) + unsigned(self._index()))
            if opcode == op.BR_IF:
                self._move(1, 0)
                return _BEGINS
            return _DEAD
        if opcode == op.BR_TABLE:
            reader = Reader(self.data, self.position, self.reader.end)
            targets = [unsigned(reader.unsigned()) for _ in range(reader.count())]
            default = unsigned(reader.unsigned())
            self.position = reader.position
            self._replace(start, bytes((opcode,)) + vector(targets) + default)
            return _DEAD
        if opcode == op.RETURN:
            self._replace(start, b"\x0c" + unsigned(len(self.labels) - 1))
            return _DEAD
        if opcode == op.UNREACHABLE:
            return _DEAD
        if opcode in (op.CALL, op.CALL_INDIRECT):
            self._call(opcode, start)
            return _BEGINS
        self._other(opcode, start)
        return 0

    def _leave(self, opcode: int, label: _Label) -> None:
        self.reads.end_block()
        if opcode == op.ELSE:
            label.opcode = op.ELSE
            self.height = label.height + label.params
        else:
            self.labels.pop()
            self.height = label.height + label.results
            self.peak = max(self.peak, self.height)

    def _call(self, opcode: int, start: int) -> None:
        module = self.rewriter.module
        if opcode == op.CALL:
            index = self._index()
            kind = module.function_type(index)
            self._move(len(kind.params), len(kind.results))
            self.widest_call = max(self.widest_call, len(kind.params) + len(kind.results))
            self._replace(start, bytes((opcode,)) + unsigned(index))
            return
        type_index, table = self._index(), self._index()
        if type_index >= len(module.types):
            raise malformed("a type index is out of range")
        module.note_call_indirect(table)
        params, results = self.rewriter.arities[type_index]
        self._move(1 + params, results)
        self.widest_call = max(self.widest_call, params + results)
        self._replace(start, bytes((opcode,)) + unsigned(type_index) + unsigned(table))

    def _other(self, opcode: int, start: int) -> None:
        features = self.rewriter.module.features
        if opcode == op.MEMORY_GROW:
            self._index()
            self._replace(start, b"\x10" + self.rewriter.grow)
        elif opcode == op.SELECT_T:
            features.add("reference-types")
            count = self._index()
            self.position += count
            self._move(2, 0)
        elif opcode in op.NOTED_AS:
            feature, count = op.NOTED_AS[opcode]
            features.add(feature)
            self._skip_leb(count)
            self._move(0, op.EFFECT[opcode])
        elif opcode == op.F32_CONST:
            self._f32_const()
        elif opcode in op.F32_ARITHMETIC:
            self._canonical(start, opcode, 0x7D, op.F32_NAN + b"%b\x5b")
        elif opcode in op.F64_ARITHMETIC:
            self._canonical(start, opcode, 0x7C, op.F64_NAN + b"%b\x61")
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

    def _canonical(self, start: int, opcode: int, value_type: int, unequal: bytes) -> None:
        """Keep an arithmetic instruction, and put the canonical NaN in place of any other it makes."""
        local = self._scratch(value_type)
        get = b"\x20" + local
        # local.tee x; nan; local.get x; local.get x; eq; select
        self._replace(start, bytes((opcode,)) + b"\x22" + local + unequal % (get + get) + b"\x1b")
        self._move(0, op.EFFECT[opcode])

    def _prefix_fc(self, start: int) -> None:
        features = self.rewriter.module.features
        number = self._index()
        if number not in op.FC:
            raise BadModuleError("feature", f"the module uses an unknown instruction (0xfc {number})")
        count, effect = op.FC[number]
        if number < op.MEMORY_INIT:
            features.add("nontrapping-float-to-int")
        elif number in op.FC_REFERENCE_TYPES:
            features.add("reference-types")
        else:
            features.add("bulk-memory")
        indices = [self._index() for _ in range(count)]
        self._move(0, effect)
        if number == op.TABLE_GROW:
            self._replace(start, b"\x10" + self.rewriter.table_grow(indices[0]))
            return
        before = b"\x10" + self.rewriter.charge if number in op.OPERAND_CHARGED else b""
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
        self._replace(start, b"\xfd" + unsigned(number) + encoded + rest)

    def _skip_dead(self) -> None:
        """Leave out what cannot be reached, up to the `else` or `end` that ends it, and take that."""
        depth = 0
        data, end = self.data, self.reader.end
        while True:
            if self.position >= end:
                raise malformed("the code ends too early")
            opcode = data[self.position]
            if not depth and opcode in (op.ELSE, op.END):
                break
            self.position += 1
            if opcode in (op.BLOCK, op.LOOP, op.IF):
                self._block_type()
                depth += 1
            elif opcode == op.END:
                depth -= 1
            else:
                self._skip_immediates(opcode)
        self.copied = self.position
        self.position += 1
        self._leave(opcode, self.labels[-1])
        self.out += bytes((opcode,))
        self.copied = self.position

    def _skip_immediates(self, opcode: int) -> None:
        follows = op.FOLLOWS[opcode]
        if follows in (op.INDEX, op.LOCAL) or opcode in (op.BR, op.BR_IF, op.CALL, op.MEMORY_GROW):
            self._skip_leb(1)
        elif opcode in op.NOTED_AS:
            self._skip_leb(op.NOTED_AS[opcode][1])
        elif follows == op.MEMARG or opcode == op.CALL_INDIRECT:
            self._skip_leb(2)
        elif follows == op.BYTES:
            self.position += op.IMMEDIATE_BYTES[opcode]
        elif opcode == op.F32_CONST:
            self.position += 4
        elif opcode == op.BR_TABLE:
            self._skip_leb(self._index() + 1)
        elif opcode == op.SELECT_T:
            self.position += self._index()
        elif opcode == op.PREFIX_FC:
            number = self._index()
            self._skip_leb(op.FC.get(number, (0, 0))[0])
        elif opcode == op.PREFIX_FD:
            memarg, following, _ = op.FD.get(self._index(), (False, 0, 0))
            self._skip_leb(2 if memarg else 0)
            self.position += following

    def _skip_leb(self, count: int) -> None:
        for _ in range(count):
            while self.data[self.position] >= 0x80:
                self.position += 1
            self.position += 1


def weight_of(*, values: int, nesting: int, size_bytes: int) -> int:
    """Return a function's weight in stack units: what its frame may take on any engine.

    The size counts because compilers' spill slots do not always share their place: 100 vector locals in
    100 KB of code took 28 KB of native stack, and 8 bytes of code can make a slot of 16.
    """
    return FRAME_UNITS + values + nesting + size_bytes // BYTES_PER_UNIT
