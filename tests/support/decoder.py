"""Decode a valid WebAssembly module without SIMD into plain records.

Source: WebAssembly core specification, chapters "Binary Format" and "Validation".
Nothing is checked: the input has been validated elsewhere.
"""

from collections.abc import Callable
from typing import TypeVar

import attrs

T = TypeVar("T")

NULL = -1
"""The null reference. A reference to a function is the function's index."""


def _words(text: str) -> list[str]:
    return text.split()


_COMPARE_INT = _words("eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u")
_COMPARE_FLOAT = _words("eq ne lt gt le ge")
_UNARY_INT = _words("clz ctz popcnt")
_BINARY_INT = _words("add sub mul div_s div_u rem_s rem_u and or xor shl shr_s shr_u rotl rotr")
_UNARY_FLOAT = _words("abs neg ceil floor trunc nearest sqrt")
_BINARY_FLOAT = _words("add sub mul div min max copysign")
_CONVERT = _words("""
    i32.wrap_i64 i32.trunc_f32_s i32.trunc_f32_u i32.trunc_f64_s i32.trunc_f64_u i64.extend_i32_s
    i64.extend_i32_u i64.trunc_f32_s i64.trunc_f32_u i64.trunc_f64_s i64.trunc_f64_u f32.convert_i32_s
    f32.convert_i32_u f32.convert_i64_s f32.convert_i64_u f32.demote_f64 f64.convert_i32_s
    f64.convert_i32_u f64.convert_i64_s f64.convert_i64_u f64.promote_f32 i32.reinterpret_f32
    i64.reinterpret_f64 f32.reinterpret_i32 f64.reinterpret_i64 i32.extend8_s i32.extend16_s
    i64.extend8_s i64.extend16_s i64.extend32_s
""")
_MEMORY = _words("""
    i32.load i64.load f32.load f64.load i32.load8_s i32.load8_u i32.load16_s i32.load16_u i64.load8_s
    i64.load8_u i64.load16_s i64.load16_u i64.load32_s i64.load32_u i32.store i64.store f32.store
    f64.store i32.store8 i32.store16 i64.store8 i64.store16 i64.store32
""")
_BULK = _words("""
    memory.init data.drop memory.copy memory.fill table.init elem.drop table.copy table.grow table.size
    table.fill
""")
_SATURATE = [f"{i}.trunc_sat_{f}_{s}" for i in ("i32", "i64") for f in ("f32", "f64") for s in "su"]


def _numeric() -> dict[str, tuple[int, int]]:
    """Name the instructions 0x45 to 0xC4 in the order of their opcodes, each with its pops and pushes."""
    table: dict[str, tuple[int, int]] = {}
    for i in ("i32", "i64"):
        table[f"{i}.eqz"] = (1, 1)
        table |= {f"{i}.{name}": (2, 1) for name in _COMPARE_INT}
    for f in ("f32", "f64"):
        table |= {f"{f}.{name}": (2, 1) for name in _COMPARE_FLOAT}
    for i in ("i32", "i64"):
        table |= {f"{i}.{name}": (1, 1) for name in _UNARY_INT}
        table |= {f"{i}.{name}": (2, 1) for name in _BINARY_INT}
    for f in ("f32", "f64"):
        table |= {f"{f}.{name}": (1, 1) for name in _UNARY_FLOAT}
        table |= {f"{f}.{name}": (2, 1) for name in _BINARY_FLOAT}
    return table | dict.fromkeys(_CONVERT, (1, 1))


_NUMERIC = _numeric()

NUMERIC_NAMES = [*_NUMERIC, *_SATURATE]

OPCODES: dict[int, str] = {
    **dict(enumerate(["unreachable", "nop", "block", "loop", "if", "else"])),
    **dict(enumerate(_words("end br br_if br_table return call call_indirect"), 0x0B)),
    **dict(enumerate(["drop", "select", "select t"], 0x1A)),
    **dict(
        enumerate(_words("local.get local.set local.tee global.get global.set table.get table.set"), 0x20)
    ),
    **dict(enumerate(_MEMORY, 0x28)),
    **dict(enumerate(_words("memory.size memory.grow i32.const i64.const f32.const f64.const"), 0x3F)),
    **dict(enumerate(_NUMERIC, 0x45)),
    **dict(enumerate(["ref.null", "ref.is_null", "ref.func"], 0xD0)),
    **dict(enumerate([*_SATURATE, *_BULK], 0xFC00)),
}
"""The name of each opcode; those behind the prefix 0xFC are 0xFC00 plus the second opcode."""

