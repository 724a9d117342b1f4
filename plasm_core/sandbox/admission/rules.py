"""The rules that a valid module must meet in addition (docs/determinism.md, "The module")."""

from __future__ import annotations

from collections.abc import Iterator

from plasm_core.errors import BadModuleError
from plasm_core.plugins.engine import WASI_MODULE
from plasm_core.printable import cleaned
from plasm_core.sandbox.admission.compiler_flags import advice_against
from plasm_core.sandbox.admission.compilers import EMSCRIPTEN, compilers_of, is_assemblyscripts, throws
from plasm_core.sandbox.admission.entries import entries, is_entry, likely_entries
from plasm_core.sandbox.metering.injected import (
    INITIALIZE_FUNCTION,
    MEMORY_EXPORT,
    RESERVED_PREFIX,
    START_FUNCTION,
)
from plasm_core.sandbox.metering.module import Import, Module
from plasm_core.sandbox.wasi.abi import FUNCTIONS

_TYPES = {"i": 0x7F, "I": 0x7E}
_OWN = {"memory": "own-memory", "table": "own-table"}
_SHOWN_ENTRIES = 5


def violations(module: Module, entry: str | None = None) -> Iterator[BadModuleError]:
    """Yield an error for every rule that a module breaks. `entry`: the export to call in place of `_start`."""
    compilers = compilers_of(module)
    yield from _imports(module, compilers)
    yield from _exports(module)
    if entry is None:
        imports_fit = next(_imports(module, compilers), None) is None
        yield from _start(module, compilers, may_name_entry=imports_fit)
    else:
        yield from _entry(module, entry)
    yield from _memory(module, compilers)


def shown_name(name: str) -> str:
    """Return a name from a module, made printable and short, for a message."""
    return cleaned(
        name if len(name) <= 100 else name[:99] + "…", maximum=100, instead="\N{REPLACEMENT CHARACTER}"
    )


def _imports(module: Module, compilers: tuple[str, ...]) -> Iterator[BadModuleError]:
    for item in module.imports:
        name = f"{item.module}.{item.name}"
        if item.kind != "function":
            yield BadModuleError(
                "forbidden_import",
                f"the module imports the {item.kind} {shown_name(name)}",
                hint=_unlinked_hint(item) or _build(_OWN.get(item.kind, "wasi-imports"), compilers),
            )
        elif item.module != WASI_MODULE or item.name not in FUNCTIONS:
            yield BadModuleError(
                "forbidden_import",
                f"the module imports {shown_name(name)}, which is not there",
                hint=_import_hint(item, compilers),
            )
        elif item.type is not None:
            params, results = FUNCTIONS[item.name]
            expected = tuple(bytes(_TYPES[char] for char in types) for types in (params, results))
            if (item.type.params, item.type.results) != expected:
                yield BadModuleError(
                    "import_type",
                    f"the module imports {name} with the type {item.type}",
                    # Emscripten splits each i64 in two for JavaScript.
                    hint=_build("wasi-imports", EMSCRIPTEN) if compilers == EMSCRIPTEN else None,
                )


def _unlinked_hint(item: Import) -> str | None:
    """Return what to do with the output of a compiler that is no program yet (tool conventions, "Linking")."""
    if item.name == "__linear_memory":
        return "it is an object file: link it, as clang does without -c and rustc without --emit obj"
    if item.name in ("__memory_base", "__table_base"):
        return "it is a shared library: build it without -shared, or link it into a program"
    return None


def _import_hint(item: Import, compilers: tuple[str, ...]) -> str | None:
    """Return what removes an import, by the toolchain that writes imports of that name."""
    if item.module == "wasi_unstable":
        return "it was built for WASI preview 0: build it with a newer toolchain"
    if item.module in ("go", "gojs"):
        return "it was built for a browser: build it with GOOS=wasip1 GOARCH=wasm"
    if item.module == "wasi" and item.name == "thread-spawn":
        return _build("threads", compilers)
    if item.module.startswith(("wbg", "__wbindgen", "./")):
        return "it was built for JavaScript: build it for wasm32-wasip1, without wasm-bindgen"
    if compilers == EMSCRIPTEN and throws(item):
        return (
            "it throws by JavaScript: build it with Emscripten's -sSTANDALONE_WASM, and -fwasm-exceptions "
            "-sWASM_LEGACY_EXCEPTIONS=0 in place of -fexceptions"
        )
    if compilers == EMSCRIPTEN:
        return "it was built for JavaScript: build it with Emscripten's -sSTANDALONE_WASM"
    if item.name == "abort" and is_assemblyscripts(item):
        return f"{_build('wasi-imports', compilers)}; or with --use abort= if this is the only such import"
    return _build("wasi-imports", compilers)


def _build(feature: str, compilers: tuple[str, ...]) -> str | None:
    """Return the flags against a feature as a hint, those of the module's compilers if they are known."""
    advice = advice_against([feature], compilers)
    return None if advice is None else f"build it with {advice}"


def _exports(module: Module) -> Iterator[BadModuleError]:
    for item in module.exports:
        if item.name.startswith(RESERVED_PREFIX):
            yield BadModuleError(
                "reserved_name", f"the module exports {shown_name(item.name)}, a name that is reserved"
            )


def _memory(module: Module, compilers: tuple[str, ...]) -> Iterator[BadModuleError]:
    if not module.memories or module.exported(MEMORY_EXPORT, "memory") is None:
        yield BadModuleError(
            "no_memory",
            "the module exports no memory of its own as memory",
            hint=_build("own-memory", compilers),
        )


def _start(module: Module, compilers: tuple[str, ...], *, may_name_entry: bool) -> Iterator[BadModuleError]:
    """Yield what is wrong with `_start`. `may_name_entry`: nothing but `_start` is missing for a job with an entry."""
    start = module.exported(START_FUNCTION, "function")
    if start is None:
        found = likely_entries(module) if may_name_entry else []
        build = f"build a command, not a library or reactor: {advice_against(['no-start'], compilers)}"
        named = f"name the function to call: {_named(found)}"
        yield BadModuleError(
            "no_start",
            "the module exports no function _start",
            hint=build if not found else f"{named}; or {build}" if compilers else named,
        )
    else:
        kind = module.function_type(start.index)
        if kind.params or kind.results:
            yield BadModuleError("start_type", f"_start has the type {kind}, not () → ()")


def _entry(module: Module, entry: str) -> Iterator[BadModuleError]:
    export = module.exported(entry, "function")
    if export is None:
        found = entries(module)
        yield BadModuleError(
            "no_entry",
            f"the module exports no function {shown_name(entry)}",
            hint=f"it has {_named(found)}"
            if found
            else "it has no function that could be one: see plasm inspect",
        )
    elif not is_entry(module, export):
        kind = module.function_type(export.index)
        yield BadModuleError(
            "entry_type", f"{shown_name(entry)} has the type {kind}, not () → () or () → i32"
        )
    initialize = module.exported(INITIALIZE_FUNCTION, "function")
    if initialize is not None:
        kind = module.function_type(initialize.index)
        if kind.params or kind.results:
            yield BadModuleError("entry_type", f"{INITIALIZE_FUNCTION} has the type {kind}, not () → ()")


def _named(names: list[str]) -> str:
    """Return some names of entries as options, for a message."""
    shown = " or ".join(f"--entry {shown_name(name)}" for name in names[:_SHOWN_ENTRIES])
    return shown if len(names) <= _SHOWN_ENTRIES else f"{shown} or another one that plasm inspect lists"
