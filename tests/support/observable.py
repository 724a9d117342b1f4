"""Metered modules that tests can look into: the guest's own exports, which no engine is given, exported again."""

from __future__ import annotations

from plasm_core.sandbox.metering.binary import Reader, sized, unsigned
from plasm_core.sandbox.metering.injected import MEMORY_EXPORT, START_FUNCTION
from plasm_core.sandbox.metering.module import EXPORT, KINDS, SECTION_ORDER
from plasm_core.sandbox.metering.rewrite import meter
from plasm_core.sandbox.metering.sections import read_module

_WRITTEN = {(START_FUNCTION, "function"), (MEMORY_EXPORT, "memory")}


def with_exports(code: bytes, exports: list[bytes]) -> bytes:
    """Add encoded exports to a module that has an export section."""
    module = read_module(code)
    start, end = module.sections[EXPORT]
    reader = Reader(code, start, end)
    count = reader.count()
    sections = {number: code[first:last] for number, (first, last) in module.sections.items()}
    sections[EXPORT] = unsigned(count + len(exports)) + code[reader.position : end] + b"".join(exports)
    present = [number for number in SECTION_ORDER if number in sections]
    return code[:8] + b"".join(bytes([number]) + sized(sections[number]) for number in present)


def metered(code: bytes, *, canonical_nans: bool = False) -> bytes:
    """Meter a module, and export again what it exported itself: its functions and globals keep their indices."""
    made = meter(code, canonical_nans=canonical_nans)
    return with_exports(
        made.code,
        [
            sized(item.name.encode()) + bytes([KINDS.index(item.kind)]) + unsigned(item.index)
            for item in made.module.exports
            if (item.name, item.kind) not in _WRITTEN
        ],
    )
