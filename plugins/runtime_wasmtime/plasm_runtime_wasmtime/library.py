"""The part of wasmtime's C API that a worker needs, called by ctypes from the library in the wasmtime package.

The package's own binding imports ten times as much, which every forked worker would pay for (docs/security.md
has the numbers), and converts each value of each host call. Structures are opaque buffers, larger than any of
them; the fields read are checked by a test against the package's own definitions.
"""

from __future__ import annotations

import ctypes
import os
import sys
from ctypes import POINTER, byref, c_bool, c_char_p, c_size_t, c_uint8, c_uint64, c_void_p

MAX_WASM_STACK = (96 << 20) if sys.platform == "linux" else (4 << 20)
"""Room for the deepest recursion of docs/determinism.md: 262,144 units of at most 384 bytes.

A worker raises its own stack limit, which works on Linux only: elsewhere such a recursion is a system_error.
"""

CALLBACK = ctypes.CFUNCTYPE(c_size_t, c_void_p, c_void_p, POINTER(c_uint64), c_size_t)
"""A host function: (environment, caller, values of 16 bytes each, their number) → a trap or 0."""

EXTERN_FUNC, EXTERN_GLOBAL, EXTERN_MEMORY = 0, 1, 3


class Vector(ctypes.Structure):
    """The C type wasm_byte_vec_t, also used for the other vector types: a length and a pointer."""

    _fields_ = (("size", c_size_t), ("data", c_void_p))


class Item(ctypes.Structure):
    """The C types wasmtime_extern_t and wasmtime_val_t: a kind, and its value at offset 8."""

    _fields_ = (("kind", c_uint8), ("of", c_uint64 * 7))


def _library_file() -> str:
    """Find the library in the folder of the wasmtime package, without importing the package."""
    uname = os.uname()
    machine = {"arm64": "aarch64"}.get(uname.machine, uname.machine)
    name = "_libwasmtime.dylib" if sys.platform == "darwin" else "_libwasmtime.so"
    for directory in sys.path:
        file = f"{directory}/wasmtime/{sys.platform}-{machine}/{name}"
        if os.path.isfile(file):
            return file
    raise ImportError(f"no wasmtime library for {sys.platform} on {machine} is installed")


# Name → (result, arguments). Pointers to structures are c_void_p.
_PROTOTYPES = {
    "wasm_config_new": (c_void_p, ()),
    "wasm_engine_new_with_config": (c_void_p, (c_void_p,)),
    "wasm_byte_vec_delete": (None, (POINTER(Vector),)),
    "wasm_functype_new": (c_void_p, (POINTER(Vector), POINTER(Vector))),
    "wasm_functype_delete": (None, (c_void_p,)),
    "wasm_valtype_new": (c_void_p, (c_uint8,)),
    "wasm_valtype_vec_new": (None, (POINTER(Vector), c_size_t, c_void_p)),
    "wasm_trap_message": (None, (c_void_p, POINTER(Vector))),
    "wasm_trap_delete": (None, (c_void_p,)),
    "wasmtime_error_message": (None, (c_void_p, POINTER(Vector))),
    "wasmtime_error_delete": (None, (c_void_p,)),
    "wasmtime_trap_new": (c_size_t, (c_char_p, c_size_t)),
    "wasmtime_trap_code": (c_bool, (c_void_p, POINTER(c_uint8))),
    "wasmtime_module_validate": (c_void_p, (c_void_p, c_char_p, c_size_t)),
    "wasmtime_module_new": (c_void_p, (c_void_p, c_char_p, c_size_t, POINTER(c_void_p))),
    "wasmtime_module_serialize": (c_void_p, (c_void_p, POINTER(Vector))),
    "wasmtime_module_deserialize": (c_void_p, (c_void_p, c_char_p, c_size_t, POINTER(c_void_p))),
    "wasmtime_store_new": (c_void_p, (c_void_p, c_void_p, c_void_p)),
    "wasmtime_store_delete": (None, (c_void_p,)),
    "wasmtime_store_context": (c_void_p, (c_void_p,)),
    "wasmtime_linker_new": (c_void_p, (c_void_p,)),
    "wasmtime_linker_delete": (None, (c_void_p,)),
    "wasmtime_linker_define_func_unchecked": (
        c_void_p,
        (c_void_p, c_char_p, c_size_t, c_char_p, c_size_t, c_void_p, CALLBACK, c_void_p, c_void_p),
    ),
    "wasmtime_linker_instantiate": (c_void_p, (c_void_p, c_void_p, c_void_p, c_void_p, POINTER(c_void_p))),
    "wasmtime_instance_export_get": (c_bool, (c_void_p, c_void_p, c_char_p, c_size_t, POINTER(Item))),
    "wasmtime_func_call": (
        c_void_p,
        (c_void_p, c_void_p, c_void_p, c_size_t, c_void_p, c_size_t, POINTER(c_void_p)),
    ),
    "wasmtime_module_imports": (None, (c_void_p, POINTER(Vector))),
    "wasm_importtype_name": (POINTER(Vector), (c_void_p,)),
    "wasm_importtype_vec_delete": (None, (POINTER(Vector),)),
    "wasmtime_memory_data": (c_size_t, (c_void_p, c_void_p)),
    "wasmtime_memory_data_size": (c_size_t, (c_void_p, c_void_p)),
    "wasmtime_global_get": (None, (c_void_p, c_void_p, POINTER(Item))),
    "wasmtime_global_set": (c_void_p, (c_void_p, c_void_p, POINTER(Item))),
}

