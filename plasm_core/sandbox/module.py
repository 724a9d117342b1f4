"""What a WebAssembly binary says of itself, ahead of its code: types, imports, exports, memory, tables.

It expects a validated module, but raises nothing worse than `BadModuleError` on any other bytes.
"""

from __future__ import annotations

import attrs

from plasm_core.engine import PAGE_BYTES
from plasm_core.errors import BadModuleError
from plasm_core.sandbox.binary import Reader, malformed

MAGIC = b"\0asm"
VERSION = b"\x01\0\0\0"
COMPONENT_LAYER = b"\x01\0"

TYPE, IMPORT, FUNCTION, TABLE, MEMORY, GLOBAL, EXPORT, START, ELEMENT, CODE, DATA, DATA_COUNT = range(1, 13)
SECTION_ORDER = (
    TYPE,
    IMPORT,
    FUNCTION,
    TABLE,
    MEMORY,
    GLOBAL,
    EXPORT,
    START,
    ELEMENT,
    DATA_COUNT,
    CODE,
    DATA,
)

VALUE_TYPES = {
    0x7F: "i32",
    0x7E: "i64",
    0x7D: "f32",
    0x7C: "f64",
    0x7B: "v128",
    0x70: "funcref",
    0x6F: "externref",
}
_KINDS = ("function", "table", "memory", "global")

# Beyond these a module has a feature that not every engine has: see docs/determinism.md.
_WIDE_TYPE = 400
_MANY, _MANY_LISTED, _LONG_NAME = 100_000, 10_000, 10_000
_LARGE_MEMORY_PAGES = 16_384


@attrs.frozen
class FunctionType:
    """A function's type, each value type as the byte of the binary format."""

    params: bytes
    results: bytes

    def __str__(self) -> str:
        params = ", ".join(VALUE_TYPES.get(item, "?") for item in self.params)
        results = ", ".join(VALUE_TYPES.get(item, "?") for item in self.results)
        return f"({params}) → ({results})"


@attrs.frozen
class Import:
    """One import. `type` is set for functions."""

    module: str
    name: str
    kind: str
    type: FunctionType | None = None


@attrs.frozen
class Export:
    """One export."""

    name: str
    kind: str
    index: int


@attrs.frozen
class LimitsOf:
    """A memory's limits in pages or a table's in elements; a table's element type, and where they stand."""

    minimum: int
    maximum: int | None
    element: int = 0


@attrs.define
class Module:
    """A module's parts. `sections` maps a section's number to (start, end) in `data`."""

    data: bytes
    sections: dict[int, tuple[int, int]]
    types: list[FunctionType]
    imports: list[Import]
    functions: list[int]
    tables: list[LimitsOf]
    memories: list[LimitsOf]
    global_count: int
    exports: list[Export]
    start: int | None
    features: set[str]
    table_filled: int = 0
    """Where the active segments of the first table end."""

    @property
    def function_imports(self) -> list[Import]:
        """The imported functions, which come first in the function index space."""
        return [item for item in self.imports if item.kind == "function"]

    def function_type(self, index: int) -> FunctionType:
        """Return the type of a function by its index. Raises: `BadModuleError`."""
        imported = self.function_imports
        if index < len(imported):
            found = imported[index].type
            if found is not None:
                return found
        try:
            return self.types[self.functions[index - len(imported)]]
        except IndexError:
            raise malformed("a function index is out of range") from None

    def exported(self, name: str, kind: str) -> Export | None:
        """Return the export of that name and kind."""
        return next((item for item in self.exports if item.name == name and item.kind == kind), None)

    def note_value_type(self, value_type: int) -> None:
        """Note the feature that a value type belongs to."""
        if value_type in (0x6F, 0x70):
            self.features.add("reference-types")
        elif value_type == 0x7B:
            self.features.add("simd")

    def note_f32(self, data: bytes) -> None:
        """Note if a constant is a signalling NaN, which not every engine keeps."""
        bits = int.from_bytes(data, "little")
        if bits & 0x7FC0_0000 == 0x7F80_0000 and bits & 0x003F_FFFF:
            self.features.add("f32-bits")

    def note_call_indirect(self, table: int) -> None:
        """Note what an indirect call asks of an engine: wasm3 forgets the empty end of its table."""
        if table:
            self.features.add("reference-types")
        elif self.tables and self.tables[0].minimum > self.table_filled:
            self.features.add("partial-table")

    def reader(self, section: int) -> Reader | None:
        """Return a reader over a section's payload, or None."""
        bounds = self.sections.get(section)
        return None if bounds is None else Reader(self.data, *bounds)


