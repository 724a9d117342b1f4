"""The runtime `pulley`: wasmtime's interpreter, through wasmtime's Python package."""

from importlib.metadata import version

import attrs

from plasm_core import hookimpl
from plasm_core.plugins.interfaces import Runtime


@attrs.frozen(kw_only=True)
class Pulley(Runtime):
    name = "pulley"
    requires = ("wasmtime",)
    entry = "plasm_pulley_engine:PulleyEngine"
    features = frozenset({"bulk-memory", "bulk-memory-opt", "bulk-table", "multi-value", "sign-extension"})

    optimize: bool = True

    def version(self):
        return version("wasmtime")

    def options(self):
        return {"optimize": self.optimize}


@hookimpl
def plasm_runtime():
    return [Pulley]
