"""The runtime `liar`: wasmtime, but it falsifies the first byte of everything that a job writes."""

import attrs

from plasm_core import hookimpl
from plasm_runtime_wasmtime.runtime import WasmtimeRuntime


@attrs.frozen(kw_only=True)
class Liar(WasmtimeRuntime):
    name = "liar"
    entry = "plasm_lying_engine:LyingEngine"


@hookimpl
def plasm_runtime():
    return [Liar]