ARITY: dict[str, tuple[int, int]] = {
    **_NUMERIC,
    **dict.fromkeys(_SATURATE, (1, 1)),
    **{name: (2, 0) if "store" in name else (1, 1) for name in _MEMORY},
    **dict.fromkeys(("i32.const", "i64.const", "f32.const", "f64.const", "ref.null", "ref.func"), (0, 1)),
    **dict.fromkeys(("local.get", "global.get", "memory.size", "table.size"), (0, 1)),
    **dict.fromkeys(("local.set", "global.set", "drop"), (1, 0)),
    **dict.fromkeys(("local.tee", "memory.grow", "table.get", "ref.is_null"), (1, 1)),
    **dict.fromkeys(("select", "select t"), (3, 1)),
    **dict.fromkeys(("nop", "data.drop", "elem.drop"), (0, 0)),
    **dict.fromkeys(("memory.init", "memory.copy", "memory.fill"), (3, 0)),
    **dict.fromkeys(("table.init", "table.copy", "table.fill"), (3, 0)),
    **{"table.set": (2, 0), "table.grow": (2, 1)},
}
"""Pops and pushes of every instruction that is not a control instruction."""


_INDICES: dict[str, int] = {
    **dict.fromkeys(_words("br br_if call local.get local.set local.tee global.get global.set"), 1),
    **dict.fromkeys(_words("table.get table.set table.grow table.size table.fill"), 1),
    **dict.fromkeys(_words("memory.size memory.grow memory.fill data.drop elem.drop"), 1),
    **dict.fromkeys(_words("ref.null ref.func"), 1),
    **dict.fromkeys(_words("memory.init memory.copy table.init table.copy"), 2),
}
"""How many indices follow the opcode, where there is nothing else."""

_REFERENCES = (0x70, 0x6F)


@attrs.frozen
class FuncType:
    params: tuple[int, ...] = ()
    results: tuple[int, ...] = ()


@attrs.define
class Instr:
    """An instruction and its immediates; constants are bit patterns.

    For `block`, `loop` and `if`: `type` is the block's, `end` the position of the matching `end`, and
    `other` that of the `else` (of the `end`, if there is none).
    An `else` has the `end` of its `if`. `type` is also the type of a `call_indirect`.
    """

    name: str
    args: tuple[int, ...] = ()
    type: FuncType = FuncType()
    end: int = 0
    other: int = 0


@attrs.frozen
class Function:
    type: FuncType
    zeros: tuple[int, ...]
    """The initial values of the locals, without the parameters."""
    body: list[Instr]
    size: int
    """The bytes of its entry in the code section."""


@attrs.frozen
class Segment:
    """A data segment (`items`: bytes) or an element segment (`items`: references)."""

    items: tuple[int, ...]
    active: bool = False
    declarative: bool = False
    target: int = 0
    offset: int = 0


@attrs.frozen
class Global:
    type: int
    mutable: bool
    value: int


@attrs.frozen
class Export:
    kind: int
    index: int


Limits = tuple[int, int | None]


@attrs.define(kw_only=True)
class Module:
    types: list[FuncType] = attrs.field(factory=list)
    imports: list[FuncType] = attrs.field(factory=list)
    functions: list[Function] = attrs.field(factory=list)
    tables: list[Limits] = attrs.field(factory=list)
    memory: Limits = (0, 0)
    globals: list[Global] = attrs.field(factory=list)
    exports: dict[str, Export] = attrs.field(factory=dict)
    start: int | None = None
    data: list[Segment] = attrs.field(factory=list)
    elements: list[Segment] = attrs.field(factory=list)


