"""Lowers a metered module: for an engine without some features, the same module without them.

The module is metered before it is lowered, so that gas, stack and limits are those of the original. What
can be lowered, by feature (docs/determinism.md, "Features"):

- `extended-const`: each constant expression becomes the constant that it comes to.
- `bulk-memory`: passive data segments become functions (`passive_data`); `memory.copy` and `memory.fill` stay.
- `multi-value`: the values that blocks take and give, and branches carry, go through locals.
- `f32-bits`: an f32 that is only moved is the i32 of its bits; arithmetic makes floats of the bits and back (`types`).
- `partial-table`: each indirect call is preceded by a check for the table's empty end.
"""

from __future__ import annotations

from collections.abc import Set

from plasm_core.sandbox.lowering.function_body import FunctionLowering
from plasm_core.sandbox.lowering.passive_data import init_body, piece_bodies
from plasm_core.sandbox.lowering.types import F32, I32, LoweredType, lowered_types
from plasm_core.sandbox.metering import module as wasm
from plasm_core.sandbox.metering.binary import Reader, malformed, signed, sized, unsigned, vector
from plasm_core.sandbox.metering.constant_expression import constant_value
from plasm_core.sandbox.metering.injected import FAULT_GLOBAL, FAULT_NULL_CALL
from plasm_core.sandbox.metering.sections import read_module

LOWERABLE = frozenset({"bulk-memory", "extended-const", "f32-bits", "multi-value", "partial-table"})
_NEVER_BESIDE = frozenset({"bulk-table", "reference-types", "simd"})
"""No engine that needs anything lowered has these: a module with one of them is left as it is."""

_I64 = 0x7E


def lower(code: bytes, features: Set[str], lowered: Set[str]) -> bytes:
    """Return metered code with those of its module's `features` lowered that are in `lowered`.

    Raises: `BadModuleError`.
    """
    wanted = features & lowered & LOWERABLE
    if not wanted or features & _NEVER_BESIDE:
        return code
    try:
        return _ModuleLowering(read_module(code), wanted, features).lowered()
    except IndexError:
        raise malformed("the code ends too early") from None


