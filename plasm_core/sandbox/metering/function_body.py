"""Rewrite one function's body: charge runs and the operands of bulk instructions, replace `return` and growth."""

from __future__ import annotations

from plasm_core.sandbox.metering import opcodes as op
from plasm_core.sandbox.metering.binary import Reader, malformed, signed, unsigned, vector
from plasm_core.sandbox.metering.control import VALUE_BLOCKS, Label, ends_in_float, read_block_type
from plasm_core.sandbox.metering.dead_code import end_of_dead_code
from plasm_core.sandbox.metering.handlers import LEAVE, Handlers
from plasm_core.sandbox.metering.injected import FAULT_STACK
from plasm_core.sandbox.metering.local_reads import COUNTED, LocalReads
from plasm_core.sandbox.metering.locals import read_locals
from plasm_core.sandbox.metering.opcodes import CONTROL, INDEX, LOCAL, LOCAL_GET, MEMARG
from plasm_core.sandbox.metering.stack import enter, leave, weight_of

_BEGINS, _DEAD, _LEAVES = 1, 2, 3
_BLOCK = b"\x02\x40\x0b"  # an empty one
_CALLS = (op.CALL, op.CALL_INDIRECT)
_BLOCKS = (op.BLOCK, op.IF, op.LOOP)
_LARGE_FRAME = 1_000  # values, beyond which a function has a feature that not every engine has


