"""The rewriter of one function's body (see `metering`): runs are charged, `return` and growth are replaced."""

from __future__ import annotations

from typing import Protocol

from plasm_core.errors import BadModuleError
from plasm_core.sandbox import module as wasm
from plasm_core.sandbox import opcodes as op
from plasm_core.sandbox.binary import Reader, malformed, signed, skip_integers, unsigned, vector
from plasm_core.sandbox.control import Label, ends_in_float, read_block_type
from plasm_core.sandbox.dead_code import end_of_dead_code
from plasm_core.sandbox.injected import FAULT_STACK
from plasm_core.sandbox.local_reads import COUNTED, LocalReads
from plasm_core.sandbox.locals import Locals, read_locals
from plasm_core.sandbox.opcodes import BYTES, CONTROL, INDEX, LOCAL, LOCAL_GET, MEMARG
from plasm_core.sandbox.stack import enter, leave, weight_of

_BEGINS, _DEAD = 1, 2
_BLOCK = b"\x02\x40\x0b"  # an empty one
_V128 = 0x7B
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
    trap_checks: bool

    def check_gas(self) -> bytes:
        """Return code that traps if the gas is below zero."""

    def raise_fault(self, number: int) -> bytes:
        """Return code that notes a fault and traps."""

    def table_grow(self, table: int) -> bytes:
        """Return the index of the function that grows a table."""

    def null_check(self, table: int) -> bytes:
        """Return the index of the function that faults on a null element of a table."""

    def nan_check(self, value_type: int) -> bytes:
        """Return the index of the function that faults on a NaN of a type."""

    def result_block(self, results: bytes) -> bytes:
        """Return the type of a block with these results."""


class Body:
    """Rewrites one function's body in one pass; with `copies` in a second, if it reads what wasm3 mixes up."""

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
        self.locals: Locals
        self.reads: LocalReads
        self.copies = copies

    def rewrite(self) -> bytes:
        code = self._rewritten()
        if self.reads.mixed_up and not self.copies:
            return Body(self.rewriter, self.kind, self.reader, copies=True).rewrite()
        return code

    def _rewritten(self) -> bytes:
        rewriter, results = self.rewriter, len(self.kind.results)
        reader = Reader(self.data, self.position, self.reader.end)
        self.locals = read_locals(rewriter.module, self.kind.params, reader)
        self.reads = LocalReads(self.locals.types, copies=self.copies)
        self.position = self.copied = reader.position
        self.labels.append(Label(op.BLOCK, 0, 0, results, ends_in_float(self.kind.results)))
        first_cost = self._instructions()
        values = len(self.locals.types) + self.peak
        weight = weight_of(values=values, nesting=self.nesting, size_bytes=self.size_bytes)
        if values + results + self.widest_call > _LARGE_FRAME:
            rewriter.module.features.add("large-frames")
        entry = self._charge(1 + first_cost) + rewriter.check_gas()
        entry += enter(rewriter.stack, weight, rewriter.raise_fault(FAULT_STACK))
        block = b"\x02" + rewriter.result_block(self.kind.results)
        code = (self.locals.encoded(), entry, block, self.out, leave(rewriter.stack, weight), b"\x0b")
        return b"".join(code)

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
        if self.rewriter.trap_checks:
            follow_table = op.FOLLOWS_CHECKED
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
                            local = self.locals.scratch(self.locals.types[index])
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

    def _control(self, opcode: int) -> int:
        """Take the instruction at `position`. Return 0, or `_BEGINS` or `_DEAD` if it ends a run."""
        start = self.position
        self.position += 1
        self.cost += op.COST[opcode]
        if opcode in (op.BLOCK, op.LOOP, op.IF):
            if opcode == op.IF:
                self._move(1, 0)
            self.reads.begin_block(self.height)
            reader = Reader(self.data, self.position, self.reader.end)
            encoded, params, results = read_block_type(self.rewriter.module, reader)
            self.position = reader.position
            self._replace(start, bytes((opcode,)) + encoded)
            floats = opcode != op.LOOP and ends_in_float(results)
            self.labels.append(Label(opcode, self.height - params, params, len(results), floats))
            self.nesting = max(self.nesting, len(self.labels) - 1)
            return 0 if opcode == op.BLOCK else _BEGINS
        if opcode in (op.END, op.ELSE):
            label = self.labels[-1]
            if self.height != label.height + label.results:
                raise malformed("an operand stack does not match its block")
            self._leave(opcode, label)
            return _BEGINS
        if opcode == op.BR_IF:
            self._branch_if(start)
            return _BEGINS
        if opcode == op.BR:
            self._replace(start, bytes((opcode,)) + unsigned(self._index()))
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

    def _branch_if(self, start: int) -> None:
        """Keep a conditional branch. If it carries a float, put an empty block before it.

        wasm3 moves the float to its register for floats, and saves what lay there only where the branch is taken:
        not taken, the other value would be lost. Where a block begins it saves its registers on every way.
        """
        depth = self._index()
        if depth >= len(self.labels):
            raise malformed("a branch leads out of its function")
        before = b""
        if self.labels[-1 - depth].takes_float:
            self.reads.begin_block(self.height)
            before = _BLOCK
        self._replace(start, before + b"\x0d" + unsigned(depth))
        self._move(1, 0)

    def _leave(self, opcode: int, label: Label) -> None:
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
        check = b"\x10" + self.rewriter.null_check(table) if self.rewriter.trap_checks else b""
        self._replace(start, check + bytes((opcode,)) + unsigned(type_index) + unsigned(table))

    def _other(self, opcode: int, start: int) -> None:
        features = self.rewriter.module.features
        if opcode == op.MEMORY_GROW:
            self.rewriter.module.memory_grows = True
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
            self.position = skip_integers(self.data, self.position, count)
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
        instruction = b"\xfd" + unsigned(number) + encoded + rest
        if self.rewriter.canonical_nans and number in op.FLOAT_LANES:
            nan, equal = op.FLOAT_LANES[number]
            get = b"\x20" + self.locals.scratch(_V128)
            # local.tee x; v128.const nan; local.get x; local.get x; eq; bitselect
            instruction += b"\x22" + get[1:] + nan + get + get + b"\xfd" + equal + b"\xfd\x52"
        self._replace(start, instruction)

    def _skip_dead(self) -> None:
        """Leave out what cannot be reached, up to the `else` or `end` that ends it, and take that."""
        reader = Reader(self.data, self.position, self.reader.end)
        self.position = end_of_dead_code(self.rewriter.module, reader)
        opcode = self.data[self.position]
        self.position += 1
        self._leave(opcode, self.labels[-1])
        self.out += bytes((opcode,))
        self.copied = self.position
