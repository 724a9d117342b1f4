"""The wasm3 engine inside a child process: load modules, call functions, access memory.

It calls the C interface in the wasm3 package's extension by ctypes: the package's own binding never frees the
arguments of host calls, cannot compile a whole module, and prints a backtrace of each trap.
"""

from __future__ import annotations

import ctypes
import itertools
from ctypes import POINTER, byref, c_char_p, c_uint32, c_uint64, c_void_p
from importlib.machinery import PathFinder

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
from plasm_core.sandbox.wasi.abi import FUNCTIONS

TYPE_CHECKING = False  # importing typing would cost every worker
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from plasm_core.plugins.engine import HostFunction

STACK_BYTES = 64 << 20
"""Room for the deepest recursion of docs/determinism.md, with the constants wasm3 keeps in each frame."""

_TRAP_KINDS = {
    b"[trap] unreachable executed": "unreachable",
    b"[trap] out of bounds memory access": "memory_out_of_bounds",
    b"[trap] undefined element": "table_out_of_bounds",
    b"[trap] null table element": "indirect_call_to_null",
    b"[trap] indirect call type mismatch": "bad_signature",
    b"[trap] integer overflow": "integer_overflow",
    b"[trap] integer divide by zero": "integer_division_by_zero",
    b"[trap] invalid conversion to integer": "bad_conversion_to_integer",
    b"[trap] stack overflow": "stack_exhausted",
}
_MASKS = {"i": 0xFFFF_FFFF, "I": 0xFFFF_FFFF_FFFF_FFFF}
_NOT_IMPORTED = b"function lookup failed"
_HOST = ctypes.create_string_buffer(b"host")
_FAILED = ctypes.addressof(_HOST)
_I32 = 1
_numbers = itertools.count(1)

# A host function: (runtime, context, arguments and result in cells of 8 bytes, memory) → a trap's message or 0.
_CALLBACK = ctypes.PYFUNCTYPE(c_void_p, c_void_p, c_void_p, POINTER(c_uint64), c_void_p)


class _Tagged(ctypes.Structure):
    """M3TaggedValue."""

    _fields_ = (("type", ctypes.c_int), ("value", c_uint64))


# Name → (result, arguments). A result c_char_p is an error's message or None.
_PROTOTYPES = {
    "m3_NewEnvironment": (c_void_p, ()),
    "m3_NewRuntime": (c_void_p, (c_void_p, c_uint32, c_void_p)),
    "m3_FreeRuntime": (None, (c_void_p,)),
    "m3_ParseModule": (c_char_p, (c_void_p, POINTER(c_void_p), c_char_p, c_uint32)),
    "m3_FreeModule": (None, (c_void_p,)),
    "m3_LoadModule": (c_char_p, (c_void_p, c_void_p)),
    "m3_CompileModule": (c_char_p, (c_void_p,)),
    "m3_LinkRawFunctionEx": (c_char_p, (c_void_p, c_char_p, c_char_p, c_char_p, _CALLBACK, c_void_p)),
    "m3_FindFunction": (c_char_p, (POINTER(c_void_p), c_void_p, c_char_p)),
    "m3_Call": (c_char_p, (c_void_p, c_uint32, c_void_p)),
    "m3_GetMemory": (c_void_p, (c_void_p, POINTER(c_uint32), c_uint32)),
    "m3_GetMemorySize": (c_uint32, (c_void_p,)),
    "m3_FindGlobal": (c_void_p, (c_void_p, c_char_p)),
    "m3_GetGlobal": (c_char_p, (c_void_p, POINTER(_Tagged))),
    "m3_SetGlobal": (c_char_p, (c_void_p, POINTER(_Tagged))),
}


def _load() -> ctypes.PyDLL:
    spec = PathFinder.find_spec("wasm3")
    if spec is None or spec.origin is None:
        raise ImportError("the library wasm3 is not installed")
    library = ctypes.PyDLL(spec.origin)
    for name, (result, arguments) in _PROTOTYPES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


lib = _load()


def _raise(message: bytes | None) -> None:
    if message is not None:
        raise EngineFailure(f"wasm3: {message.decode('utf-8', 'replace')}")


def _made(pointer: int | None) -> int:
    if pointer is None:
        raise EngineFailure("wasm3: out of memory")
    return pointer


class Wasm3Memory(MappedMemory):
    """The guest's memory. It moves when it grows, so its address is fetched at each access."""

    def __init__(self, runtime: int) -> None:
        self._runtime = runtime

    def size(self) -> int:
        return int(lib.m3_GetMemorySize(self._runtime))

    def read(self, offset: int, length: int) -> bytes:
        if not length:  # a memory without a page has no address
            return b""
        return ctypes.string_at(lib.m3_GetMemory(self._runtime, None, 0) + offset, length)

    def write(self, offset: int, data: bytes) -> None:
        if data:
            ctypes.memmove(lib.m3_GetMemory(self._runtime, None, 0) + offset, data, len(data))

    def view(self) -> memoryview:
        return memoryview(
            (ctypes.c_char * self.size()).from_address(lib.m3_GetMemory(self._runtime, None, 0))
        ).cast("B")