_SWITCHES = {
    # On: what docs/determinism.md lists. Exceptions and tail calls are of plasm.det/v2.
    "wasm_bulk_memory": True,
    "wasm_exceptions": True,
    "wasm_multi_value": True,
    "wasm_reference_types": True,
    "wasm_simd": True,
    "wasm_tail_call": True,
    # Off: everything else.
    "wasm_custom_page_sizes": False,
    "wasm_function_references": False,
    "wasm_gc": False,
    "wasm_memory64": False,
    "wasm_multi_memory": False,
    "wasm_relaxed_simd": False,
    "wasm_stack_switching": False,
    "wasm_threads": False,
    "wasm_wide_arithmetic": False,
    # Every NaN that an operation makes is the canonical one; memory stays in its place.
    "cranelift_nan_canonicalization": True,
    "memory_may_move": False,
}


def _load() -> ctypes.CDLL:
    library = ctypes.CDLL(_library_file())
    for name, (result, arguments) in _PROTOTYPES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


lib = _load()


_WINCH = 2  # wasmtime_strategy_enum
_WINCH_LACKS = {"wasm_exceptions": False, "cranelift_nan_canonicalization": False}
"""With exceptions on, Winch compiles nothing at all: they need the types of garbage collection."""


def new_engine(
    *, target: str = "native", images: bool = True, winch: bool = False, threads: bool = False
) -> int:
    """Return a wasmtime engine with the one configuration that is tested. Inconsistent settings abort the process.

    `winch`: compile with Winch, not with Cranelift. `threads`: compile in threads, one for each processor.
    """
    config = c_void_p(lib.wasm_config_new())
    switches = {**_SWITCHES, "memory_init_cow": images, "parallel_compilation": threads}
    if winch:
        switches |= _WINCH_LACKS
        lib.wasmtime_config_strategy_set.restype = None
        lib.wasmtime_config_strategy_set(config, c_uint8(_WINCH))
    for name, value in switches.items():
        setter = getattr(lib, f"wasmtime_config_{name}_set")
        setter.restype = None
        setter(config, c_bool(value))
    # wasmtime requires the stack limit to be below the async stack's size, even without async calls.
    for name in ("async_stack_size", "max_wasm_stack"):
        setter = getattr(lib, f"wasmtime_config_{name}_set")
        setter.restype = None
        setter(config, c_uint64(MAX_WASM_STACK))
    if target != "native":
        lib.wasmtime_config_target_set.restype = c_void_p
        raise_error(lib.wasmtime_config_target_set(config, target.encode()))
    return int(lib.wasm_engine_new_with_config(config))


def _taken(vector: Vector) -> bytes:
    """Return a vector's bytes and free it."""
    data = ctypes.string_at(vector.data, vector.size) if vector.size else b""
    lib.wasm_byte_vec_delete(byref(vector))
    return data


class WasmtimeError(Exception):
    """wasmtime returned an error. The message is wasmtime's."""


def raise_error(error: int | None) -> None:
    """Raise `WasmtimeError` if a call returned an error."""
    if error:
        message = Vector()
        lib.wasmtime_error_message(error, byref(message))
        lib.wasmtime_error_delete(error)
        raise WasmtimeError(_taken(message).decode("utf-8", "replace"))


def trap_message(trap: int) -> str:
    """Return the first line of a trap's message."""
    message = Vector()
    lib.wasm_trap_message(trap, byref(message))
    lines = _taken(message).decode("utf-8", "replace").splitlines()
    return lines[0] if lines else ""


def serialized(module: c_void_p) -> bytes:
    """Return a compiled module as bytes."""
    vector = Vector()
    raise_error(lib.wasmtime_module_serialize(module, byref(vector)))
    return _taken(vector)


def imported_names(module: c_void_p) -> frozenset[str]:
    """Return the names of a module's imports."""
    found = Vector()
    lib.wasmtime_module_imports(module, byref(found))
    names = set()
    for item in (c_void_p * found.size).from_address(found.data) if found.size else ():
        name = lib.wasm_importtype_name(item).contents
        names.add(ctypes.string_at(name.data, name.size).decode())
    lib.wasm_importtype_vec_delete(byref(found))
    return frozenset(names)


def function_type(params: str, results: str) -> int:
    """Return a new function type; 'i' is an i32 and 'I' an i64."""
    vectors = []
    for types in (params, results):
        kinds = (c_void_p * len(types))(*(lib.wasm_valtype_new("iI".index(char)) for char in types))
        vector = Vector()
        lib.wasm_valtype_vec_new(byref(vector), len(types), kinds)
        vectors.append(vector)
    return int(lib.wasm_functype_new(byref(vectors[0]), byref(vectors[1])))