def check_preamble(data: bytes) -> None:
    """Refuse what is not a core module, saying what it is instead."""
    if not data:
        raise BadModuleError("not_wasm", "the module is empty")
    if data[:4] != MAGIC:
        hint = None
        if data.lstrip()[:7] == b"(module" or data.lstrip()[:2] == b";;":
            hint = "this is WebAssembly text: convert it with wat2wasm"
        raise BadModuleError("not_wasm", "not a WebAssembly module: it does not begin with \\0asm", hint=hint)
    if data[6:8] == COMPONENT_LAYER:
        raise BadModuleError(
            "component",
            "a WebAssembly component, not a core module",
            hint="build it as a core module for wasm32-wasip1",
        )
    if len(data) < 8:
        raise BadModuleError("truncated", "the module is cut short")
    if data[4:8] != VERSION:
        raise BadModuleError("version", "not version 1 of the WebAssembly binary format")


def read_module(data: bytes) -> Module:
    """Read all but code and data. Raises: `BadModuleError`."""
    check_preamble(data)
    sections: dict[int, tuple[int, int]] = {}
    reader = Reader(data, 8)
    while not reader.done:
        number, size = reader.byte(), reader.unsigned()
        start = reader.position
        reader.bytes(size)
        if number == 0:
            continue
        if number in sections or number not in SECTION_ORDER:
            raise malformed(f"section {number} is unknown or occurs twice")
        sections[number] = (start, start + size)
    module = Module(
        data=data,
        sections=sections,
        types=[],
        imports=[],
        functions=[],
        tables=[],
        memories=[],
        global_count=0,
        exports=[],
        start=None,
        features=set(),
    )
    _read_types(module)
    _read_imports(module)
    _read_functions(module)
    _read_limits(module)
    _read_globals(module)
    _read_exports(module)
    _check_segments(module)
    _note_size(module)
    return module


def _note_size(module: Module) -> None:
    """Note what is beyond the constants of smaller engines."""
    numbers = (len(module.types), len(module.functions), module.global_count)
    listed = (len(module.imports), len(module.exports))
    names = [item.name for item in module.imports] + [item.name for item in module.exports]
    if max(numbers) > _MANY or max(listed) > _MANY_LISTED or max(map(len, names), default=0) > _LONG_NAME:
        module.features.add("large-module")
    if module.memories and module.memories[0].minimum > _LARGE_MEMORY_PAGES:
        module.features.add("large-memory")


def _read_types(module: Module) -> None:
    reader = module.reader(TYPE)
    for _ in range(reader.count() if reader else 0):
        assert reader is not None
        if reader.byte() != 0x60:
            raise BadModuleError("feature", "the module uses garbage collection types")
        params = reader.bytes(reader.unsigned())
        results = reader.bytes(reader.unsigned())
        for value_type in params + results:
            module.note_value_type(value_type)
        if len(results) > 1:
            module.features.add("multi-value")
        if len(params) + len(results) > _WIDE_TYPE:
            module.features.add("wide-types")
        module.types.append(FunctionType(params, results))


def _read_limit(reader: Reader, *, element: int = 0) -> LimitsOf:
    flags = reader.byte()
    if flags > 1:
        raise BadModuleError("feature", "the module uses shared or 64-bit memory")
    minimum = reader.unsigned()
    return LimitsOf(minimum, reader.unsigned() if flags & 1 else None, element)


def _read_imports(module: Module) -> None:
    reader = module.reader(IMPORT)
    for _ in range(reader.count() if reader else 0):
        assert reader is not None
        source, name, kind = reader.name(), reader.name(), reader.byte()
        if kind == 0:
            index = reader.unsigned()
            if index >= len(module.types):
                raise malformed("a type index is out of range")
            module.imports.append(Import(source, name, "function", module.types[index]))
            continue
        if kind == 1:
            reader.byte()
            _read_limit(reader)
        elif kind == 2:
            _read_limit(reader)
        elif kind == 3:
            reader.bytes(2)
        else:
            raise BadModuleError("feature", "the module imports what is no function, table, memory or global")
        module.imports.append(Import(source, name, _KINDS[kind]))


def _read_functions(module: Module) -> None:
    reader = module.reader(FUNCTION)
    for _ in range(reader.count() if reader else 0):
        assert reader is not None
        index = reader.unsigned()
        if index >= len(module.types):
            raise malformed("a type index is out of range")
        module.functions.append(index)


def _read_limits(module: Module) -> None:
    reader = module.reader(TABLE)
    for _ in range(reader.count() if reader else 0):
        assert reader is not None
        element = reader.byte()
        if element not in (0x70, 0x6F):
            raise BadModuleError("feature", "the module uses typed function references")
        module.tables.append(_read_limit(reader, element=element))
        if element == 0x6F or len(module.tables) > 1:
            module.features.add("reference-types")
    reader = module.reader(MEMORY)
    for _ in range(reader.count() if reader else 0):
        assert reader is not None
        module.memories.append(_read_limit(reader))


