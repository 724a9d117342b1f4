"""Data and element segments: what fills memory and tables, the active ones at instantiation."""

from __future__ import annotations

from plasm_core.errors import BadModuleError
from plasm_core.plugins.engine import PAGE_BYTES
from plasm_core.sandbox.metering.binary import Reader, malformed
from plasm_core.sandbox.metering.constant_expression import read_constant
from plasm_core.sandbox.metering.module import DATA, ELEMENT, Module


def check_segments(module: Module) -> None:
    """Refuse active segments beyond their memory or table, so that instantiation cannot fail.

    A module that imports its memory or a table is refused for that: the sizes of these are not known.

    Raises: `BadModuleError`.
    """
    imported = {item.kind for item in module.imports}
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
        offset = read_constant(module, reader) if flags != 1 else None
        length = reader.unsigned()
        reader.bytes(length)
        size = module.memories[0].minimum * PAGE_BYTES if module.memories else 0
        if "memory" not in imported and flags != 1 and (offset is None or offset + length > size):
            raise BadModuleError(
                "segment_out_of_bounds", f"data segment {number} does not lie inside the memory"
            )
    reader = module.reader(ELEMENT)
    for number in range(reader.count() if reader else 0):
        assert reader is not None
        _check_element(module, reader, number, table_imported="table" in imported)


def _check_element(module: Module, reader: Reader, number: int, *, table_imported: bool) -> None:
    flags = reader.unsigned()
    if flags > 7:
        raise malformed("an element segment is of an unknown kind")
    active, explicit, expressions = not flags & 1, bool(flags & 2), bool(flags & 4)
    table = reader.unsigned() if active and explicit else 0
    offset = read_constant(module, reader) if active else None
    if flags & 3:
        kind = reader.byte()
        if kind not in ((0x70, 0x6F) if expressions else (0x00,)):
            raise BadModuleError("feature", "the module uses typed function references")
    if not active:
        module.features.add("reference-types" if explicit else "bulk-table")
    if expressions or table:
        module.features.add("reference-types")
    elif flags:
        module.features.add("bulk-table")
    length = reader.count()
    for _ in range(length):
        if expressions:
            read_constant(module, reader)
        else:
            reader.unsigned()
    if not active or table_imported:
        return
    if table >= len(module.tables) or offset is None or offset + length > module.tables[table].minimum:
        raise BadModuleError(
            "segment_out_of_bounds", f"element segment {number} does not lie inside its table"
        )
    module.note_filled(table, offset + length)