class _ModuleLowering:
    def __init__(self, module: wasm.Module, wanted: Set[str], features: Set[str]) -> None:
        self._module = module
        self._bulk = "bulk-memory" in wanted
        self._partial = "partial-table" in wanted
        self.f32 = "f32-bits" in wanted
        # The type of a block may be an index: its f32 parameters and results are held in locals.
        self.control = "multi-value" in wanted or (self.f32 and "multi-value" in features)
        self.original_types = module.types
        self.types = (
            lowered_types(module.types)
            if self.f32
            else [LoweredType(item.params, item.results) for item in module.types]
        )
        self.function_types = module.imported_functions + module.functions
        self.adds_parameters = any(item.added for item in self.types)
        self._new_types: list[bytes] = []
        self._new_functions: list[tuple[int, bytes]] = []
        self._new_globals: list[bytes] = []
        self._segments: list[tuple[bool, bytes]] = []
        """Each data segment: whether it is passive, and its bytes."""
        self._lengths: dict[int, bytes] = {}
        self._inits: dict[int, bytes] = {}
        self._table_check: bytes | None = None

    # -- what functions ask for

    def init_function(self, segment: int) -> bytes:
        if segment not in self._inits:
            passive, data = self._segment(segment)
            piece = None
            if passive and data:
                first = len(self.function_types) + len(self._new_functions)
                for body in piece_bodies(data, first):
                    piece = self._add_function(b"\x7f", b"\x7e", body)
            body = init_body(self._length(segment), piece)
            self._inits[segment] = self._add_function(b"\x7f\x7f\x7f", b"", body)
        return self._inits[segment]

    def drop_segment(self, segment: int) -> bytes:
        passive, _ = self._segment(segment)
        if not passive:  # dropped when the module was instantiated
            return b""
        return b"\x41\x00\x24" + self._length_global(segment)

    def table_check(self, table: int) -> bytes:
        if not self._partial or table or not self._module.tables:
            return b""
        if self._table_check is None:
            fault = self._module.exported(FAULT_GLOBAL, "global")
            if fault is None:
                raise malformed("the module is not metered")
            filled, size = self._module.table_filled, self._module.tables[0].minimum
            body = (
                (b"\x00\x20\x00\x41" + signed(filled) + b"\x4f\x20\x00\x41" + signed(size) + b"\x49\x71")
                + (b"\x04\x40\x41" + signed(FAULT_NULL_CALL) + b"\x24" + unsigned(fault.index))
                + b"\x00\x0b\x20\x00\x0b"
            )
            self._table_check = b"\x10" + self._add_function(b"\x7f", b"\x7f", body)
        return self._table_check

    def _segment(self, number: int) -> tuple[bool, bytes]:
        try:
            return self._segments[number]
        except IndexError:
            raise malformed("a data segment's index is out of range") from None

    def _length(self, segment: int) -> bytes:
        passive, _ = self._segments[segment]
        return b"\x23" + self._length_global(segment) if passive else b"\x41\x00"

    def _length_global(self, segment: int) -> bytes:
        if segment not in self._lengths:
            _, data = self._segments[segment]
            self._new_globals.append(bytes((I32, 1)) + b"\x41" + signed(len(data)) + b"\x0b")
            number = self._module.global_count + len(self._new_globals) - 1
            self._lengths[segment] = unsigned(number)
        return self._lengths[segment]

    def _add_function(self, params: bytes, results: bytes, body: bytes) -> bytes:
        """Add a function, return its encoded index."""
        encoded = b"\x60" + sized(params) + sized(results)
        if encoded not in self._new_types:
            self._new_types.append(encoded)
        self._new_functions.append((len(self.types) + self._new_types.index(encoded), sized(body)))
        return unsigned(len(self.function_types) + len(self._new_functions) - 1)

    # -- sections

    def lowered(self) -> bytes:
        module = self._module
        sections = {number: module.data[start:end] for number, (start, end) in module.sections.items()}
        data = self._data()
        bodies = self._bodies()  # adds types, functions and globals
        types = [b"\x60" + sized(item.params) + sized(item.results) for item in self.types]
        sections[wasm.TYPE] = vector(types + self._new_types)
        type_indices = module.functions + [type_index for type_index, _ in self._new_functions]
        sections[wasm.FUNCTION] = vector([unsigned(index) for index in type_indices])
        sections[wasm.CODE] = vector(bodies + [body for _, body in self._new_functions])
        sections[wasm.GLOBAL] = vector(self._globals() + self._new_globals)
        if wasm.ELEMENT in sections:
            sections[wasm.ELEMENT] = self._elements()
        if wasm.DATA in sections and data is not None:
            sections[wasm.DATA] = data
            sections.pop(wasm.DATA_COUNT, None)
        present = [number for number in wasm.SECTION_ORDER if number in sections]
        return (
            wasm.MAGIC
            + wasm.VERSION
            + b"".join(bytes((number,)) + sized(sections[number]) for number in present)
        )

    def _bodies(self) -> list[bytes]:
        reader = self._module.reader(wasm.CODE)
        bodies = []
        for type_index in self._module.functions[: reader.count() if reader else 0]:
            assert reader is not None
            size = reader.unsigned()
            body = Reader(reader.data, reader.position, reader.position + size)
            reader.bytes(size)
            bodies.append(sized(FunctionLowering(self, type_index, body).lowered()))
        return bodies

    def _constant(self, reader: Reader, value_type: int) -> bytes:
        """Read a constant expression, return it lowered with its end."""
        start = reader.position
        value = constant_value(self._module, reader)
        if value_type == F32 and self.f32 and reader.data[start] == 0x43:
            bits = int.from_bytes(reader.data[start + 1 : start + 5], "little", signed=True)
            return b"\x41" + signed(bits) + b"\x0b"
        if value is None or value_type not in (I32, _I64):
            return reader.data[start : reader.position]
        bits_of = 32 if value_type == I32 else 64
        value &= (1 << bits_of) - 1
        code = b"\x41" if value_type == I32 else b"\x42"
        return code + signed(value - (1 << bits_of) if value >> (bits_of - 1) else value) + b"\x0b"

    def _globals(self) -> list[bytes]:
        reader = self._module.reader(wasm.GLOBAL)
        found = []
        for _ in range(reader.count() if reader else 0):
            assert reader is not None
            value_type, mutable = reader.byte(), reader.byte()
            constant = self._constant(reader, value_type)
            lowered = I32 if self.f32 and value_type == F32 else value_type
            found.append(bytes((lowered, mutable)) + constant)
        return found

    def _data(self) -> bytes | None:
        """Return the active segments, all of the plain form, and remember all."""
        reader = self._module.reader(wasm.DATA)
        if reader is None:
            return None
        active = []
        for _ in range(reader.count()):
            flags = reader.unsigned()
            if flags == 2:
                reader.unsigned()
            constant = self._constant(reader, I32) if flags != 1 else None
            data = reader.bytes(reader.unsigned())
            self._segments.append((constant is None, data))
            if constant is not None:
                active.append(b"\x00" + constant + sized(data))
            elif not self._bulk:
                return None
        return vector(active)

    def _elements(self) -> bytes:
        """Return the element segments, each of the plain form: the others belong to features that exclude lowering."""
        reader = self._module.reader(wasm.ELEMENT)
        segments = []
        for _ in range(reader.count() if reader else 0):
            assert reader is not None
            if reader.unsigned():
                raise malformed("an element segment of a feature that was not noted")
            constant = self._constant(reader, I32)
            elements = [unsigned(reader.unsigned()) for _ in range(reader.count())]
            segments.append(b"\x00" + constant + vector(elements))
        return vector(segments)
