"""The wasmtime engine inside a child: compile, load, call, reach the memory. Nothing a job can observe."""

from __future__ import annotations

import ctypes
import itertools
import os
import sys
from ctypes import addressof, byref, c_char, c_size_t, c_uint8, c_void_p

from plasm_core.plugins.engine import (
    WASI_MODULE,
    Engine,
    EngineFailure,
    Instance,
    LoadedModule,
    MappedMemory,
    Memory,
    Trap,
)
from plasm_runtime_wasmtime import library
from plasm_runtime_wasmtime.library import Item, WasmtimeError, lib

TYPE_CHECKING = False  # importing typing would cost every worker
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from plasm_core.plugins.engine import HostFunction

# Positions are wasmtime_trap_code_enum's numbers.
_TRAP_KINDS = (
    "stack_exhausted",
    "memory_out_of_bounds",
    None,  # misaligned: of atomics only
    "table_out_of_bounds",
    "indirect_call_to_null",
    "bad_signature",
    "integer_overflow",
    "integer_division_by_zero",
    "bad_conversion_to_integer",
    "unreachable",
    None,  # interrupt
    None,  # out of fuel
    None,  # of atomics
    "null_reference",
)
_MASKS = {"i": 0xFFFF_FFFF, "I": 0xFFFF_FFFF_FFFF_FFFF}
_I32 = 0
_numbers = itertools.count(1)
_THREADS_FROM_BYTES = 64 << 10  # below, starting threads takes longer than compiling
_MOST_THREADS = 8  # they share one limit of memory
_PROBE_STACK_BYTES = 256 << 10


class WasmtimeMemory(MappedMemory):
    """The guest's memory. It never moves, because its whole address space is reserved."""

    def __init__(self, context: int, memory: Any) -> None:
        self._context = context
        self._memory = memory
        self._pointer = addressof(memory)
        self._address = lib.wasmtime_memory_data(context, self._pointer)
        self._size_of = lib.wasmtime_memory_data_size

    def size(self) -> int:
        return int(self._size_of(self._context, self._pointer))

    def read(self, offset: int, length: int) -> bytes:
        return ctypes.string_at(self._address + offset, length)

    def write(self, offset: int, data: bytes) -> None:
        ctypes.memmove(self._address + offset, data, len(data))

    def view(self) -> memoryview:
        return memoryview((ctypes.c_char * self.size()).from_address(self._address)).cast("B")


class _Calls:
    """The state that the host functions of one instance share: the function that raised an exception."""

    def __init__(self) -> None:
        self.pending: BaseException | None = None


_functions: dict[int, tuple[HostFunction, list[tuple[int, int]], str, _Calls]] = {}
"""Host functions by the number that the library hands back: function, (cell, mask) of each parameter, results."""


def _call_host(environment: int, _caller: int, values: Any, _count: int) -> int:
    """Call a host function: values come and go in cells of 16 bytes; an exception becomes a trap.

    One C callback for all functions: a callback takes memory that is executable, which a worker cannot get.
    """
    function, masks, results, calls = _functions[environment]
    try:
        result = function(*[values[cell] & mask for cell, mask in masks])
        if results:
            values[0] = result
    except BaseException as exc:
        calls.pending = exc
        return int(lib.wasmtime_trap_new(b"host", 4))
    return 0


_dispatch = library.CALLBACK(_call_host)


class WasmtimeInstance(Instance):
    """An instance in its own wasmtime store."""

    def __init__(
        self, engine: int, module: c_void_p, imports: list[tuple[str, str, str, HostFunction]]
    ) -> None:
        self._calls = _Calls()
        self._numbers: list[int] = []
        self._store = lib.wasmtime_store_new(engine, None, None)
        self._context = int(lib.wasmtime_store_context(self._store))
        self._instance = (c_char * 64)()
        self._globals: dict[str, tuple[Any, int, Item]] = {}
        linker = lib.wasmtime_linker_new(engine)
        try:
            for name, params, results, function in imports:
                number = next(_numbers)
                masks = [(2 * index, _MASKS[char]) for index, char in enumerate(params)]
                _functions[number] = (function, masks, results, self._calls)
                self._numbers.append(number)
                _define(linker, name, params, results, number)
            trap = c_void_p()
            error = lib.wasmtime_linker_instantiate(
                linker, self._context, module, self._instance, byref(trap)
            )
            library.raise_error(error)
            if trap.value:
                raise WasmtimeError(library.trap_message(trap.value))
        finally:
            lib.wasmtime_linker_delete(linker)
        self._memory = WasmtimeMemory(self._context, self._export("memory", library.EXTERN_MEMORY))

    def __del__(self) -> None:
        lib.wasmtime_store_delete(self._store)
        for number in self._numbers:
            del _functions[number]

    def _export(self, name: str, kind: int) -> Any:
        item = Item()
        encoded = name.encode()
        found = lib.wasmtime_instance_export_get(
            self._context, self._instance, encoded, len(encoded), byref(item)
        )
        if not found or item.kind != kind:
            raise EngineFailure(f"the module does not export {name}")
        return item.of

    @property
    def memory(self) -> Memory:
        return self._memory

    def _global(self, name: str) -> tuple[Any, int, Item]:
        known = self._globals.get(name)
        if known is None:
            exported = self._export(name, library.EXTERN_GLOBAL)
            value = Item()
            known = self._globals[name] = (exported, addressof(exported), value)
            lib.wasmtime_global_get(self._context, known[1], byref(value))
        return known

    def get_global(self, name: str) -> int:
        _, pointer, value = self._global(name)
        lib.wasmtime_global_get(self._context, pointer, byref(value))
        bits = int(value.of[0])
        if value.kind == _I32:
            bits &= 0xFFFF_FFFF
            return bits - (1 << 32) if bits >> 31 else bits
        return bits - (1 << 64) if bits >> 63 else bits

    def set_global(self, name: str, value: int) -> None:
        _, pointer, item = self._global(name)
        item.of[0] = value & _MASKS["i" if item.kind == _I32 else "I"]
        library.raise_error(lib.wasmtime_global_set(self._context, pointer, byref(item)))

    def call(self, name: str) -> None:
        function = self._export(name, library.EXTERN_FUNC)
        trap = c_void_p()
        error = lib.wasmtime_func_call(self._context, function, None, 0, None, 0, byref(trap))
        pending, self._calls.pending = self._calls.pending, None
        if pending is not None:  # the library returns a host function's result as either type
            if trap.value:
                lib.wasm_trap_delete(trap.value)
            if error:
                lib.wasmtime_error_delete(error)
            try:
                raise pending
            finally:
                del pending  # its traceback holds this frame: a cycle, and nothing collects garbage here
        if trap.value:
            code = c_uint8()
            has_code = lib.wasmtime_trap_code(trap.value, byref(code))
            message = "" if has_code else library.trap_message(trap.value)
            lib.wasm_trap_delete(trap.value)
            kind = _TRAP_KINDS[code.value] if has_code and code.value < len(_TRAP_KINDS) else None
            if kind is None:
                raise EngineFailure(f"an unexpected trap {code.value} {message}")
            raise Trap(kind)
        try:
            library.raise_error(error)
        except WasmtimeError as exc:
            raise EngineFailure(str(exc)) from exc


