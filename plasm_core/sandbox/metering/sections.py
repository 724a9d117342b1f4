"""Reads the sections of a WebAssembly binary, but for code and data, into a `Module`.

It expects a validated module, but raises nothing worse than `BadModuleError` on any other bytes.
"""

from __future__ import annotations

from plasm_core.errors import BadModuleError
from plasm_core.sandbox.metering.binary import Reader, malformed
from plasm_core.sandbox.metering.constant_expression import read_constant
from plasm_core.sandbox.metering.module import (
    EXNREF,
    EXPORT,
    FUNCTION,
    GLOBAL,
    IMPORT,
    KINDS,
    MAGIC,
    MEMORY,
    SECTION_ORDER,
    START,
    TABLE,
    TAG,
    TYPE,
    VERSION,
    Export,
    FunctionType,
    Import,
    LimitsOf,
    Module,
)
from plasm_core.sandbox.metering.segments import check_segments

_COMPONENT_LAYER = b"\x01\0"
_PROGRAMS = (b"\x7fELF", b"\xcf\xfa\xed\xfe")
_WINDOWS_PROGRAM = b"MZ"
MAX_TAG_VALUES = 16
_NUMBERS = b"\x7f\x7e\x7d\x7c\x7b"


def check_preamble(data: bytes) -> None:
    """Refuse bytes that are not a core module; the error names what they are. Raises: `BadModuleError`."""
    if not data:
        raise BadModuleError("not_wasm", "the module is empty")
    if data[:4] != MAGIC:
        hint = None
        if data.lstrip()[:7] == b"(module" or data.lstrip()[:2] == b";;":
            hint = "this is WebAssembly text: convert it with wat2wasm"
        elif data[:4] in _PROGRAMS or data[:2] == _WINDOWS_PROGRAM:
            hint = "this is a program for a processor: build it for wasm32-wasip1"
        raise BadModuleError("not_wasm", "not a WebAssembly module: it does not begin with \\0asm", hint=hint)
    if data[6:8] == _COMPONENT_LAYER:
        raise BadModuleError(
            "component",
            "a WebAssembly component, not a core module",
            hint="build it as a core module for wasm32-wasip1, not for wasm32-wasip2 or by wasm-tools component new",
        )
    if len(data) < 8:
        raise BadModuleError("truncated", "the module is cut short")
    if data[4:8] != VERSION:
        raise BadModuleError("version", "not version 1 of the WebAssembly binary format")


def read_module(data: bytes) -> Module:
    """Parse all sections except code and data. Raises: `BadModuleError`."""
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
    _read_tags(module)
    _read_globals(module)
    _read_exports(module)
    check_segments(module)
    module.note_size()
    return module


def _read_types(module: Module) -> None:
    reader = module.reader(TYPE)
    for _ in range(reader.count() if reader else 0):
        assert reader is not None
        if reader.byte() != 0x60:
            raise BadModuleError("feature", "the module uses garbage collection types")
        params = reader.bytes(reader.unsigned())
        kind = FunctionType(params, reader.bytes(reader.unsigned()))
        module.note_function_type(kind)
        module.types.append(kind)


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
            module.imports.append(Import(source, name, "function", module.types[index], index))
            module.imported_functions.append(index)
            continue
        if kind == 1:
            reader.byte()
            _read_limit(reader)
        elif kind == 2:
            _read_limit(reader)
        elif kind == 3:
            reader.bytes(2)
        elif kind == 4:
            reader.byte()
            reader.unsigned()
        else:
            raise BadModuleError(
                "feature", "the module imports what is no function, table, memory, global or tag"
            )
        module.imports.append(Import(source, name, KINDS[kind]))


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


def _read_tags(module: Module) -> None:
    reader = module.reader(TAG)
    for _ in range(reader.count() if reader else 0):
        assert reader is not None
        if reader.byte() != 0:
            raise BadModuleError("feature", "the module has a tag that is of no exception")
        index = reader.unsigned()
        if index >= len(module.types):
            raise malformed("a type index is out of range")
        params = module.types[index].params
        # References would allow chains of exceptions, and long payloads large ones: memory that no limit counts.
        if len(params) > MAX_TAG_VALUES or params.strip(_NUMBERS):
            raise BadModuleError(
                "feature", f"the module has a tag of more than {MAX_TAG_VALUES} values or with a reference"
            )
        module.tags.append(index)
        module.features.add("exceptions")


def _read_globals(module: Module) -> None:
    reader = module.reader(GLOBAL)
    for _ in range(reader.count() if reader else 0):
        assert reader is not None
        value_type = reader.byte()
        module.note_value_type(value_type)
        if value_type == EXNREF:
            raise BadModuleError("feature", "the module keeps an exception in a global")
        reader.byte()
        read_constant(module, reader)
        module.global_count += 1


def _read_exports(module: Module) -> None:
    reader = module.reader(EXPORT)
    for _ in range(reader.count() if reader else 0):
        assert reader is not None
        name, kind = reader.name(), reader.byte()
        if kind >= len(KINDS):
            raise BadModuleError(
                "feature", "the module exports what is no function, table, memory, global or tag"
            )
        module.exports.append(Export(name, KINDS[kind], reader.unsigned()))
    reader = module.reader(START)
    module.start = reader.unsigned() if reader else None
