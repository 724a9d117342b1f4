"""Execute a WebAssembly module and meter it, both as plainly as possible.

Sources: WebAssembly core specification, chapter "Execution"; docs/determinism.md, "Gas" and "Stack".
There is no SIMD, and of host functions there is only one: of type `() -> i32`, it returns 0 and moves no bytes.
"""

import re
from collections.abc import Sequence

import attrs

from tests.support.decoder import ARITY, NULL, Function, FuncType, Instr, Limits, Module, decode
from tests.support.numerics import NUMERIC, NumericTrap, signed

PAGE = 65536
STACK_UNITS = 262_144
TABLE_ELEMENTS = 1_000_000
HOST_CALL = 1_000
FUNCTION_ENTRY = 1

_FREE = {"nop", "drop", "block", "loop", "else", "end", "return", "unreachable"}
_OPENS_BLOCK = {"block", "loop", "if"}
_ENDS_RUN = {"loop", "if", "else", "end", "br", "br_if", "br_table", "return", "unreachable"}
_ENDS_RUN |= {"call", "call_indirect"}
_ENDS_CODE = {"br", "br_table", "return", "unreachable"}


class _Stop(Exception):
    """Carries the outcome."""


@attrs.frozen(kw_only=True)
class Result:
    """What is left of a run.

    Values and globals are bit patterns; a reference to a function is its index, the null reference -1.
    `peak_units` is the most that was on the stack of the exported function.
    """

    outcome: str
    gas_used: int
    values: tuple[int, ...]
    memory: bytes
    globals: tuple[int, ...]
    peak_units: int


@attrs.define
class _Label:
    target: int
    values: int
    height: int
    is_loop: bool


@attrs.define
class _Prepared:
    function: Function
    weight: int
    run_costs: list[int]


@attrs.define
class _Frame:
    code: _Prepared
    locals: list[int]
    base: int
    pc: int = 0
    labels: list[_Label] = attrs.field(factory=list)


def run_costs(body: Sequence[Instr]) -> list[int]:
    """Give for each position the gas of the run that would begin there."""
    costs = [0] * (len(body) + 1)
    for position in reversed(range(len(body))):
        name = body[position].name
        costs[position] = (name not in _FREE) + (0 if name in _ENDS_RUN else costs[position + 1])
    return costs


def weight_of(function: Function, signatures: Sequence[FuncType]) -> int:
    """Give what a function weighs on the stack, in units."""
    height, nesting = extent(function, signatures)
    values = len(function.type.params) + len(function.zeros) + height
    return 4 + values + nesting + function.size // 128


def extent(function: Function, signatures: Sequence[FuncType]) -> tuple[int, int]:
    """Give the greatest height of the operand stack and the deepest nesting of blocks in reachable code.

    Each `end` leaves the results of its block, that of the function too, however it is reached.
    """
    height = greatest = nested = nesting = 0
    dead = False
    blocks: list[tuple[int, FuncType]] = [(0, function.type)]
    for instr in function.body:
        name = instr.name
        if dead:
            nested += name in _OPENS_BLOCK
            if nested or name not in ("else", "end"):
                nested -= name == "end"
                continue
            dead = False
        if name in _OPENS_BLOCK:
            height -= name == "if"
            blocks.append((height - len(instr.type.params), instr.type))
            nesting = max(nesting, len(blocks) - 1)
        elif name == "else":
            height = blocks[-1][0] + len(blocks[-1][1].params)
        elif name == "end":
            height = blocks[-1][0] + len(blocks.pop()[1].results)
        elif name in _ENDS_CODE:
            dead = True
        elif name == "br_if":
            height -= 1
        elif name in ("call", "call_indirect"):
            type_ = signatures[instr.args[0]] if name == "call" else instr.type
            height += len(type_.results) - len(type_.params) - (name == "call_indirect")
        else:
            pops, pushes = ARITY[name]
            height += pushes - pops
        greatest = max(greatest, height)
    return greatest, nesting


