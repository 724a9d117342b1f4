"""Which compiler made a module, so that a hint names that compiler's flags only.

Compilers of LLVM and Go name themselves in the custom section `producers` (WebAssembly tool conventions). Emscripten
removes that section and AssemblyScript writes none: both are known by the names of their imports and exports.
"""

from __future__ import annotations

from plasm_core.errors import BadModuleError
from plasm_core.sandbox.metering.binary import Reader
from plasm_core.sandbox.metering.module import VALUE_TYPES, FunctionType, Import, Module

GO, RUST, ASSEMBLYSCRIPT, EMSCRIPTEN = ("Go",), ("rustc",), ("AssemblyScript",), ("Emscripten",)
C_COMPILERS = ("clang", "zig", "Emscripten")
"""The commands that call clang, which names itself alike in each."""

_LANGUAGES = {"Rust": RUST, "Go": GO}
_C_LANGUAGES = ("C", "ObjC")
_MAX_PRODUCERS = 64
_THROWING_PREFIXES = ("invoke_", "__cxa_", "llvm_eh_", "__resumeException")
_EMSCRIPTEN_PREFIXES = ("emscripten_", "_emscripten_", "__syscall_", *_THROWING_PREFIXES)
_EMSCRIPTEN_NAMES = frozenset({"setTempRet0", "getTempRet0"})
_EMSCRIPTEN_EXPORTS = frozenset({"stackSave", "stackRestore", "emscripten_stack_get_current"})
_MINIFIED = "a"
_GO_MODULES = frozenset({"go", "gojs"})
_I32 = next(code for code, name in VALUE_TYPES.items() if name == "i32")
_ASSEMBLYSCRIPT_ABORT = FunctionType(bytes([_I32] * 4), b"")


def compilers_of(module: Module) -> tuple[str, ...]:
    """Return the compilers that may have made a module, as `compiler_flags` names them; none if nothing tells."""
    if any(item.module in _GO_MODULES for item in module.imports):
        return GO
    if any(map(is_emscriptens, module.imports)) or _EMSCRIPTEN_EXPORTS.intersection(
        item.name for item in module.exports
    ):
        return EMSCRIPTEN
    if any(map(is_assemblyscripts, module.imports)):
        return ASSEMBLYSCRIPT
    return named_compilers(module.data)


def is_emscriptens(item: Import) -> bool:
    """Return whether an import is one that Emscripten writes for its JavaScript."""
    if item.module == _MINIFIED:
        return len(item.name) <= 2
    return item.module == "env" and (
        item.name.startswith(_EMSCRIPTEN_PREFIXES) or item.name in _EMSCRIPTEN_NAMES
    )


def throws(item: Import) -> bool:
    """Return whether an import of Emscripten's throws or catches by JavaScript."""
    return item.name.startswith(_THROWING_PREFIXES)


def is_assemblyscripts(item: Import) -> bool:
    """Return whether an import is one that AssemblyScript's library takes from JavaScript."""
    if item.module != "env":
        return False
    return "." in item.name or (item.name == "abort" and item.type == _ASSEMBLYSCRIPT_ABORT)


def named_compilers(data: bytes) -> tuple[str, ...]:
    """Return the compilers that a module's section `producers` names, none if it has none that can be read.

    The module need not be valid.
    """
    try:
        languages = _languages(Reader(data, 8))
    except BadModuleError:
        return ()
    for language, compilers in _LANGUAGES.items():
        if language in languages:  # such a program may have a C library inside
            return compilers
    return C_COMPILERS if any(name.startswith(_C_LANGUAGES) for name in languages) else ()


def _languages(reader: Reader) -> list[str]:
    """Return the languages that a module names. Raises: `BadModuleError` if its sections cannot be read."""
    while not reader.done:
        number, size = reader.byte(), reader.unsigned()
        end = reader.position + size
        if number == 0 and reader.name() == "producers":
            return _field(Reader(reader.data, reader.position, min(end, reader.end)), "language")
        reader.position = end
    return []


def _field(reader: Reader, wanted: str) -> list[str]:
    for _ in range(min(reader.count(), _MAX_PRODUCERS)):
        name = reader.name()
        values = []
        for _ in range(min(reader.count(), _MAX_PRODUCERS)):
            values.append(reader.name())
            reader.name()  # the version
        if name == wanted:
            return values
    return []
