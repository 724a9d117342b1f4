"""A WebAssembly module but for its code: types, imports, exports, memory, tables, and the features it uses."""

from __future__ import annotations

import itertools

import attrs

from plasm_core.errors import BadModuleError
from plasm_core.sandbox.metering.binary import Reader, malformed

MAGIC = b"\0asm"
VERSION = b"\x01\0\0\0"

TYPE, IMPORT, FUNCTION, TABLE, MEMORY, GLOBAL, EXPORT, START, ELEMENT, CODE, DATA, DATA_COUNT, TAG = range(
    1, 14
)
SECTION_ORDER = (
    TYPE,
    IMPORT,
    FUNCTION,
    TABLE,
    MEMORY,
    TAG,
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
    0x69: "exnref",
}
EXNREF = 0x69
KINDS = ("function", "table", "memory", "global", "tag")
"""What can be imported and exported, each at the place that is its number."""

# Beyond these a module has a feature that not every engine has: see docs/determinism.md.
_WIDE_TYPE = 400
_MANY, _MANY_LISTED, _LONG_NAME_BYTES = 100_000, 10_000, 10_000
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
    """One import. `type` and its index are set for functions."""

    module: str
    name: str
    kind: str
    type: FunctionType | None = None
    type_index: int = 0


@attrs.frozen
class Export:
    """One export."""

    name: str
    kind: str
    index: int


@attrs.frozen
class LimitsOf:
    """A memory's limits in pages of 64 KiB, or a table's in elements, with the type of its elements."""

    minimum: int
    maximum: int | None
    element: int = 0


@attrs.define
class Module:
    """A parsed module. `sections` maps a section's number to its (start, end) in `data`."""

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
    tags: list[int] = attrs.field(factory=list)
    """The type index of each exception tag."""
    imported_functions: list[int] = attrs.field(factory=list)
    """The type indices of the imported functions, which come first in the function index space."""
    memory_grows: bool = False
    """Whether code that can be reached grows the memory; known when it has been rewritten."""
    table_filled: int = 0
    """Where the active segments of the first table end."""

    def function_type(self, index: int) -> FunctionType:
        """Return the type of a function by its index. Raises: `BadModuleError`."""
        imported = len(self.imported_functions)
        try:
            if index < imported:
                return self.types[self.imported_functions[index]]
            return self.types[self.functions[index - imported]]
        except IndexError:
            raise malformed("a function index is out of range") from None

    def exported(self, name: str, kind: str) -> Export | None:
        """Return the export with a name and kind, None if there is none."""
        return next((item for item in self.exports if item.name == name and item.kind == kind), None)

    def note_size(self) -> None:
        """Record the features `large-…` for sizes beyond the limits of smaller engines."""
        numbers = (len(self.types), len(self.functions), self.global_count)
        listed = (len(self.imports), len(self.exports))
        names = (item.name for item in itertools.chain[Import | Export](self.imports, self.exports))
        longest_bytes = max((len(name.encode()) for name in names), default=0)
        if max(numbers) > _MANY or max(listed) > _MANY_LISTED or longest_bytes > _LONG_NAME_BYTES:
            self.features.add("large-module")
        if self.memories and self.memories[0].minimum > _LARGE_MEMORY_PAGES:
            self.features.add("large-memory")

    def note_function_type(self, kind: FunctionType) -> None:
        """Record the features of a function type."""
        for value_type in kind.params + kind.results:
            self.note_value_type(value_type)
        if len(kind.results) > 1:
            self.features.add("multi-value")
        if len(kind.params) + len(kind.results) > _WIDE_TYPE:
            self.features.add("wide-types")

    def note_value_type(self, value_type: int) -> None:
        """Record the feature of a value type. Raises: `BadModuleError` for one that is not in `VALUE_TYPES`.

        A reference type has a long form, too, of two bytes or more: read as one, what follows would be misread.
        """
        if value_type in (0x6F, 0x70):
            self.features.add("reference-types")
        elif value_type == 0x7B:
            self.features.add("simd")
        elif value_type == EXNREF:
            self.features.add("exceptions")
        elif value_type not in VALUE_TYPES:
            raise BadModuleError(
                "feature", "the module uses typed function references or types of garbage collection"
            )

    def note_f32(self, data: bytes) -> None:
        """Record the feature for an f32 constant that is a signalling NaN, which not every engine keeps."""
        bits = int.from_bytes(data, "little")
        if bits & 0x7FC0_0000 == 0x7F80_0000 and bits & 0x003F_FFFF:
            self.features.add("f32-bits")

    def note_filled(self, table: int, end: int) -> None:
        """Record the end of an active element segment in a table."""
        if end > _MANY:
            self.features.add("large-module")
        if not table:
            self.table_filled = max(self.table_filled, end)

    def note_call_indirect(self, table: int) -> None:
        """Record the features of an indirect call:

        `reference-types` for a table but the first, `partial-table` if its end is empty.

        wasm3 drops the empty end of a table.
        """
        if table:
            self.features.add("reference-types")
        elif self.tables and self.tables[0].minimum > self.table_filled:
            self.features.add("partial-table")

    def reader(self, section: int) -> Reader | None:
        """Return a reader over a section's payload, or None."""
        bounds = self.sections.get(section)
        return None if bounds is None else Reader(self.data, *bounds)
