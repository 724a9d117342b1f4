"""Generate the code of WebAssembly functions.

Code is generated from types: `Body.expression` leaves one value on the operand stack, `Body.statement`
leaves the stack as it was.
What is computed is mixed into global 0, into memory and into the other globals, so that it can be seen.
"""

import re
from collections.abc import Callable, Sequence

import attrs

from tests.support.decoder import ARITY, NUMERIC_NAMES, FuncType
from tests.support.encoder import F32, F64, FUNCREF, I32, I64, groups
from tests.support.wasmplan import NUMBERS, REFERENCES, Plan

_TYPE_OF = {"i32": I32, "i64": I64, "f32": F32, "f64": F64}
_NAME_OF = {valtype: name for name, valtype in _TYPE_OF.items()}
_ACCUMULATOR = 0
_DEEPEST = 7
_MAKES_BITS = "f32.reinterpret_i32"
_BULK = ["memory.fill", "memory.copy", "memory.init", "table.set", "table.fill", "table.copy", "table.init"]


@attrs.frozen
class Operation:
    """A numeric instruction."""

    name: str
    operands: tuple[int, ...]
    result: int

    @property
    def divides(self) -> bool:
        return re.search(r"^i.*(div|rem)_", self.name) is not None

    @property
    def truncates(self) -> bool:
        """Tell if it traps on floats that no integer is near."""
        return ".trunc_f" in self.name


def _operation(name: str) -> Operation:
    prefix, _, what = name.partition(".")
    source = re.search(r"_([if]\d\d)", what)
    operand = _TYPE_OF[source[1] if source else prefix]
    compares = what.partition("_")[0] in ("eqz", "eq", "ne", "lt", "gt", "le", "ge")
    return Operation(name, (operand,) * ARITY[name][0], I32 if compares else _TYPE_OF[prefix])


OPERATIONS = [_operation(name) for name in NUMERIC_NAMES]
_YIELDING = {t: [operation for operation in OPERATIONS if operation.result == t] for t in NUMBERS}
_PLAIN = {t: [operation for operation in _YIELDING[t] if operation.name != _MAKES_BITS] for t in NUMBERS}
_LOADS = {t: [name for name in ARITY if name.startswith(f"{_NAME_OF[t]}.load")] for t in NUMBERS}
_STORES = {t: [name for name in ARITY if name.startswith(f"{_NAME_OF[t]}.store")] for t in NUMBERS}


def _natural_alignment(access: str) -> int:
    return int(re.findall(r"\d+", access)[-1]).bit_length() - 4


@attrs.frozen
class _Label:
    types: tuple[int, ...]
    open: bool = True
    """Whether any code may branch here, and not only what counts a loop down."""