class Body(Handlers):
    """Rewrites one function's body in one pass; in two if it reads locals in a way that wasm3 miscompiles (`copies`)."""

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
        self._keep_gas()
        first_cost = self._instructions()
        values = len(self.locals.types) + self.peak
        weight = weight_of(values=values, nesting=self.nesting, size_bytes=self.size_bytes)
        if values + results + self.widest_call > _LARGE_FRAME:
            rewriter.module.features.add("large-frames")
        loaded, _, stored = self._charge()
        entry = loaded + signed(1 + first_cost) + stored + self._check()
        entry += enter(rewriter.stack, weight, rewriter.raise_fault(FAULT_STACK))
        block = b"\x02" + rewriter.result_block(self.kind.results)
        left = leave(rewriter.stack, weight)
        if self.restore:
            entry += b"\x23" + rewriter.stack + b"\x21" + self.locals.saved_stack()
        code = (self.locals.encoded(), entry, block, self._patched(left), left, b"\x0b")
        return b"".join(code)

    # -- runs

    def _instructions(self) -> int:
        """Rewrite all instructions into `out`. Return the first run's cost, which the caller charges.

        The commonest control instructions are handled here: a call for each would take half of the rewriter's time.
        """
        first_cost = -1
        in_loop = called = False
        data, labels, end = self.data, self.labels, self.reader.end
        follow_table = op.FOLLOWS_CANONICAL if self.rewriter.canonical_nans else op.FOLLOWS
        if self.rewriter.trap_checks:
            follow_table = op.FOLLOWS_CHECKED
        effects, costs, out, run = op.EFFECT, op.COST, self.out, self.run  # locals are faster
        reads, counts, waiting = self.reads, self.reads.counts, self.reads.waiting
        arities, check, reload = self.rewriter.function_arities, self._check(), self.reload
        charge_after_call, charge, charged = self._charge()
        position, copied, height, peak, cost = self.position, self.copied, self.height, self.peak, 0
        while labels:
            # One run: until an instruction that begins another.
            while True:
                opcode = data[position]
                follows = follow_table[opcode]
                if follows >= CONTROL:
                    break
                start = position
                position += 1
                if not follows:
                    pass
                elif follows == LOCAL:
                    index = data[position]
                    position += 1
                    if index >= 0x80:
                        self.position = position - 1
                        index = self._index()
                        position = self.position
                        if not data[position - 1]:  # padded
                            self.copied = copied
                            self._minimal(start, opcode)
                            copied = position
                    if opcode != LOCAL_GET:
                        if index in waiting or height > COUNTED:
                            reads.set(index, height)
                    elif counts[index]:
                        if index not in waiting:
                            waiting[index] = [height]
                        elif reads.again(index, height):
                            self.position, self.copied = position, copied
                            local = self.locals.scratch(self.locals.types[index])
                            self._replace(position, b"\x21" + local + b"\x20" + local)
                            copied = position
                elif follows == INDEX:
                    if data[position] >= 0x80:
                        while data[position] >= 0x80:
                            position += 1
                        if data[position] in (0x00, 0x7F):  # maybe padded
                            self.position, self.copied = position + 1, copied
                            self._minimal(start, opcode)
                            copied = position + 1
                    position += 1
                elif follows == MEMARG:
                    padded = False
                    for _ in range(2):
                        if data[position] >= 0x80:
                            while data[position] >= 0x80:
                                position += 1
                            padded |= data[position] == 0
                        position += 1
                    if padded:
                        self.position, self.copied = position, copied
                        self._minimal(start, opcode, count=2)
                        copied = position
                else:
                    position += op.IMMEDIATE_BYTES[opcode]
                height += effects[opcode]
                if height > peak:
                    peak = height
                cost += costs[opcode]
            if position >= end:
                raise malformed("the code ends too early")
            immediate = (
                data[position + 1] if position + 1 < end else 0
            )  # of one byte, or the case is not common
            dead = uncommon = False
            caught = False
            if opcode == op.END:
                label = labels.pop()
                caught = label.catches
                if height != label.height + label.results:
                    raise malformed("an operand stack does not match its block")
                if waiting:
                    waiting.clear()
                if height > peak:
                    peak = height
                position += 1
            elif (
                opcode == op.BR_IF
                and immediate < 0x80
                and immediate < len(labels)
                and not labels[-1 - immediate].takes_float
            ):
                height -= 1
                cost += 1
                position += 2
            elif opcode in _BLOCKS and immediate in VALUE_BLOCKS:
                if opcode == op.IF:
                    height -= 1
                    cost += 1
                if waiting or height > COUNTED:
                    reads.begin_block(height)
                results, takes_float = VALUE_BLOCKS[immediate]
                labels.append(Label(opcode, height, 0, results, takes_float and opcode != op.LOOP))
                if len(labels) - 1 > self.nesting:
                    self.nesting = len(labels) - 1
                position += 2
                if opcode == op.BLOCK:
                    continue
            elif opcode == op.CALL:
                index, after = immediate, position + 2
                if index >= 0x80:
                    byte = data[after]
                    index, after = index & 0x7F | (byte & 0x7F) << 7, after + 1
                    if byte >= 0x80:
                        byte = data[after]
                        index, after = index | (byte & 0x7F) << 14, after + 1
                    uncommon = not 0 < byte < 0x80  # longer, or padded
                if uncommon or index >= len(arities):
                    uncommon = True
                else:
                    params, results = arities[index]
                    height += results - params
                    if height > peak:
                        peak = height
                    if params + results > self.widest_call:
                        self.widest_call = params + results
                    cost += 1
                    position = after
            elif opcode == op.BR and immediate < 0x80:
                cost += 1
                dead = True
                position += 2
            elif opcode == op.UNREACHABLE:
                dead = True
                position += 1
            else:
                uncommon = True
            if uncommon:
                self.position, self.copied, self.cost = position, copied, cost
                self.height, self.peak = height, peak
                begins = self._control(opcode)
                position, copied, cost = self.position, self.copied, self.cost
                height, peak = self.height, self.peak
                if not begins:
                    continue
                dead = begins >= _DEAD
            if first_cost < 0:
                first_cost = cost
            else:
                if cost:
                    out += charge_after_call if called else charge
                    out += signed(cost)
                    out += charged
                elif called:
                    out += reload
                if in_loop:
                    out += check
            if run:
                out += run
                run.clear()
            out += data[copied:position]
            copied, cost = position, 0
            in_loop, called = opcode == op.LOOP, opcode in _CALLS
            if in_loop:
                labels[-1].start = len(out)
            elif caught:
                out += self.restore
            elif uncommon and begins == _LEAVES:
                self.patches.append((len(out) - len(self.instruction), LEAVE))
            if dead and position < end and data[position] == op.END:
                label = labels.pop()
                height = label.height + label.results
                if height > peak:
                    peak = height
                if waiting:
                    waiting.clear()
                out.append(op.END)
                if label.catches:
                    out += self.restore
                position += 1
                copied = position
            elif dead:
                self.position, self.height, self.peak = position, height, peak
                self._skip_dead()
                position, copied, height, peak = self.position, self.copied, self.height, self.peak
        if position != end:
            raise malformed("code follows a function's end")
        self.position, self.copied, self.height, self.peak = position, copied, height, peak
        return first_cost

    # -- control

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
        if opcode in (op.RETURN_CALL, op.RETURN_CALL_INDIRECT):
            self._call(opcode, start)
            return _LEAVES
        if opcode == op.TRY_TABLE:
            self._try_table(start)
            return 0
        if opcode in (op.THROW, op.THROW_REF):
            self._throw(opcode, start)
            return _DEAD
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

    def _skip_dead(self) -> None:
        """Leave out what cannot be reached, up to the `else` or `end` that ends it, and take that."""
        reader = Reader(self.data, self.position, self.reader.end)
        self.position = end_of_dead_code(self.rewriter.module, reader)
        opcode = self.data[self.position]
        self.position += 1
        label = self.labels[-1]
        self._leave(opcode, label)
        self.out += bytes((opcode,))
        if opcode == op.END and label.catches:
            self.out += self.restore
        self.copied = self.position
