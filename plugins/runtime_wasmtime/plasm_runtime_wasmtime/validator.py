"""The module validator: wasmtime's, which compiles nothing."""

from __future__ import annotations

from typing import ClassVar

import attrs

from plasm_core import hookimpl
from plasm_core.plugins.engine import Instance
from plasm_core.plugins.interfaces import Validator
from plasm_runtime_wasmtime.runtime import wasmtime_version


@attrs.frozen(kw_only=True)
class WasmtimeValidator(Validator):
    """Accepts exactly the features that docs/determinism.md lists."""

    name: ClassVar[str] = "wasmtime"
    requires: ClassVar[tuple[str, ...]] = ("wasmtime",)
    install: ClassVar[str | None] = "pip install phase-plasm"
    entry: ClassVar[str] = "plasm_runtime_wasmtime.validator:ModuleValidator"

    def version(self) -> str:
        return wasmtime_version()


class ModuleValidator:
    """The validator in the child process that prepares modules. It loads the library only there."""

    def __init__(self) -> None:
        from plasm_runtime_wasmtime import library

        self._library = library
        self._engine = library.new_engine()

    def instantiate(self, module: bytes) -> Instance:
        """Compile and instantiate a module of Plasm's own, which imports nothing."""
        from plasm_runtime_wasmtime.engine import WasmtimeEngine

        engine = WasmtimeEngine()
        return engine.load(engine.compile(module)).instantiate({})

    def validate(self, module: bytes) -> None:
        """Raise ValueError unless the bytes are a valid module of the accepted features."""
        library = self._library
        try:
            library.raise_error(library.lib.wasmtime_module_validate(self._engine, module, len(module)))
        except library.WasmtimeError as exc:
            raise ValueError(str(exc)) from exc


@hookimpl
def plasm_validator() -> list[type[Validator]]:
    return [WasmtimeValidator]
