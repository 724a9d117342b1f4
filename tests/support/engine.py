"""Execute modules in wasmtime and observe what the reference interpreter reports too."""

import ctypes
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import attrs
from wasmtime import (
    Caller,
    Config,
    Engine,
    Func,
    FuncType,
    Global,
    Instance,
    Memory,
    Store,
    Trap,
    TrapCode,
    ValType,
    WasmtimeError,
    _ffi,
)
from wasmtime import Module as CompiledModule

from tests.support.decoder import decode
from tests.support.encoder import F32, F64, I32, I64
from tests.support.reference import HOST_CALL, PAGE, TABLE_ELEMENTS

T = TypeVar("T")

MAX_WASM_STACK = 16 << 20
_THREAD_STACK = 64 << 20
_AMPLE_FUEL = 1 << 40

TRAPS = {
    TrapCode.UNREACHABLE: "unreachable",
    TrapCode.MEMORY_OUT_OF_BOUNDS: "memory_out_of_bounds",
    TrapCode.TABLE_OUT_OF_BOUNDS: "table_out_of_bounds",
    TrapCode.INDIRECT_CALL_TO_NULL: "indirect_call_to_null",
    TrapCode.BAD_SIGNATURE: "bad_signature",
    TrapCode.INTEGER_OVERFLOW: "integer_overflow",
    TrapCode.INTEGER_DIVISION_BY_ZERO: "integer_division_by_zero",
    TrapCode.BAD_CONVERSION_TO_INTEGER: "bad_conversion_to_integer",
    TrapCode.OUT_OF_FUEL: "out_of_fuel",
    TrapCode.STACK_OVERFLOW: "stack_overflow",
}


@attrs.frozen(kw_only=True)
class Observed:
    """What is left of a run; `globals` are the bit patterns of the exported numbers by name.

    `used` is gas for a metered module, for an original one the fuel since its instantiation: wasmtime
    charges that too, by rules of its own.
    If the start function of an original module traps, there is no instance, memory is empty and so are
    the globals.
    """

    outcome: str
    used: int
    instantiated: bool
    memory: bytes
    globals: Mapping[str, int]


class _HostRanOut(Exception):
    pass


def _engine() -> Engine:
    config = Config()
    config.consume_fuel = True
    config.cranelift_nan_canonicalization = True
    # max_wasm_stack may not exceed this, by default 2 MiB, or the process is aborted; the binding lacks it.
    set_async_stack_size = _ffi.dll.wasmtime_config_async_stack_size_set
    set_async_stack_size.argtypes, set_async_stack_size.restype = [ctypes.c_void_p, ctypes.c_uint64], None
    set_async_stack_size(config.ptr(), _THREAD_STACK)
    config.max_wasm_stack = MAX_WASM_STACK
    config.wasm_bulk_memory = config.wasm_multi_value = config.wasm_reference_types = config.wasm_simd = True
    config.wasm_threads = config.wasm_relaxed_simd = config.wasm_memory64 = config.wasm_multi_memory = False
    config.wasm_tail_call = config.wasm_exceptions = config.wasm_gc = False
    config.wasm_function_references = config.wasm_custom_page_sizes = False
    return Engine(config)


ENGINE = _engine()


def _deep_thread() -> ThreadPoolExecutor:
    """Start the one thread whose native stack has room for `MAX_WASM_STACK`."""
    before = threading.stack_size(_THREAD_STACK)
    try:
        executor = ThreadPoolExecutor(max_workers=1)
        executor.submit(int).result()
    finally:
        threading.stack_size(before)
    return executor


_DEEP = _deep_thread()


def on_deep_stack(call: Callable[[], T]) -> T:
    return _DEEP.submit(call).result()


def is_valid(code: bytes) -> bool:
    try:
        CompiledModule.validate(ENGINE, code)
    except WasmtimeError:
        return False
    return True


def run_original(code: bytes, *, fuel: int, memory_pages: int) -> Observed:
    """Instantiate a module, which runs its start function, and call `_start`."""

    def run() -> Observed:
        left = fuel
        store = Store(ENGINE)
        store.set_fuel(left)
        module = CompiledModule(ENGINE, code)
        store.set_limits(memory_size=memory_pages * PAGE, table_elements=TABLE_ELEMENTS)
        host = Func(store, FuncType([], [ValType.i32()]), lambda: 0)
        instance: Instance | None = None
        try:
            instance = Instance(store, module, [host for _ in module.imports])
            left = store.get_fuel()
            _call(store, instance, "_start")
            outcome = "returned"
        except Trap as trap:
            outcome = _kind(trap)
        return _observe(store, instance, outcome, left - store.get_fuel())

    return on_deep_stack(run)