def _read_globals(module: Module) -> None:
    reader = module.reader(GLOBAL)
    for _ in range(reader.count() if reader else 0):
        assert reader is not None
        module.note_value_type(reader.byte())
        reader.byte()
        _constant(module, reader)
        module.global_count += 1


def _read_exports(module: Module) -> None:
    reader = module.reader(EXPORT)
    for _ in range(reader.count() if reader else 0):
        assert reader is not None
        name, kind = reader.name(), reader.byte()
        if kind >= len(_KINDS):
            raise BadModuleError("feature", "the module exports what is no function, table, memory or global")
        module.exports.append(Export(name, _KINDS[kind], reader.unsigned()))
    reader = module.reader(START)
    module.start = reader.unsigned() if reader else None


def _constant(module: Module, reader: Reader) -> int | None:
    """Read a constant expression. Return its value if it is an i32 that stands in the module."""
    stack: list[int | None] = []
    while True:
        opcode = reader.byte()
        if opcode == 0x0B:
            break
        if opcode == 0x43:
            module.note_f32(reader.bytes(4))
            stack.append(None)
        elif opcode in (0x41, 0x42):
            stack.append(reader.signed(32 if opcode == 0x41 else 64))
        elif opcode == 0x44:
            reader.bytes(8)
            stack.append(None)
        elif opcode == 0x23:  # global.get, of an imported global: those are refused
            reader.unsigned()
            stack.append(None)
        elif opcode == 0xD0:
            reader.signed(33)
            module.features.add("reference-types")
            stack.append(None)
        elif opcode == 0xD2:
            reader.unsigned()
            module.features.add("reference-types")
            stack.append(None)
        elif opcode == 0xFD and reader.unsigned() == 12:
            reader.bytes(16)
            module.features.add("simd")
            stack.append(None)
        elif opcode in _EXTENDED and len(stack) >= 2:
            module.features.add("extended-const")
            right, left = stack.pop(), stack.pop()
            stack.append(None if left is None or right is None else _EXTENDED[opcode](left, right))
        else:
            raise BadModuleError("feature", "the module has a constant expression of an unknown feature")
    return stack[0] & 0xFFFF_FFFF if len(stack) == 1 and stack[0] is not None else None


_EXTENDED = {
    0x6A: int.__add__,
    0x6B: int.__sub__,
    0x6C: int.__mul__,
    0x7C: int.__add__,
    0x7D: int.__sub__,
    0x7E: int.__mul__,
}


def _check_segments(module: Module) -> None:
    """Refuse active segments that do not lie inside, so that instantiating never fails."""
    reader = module.reader(DATA)
    for number in range(reader.count() if reader else 0):
        assert reader is not None
        flags = reader.unsigned()
        if flags in (1, 2):
            module.features.add("bulk-memory")
        if flags == 1:
            pass
        elif flags in (0, 2):
            if flags == 2 and reader.unsigned() != 0:
                raise BadModuleError("feature", "the module uses several memories")
        else:
            raise malformed("a data segment is of an unknown kind")
        offset = _constant(module, reader) if flags != 1 else None
        length = reader.unsigned()
        reader.bytes(length)
        size = module.memories[0].minimum * PAGE_BYTES if module.memories else 0
        if flags != 1 and (offset is None or offset + length > size):
            raise BadModuleError(
                "segment_out_of_bounds", f"data segment {number} does not lie inside the memory"
            )
    reader = module.reader(ELEMENT)
    for number in range(reader.count() if reader else 0):
        assert reader is not None
        _check_element(module, reader, number)


def _check_element(module: Module, reader: Reader, number: int) -> None:
    flags = reader.unsigned()
    if flags > 7:
        raise malformed("an element segment is of an unknown kind")
    active, explicit, expressions = not flags & 1, bool(flags & 2), bool(flags & 4)
    table = reader.unsigned() if active and explicit else 0
    offset = _constant(module, reader) if active else None
    if flags & 3:
        reader.byte()  # the element kind or reference type
    if not active:
        module.features.add("reference-types" if explicit else "bulk-memory")
    if expressions or table:
        module.features.add("reference-types")
    elif flags:
        module.features.add("bulk-memory")
    length = reader.count()
    for _ in range(length):
        if expressions:
            _constant(module, reader)
        else:
            reader.unsigned()
    if active and (table >= len(module.tables) or offset is None):
        raise BadModuleError(
            "segment_out_of_bounds", f"element segment {number} does not lie inside its table"
        )
    if active and offset is not None and offset + length > _MANY:
        module.features.add("large-module")
    if active and not table and offset is not None:
        module.table_filled = max(module.table_filled, offset + length)
    if active and offset is not None and offset + length > module.tables[table].minimum:
        raise BadModuleError(
            "segment_out_of_bounds", f"element segment {number} does not lie inside its table"
        )
