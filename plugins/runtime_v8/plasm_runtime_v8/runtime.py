"""The runtime `v8`: a second engine for what today's compilers emit, quick to start."""

from __future__ import annotations

import functools
import importlib.metadata
from typing import ClassVar

import attrs

from plasm_core import hookimpl
from plasm_core.abc import Runtime
from plasm_core.records.fields import boolean, constrained


@functools.cache
def _version() -> str:
    return importlib.metadata.version("mini-racer")


@attrs.frozen(kw_only=True)
class V8Runtime(Runtime):
    """Compiles functions when they are first called, then optimises those that run often.

    `strangers`: let a daemon that lends run strangers' jobs on it, although a worker that compiles while its guest
    runs can make executable memory (docs/security.md).
    """

    name: ClassVar[str] = "v8"
    requires: ClassVar[tuple[str, ...]] = ("py_mini_racer",)
    install: ClassVar[str | None] = "pip install 'phase-plasm[v8]'"
    entry: ClassVar[str] = "plasm_runtime_v8.engine:V8Engine"
    threads: ClassVar[bool] = True
    forks: ClassVar[bool] = False
    strangers_hint: ClassVar[str | None] = "choose another runtime, or set runtime.v8.strangers = true"
    canonical_nans: ClassVar[bool] = False
    explains_traps: ClassVar[bool] = False
    jobs_per_worker: ClassVar[int] = 1
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

    strangers: bool = constrained(boolean(), default=False)

    def serves_strangers(self) -> bool:
        return self.strangers

    def version(self) -> str:
        return _version()


@hookimpl
def plasm_runtime() -> list[type[Runtime]]:
    return [V8Runtime]
