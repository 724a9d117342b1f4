"""The one wasmtime configuration. Inconsistent settings abort the process, so there is no second."""

from __future__ import annotations

import ctypes

from wasmtime import Config
from wasmtime._ffi import dll

MAX_WASM_STACK = 16 << 20
"""Room for the deepest recursion of docs/determinism.md: 262,144 units of at most 16 bytes, and frames."""


def engine_config(*, target: str = "native") -> Config:
    """Return the configuration that validates, compiles and runs modules.

    On: what docs/determinism.md lists. Off: all else. NaNs are canonical. Nothing starts a thread.
    """
    config = Config()
    config.wasm_threads = False
    config.wasm_relaxed_simd = False
    config.wasm_memory64 = False
    config.wasm_multi_memory = False
    config.wasm_tail_call = False
    config.wasm_exceptions = False
    config.wasm_gc = False
    config.wasm_function_references = False
    config.wasm_custom_page_sizes = False
    config.wasm_wide_arithmetic = False
    config.wasm_stack_switching = False
    config.cranelift_nan_canonicalization = True
    config.parallel_compilation = False
    # The C API has it, its Python binding does not: the async stack bounds the other, though never used.
    dll.wasmtime_config_async_stack_size_set(config.ptr(), ctypes.c_uint64(MAX_WASM_STACK))
    config.max_wasm_stack = MAX_WASM_STACK
    if target != "native":
        config.target = target
    return config