class _Calls:
    """The state that the host functions of one instance share: the exception that one of them raised."""

    def __init__(self) -> None:
        self.pending: BaseException | None = None


_functions: dict[int, tuple[HostFunction, list[tuple[int, int]], str, _Calls]] = {}
"""Host functions by the number that the library hands back: function, (cell, mask) of each parameter, results."""


def _call_host(_runtime: int, context: int, cells: Any, _memory: int) -> int:
    """Call a host function: the result's cell comes first, then the arguments'. An exception becomes a trap.

    One C callback for all functions: a callback takes memory that is executable, which a worker cannot get.
    """
    function, masks, results, calls = _functions[c_uint64.from_address(context).value]
    try:
        result = function(*[cells[cell] & mask for cell, mask in masks])
        if results:
            cells[0] = result
    except BaseException as exc:
        calls.pending = exc
        return _FAILED
    return 0


_dispatch = _CALLBACK(_call_host)


class Wasm3Instance(Instance):
    """An instance in its own wasm3 runtime."""

    _runtime = 0

    def __init__(
        self, environment: int, code: bytes, functions: Mapping[str, tuple[str, str, HostFunction]]
    ) -> None:
        self._calls = _Calls()
        self._numbers: list[int] = []
        self._globals: dict[str, int] = {}
        self._code = code  # wasm3 compiles from it, when a function is first called
        self._runtime = _made(lib.m3_NewRuntime(environment, STACK_BYTES, None))
        self._memory = Wasm3Memory(self._runtime)
        self._module = c_void_p()
        _raise(lib.m3_ParseModule(environment, byref(self._module), code, len(code)))
        message = lib.m3_LoadModule(self._runtime, self._module)
        if message is not None:
            lib.m3_FreeModule(self._module)
            _raise(message)
        for name, (params, results, function) in functions.items():
            number = next(_numbers)
            masks = [(index + len(results), _MASKS[char]) for index, char in enumerate(params)]
            _functions[number] = (function, masks, results, self._calls)
            self._numbers.append(number)
            signature = f"{results or 'v'}({params})".encode()
            message = lib.m3_LinkRawFunctionEx(
                self._module, WASI_MODULE.encode(), name.encode(), signature, _dispatch, number
            )
            if message != _NOT_IMPORTED:
                _raise(message)

    def __del__(self) -> None:
        lib.m3_FreeRuntime(self._runtime)  # this also frees the module
        for number in self._numbers:
            del _functions[number]

    @property
    def memory(self) -> Memory:
        return self._memory

    def _global(self, name: str) -> int:
        known = self._globals.get(name)
        if known is None:  # looked up once: wasm3 searches all globals of the module
            found = lib.m3_FindGlobal(self._module, name.encode())
            if not found:
                raise EngineFailure(f"the module does not export {name}")
            known = self._globals[name] = int(found)
        return known

    def get_global(self, name: str) -> int:
        value = _Tagged()
        _raise(lib.m3_GetGlobal(self._global(name), byref(value)))
        bits = int(value.value)
        if value.type == _I32:
            bits &= 0xFFFF_FFFF
            return bits - (1 << 32) if bits >> 31 else bits
        return bits - (1 << 64) if bits >> 63 else bits

    def set_global(self, name: str, value: int) -> None:
        item = self._global(name)
        tagged = _Tagged()
        _raise(lib.m3_GetGlobal(item, byref(tagged)))
        tagged.value = value & _MASKS["I"]
        _raise(lib.m3_SetGlobal(item, byref(tagged)))

    def compile(self) -> None:
        """Compile the functions that are not compiled yet."""
        _raise(lib.m3_CompileModule(self._module))

    def call(self, name: str) -> None:
        function = c_void_p()
        _raise(lib.m3_FindFunction(byref(function), self._runtime, name.encode()))
        message = lib.m3_Call(function, 0, None)
        pending, self._calls.pending = self._calls.pending, None
        if pending is not None:
            try:
                raise pending
            finally:
                del pending  # its traceback holds this frame: a cycle, and nothing collects garbage here
        if message in _TRAP_KINDS:
            raise Trap(_TRAP_KINDS[message])
        _raise(message)


def _never(*_: int) -> int:
    raise AssertionError("compiling runs no guest")


class Wasm3Module(LoadedModule):
    """A metered module. It is parsed for each instance, because a wasm3 runtime takes ownership of a parsed module."""

    def __init__(self, environment: int, code: bytes) -> None:
        self._environment = environment
        self._code = code

    def instantiate(self, functions: Mapping[str, tuple[str, str, HostFunction]]) -> Instance:
        return Wasm3Instance(self._environment, self._code, functions)


class Wasm3Engine(Engine):
    """The wasm3 interpreter. The artefact is the metered module itself."""

    def __init__(self) -> None:
        self._environment = _made(lib.m3_NewEnvironment())

    def compile(self, module: bytes) -> bytes:
        """Compile every function once, so that no function fails at its first call."""
        stubs = {name: (*types, _never) for name, types in FUNCTIONS.items()}
        Wasm3Instance(self._environment, module, stubs).compile()
        return module

    def load(self, artefact: bytes) -> LoadedModule:
        return Wasm3Module(self._environment, artefact)
