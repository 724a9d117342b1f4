"""The runtime `wasm3`: slow at running, quick to start, without just-in-time code."""

from __future__ import annotations

import functools
import importlib.metadata
from typing import ClassVar

import attrs

from plasm_core import hookimpl
from plasm_core.abc import Runtime


@functools.cache
def _version() -> str:
    return importlib.metadata.version("pywasm3")


@attrs.frozen(kw_only=True)
class Wasm3Runtime(Runtime):
    """Interprets modules. It needs no memory that is writable and executable, and compiles in no time."""

    name: ClassVar[str] = "wasm3"
    requires: ClassVar[tuple[str, ...]] = ("wasm3",)
    install: ClassVar[str | None] = "pip install 'phase-plasm[wasm3]'"
    entry: ClassVar[str] = "plasm_runtime_wasm3.engine:Wasm3Engine"
    canonical_nans: ClassVar[bool] = False
    # Blocks with several results come out wrong in wasm3, and it does not know extended constants.
    features: ClassVar[frozenset[str]] = frozenset({"nontrapping-float-to-int", "sign-extension"})

    def version(self) -> str:
        return _version()


@hookimpl
def plasm_runtime() -> list[type[Runtime]]:
    return [Wasm3Runtime]
