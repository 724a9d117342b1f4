"""The runtime `v8`: a second engine for what today's compilers emit, quick to start."""

from __future__ import annotations

import functools
import importlib.metadata
from typing import ClassVar

import attrs

from plasm_core import hookimpl
from plasm_core.plugins.interfaces import Runtime
from plasm_core.records.fields import boolean, constrained


@functools.cache
def _version() -> str:
    return importlib.metadata.version("mini-racer")


@attrs.frozen(kw_only=True)
class V8Runtime(Runtime):
    """Runs modules on V8, which compiles functions at their first call and optimises frequent ones.

    `strangers`: allow a lending daemon to run strangers' jobs on it, although its workers can make executable
    memory while a guest runs (docs/security.md).
    """

    name: ClassVar[str] = "v8"
    requires: ClassVar[tuple[str, ...]] = ("py_mini_racer",)
    install: ClassVar[str | None] = "pip install 'phase-plasm[engine-v8]'"
    entry: ClassVar[str] = "plasm_runtime_v8.engine:V8Engine"
    threads: ClassVar[bool] = True
    reserved_bytes: ClassVar[int] = (512 + 64) << 20  # for code, and for the deep stack of its thread
    forks: ClassVar[bool] = False
    strangers_hint: ClassVar[str | None] = "choose another runtime, or set runtime.v8.strangers = true"
    canonical_nans: ClassVar[bool] = False
    explains_traps: ClassVar[bool] = False
    jobs_per_worker: ClassVar[int] = 1
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

    strangers: bool = constrained(boolean(), default=False)

    def serves_strangers(self) -> bool:
        return self.strangers

    def version(self) -> str:
        return _version()


@hookimpl
def plasm_runtime() -> list[type[Runtime]]:
    return [V8Runtime]