class _Machine:
    def __init__(self, module: Module, gas: int, memory_pages: int) -> None:
        self.module = module
        self.gas = gas
        self.units = 0
        self.peak_units = 0
        self.stack: list[int] = []
        self.frames: list[_Frame] = []
        self.globals = [entry.value for entry in module.globals]
        self.memory = bytearray(module.memory[0] * PAGE)
        self.memory_limit = _lower(module.memory, memory_pages)
        self.tables = [[NULL] * initial for initial, _ in module.tables]
        self.table_limits = [_lower(limits, TABLE_ELEMENTS // len(self.tables)) for limits in module.tables]
        self.data = [segment.items for segment in module.data]
        self.elements = [segment.items for segment in module.elements]
        self.signatures = [*module.imports, *(function.type for function in module.functions)]
        self.code = [self.prepare(function) for function in module.functions]
        for index, segment in enumerate(module.data):
            if segment.active:
                self.copy(self.memory, segment.offset, segment.items, 0, len(segment.items))
                self.data[index] = ()
        for index, segment in enumerate(module.elements):
            if segment.active:
                table = self.tables[segment.target]
                self.copy(table, segment.offset, segment.items, 0, len(segment.items))
            if segment.active or segment.declarative:
                self.elements[index] = ()

    def prepare(self, function: Function) -> _Prepared:
        return _Prepared(function, weight_of(function, self.signatures), run_costs(function.body))

    def call(self, index: int, args: Sequence[int]) -> tuple[int, ...]:
        """Call a function from outside and run it to its end."""
        self.stack[:] = args
        self.peak_units = 0
        self.enter_function(index)
        while self.frames:
            self.step()
        return tuple(self.stack)

    def charge(self, amount: int, *, check: bool) -> None:
        self.gas -= amount
        if check and self.gas < 0:
            raise _Stop("out_of_gas")

    def enter_run(self, *, check: bool = False) -> None:
        """Charge the run that begins where the present frame goes on."""
        frame = self.frames[-1]
        self.charge(frame.code.run_costs[frame.pc], check=check)

    def enter_function(self, index: int) -> None:
        index -= len(self.module.imports)
        if index < 0:
            self.charge(HOST_CALL, check=True)
            self.stack.append(0)
            self.enter_run()
            return
        code = self.code[index]
        self.charge(FUNCTION_ENTRY + code.run_costs[0], check=True)
        self.units += code.weight
        if self.units > STACK_UNITS:
            raise _Stop("stack_exhausted")
        self.peak_units = max(self.peak_units, self.units)
        args = self.pop_many(len(code.function.type.params))
        self.frames.append(_Frame(code, [*args, *code.function.zeros], len(self.stack)))

    def leave_function(self) -> None:
        frame = self.frames.pop()
        self.keep(len(frame.code.function.type.results), frame.base)
        self.units -= frame.code.weight
        if self.frames:
            self.enter_run()

    def branch(self, depth: int) -> None:
        frame = self.frames[-1]
        if depth == len(frame.labels):
            self.leave_function()
            return
        label = frame.labels[-1 - depth]
        self.keep(label.values, label.height)
        del frame.labels[len(frame.labels) - depth - (not label.is_loop) :]
        frame.pc = label.target
        self.enter_run(check=label.is_loop)

    def keep(self, count: int, height: int) -> None:
        """Cut the operand stack down to `height` and put the `count` values from its top there."""
        self.stack[height:] = self.pop_many(count)

    def pop_many(self, count: int) -> list[int]:
        start = len(self.stack) - count
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def step(self) -> None:
        frame = self.frames[-1]
        instr = frame.code.function.body[frame.pc]
        frame.pc += 1
        name = instr.name
        if operation := NUMERIC.get(name):
            self.stack.append(operation(*self.pop_many(ARITY[name][0])))
        elif name in _ENDS_RUN or name == "block":
            self.control(frame, instr)
        elif ".load" in name or ".store" in name:
            self.access(name, instr.args[0])
        elif name.startswith(("memory.", "data.")):
            self.memory_instruction(name, instr.args)
        elif name.startswith(("table.", "elem.")):
            self.table_instruction(name, instr.args)
        else:
            self.variable_instruction(frame, name, instr.args)

    def control(self, frame: _Frame, instr: Instr) -> None:
        name = instr.name
        if name in _OPENS_BLOCK:
            condition = self.stack.pop() if name == "if" else 1
            height = len(self.stack) - len(instr.type.params)
            if name == "loop":
                frame.labels.append(_Label(frame.pc, len(instr.type.params), height, is_loop=True))
            elif condition or instr.other != instr.end:
                frame.labels.append(_Label(instr.end + 1, len(instr.type.results), height, is_loop=False))
            if not condition:
                frame.pc = instr.other + 1
            if name != "block":
                self.enter_run(check=name == "loop")
        elif name in ("else", "end"):
            if not frame.labels:
                self.leave_function()
                return
            frame.labels.pop()
            if name == "else":
                frame.pc = instr.end + 1
            self.enter_run()
        elif name == "br":
            self.branch(instr.args[0])
        elif name == "br_if":
            if self.stack.pop():
                self.branch(instr.args[0])
            else:
                self.enter_run()
        elif name == "br_table":
            self.branch(instr.args[min(self.stack.pop(), len(instr.args) - 1)])
        elif name == "return":
            self.leave_function()
        elif name == "unreachable":
            raise _Stop("unreachable")
        elif name == "call":
            self.enter_function(instr.args[0])
        else:
            self.enter_function(self.resolve(self.tables[instr.args[0]], instr.type))

    def resolve(self, table: list[int], type_: FuncType) -> int:
        """Pop an index into `table` and give the function there, which must be of `type_`."""
        index = self.stack.pop()
        if index >= len(table):
            raise _Stop("table_out_of_bounds")
        if table[index] == NULL:
            raise _Stop("indirect_call_to_null")
        if self.signatures[table[index]] != type_:
            raise _Stop("bad_signature")
        return table[index]

    def access(self, name: str, offset: int) -> None:
        """Load or store; `name` is like `i64.load16_s`."""
        value = self.stack.pop() if "store" in name else 0
        start = self.stack.pop() + offset
        bits = int(name[1:3])
        narrow = re.search(r"\d+", name[4:])
        width = int(narrow[0]) if narrow else bits
        end = start + width // 8
        if end > len(self.memory):
            raise _Stop("memory_out_of_bounds")
        if "store" in name:
            self.memory[start:end] = (value % (1 << width)).to_bytes(width // 8, "little")
        else:
            loaded = int.from_bytes(self.memory[start:end], "little")
            self.stack.append(signed(loaded, width) % (1 << bits) if name.endswith("_s") else loaded)

    def memory_instruction(self, name: str, args: tuple[int, ...]) -> None:
        if name == "memory.size":
            self.stack.append(len(self.memory) // PAGE)
        elif name == "memory.grow":
            pages = self.stack.pop()
            self.charge(pages, check=True)
            size = len(self.memory) // PAGE
            granted = size + pages <= self.memory_limit
            self.stack.append(size if granted else 0xFFFFFFFF)
            self.memory.extend(bytes(pages * PAGE if granted else 0))
        elif name == "data.drop":
            self.data[args[0]] = ()
        else:
            target, source, count = self.pop_many(3)
            self.charge(count, check=True)
            if name == "memory.fill":
                self.copy(self.memory, target, bytes([source % 256]) * _within(count, self.memory), 0, count)
            elif name == "memory.init":
                self.copy(self.memory, target, self.data[args[0]], source, count)
            else:
                self.copy(self.memory, target, self.memory, source, count)

    def table_instruction(self, name: str, args: tuple[int, ...]) -> None:
        if name == "elem.drop":
            self.elements[args[0]] = ()
            return
        table = self.tables[args[-1] if name == "table.init" else args[0]]
        if name == "table.size":
            self.stack.append(len(table))
        elif name in ("table.get", "table.set"):
            value = self.stack.pop() if name == "table.set" else NULL
            index = self.stack.pop()
            if index >= len(table):
                raise _Stop("table_out_of_bounds")
            if name == "table.set":
                table[index] = value
            else:
                self.stack.append(table[index])
        elif name == "table.grow":
            value, count = self.pop_many(2)
            self.charge(count, check=True)
            granted = len(table) + count <= self.table_limits[args[0]]
            self.stack.append(len(table) if granted else 0xFFFFFFFF)
            table += [value] * (count if granted else 0)
        else:
            target, source, count = self.pop_many(3)
            self.charge(count, check=True)
            if name == "table.fill":
                self.copy(table, target, [source] * _within(count, table), 0, count)
            elif name == "table.init":
                self.copy(table, target, self.elements[args[0]], source, count)
            else:
                self.copy(table, target, self.tables[args[1]], source, count)

    def copy(
        self, to: bytearray | list[int], target: int, origin: Sequence[int], source: int, count: int
    ) -> None:
        if target + count > len(to) or source + count > len(origin):
            raise _Stop("memory_out_of_bounds" if isinstance(to, bytearray) else "table_out_of_bounds")
        to[target : target + count] = origin[source : source + count]

    def variable_instruction(self, frame: _Frame, name: str, args: tuple[int, ...]) -> None:
        if name == "drop":
            self.stack.pop()
        elif name.startswith("select"):
            first, second, condition = self.pop_many(3)
            self.stack.append(first if condition else second)
        elif name == "local.get":
            self.stack.append(frame.locals[args[0]])
        elif name == "local.set":
            frame.locals[args[0]] = self.stack.pop()
        elif name == "local.tee":
            frame.locals[args[0]] = self.stack[-1]
        elif name == "global.get":
            self.stack.append(self.globals[args[0]])
        elif name == "global.set":
            self.globals[args[0]] = self.stack.pop()
        elif name == "ref.null":
            self.stack.append(NULL)
        elif name == "ref.is_null":
            self.stack.append(self.stack.pop() == NULL)
        elif name != "nop":
            self.stack.append(args[0])


def _lower(limits: Limits, limit: int) -> int:
    return limit if limits[1] is None else min(limits[1], limit)


def _within(count: int, target: Sequence[int]) -> int:
    """Bound a count that may be far beyond the end of `target`, so that it is still beyond it."""
    return min(count, len(target) + 1)


def run(
    module: bytes, *, gas: int, memory_pages: int, export: str = "_start", args: Sequence[int] = ()
) -> Result:
    """Run the start function of a valid module, if it has one, then the exported function."""
    decoded = decode(module)
    machine = _Machine(decoded, gas, memory_pages)
    values: tuple[int, ...] = ()
    try:
        if decoded.start is not None:
            machine.call(decoded.start, ())
        values = machine.call(decoded.exports[export].index, args)
        outcome = "returned"
    except (_Stop, NumericTrap) as stop:
        outcome = str(stop)
    if machine.gas < 0:
        outcome = "out_of_gas"
    return Result(
        outcome=outcome,
        gas_used=gas - max(machine.gas, 0),
        values=values if outcome == "returned" else (),
        memory=bytes(machine.memory),
        globals=tuple(machine.globals),
        peak_units=machine.peak_units,
    )
