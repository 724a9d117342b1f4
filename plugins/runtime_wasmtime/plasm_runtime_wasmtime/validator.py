"""The module validator: wasmtime's, which compiles nothing."""

from __future__ import annotations

import importlib.metadata
from typing import ClassVar

import attrs

from plasm_core import hookimpl
from plasm_core.abc import Validator


@attrs.frozen(kw_only=True)
class WasmtimeValidator(Validator):
    """Accepts exactly the features that docs/determinism.md lists."""

    name: ClassVar[str] = "wasmtime"
    requires: ClassVar[tuple[str, ...]] = ("wasmtime",)
    install: ClassVar[str | None] = "pip install plasm"
    entry: ClassVar[str] = "plasm_runtime_wasmtime.validator:ModuleValidator"

    def version(self) -> str:
        return importlib.metadata.version("wasmtime")


class ModuleValidator:
    """Works in the child process that prepares modules."""

    def validate(self, module: bytes) -> None:
        """Raise ValueError unless the bytes are a valid module of the accepted features."""
        import wasmtime

        from plasm_runtime_wasmtime.settings import engine_config

        try:
            wasmtime.Module.validate(wasmtime.Engine(engine_config()), module)
        except wasmtime.WasmtimeError as exc:
            raise ValueError(str(exc)) from exc


@hookimpl
def plasm_validator() -> list[type[Validator]]:
    return [WasmtimeValidator]
