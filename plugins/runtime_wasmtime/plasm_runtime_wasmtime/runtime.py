"""The wasmtime engine: compiles ahead of time with Cranelift, or for its interpreter, Pulley."""

from __future__ import annotations

import functools
import importlib.metadata
from typing import ClassVar, Literal

import attrs

from plasm_core import hookimpl
from plasm_core.abc import Runtime


@functools.cache
def wasmtime_version() -> str:
    """Return the version of the installed wasmtime."""
    return importlib.metadata.version("wasmtime")


@attrs.frozen(kw_only=True)
class WasmtimeRuntime(Runtime):
    """`target`: `native`, or `pulley64`, which is slower but needs no memory that is writable and executable."""

    name: ClassVar[str] = "wasmtime"
    requires: ClassVar[tuple[str, ...]] = ("wasmtime",)
    install: ClassVar[str | None] = "pip install phase-plasm"
    entry: ClassVar[str] = "plasm_runtime_wasmtime.engine:WasmtimeEngine"
    features: ClassVar[frozenset[str]] = frozenset(
        {
            "bulk-memory",
            "extended-const",
            "f32-bits",
            "large-frames",
            "large-memory",
            "large-module",
            "multi-value",
            "nontrapping-float-to-int",
            "partial-table",
            "reference-types",
            "sign-extension",
            "simd",
            "whole-memory",
            "wide-types",
        }
    )

    target: Literal["native", "pulley64"] = "native"

    def version(self) -> str:
        return wasmtime_version()

    def options(self) -> dict[str, object]:
        return {"target": self.target}


@hookimpl
def plasm_runtime() -> list[type[Runtime]]:
    return [WasmtimeRuntime]