def run_metered(
    code: bytes, *, gas: int, memory_pages: int, export: str = "_start", host_memory_pages: int = -1
) -> Observed:
    """Run a rewritten module as its host does: set the limits, call `plasm:start` and then the export.

    `host_memory_pages` is what the host has to give; by default it has what the limit allows.
    """

    def spend(caller: Caller) -> int:
        counter = _global(caller, "plasm:gas")
        counter.set_value(caller, counter.value(caller) - HOST_CALL)
        if counter.value(caller) < 0:
            raise _HostRanOut
        return 0

    def run() -> Observed:
        store = Store(ENGINE)
        store.set_fuel(_AMPLE_FUEL if gas > 1 << 32 else 100 * gas + 10_000_000)
        if host_memory_pages >= 0:
            store.set_limits(memory_size=host_memory_pages * PAGE)
        module = CompiledModule(ENGINE, code)
        host = Func(store, FuncType([], [ValType.i32()]), spend, access_caller=True)
        instance = Instance(store, module, [host for _ in module.imports])
        exports = instance.exports(store)
        _global(exports, "plasm:gas").set_value(store, gas)
        _global(exports, "plasm:pages").set_value(store, memory_pages)
        outcome = "returned"
        try:
            if "plasm:start" in exports:
                _call(store, instance, "plasm:start")
            _call(store, instance, export)
        except Trap as trap:
            outcome = _kind(trap)
        except _HostRanOut:
            outcome = "host_ran_out"
        left = _global(exports, "plasm:gas").value(store)
        fault = _global(exports, "plasm:fault").value(store)
        if fault:
            outcome = (
                {1: "stack_exhausted", 2: "growth_refused"}[fault] if outcome == "unreachable" else "fault"
            )
        if left < 0:
            outcome = "out_of_gas"
        return _observe(store, instance, outcome, gas - max(left, 0))

    return on_deep_stack(run)


def _global(exports: Mapping[str, object] | Caller, name: str) -> Global:
    found = exports[name]
    assert isinstance(found, Global)
    return found


def _call(store: Store, instance: Instance, name: str) -> None:
    function = instance.exports(store)[name]
    assert isinstance(function, Func)
    function(store)


def _kind(trap: Trap) -> str:
    code = trap.trap_code
    return str(trap) if code is None else TRAPS.get(code, code.name)


def _observe(store: Store, instance: Instance | None, outcome: str, used: int) -> Observed:
    if instance is None:
        return Observed(outcome=outcome, used=used, instantiated=False, memory=b"", globals={})
    memory, globals_ = b"", {}
    for name, item in instance.exports(store).items():
        if isinstance(item, Memory):
            memory = bytes(item.read(store))
        elif isinstance(item, Global) and not name.startswith("plasm:"):
            bits = _bits(item.value(store), item.type(store).content)
            if bits is not None:
                globals_[name] = bits
    return Observed(outcome=outcome, used=used, instantiated=True, memory=memory, globals=globals_)


def _bits(value: object, valtype: ValType) -> int | None:
    """Give the bits of a number, of a float's NaN with the quiet bit set: the binding sets it for f32."""
    name = str(valtype)
    if name in ("i32", "i64"):
        assert isinstance(value, int)
        return value % (1 << int(name[1:]))
    if name in ("f32", "f64"):
        assert isinstance(value, float)
        return int.from_bytes(struct.pack("<f" if name == "f32" else "<d", value), "little")
    return None


def exported_numbers(code: bytes, values: Sequence[int]) -> dict[str, int]:
    """Name the values of a module's globals as they are observed: if exported, and with quiet NaNs in f32."""
    module = decode(code)
    exported = {name: export.index for name, export in module.exports.items() if export.kind == 3}
    return {
        name: _quiet(values[index]) if module.globals[index].type == F32 else values[index]
        for name, index in exported.items()
        if module.globals[index].type in (I32, I64, F32, F64)
    }


def _quiet(bits: int) -> int:
    return bits | 0x400000 if bits & 0x7FFFFFFF > 0x7F800000 else bits
