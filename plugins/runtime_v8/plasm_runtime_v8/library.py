"""V8 through the C interface of the wheel mini-racer, by ctypes.

The wheel's own Python package starts an event loop and converts every value; a worker needs neither. This module
calls the `mr_*` functions of its shared library directly: evaluate a script, call back from it, share memory with it.
The library is private to the wheel, so its version is pinned, and `open_library` refuses one that lacks a function.
"""

from __future__ import annotations

import _thread
import ctypes
import importlib.machinery
import os
import resource
import sys

TYPE_CHECKING = False  # importing typing would cost every worker
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

STACK_BYTES = 64 << 20
"""The stack of V8's thread. 262,144 stack units take less than half of it on x86-64 and aarch64."""
_STACK_MARGIN_BYTES = 1 << 20
_ADDRESS_SPACE_BYTES = 2 << 40
"""What V8 reserves, rounded up: 1.4 TiB of address space, of which it uses little."""
_ATTRIBUTES_BYTES = 128  # pthread_attr_t has 56 bytes on x86-64 and 64 on aarch64

# Types of a value, as src/v8_py_frontend/binary_value.h of mini-racer numbers them.
_UNDEFINED, _NULL, _BOOL, _INTEGER, _STRING = 11, 1, 2, 3, 5
_SHARED_BUFFER, _FIRST_ERROR = 101, 200


_MEANWHILE_S = 0.1


class V8Error(Exception):
    """A script failed, or the library has another version than expected."""


class _Content(ctypes.Union):
    _fields_ = [("pointer", ctypes.c_void_p), ("integer", ctypes.c_int64)]


class _Value(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("content", _Content), ("length", ctypes.c_size_t), ("type", ctypes.c_uint8)]


_Handle = ctypes.POINTER(_Value)
_Callback = ctypes.CFUNCTYPE(None, ctypes.c_uint64, _Handle)

# name: result type, argument types
_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "mr_init_v8": (None, [ctypes.c_char_p, ctypes.c_char_p]),
    "mr_v8_version": (ctypes.c_char_p, []),
    "mr_init_context": (ctypes.c_uint64, [_Callback]),
    "mr_eval": (ctypes.c_uint64, [ctypes.c_uint64, _Handle, ctypes.c_uint64]),
    "mr_free_value": (None, [ctypes.c_uint64, _Handle]),
    "mr_alloc_string_val": (
        _Handle,
        [ctypes.c_uint64, ctypes.c_char_p, ctypes.c_uint64, ctypes.c_uint8],
    ),
    "mr_make_js_callback": (_Handle, [ctypes.c_uint64, ctypes.c_uint64]),
    "mr_set_object_item": (_Handle, [ctypes.c_uint64, _Handle, _Handle, _Handle]),
}


def open_library() -> ctypes.CDLL:
    """Load V8 and initialise it with no thread but the caller's. Reads files: call it before locking down.

    Raises: `V8Error`.
    """
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY and limit < _ADDRESS_SPACE_BYTES:
        # V8 would end the process at one reservation or another, with a stack trace.
        raise V8Error(f"failed to reserve address space: it is limited to {limit >> 20} MiB")
    found = importlib.machinery.PathFinder.find_spec("py_mini_racer")
    if found is None or not found.submodule_search_locations:
        raise V8Error("the package mini-racer is not installed")
    folder = found.submodule_search_locations[0]
    suffix = ".dylib" if sys.platform == "darwin" else ".so"
    try:
        library = ctypes.CDLL(os.path.join(folder, "libmini_racer" + suffix))
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as exc:
        raise V8Error(f"mini-racer's library cannot be used: {exc}") from exc
    # One thread compiles and runs; without this flag V8 would start threads before the process is locked down.
    flags = f"--single-threaded --stack-size={(STACK_BYTES - _STACK_MARGIN_BYTES) >> 10}"
    library.mr_init_v8(flags.encode(), os.path.join(folder, "icudtl.dat").encode())
    return library


def deepen_thread_stacks() -> None:
    """Give threads started from now on a stack of `STACK_BYTES`: V8 runs each guest on a new thread.

    Raises: `V8Error` where the C library cannot (pthread_setattr_default_np is glibc's and musl's).
    """
    libc = ctypes.CDLL(None)
    attributes = ctypes.create_string_buffer(_ATTRIBUTES_BYTES)
    try:
        failed = (
            libc.pthread_attr_init(attributes)
            or libc.pthread_attr_setstacksize(attributes, ctypes.c_size_t(STACK_BYTES))
            or libc.pthread_setattr_default_np(attributes)
        )
    except AttributeError as exc:
        raise V8Error("this platform cannot give V8's thread a deep stack") from exc
    if failed:
        raise V8Error(f"V8's thread gets no deep stack: {os.strerror(failed)}")


class Context:
    """One V8 isolate with its global object. Starts a thread, on which scripts run."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self._functions: dict[int, Callable[[], None]] = {}
        self._result: Any = None
        self._arrived = _thread.allocate_lock()
        self._arrived.acquire()
        self._callback = _Callback(self._called)  # the library keeps the pointer: keep the object too
        self._context = library.mr_init_context(self._callback)

    def _called(self, number: int, handle: Any) -> None:
        """Take a script's result (number 0), or a call from a running script, which waits until this returns."""
        if number:
            self._library.mr_free_value(self._context, handle)
            self._functions[number]()
        else:
            self._result = handle
            self._arrived.release()

    def evaluate(self, script: str, *, meanwhile: Callable[[], None] | None = None) -> Any:
        """Run a script and return its last value: None, a bool, int, str, or a memoryview of a SharedArrayBuffer.

        `meanwhile` is called every tenth of a second while the script runs.

        Raises: `V8Error` with the message of an exception that the script did not catch.
        """
        code = self._string(script)
        self._library.mr_eval(self._context, code, 0)
        while not self._arrived.acquire(timeout=_MEANWHILE_S if meanwhile else -1):
            if meanwhile:
                meanwhile()
        handle, self._result = self._result, None
        self._library.mr_free_value(self._context, code)
        return self._converted(handle)

    def _string(self, text: str) -> Any:
        data = text.encode()
        return self._library.mr_alloc_string_val(self._context, data, len(data), _STRING)

    def _converted(self, handle: Any) -> Any:
        """Return a value as Python's. Frees the handle unless the value's memory is shared."""
        value = handle.contents
        kind, length = value.type, value.length
        if kind == _SHARED_BUFFER:
            # Keep the handle, which keeps the memory alive.
            return memoryview((ctypes.c_ubyte * length).from_address(value.content.pointer)).cast("B")
        try:
            if kind in (_UNDEFINED, _NULL):
                return None
            if kind == _BOOL:
                return bool(value.content.integer)
            if kind == _INTEGER:
                return int(value.content.integer)
            if kind == _STRING or kind >= _FIRST_ERROR:
                text = ctypes.string_at(value.content.pointer, length).decode("utf-8", "replace")
                if kind == _STRING:
                    return text
                raise V8Error(text or f"error {kind}")
            raise V8Error(f"a value of type {kind}")
        finally:
            self._library.mr_free_value(self._context, handle)

    def define(self, name: str, function: Callable[[], None]) -> None:
        """Define a global function for scripts that calls `function`. The script waits until it returns."""
        number = len(self._functions) + 1
        self._functions[number] = function
        self._library.mr_eval(self._context, self._string("globalThis"), 0)
        self._arrived.acquire()
        scope, self._result = self._result, None
        made = self._library.mr_make_js_callback(self._context, number)
        self._library.mr_set_object_item(self._context, scope, self._string(name), made)