class Body:
    """The code of one function, as it is written."""

    def __init__(self, plan: Plan, index: int) -> None:
        self.plan = plan
        self.index = index
        self.type = plan.signatures[index]
        self.locals = [*self.type.params, *plan.some(plan.valtypes, 4)]
        self.own_locals: list[int] = []
        self.labels = [_Label(self.type.results)]
        self.code = bytearray()
        self.depth = 0
        self.budget = 0

    def write(self) -> bytes:
        """Give the entry of the code section."""
        plan = self.plan
        is_entry = self.index == plan.entry
        self.budget = plan.pick([60, 120, 200] if is_entry else [30, 60, 90])
        for _ in range(1 + plan.below(9 if is_entry else 4)):
            self.statement()
        if is_entry:
            for function in plan.order[1:]:
                self.call(function)
                self.consume(self.results(function))
        self.finish(self.type.results)
        self.op("end")
        return plan.encoder.sized(self.declarations() + bytes(self.code))

    def declarations(self) -> bytes:
        plan, encode = self.plan, self.plan.encoder
        declared = [*self.locals[len(self.type.params) :], *self.own_locals]
        if plan.traps and plan.rarely(12):
            declared += [I64] * (500 if plan.plain else 1500)
        stretches = groups(declared)
        if plan.rarely(6):
            stretches.insert(plan.below(len(stretches) + 1), (0, F32))
        return encode.vec([encode.u32(count) + bytes([valtype]) for count, valtype in stretches])

    def op(self, name: str, *indices: int) -> None:
        self.code += self.plan.encoder.op(name, *indices)

    def const(self, valtype: int, bits: int) -> None:
        self.code += self.plan.encoder.const(valtype, bits)

    def drops(self, count: int) -> None:
        for _ in range(count):
            self.op("drop")

    def results(self, function: int) -> tuple[int, ...]:
        return self.plan.signatures[function].results

    def locals_of(self, valtype: int) -> list[int]:
        return [index for index, t in enumerate(self.locals) if t == valtype]

    def globals_of(self, valtype: int) -> list[int]:
        return [index for index, g in enumerate(self.plan.globals) if g.type == valtype]

    def open(self, name: str, params: tuple[int, ...], results: tuple[int, ...], label: _Label) -> None:
        encode = self.plan.encoder
        self.code += encode.op(name)
        if params or len(results) > 1 or self.plan.rarely(6):
            self.code += encode.i32(self.plan.type_index(FuncType(params, results)))
        else:
            self.code += bytes(results or [0x40])
        self.labels.append(label)

    def close(self) -> None:
        self.op("end")
        self.labels.pop()

    # Values

    def expressions(self, valtypes: Sequence[int]) -> None:
        for valtype in valtypes:
            self.expression(valtype)

    def expression(self, valtype: int) -> None:
        """Leave a value of this type on the operand stack."""
        self.budget -= 1
        self.depth += 1
        choices: list[Callable[[int], None]]
        if self.budget <= 0 or self.depth > _DEEPEST or not self.plan.below(3):
            choices = [self.leaf]
        elif valtype in REFERENCES:
            choices = [self.leaf, self.table_get, self.select, self.compute]
        else:
            choices = [self.operate, self.operate, self.operate, self.load, self.select, self.compute]
        self.plan.pick(choices)(valtype)
        self.depth -= 1

    def compute(self, valtype: int) -> None:
        """Leave a value by something rarer than an operation."""
        choices: list[Callable[[int], None]] = [
            self.block_value,
            self.call_value,
            self.tee,
            self.after_statement,
        ]
        if valtype == I32:
            choices.append(self.inspect)
        self.plan.pick(choices)(valtype)

    def leaf(self, valtype: int) -> None:
        locals_, globals_ = self.locals_of(valtype), self.globals_of(valtype)
        source = self.plan.below(3)
        if source == 1 and locals_:
            self.op("local.get", self.plan.pick(locals_))
        elif source == 2 and globals_:
            self.op("global.get", self.plan.pick(globals_))
        elif valtype == FUNCREF and self.plan.rarely(2):
            self.op("ref.func", self.plan.pick(range(len(self.plan.signatures))))
        elif valtype in REFERENCES:
            self.code += bytes([0xD0, valtype])
        else:
            self.const(valtype, self.plan.bits(valtype))

    def operate(self, valtype: int) -> None:
        operation = self.plan.pick(_PLAIN[valtype] if self.plan.plain else _YIELDING[valtype])
        safe = not self.plan.traps or not self.plan.rarely(4)
        if operation.truncates and safe:
            self.masked(0xFF)
            self.op(f"{_NAME_OF[operation.operands[0]]}.convert_i32_u")
        else:
            self.expressions(operation.operands)
        if operation.divides and safe:
            for mask, what in ((0x7FFF, "and"), (1, "or")):
                self.const(valtype, mask)
                self.op(f"{_NAME_OF[valtype]}.{what}")
        self.op(operation.name)

    def masked(self, *masks: int) -> None:
        """Leave small values of type i32; seldom large ones, if they may trap."""
        for mask in masks:
            self.expression(I32)
            if not self.plan.traps or not self.plan.rarely(40):
                self.const(I32, mask)
                self.op("i32.and")

    def access(self, name: str) -> None:
        alignment = self.plan.below(_natural_alignment(name) + 1)
        offset = 0xFFFFFFFF if self.plan.traps and self.plan.rarely(40) else self.plan.pick([0, 1, 16, 200])
        self.op(name, alignment, offset)

    def load(self, valtype: int) -> None:
        if self.plan.plain and valtype == F32:
            self.operate(valtype)
            return
        self.masked(0x3FF)
        self.access(self.plan.pick(_LOADS[valtype]))

    def select(self, valtype: int) -> None:
        self.expressions((valtype, valtype, I32))
        if valtype in REFERENCES or (self.plan.rarely(3) and not self.plan.plain):
            self.op("select t")
            self.code += self.plan.encoder.sized(bytes([valtype]))
        else:
            self.op("select")

    def block_value(self, valtype: int) -> None:
        self.structured((valtype,))

    def call_value(self, valtype: int) -> None:
        """Call a function whose first result is of the type, if there is one."""
        functions = [f for f in self.plan.callable_from(self.index) if self.results(f)[:1] == (valtype,)]
        if not functions:
            self.block_value(valtype)
            return
        function = self.plan.pick(functions)
        self.call(function)
        self.consume(self.results(function)[1:])

    def tee(self, valtype: int) -> None:
        self.expression(valtype)
        locals_ = self.locals_of(valtype)
        if locals_:
            self.op("local.tee", self.plan.pick(locals_))

    def after_statement(self, valtype: int) -> None:
        """Put a statement on top of a value, so that the stack is not empty there."""
        self.expression(valtype)
        self.statement()

    def table_get(self, valtype: int) -> None:
        tables = [index for index, table in enumerate(self.plan.tables) if table.type == valtype]
        if not tables:
            self.leaf(valtype)
            return
        self.masked(7)
        self.op("table.get", self.plan.pick(tables))

    def inspect(self, valtype: int) -> None:
        """Leave a size, or whether a reference is null, or what growing gave."""
        plan = self.plan
        choices = ["memory.size", "memory.size" if plan.plain else "table.size"]
        choices += ["ref.is_null"] * plan.bulk + ["memory.grow"] * 2 * plan.grow
        choices += ["table.grow"] * (plan.bulk and plan.grow)
        what = plan.pick(choices)
        table = plan.below(len(plan.tables))
        if what == "ref.is_null":
            self.expression(plan.pick(REFERENCES))
        elif what == "table.grow":
            self.expression(plan.tables[table].type)
        if what.endswith("grow"):
            self.masked(3)
        self.op(what, *([table] if what.startswith("table") else []))

    # Statements

    def statements(self, most: int) -> None:
        for _ in range(self.plan.below(most + 1)):
            self.statement()

    def statement(self) -> None:
        """Leave the operand stack as it was."""
        self.budget -= 1
        if self.budget <= 0 or self.depth > _DEEPEST:
            self.op("nop")
            return
        self.depth += 1
        choices: list[Callable[[], None]] = [self.evaluate, self.store, self.control, self.call_any]
        if self.plan.bulk:
            choices.append(self.bulk)
        self.plan.pick(choices)()
        self.depth -= 1

    def evaluate(self) -> None:
        types = (self.plan.pick(self.plan.valtypes),)
        self.expressions(types)
        self.consume(types)

    def consume(self, valtypes: Sequence[int]) -> None:
        """Take values of these types off the operand stack."""
        for valtype in reversed(valtypes):
            locals_ = self.locals_of(valtype)
            globals_ = [
                i for i in self.globals_of(valtype) if i != _ACCUMULATOR and self.plan.globals[i].mutable
            ]
            choice = self.plan.below(6)
            if choice == 1:
                self.op("drop")
            elif choice == 2 and locals_:
                self.op("local.set", self.plan.pick(locals_))
            elif choice == 3 and globals_:
                self.op("global.set", self.plan.pick(globals_))
            else:
                self.accumulate(valtype)

    def accumulate(self, valtype: int) -> None:
        """Mix a value into the accumulator."""
        if valtype in REFERENCES:
            self.op("ref.is_null")
        elif valtype in (F32, F64):
            self.op("i32.reinterpret_f32" if valtype == F32 else "i64.reinterpret_f64")
        if valtype not in (I64, F64):
            self.op("i64.extend_i32_u")
        self.op("global.get", _ACCUMULATOR)
        self.const(I64, 5)
        self.op("i64.rotl")
        self.op("i64.xor")
        self.op("global.set", _ACCUMULATOR)

    def store(self) -> None:
        valtype = self.plan.pick(NUMBERS)
        self.masked(0x3FF)
        self.expression(valtype)
        self.access(self.plan.pick(_STORES[valtype]))

    def call_any(self) -> None:
        functions = self.plan.callable_from(self.index)
        if self.plan.rarely(2):
            self.call_indirect(functions)
        elif functions:
            function = self.plan.pick(functions)
            self.call(function)
            self.consume(self.results(function))

    def call(self, function: int) -> None:
        self.expressions(self.plan.signatures[function].params)
        self.op("call", function)

    def call_indirect(self, functions: Sequence[int]) -> None:
        plan = self.plan
        slots = [slot for slot, function in enumerate(plan.contents) if function in functions]
        if plan.traps and plan.rarely(5):
            type_ = plan.pick(plan.signatures)
            self.expressions(type_.params)
            self.masked(7)
        elif slots:
            slot = plan.pick(slots)
            type_ = plan.signatures[plan.contents[slot]]
            self.expressions(type_.params)
            self.const(I32, slot)
        else:
            return
        self.op("call_indirect", plan.type_index(type_), 0)
        self.consume(type_.results)

    def bulk(self) -> None:
        plan = self.plan
        what = plan.pick(_BULK)
        table = plan.below(len(plan.tables))
        valtype = plan.tables[table].type
        if plan.rarely(8):
            plan.uses_data = True
            self.op("data.drop", plan.below(len(plan.data)))
            self.op("elem.drop", plan.below(3))
        elif what in ("table.set", "table.fill"):
            self.masked(7 if what == "table.set" else 3)
            self.expression(valtype)
            self.masked(*([3] if what == "table.fill" else []))
            self.op(what, table)
        elif what == "memory.init":
            plan.uses_data = True
            self.masked(0x3FF, 1, 1)
            self.op(what, plan.below(len(plan.data)), 0)
        elif what.startswith("memory"):
            self.masked(0x3FF, 0x3FF, 0x3F)
            self.op(what, *([0] if what == "memory.fill" else [0, 0]))
        elif what == "table.copy":
            others = [other for other, entry in enumerate(plan.tables) if entry.type == valtype]
            self.masked(3, 3, 3)
            self.op(what, table, plan.pick(others))
        else:
            self.masked(3, 3, 3)
            self.op(what, plan.pick([1, 1, 1, 1, 0, 2]), 0)

    # Control

    def control(self) -> None:
        choices = [self.structured_statement, self.structured_statement, self.leave_if, self.branch_if]
        self.plan.pick(choices)()

    def structured_statement(self) -> None:
        results = self.plan.results(2)
        self.structured(results)
        self.consume(results)

    def structured(self, results: tuple[int, ...]) -> None:
        """Leave values of these types by a block, an `if` or a loop."""
        plan = self.plan
        params = plan.some(plan.valtypes, 2) if plan.rarely(4) and not plan.plain else ()
        kind = plan.pick(["block", "if", "count last", "count first"])
        if kind == "count first":
            self.loop_counting_first()
            self.expressions(results)
            return
        self.expressions(params)
        if kind == "count last":
            self.loop_counting_last(params, results)
            return
        if kind == "if":
            self.expression(I32)
        self.open(kind, params, results, _Label(results))
        self.fill(params, results)
        if kind == "if" and (params != results or plan.rarely(2)):
            self.op("else")
            self.fill(params, results)
        self.close()

    def fill(self, params: tuple[int, ...], results: tuple[int, ...]) -> None:
        self.consume(params)
        self.statements(2)
        self.finish(results)

    def finish(self, results: tuple[int, ...]) -> None:
        """End a block: with its results, or by leaving it."""
        if self.plan.rarely(12 if len(self.labels) == 1 else 6):
            self.leave()
            return
        self.expressions(results)

    def counter(self) -> int:
        """Set a local of its own to how often a loop turns."""
        self.own_locals.append(I32)
        index = len(self.locals) + len(self.own_locals) - 1
        self.const(I32, self.plan.pick([1, 2, 3, 5, 9]))
        self.op("local.set", index)
        return index

    def count_down(self, counter: int, then: str) -> None:
        self.op("local.get", counter)
        self.const(I32, 1)
        self.op("i32.sub")
        self.op(then, counter)

    def loop_counting_last(self, params: tuple[int, ...], results: tuple[int, ...]) -> None:
        counter = self.counter()
        self.open("loop", params, results, _Label(params, open=self.plan.traps and self.plan.rarely(6)))
        self.consume(params)
        self.statements(2)
        self.expressions(params)
        self.count_down(counter, "local.tee")
        self.op("br_if", 0)
        self.consume(params)
        self.finish(results)
        self.close()

    def loop_counting_first(self) -> None:
        counter = self.counter()
        self.open("block", (), (), _Label(()))
        self.open("loop", (), (), _Label(()))
        self.op("local.get", counter)
        self.op("i32.eqz")
        self.op("br_if", 1)
        self.count_down(counter, "local.set")
        self.statements(3)
        if self.plan.rarely(3):
            self.expression(I32)
            self.op("br_if", 0)
        else:
            self.op("br", 0)
            self.dead_code()
        self.close()
        self.close()

    # Branches

    def depths(self) -> list[int]:
        """Give the depths of the labels that may be branched to, the function's own last."""
        return [depth for depth, label in enumerate(reversed(self.labels)) if label.open]

    def target(self) -> int:
        """Choose a depth to branch to, seldom that of the function itself."""
        depths = self.depths()
        return self.plan.pick(depths if self.plan.rarely(4) else depths[:-1] or depths)

    def branch_if(self) -> None:
        if len(self.labels) == 1 and not self.plan.rarely(6):
            self.structured_statement()
            return
        depth = self.target()
        types = self.labels[-1 - depth].types
        self.expressions(types)
        self.expression(I32)
        self.op("br_if", depth)
        self.consume(types)

    def leave_if(self) -> None:
        self.expression(I32)
        self.open("if", (), (), _Label(()))
        self.statements(1)
        if self.plan.rarely(4):
            results = (I32,) * self.plan.below(2 if self.plan.plain else 12)
            self.open("block", (), results, _Label(results, open=False))
            self.leave()
            self.close()
            self.drops(len(results))
        else:
            self.leave()
        self.close()

    def leave(self) -> None:
        """Branch somewhere else for good; what follows is dead."""
        plan, encode = self.plan, self.plan.encoder
        if plan.rarely(6):
            self.expression(plan.pick(plan.valtypes))
        depth = self.target()
        types = self.labels[-1 - depth].types
        choice = plan.below(24)
        if choice == 23 and plan.traps:
            self.op("unreachable")
        elif choice >= 21:
            self.expressions(self.type.results)
            self.op("return")
        elif choice >= 12:
            same = [other for other in self.depths() if self.labels[-1 - other].types == types]
            self.expressions(types)
            self.masked(3)
            self.op("br_table")
            targets = [encode.u32(plan.pick(same)) for _ in range(plan.below(4))]
            self.code += encode.vec(targets) + encode.u32(depth)
        else:
            self.expressions(types)
            self.op("br", depth)
        self.dead_code()

    def dead_code(self) -> None:
        """Write code on the operand stack of unknown height behind a branch, and leave nothing on it."""
        kinds = [self.dead_operation, self.dead_operation, self.statement, self.dead_branch, self.tall_code]
        for _ in range(self.plan.below(4)):
            self.plan.pick(kinds)()

    def dead_operation(self) -> None:
        plan = self.plan
        what = plan.below(5)
        if what == 1:
            self.op(plan.pick(NUMERIC_NAMES))
        elif what == 2:
            self.op("select")
        elif what == 3:
            self.access(plan.pick(_STORES[plan.pick(NUMBERS)]))
        elif what == 4:
            function = plan.pick(range(len(plan.signatures)))
            self.op("call", function)
            self.drops(len(self.results(function)))
        if what < 3:
            self.op("drop")

    def dead_branch(self) -> None:
        depth = self.plan.below(len(self.labels))
        what = self.plan.pick(["br_if", "br_if", "br", "return", "unreachable"])
        self.op(what, *([depth] if what.startswith("br") else []))
        if what == "br_if":
            self.drops(len(self.labels[-1 - depth].types))

    def tall_code(self) -> None:
        """Need much operand stack, in a block of its own or not."""
        height = 3 + self.plan.below(12)
        in_block = self.plan.rarely(2)
        if in_block:
            self.open("block", (), (), _Label(()))
        for _ in range(height):
            self.const(I32, 0)
        if in_block and self.plan.rarely(3):
            self.op("unreachable")
        else:
            self.drops(height)
        if in_block:
            self.close()