def _define(linker: int, name: str, params: str, results: str, number: int) -> None:
    kind = library.function_type(params, results)
    try:
        encoded = name.encode()
        library.raise_error(
            lib.wasmtime_linker_define_func_unchecked(
                linker,
                WASI_MODULE.encode(),
                len(WASI_MODULE),
                encoded,
                len(encoded),
                kind,
                _dispatch,
                number,
                None,
            )
        )
    finally:
        lib.wasm_functype_delete(kind)


class WasmtimeModule(LoadedModule):
    """A loaded module. Each instance gets a new wasmtime store."""

    def __init__(self, engine: int, module: c_void_p) -> None:
        self._engine = engine
        self._module = module
        self._imported = library.imported_names(module)

    def instantiate(self, functions: Mapping[str, tuple[str, str, HostFunction]]) -> Instance:
        imports = [(name, *rest) for name, rest in functions.items() if name in self._imported]
        try:
            return WasmtimeInstance(self._engine, self._module, imports)
        except WasmtimeError as exc:
            raise EngineFailure(str(exc)) from exc


def _has_threads() -> bool:
    """Return whether wasmtime can use several threads: where it cannot start all of them, it aborts the process."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if processors < 2:
        return False
    count = min(processors, _MOST_THREADS)
    os.environ["RAYON_NUM_THREADS"] = str(count)
    if sys.platform != "linux":  # no semaphores for `_can_start`, and no limits of control groups
        return True
    return _can_start(count + 1)  # the last may still be ending when wasmtime starts its own


def _can_start(count: int) -> bool:
    """Return whether so many threads can run at once. All have ended then.

    They are the C library's: a thread of Python ends only when it has had the interpreter's lock.
    """
    libc = ctypes.CDLL(None)
    attributes, semaphore = ctypes.create_string_buffer(128), ctypes.create_string_buffer(128)
    libc.pthread_attr_init(attributes)
    libc.pthread_attr_setstacksize(attributes, c_size_t(_PROBE_STACK_BYTES))
    libc.sem_init(semaphore, 0, 0)
    started: list[c_void_p] = []
    while len(started) < count:
        thread = c_void_p()
        if libc.pthread_create(byref(thread), attributes, libc.sem_wait, semaphore):
            break
        started.append(thread)
    for _ in started:
        libc.sem_post(semaphore)
    for thread in started:
        libc.pthread_join(thread, None)
    return len(started) == count


class WasmtimeEngine(Engine):
    """The wasmtime engine, with the one configuration that is tested.

    `images`: map a memory's initial data from a memory file instead of copying it. `winch`: compile with Winch. `threads`:
    compile a large module in threads, which stay, so that the process must not fork afterwards.
    """

    def __init__(
        self, *, target: str = "native", images: bool = True, winch: bool = False, threads: bool = False
    ) -> None:
        self._options: dict[str, Any] = {"target": target, "images": images, "winch": winch}
        self._threads = threads
        self._engine = library.new_engine(**self._options)

    def compile(self, module: bytes) -> bytes:
        engine = self._engine
        if self._threads and len(module) >= _THREADS_FROM_BYTES and _has_threads():
            engine = library.new_engine(**self._options, threads=True)
        compiled = c_void_p()
        try:
            library.raise_error(lib.wasmtime_module_new(engine, module, len(module), byref(compiled)))
            return library.serialized(compiled)
        except WasmtimeError as exc:
            raise EngineFailure(str(exc)) from exc

    def load(self, artefact: bytes) -> LoadedModule:
        module = c_void_p()
        try:
            error = lib.wasmtime_module_deserialize(self._engine, artefact, len(artefact), byref(module))
            library.raise_error(error)
        except WasmtimeError as exc:
            raise EngineFailure(str(exc)) from exc
        return WasmtimeModule(self._engine, module)
