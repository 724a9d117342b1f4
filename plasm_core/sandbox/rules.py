"""The rules a module must meet beside being valid (docs/determinism.md, "The module")."""

from __future__ import annotations

from collections.abc import Iterator

from plasm_core.engine import WASI_MODULE
from plasm_core.errors import BadModuleError
from plasm_core.printable import cleaned
from plasm_core.sandbox.injected import MEMORY_EXPORT, RESERVED_PREFIX, START_FUNCTION
from plasm_core.sandbox.module import Module
from plasm_core.sandbox.wasi.abi import FUNCTIONS

_TYPES = {"i": 0x7F, "I": 0x7E}


def violations(module: Module) -> Iterator[BadModuleError]:
    """Tell every rule that a module breaks, as the errors that would refuse it."""
    yield from _imports(module)
    yield from _exports(module)


def shown_name(name: str) -> str:
    """Return a stranger's name as a message can carry it: printable and short."""
    return cleaned(
        name if len(name) <= 100 else name[:99] + "…", maximum=100, instead="\N{REPLACEMENT CHARACTER}"
    )


def _imports(module: Module) -> Iterator[BadModuleError]:
    for item in module.imports:
        name = f"{item.module}.{item.name}"
        if item.kind != "function":
            yield BadModuleError("forbidden_import", f"the module imports the {item.kind} {shown_name(name)}")
        elif item.module != WASI_MODULE or item.name not in FUNCTIONS:
            hint = None
            if item.module == "wasi_unstable":
                hint = "it was built for WASI preview 0: build it with a newer toolchain"
            yield BadModuleError(
                "forbidden_import", f"the module imports {shown_name(name)}, which is not there", hint=hint
            )
        elif item.type is not None:
            params, results = FUNCTIONS[item.name]
            expected = tuple(bytes(_TYPES[char] for char in types) for types in (params, results))
            if (item.type.params, item.type.results) != expected:
                yield BadModuleError("import_type", f"the module imports {name} with the type {item.type}")


def _exports(module: Module) -> Iterator[BadModuleError]:
    for item in module.exports:
        if item.name.startswith(RESERVED_PREFIX):
            yield BadModuleError(
                "reserved_name", f"the module exports {shown_name(item.name)}, a name that is reserved"
            )
    start = module.exported(START_FUNCTION, "function")
    if start is None:
        yield BadModuleError(
            "no_start",
            "the module exports no function _start",
            hint="build a command, not a library or reactor",
        )
    else:
        kind = module.function_type(start.index)
        if kind.params or kind.results:
            yield BadModuleError("start_type", f"_start has the type {kind}, not () → ()")
    if not module.memories or module.exported(MEMORY_EXPORT, "memory") is None:
        yield BadModuleError("no_memory", "the module exports no memory of its own as memory")
