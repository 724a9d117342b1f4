"""The wasmtime engine: compiles ahead of time with Cranelift or Winch, or for its interpreter, Pulley."""

from __future__ import annotations

import errno
import functools
import importlib.metadata
import os
import platform
from typing import ClassVar, Literal

import attrs

from plasm_core import hookimpl
from plasm_core.plugins.interfaces import Runtime


@functools.cache
def wasmtime_version() -> str:
    """Return the version of the installed wasmtime."""
    return importlib.metadata.version("wasmtime")


@functools.cache
def allows_memory_files() -> bool:
    """Return whether memfd_create(2) works, which wasmtime needs for memory images: some containers deny it.

    A module that was compiled for images can only be loaded with images, so this is an option of the engine.
    """
    if not hasattr(os, "memfd_create"):
        return True
    try:
        os.close(os.memfd_create("probe", os.MFD_CLOEXEC))
    except OSError as exc:
        return exc.errno not in (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EINVAL)
    return True


@attrs.frozen(kw_only=True)
class WasmtimeRuntime(Runtime):
    """Runs modules on wasmtime. `target`: `native`, or `pulley64`, which is slower but needs no executable memory."""

    name: ClassVar[str] = "wasmtime"
    requires: ClassVar[tuple[str, ...]] = ("wasmtime",)
    install: ClassVar[str | None] = "pip install phase-plasm"
    entry: ClassVar[str] = "plasm_runtime_wasmtime.engine:WasmtimeEngine"
    compiles_ahead: ClassVar[bool] = True
    threads: ClassVar[bool] = True
    features: ClassVar[frozenset[str]] = frozenset(
        {
            "bulk-memory",
            "bulk-memory-opt",
            "bulk-table",
            "exceptions",
            "extended-const",
            "f32-bits",
            "files",
            "large-frames",
            "large-memory",
            "large-module",
            "multi-value",
            "nontrapping-float-to-int",
            "partial-table",
            "reference-types",
            "sign-extension",
            "simd",
            "tail-calls",
            "whole-memory",
            "wide-types",
        }
    )

    target: Literal["native", "pulley64"] = "native"

    def version(self) -> str:
        return wasmtime_version()

    def options(self) -> dict[str, object]:
        images = {} if allows_memory_files() else {"images": False}
        return {"target": self.target, "threads": True, **images}

    def quick(self) -> Runtime | None:
        return WinchTier() if self.target == "native" and platform.machine() == "x86_64" else None


@attrs.frozen(kw_only=True)
class WinchTier(WasmtimeRuntime):
    """wasmtime with Winch, which compiles five times as fast as Cranelift; the code is about half as fast.

    It is no runtime to configure: `plasm_core.first_run` uses it for the first runs of large modules.
    """

    canonical_nans: ClassVar[bool] = False
    features: ClassVar[frozenset[str]] = WasmtimeRuntime.features - {
        *("exceptions", "reference-types", "tail-calls")
    }

    def version(self) -> str:
        return f"{wasmtime_version()} winch"

    def options(self) -> dict[str, object]:
        return {**super().options(), "winch": True}

    def quick(self) -> Runtime | None:
        return None


@hookimpl
def plasm_runtime() -> list[type[Runtime]]:
    return [WasmtimeRuntime]
