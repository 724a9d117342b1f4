"""The runtime `wasm3`: slow at running, quick to start, without just-in-time code."""

from __future__ import annotations

import functools
import importlib.metadata
from typing import ClassVar

import attrs

from plasm_core import hookimpl
from plasm_core.plugins.interfaces import Runtime


@functools.cache
def _version() -> str:
    return importlib.metadata.version("pywasm3")


@attrs.frozen(kw_only=True)
class Wasm3Runtime(Runtime):
    """Interprets modules with wasm3. It needs no executable memory, and admits modules quickly."""

    name: ClassVar[str] = "wasm3"
    requires: ClassVar[tuple[str, ...]] = ("wasm3",)
    install: ClassVar[str | None] = (
        "CFLAGS=-Wno-error=incompatible-pointer-types pip install 'phase-plasm[wasm3]'"
    )
    entry: ClassVar[str] = "plasm_runtime_wasm3.engine:Wasm3Engine"
    reserved_bytes: ClassVar[int] = 64 << 20  # for the interpreter's stack
    canonical_nans: ClassVar[bool] = False
    # wasm3 lacks passive data and extended constants, mixes up blocks of several values, quiets signalling NaNs of
    # 32 bits, whose register has 64, and forgets the empty end of a table.
    lowered: ClassVar[frozenset[str]] = frozenset(
        {"bulk-memory", "extended-const", "f32-bits", "multi-value", "partial-table"}
    )
    features: ClassVar[frozenset[str]] = lowered | {
        "bulk-memory-opt",
        "files",
        "nontrapping-float-to-int",
        "sign-extension",
    }

    def version(self) -> str:
        return _version()


@hookimpl
def plasm_runtime() -> list[type[Runtime]]:
    return [Wasm3Runtime]
