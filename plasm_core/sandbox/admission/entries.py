"""The exported functions of a module that a job can name as its entry, and a `_start` that does nothing."""

from __future__ import annotations

from plasm_core.records.manifest import entry_name
from plasm_core.sandbox.metering import module as wasm
from plasm_core.sandbox.metering.binary import Reader
from plasm_core.sandbox.metering.injected import START_FUNCTION

_I32 = b"\x7f"
_RUNTIME_PREFIXES = ("__", "emscripten_", "_emscripten_")
_RUNTIME = frozenset({"stackSave", "fflush", "getTempRet0", "getsp", "resume"})
"""What Emscripten, and Go for browsers, export for their JavaScript."""
_NAMES = entry_name()
_CONSTRUCTORS = "__wasm_call_ctors"
_END, _NOP, _RETURN, _CALL = 0x0B, 0x01, 0x0F, 0x10
_MAX_FUNCTIONS, _MAX_INSTRUCTIONS = 32, 64


def is_entry(module: wasm.Module, export: wasm.Export) -> bool:
    """Return whether a job can name an export as its entry. Raises: `BadModuleError`."""
    if export.kind != "function" or not _NAMES.accepts(export.name):
        return False
    kind = module.function_type(export.index)
    return not kind.params and kind.results in (b"", _I32)


def entries(module: wasm.Module) -> list[str]:
    """Return the names of all functions that a job can name as its entry, without the linker's own. Raises:
    `BadModuleError`.
    """
    return [item.name for item in module.exports if item.name != _CONSTRUCTORS and is_entry(module, item)]


def likely_entries(module: wasm.Module) -> list[str]:
    """Return the entries without those that compilers export for their own runtime. Raises: `BadModuleError`."""
    return [
        name for name in entries(module) if not name.startswith(_RUNTIME_PREFIXES) and name not in _RUNTIME
    ]


def start_is_empty(module: wasm.Module) -> bool:
    """Return whether `_start` does nothing but call functions that do nothing. Raises: `BadModuleError`."""
    start = module.exported(START_FUNCTION, "function")
    if start is None:
        return False
    imported, bodies = len(module.imported_functions), _bodies(module)
    seen = {start.index}
    waiting = [start.index]
    while waiting:
        index = waiting.pop()
        kind = module.function_type(index)
        if index < imported or index - imported >= len(bodies) or kind.params or kind.results:
            return False
        called = _only_calls(Reader(module.data, *bodies[index - imported]))
        if called is None or len(seen) > _MAX_FUNCTIONS:
            return False
        waiting += called - seen
        seen |= called
    return True


def _bodies(module: wasm.Module) -> list[tuple[int, int]]:
    """Return where each function's code begins and ends."""
    reader = module.reader(wasm.CODE)
    found: list[tuple[int, int]] = []
    if reader is not None:
        for _ in range(reader.count()):
            size = reader.unsigned()
            found.append((reader.position, reader.position + size))
            reader.position += size
    return found


def _only_calls(code: Reader) -> set[int] | None:
    """Return the functions that a function calls, or None if it does anything else."""
    for _ in range(code.count()):  # the number of groups of locals
        code.unsigned()
        code.byte()
    called: set[int] = set()
    for _ in range(_MAX_INSTRUCTIONS):
        opcode = code.byte()
        if opcode in (_END, _RETURN):
            return called
        if opcode == _CALL:
            called.add(code.unsigned())
        elif opcode != _NOP:
            return None
    return None
