"""The engine of the runtime `pulley`. It runs in the sandboxed child, so it imports little."""

import wasmtime
from wasmtime import FuncType, Linker, Store, TrapCode, ValType
from wasmtime import _ffi as ffi

from plasm_core.plugins.engine import WASI_MODULE, Engine, EngineFailure, Instance, LoadedModule, Memory, Trap

TRAPS = {
    TrapCode.STACK_OVERFLOW: "stack_exhausted",
    TrapCode.MEMORY_OUT_OF_BOUNDS: "memory_out_of_bounds",
    TrapCode.TABLE_OUT_OF_BOUNDS: "table_out_of_bounds",
    TrapCode.INDIRECT_CALL_TO_NULL: "indirect_call_to_null",
    TrapCode.BAD_SIGNATURE: "bad_signature",
    TrapCode.INTEGER_OVERFLOW: "integer_overflow",
    TrapCode.INTEGER_DIVISION_BY_ZERO: "integer_division_by_zero",
    TrapCode.BAD_CONVERSION_TO_INTEGER: "bad_conversion_to_integer",
    TrapCode.UNREACHABLE: "unreachable",
}
TYPES = {"i": ValType.i32(), "I": ValType.i64()}
MASKS = {"i": 0xFFFF_FFFF, "I": 0xFFFF_FFFF_FFFF_FFFF}
STACK_BYTES = 64 << 20  # the deepest recursion that a job may have, with the interpreter's frames


class PulleyMemory(Memory):
    def __init__(self, store, memory):
        self._store, self._memory = store, memory

    def size(self):
        return self._memory.data_len(self._store)

    def read(self, offset, length):
        return bytes(self._memory.read(self._store, offset, offset + length))

    def write(self, offset, data):
        self._memory.write(self._store, data, offset)


class PulleyInstance(Instance):
    def __init__(self, store, exports):
        self._store, self._exports = store, exports
        self._memory = PulleyMemory(store, exports["memory"])

    @property
    def memory(self):
        return self._memory

    def get_global(self, name):
        return self._exports[name].value(self._store)

    def set_global(self, name, value):
        self._exports[name].set_value(self._store, value)

    def call(self, name):
        try:
            self._exports[name](self._store)
        except wasmtime.Trap as trap:
            raise Trap(TRAPS[trap.trap_code]) from None
        except wasmtime.WasmtimeError as exc:
            raise EngineFailure(str(exc)) from exc


class PulleyModule(LoadedModule):
    def __init__(self, engine, module):
        self._engine, self._module = engine, module
        self._imported = {item.name for item in module.imports}

    def instantiate(self, functions):
        store, linker = Store(self._engine), Linker(self._engine)
        for name in self._imported:
            params, results, function = functions[name]
            kind = FuncType([TYPES[char] for char in params], [TYPES[char] for char in results])
            linker.define_func(WASI_MODULE, name, kind, unsigned(params, function))
        try:
            return PulleyInstance(store, linker.instantiate(store, self._module).exports(store))
        except (wasmtime.WasmtimeError, wasmtime.Trap) as exc:
            raise EngineFailure(str(exc)) from exc


def unsigned(params, function):
    """wasmtime passes signed integers, and the core's functions take unsigned ones."""
    masks = [MASKS[char] for char in params]
    return lambda *values: function(*[value & mask for value, mask in zip(values, masks, strict=True)])


class PulleyEngine(Engine):
    def __init__(self, *, optimize):
        config = wasmtime.Config()
        config.target = "pulley64"
        config.cranelift_nan_canonicalization = True
        config.parallel_compilation = False  # the sandbox allows no thread
        # The size of async stacks bounds the other; the package gives it no name of its own.
        ffi.wasmtime_config_async_stack_size_set(config.ptr(), STACK_BYTES)
        config.max_wasm_stack = STACK_BYTES
        config.cranelift_opt_level = "speed" if optimize else "none"
        self._engine = wasmtime.Engine(config)

    def compile(self, module):
        try:
            return bytes(wasmtime.Module(self._engine, module).serialize())
        except wasmtime.WasmtimeError as exc:
            raise EngineFailure(str(exc)) from exc

    def load(self, artefact):
        try:
            return PulleyModule(self._engine, wasmtime.Module.deserialize(self._engine, artefact))
        except wasmtime.WasmtimeError as exc:
            raise EngineFailure(str(exc)) from exc
