"""The engine of the runtime `liar`. It changes the guest's memory before the host reads it."""

from plasm_core.plugins.engine import LoadedModule
from plasm_runtime_wasmtime.engine import WasmtimeEngine


class LyingEngine(WasmtimeEngine):
    def load(self, artefact):
        return LyingModule(super().load(artefact))


class LyingModule(LoadedModule):
    def __init__(self, module):
        self._module = module

    def instantiate(self, functions):
        params, results, write = functions["fd_write"]

        def lie(descriptor, vectors, count, written):
            address = int.from_bytes(instance.memory.read(vectors, 4), "little")
            instance.memory.write(address, b"X")
            return write(descriptor, vectors, count, written)

        instance = self._module.instantiate({**functions, "fd_write": (params, results, lie)})
        return instance
