"""The wasmtime engine inside a worker: compile, load, call, reach the memory. Nothing a job can observe."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping

import wasmtime
from wasmtime import TrapCode

from plasm_core.engine import Engine, EngineFailure, HostFunction, Instance, Memory, Trap
from plasm_runtime_wasmtime.settings import engine_config

_MODULE = "wasi_snapshot_preview1"
_TYPES = {"i": wasmtime.ValType.i32, "I": wasmtime.ValType.i64}
_MASKS = {"i": 0xFFFF_FFFF, "I": 0xFFFF_FFFF_FFFF_FFFF}
_KINDS = {
    TrapCode.UNREACHABLE: "unreachable",
    TrapCode.MEMORY_OUT_OF_BOUNDS: "memory_out_of_bounds",
    TrapCode.TABLE_OUT_OF_BOUNDS: "table_out_of_bounds",
    TrapCode.INDIRECT_CALL_TO_NULL: "indirect_call_to_null",
    TrapCode.BAD_SIGNATURE: "bad_signature",
    TrapCode.INTEGER_OVERFLOW: "integer_overflow",
    TrapCode.INTEGER_DIVISION_BY_ZERO: "integer_division_by_zero",
    TrapCode.BAD_CONVERSION_TO_INTEGER: "bad_conversion_to_integer",
    TrapCode.STACK_OVERFLOW: "stack_exhausted",
}


class WasmtimeMemory(Memory):
    """The guest's memory. Its address is asked anew each time, since growth may move it."""

    def __init__(self, store: wasmtime.Store, memory: wasmtime.Memory) -> None:
        self._store = store
        self._memory = memory

    def _address(self) -> int:
        address = ctypes.cast(self._memory.data_ptr(self._store), ctypes.c_void_p).value
        if address is None:
            raise EngineFailure("the memory has no address")
        return address

    def size(self) -> int:
        return self._memory.data_len(self._store)

    def read(self, offset: int, length: int) -> bytes:
        return ctypes.string_at(self._address() + offset, length)

    def write(self, offset: int, data: bytes) -> None:
        ctypes.memmove(self._address() + offset, data, len(data))


class WasmtimeInstance(Instance):
    """One instantiated module and the store it lives in."""

    def __init__(self, store: wasmtime.Store, instance: wasmtime.Instance) -> None:
        self._store = store
        self._exports = instance.exports(store)
        self._globals: dict[str, wasmtime.Global] = {}
        memory = self._exports["memory"]
        if not isinstance(memory, wasmtime.Memory):
            raise EngineFailure("the module exports no memory")
        self._memory = WasmtimeMemory(store, memory)

    @property
    def memory(self) -> Memory:
        return self._memory

    def _global(self, name: str) -> wasmtime.Global:
        if name not in self._globals:
            found = self._exports[name]
            if not isinstance(found, wasmtime.Global):
                raise EngineFailure(f"the module exports no global {name}")
            self._globals[name] = found
        return self._globals[name]

    def get_global(self, name: str) -> int:
        return int(self._global(name).value(self._store))

    def set_global(self, name: str, value: int) -> None:
        self._global(name).set_value(self._store, value)

    def call(self, name: str) -> None:
        function = self._exports[name]
        if not isinstance(function, wasmtime.Func):
            raise EngineFailure(f"the module exports no function {name}")
        try:
            function(self._store)
        except wasmtime.Trap as exc:
            kind = _KINDS.get(exc.trap_code) if exc.trap_code else None
            if kind is None:
                raise EngineFailure(f"an unexpected trap: {exc.message}") from exc
            raise Trap(kind) from None
        except wasmtime.WasmtimeError as exc:
            raise EngineFailure(str(exc)) from exc


class WasmtimeEngine(Engine):
    """Compiles and loads modules under the one tested configuration."""

    def __init__(self, *, target: str = "native") -> None:
        self._engine = wasmtime.Engine(engine_config(target=target))

    def compile(self, module: bytes) -> bytes:
        try:
            return bytes(wasmtime.Module(self._engine, module).serialize())
        except wasmtime.WasmtimeError as exc:
            raise EngineFailure(str(exc)) from exc

    def instantiate(self, artefact: str, functions: Mapping[str, tuple[str, str, HostFunction]]) -> Instance:
        store = wasmtime.Store(self._engine)
        linker = wasmtime.Linker(self._engine)
        try:
            module = wasmtime.Module.deserialize_file(self._engine, artefact)
            for name in sorted({item.name for item in module.imports if item.name is not None}):
                params, results, function = functions[name]
                kind = wasmtime.FuncType(
                    [_TYPES[char]() for char in params], [_TYPES[char]() for char in results]
                )
                linker.define_func(_MODULE, name, kind, _unsigned(params, function))
            return WasmtimeInstance(store, linker.instantiate(store, module))
        except (wasmtime.WasmtimeError, wasmtime.Trap) as exc:
            raise EngineFailure(str(exc)) from exc


def _unsigned(params: str, function: HostFunction) -> HostFunction:
    """Return a function that takes wasmtime's signed integers and gives them on as unsigned ones."""
    masks = [_MASKS[char] for char in params]

    def call(*arguments: int) -> int | None:
        result = function(*[value & mask for value, mask in zip(arguments, masks, strict=True)])
        return None if result is None else int(result)

    return call