class _Reader:
    """Read the productions of the binary format, one method each."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.pos = 0

    def byte(self) -> int:
        self.pos += 1
        return self.data[self.pos - 1]

    def bytes(self, count: int) -> bytes:
        self.pos += count
        return self.data[self.pos - count : self.pos]

    def u32(self) -> int:
        result = shift = 0
        while True:
            byte = self.byte()
            result |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return result

    def signed(self) -> int:
        start = self.pos
        value = self.u32()
        bits = 7 * (self.pos - start)
        return value - (1 << bits) if value >> (bits - 1) else value

    def vec(self, item: Callable[[], T]) -> list[T]:
        return [item() for _ in range(self.u32())]

    def functype(self) -> FuncType:
        self.byte()
        return FuncType(tuple(self.vec(self.byte)), tuple(self.vec(self.byte)))

    def imported(self) -> int:
        self.bytes(self.u32())
        self.bytes(self.u32())
        if self.byte() != 0:
            raise NotImplementedError("only functions can be imported")
        return self.u32()

    def limits(self) -> Limits:
        bounded = self.byte()
        return self.u32(), self.u32() if bounded else None

    def table(self) -> Limits:
        self.byte()
        return self.limits()

    def declared_global(self) -> Global:
        return Global(self.byte(), bool(self.byte()), self.constant())

    def constant(self) -> int:
        instr = self.instr([])
        self.byte()
        return NULL if instr.name == "ref.null" else instr.args[0]

    def export(self) -> tuple[str, Export]:
        return self.bytes(self.u32()).decode(), Export(self.byte(), self.u32())

    def element(self) -> Segment:
        flags = self.u32()
        passive, explicit, expressions = flags & 1, flags & 2, flags & 4
        target = self.u32() if explicit and not passive else 0
        offset = 0 if passive else self.constant()
        if passive or explicit:
            self.byte()
        items = self.vec(self.constant if expressions else self.u32)
        return Segment(
            tuple(items), active=not passive, declarative=flags & 3 == 3, target=target, offset=offset
        )

    def data_segment(self) -> Segment:
        flags = self.u32()
        if flags == 2:
            self.u32()
        offset = 0 if flags == 1 else self.constant()
        return Segment(tuple(self.bytes(self.u32())), active=flags != 1, offset=offset)

    def function(self, types: list[FuncType], type: FuncType) -> Function:
        size = self.u32()
        end = size + self.pos
        zeros: list[int] = []
        for _ in range(self.u32()):
            count, valtype = self.u32(), self.byte()
            zeros += [NULL if valtype in _REFERENCES else 0] * count
        body: list[Instr] = []
        while self.pos < end:
            body.append(self.instr(types))
        _match(body)
        return Function(type, tuple(zeros), body, size)

    def blocktype(self, types: list[FuncType]) -> FuncType:
        value = self.signed()
        if value >= 0:
            return types[value]
        return FuncType() if value == -0x40 else FuncType(results=(value & 0x7F,))

    def instr(self, types: list[FuncType]) -> Instr:
        opcode = self.byte()
        name = OPCODES[0xFC00 + self.u32() if opcode == 0xFC else opcode]
        if name in ("block", "loop", "if"):
            return Instr(name, type=self.blocktype(types))
        if name == "br_table":
            return Instr(name, (*self.vec(self.u32), self.u32()))
        if name == "call_indirect":
            index, table = self.u32(), self.u32()
            return Instr(name, (table,), types[index])
        if name == "select t":
            self.vec(self.byte)
            return Instr(name)
        if name in ("i32.const", "i64.const"):
            return Instr(name, (self.signed() % (1 << int(name[1:3])),))
        if name in ("f32.const", "f64.const"):
            return Instr(name, (int.from_bytes(self.bytes(int(name[1:3]) // 8), "little"),))
        if name in _MEMORY:
            self.u32()
            return Instr(name, (self.u32(),))
        return Instr(name, tuple(self.u32() for _ in range(_INDICES.get(name, 0))))


def _match(body: list[Instr]) -> None:
    """Tell every `block`, `loop`, `if` and `else` where its block goes on and ends."""
    open_blocks: list[Instr] = []
    for position, instr in enumerate(body):
        if instr.name in ("block", "loop", "if"):
            open_blocks.append(instr)
        elif instr.name == "else":
            open_blocks[-1].other = position
        elif instr.name == "end" and open_blocks:
            block = open_blocks.pop()
            block.end = position
            if block.other:
                body[block.other].end = position
            else:
                block.other = position


def decode(code: bytes) -> Module:
    """Decode a valid module that imports nothing but functions."""
    module = Module()
    signatures: list[int] = []
    outer = _Reader(code)
    outer.bytes(8)
    while outer.pos < len(code):
        kind = outer.byte()
        section = _Reader(outer.bytes(outer.u32()))
        if kind == 1:
            module.types = section.vec(section.functype)
        elif kind == 2:
            module.imports = [module.types[index] for index in section.vec(section.imported)]
        elif kind == 3:
            signatures = section.vec(section.u32)
        elif kind == 4:
            module.tables = section.vec(section.table)
        elif kind == 5:
            module.memory = section.vec(section.limits)[0]
        elif kind == 6:
            module.globals = section.vec(section.declared_global)
        elif kind == 7:
            module.exports = dict(section.vec(section.export))
        elif kind == 8:
            module.start = section.u32()
        elif kind == 9:
            module.elements = section.vec(section.element)
        elif kind == 10:
            section.u32()
            module.functions = [section.function(module.types, module.types[i]) for i in signatures]
        elif kind == 11:
            module.data = section.vec(section.data_segment)
    return module
