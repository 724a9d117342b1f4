"""The wasmer engine inside a child: compile, load, call, reach the memory. Nothing a job can observe."""

from __future__ import annotations

import wasmer
import wasmer_compiler_cranelift

from plasm_core.plugins.engine import WASI_MODULE, Engine, EngineFailure, Instance, LoadedModule, Memory, Trap

TYPE_CHECKING = False  # importing typing would cost every worker
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from plasm_core.plugins.engine import HostFunction

# The beginnings of wasmer's messages, longest first where one begins with another.
_TRAP_KINDS = (
    ("unreachable", "unreachable"),
    ("out of bounds memory access", "memory_out_of_bounds"),
    ("undefined element", "table_out_of_bounds"),
    ("out of bounds table access", "table_out_of_bounds"),
    ("uninitialized element", "indirect_call_to_null"),
    ("indirect call type mismatch", "bad_signature"),
    ("integer overflow", "integer_overflow"),
    ("integer divide by zero", "integer_division_by_zero"),
    ("invalid conversion to integer", "bad_conversion_to_integer"),
    ("call stack exhausted", "stack_exhausted"),
)
_MASKS = {"i": 0xFFFF_FFFF, "I": 0xFFFF_FFFF_FFFF_FFFF}
_TYPES = {"i": wasmer.Type.I32, "I": wasmer.Type.I64}


class WasmerMemory(Memory):
    """The guest's memory. It may move when it grows, so its buffer is fetched at each access."""

    def __init__(self, memory: Any) -> None:
        self._memory = memory

    def size(self) -> int:
        return int(self._memory.data_size)

    def read(self, offset: int, length: int) -> bytes:
        return bytes(memoryview(self._memory.buffer)[offset : offset + length])

    def write(self, offset: int, data: bytes) -> None:
        memoryview(self._memory.buffer)[offset : offset + len(data)] = data


class WasmerInstance(Instance):
    """An instance. `pending`: the exception that a host function raised."""

    def __init__(
        self, store: Any, module: Any, functions: Mapping[str, tuple[str, str, HostFunction]]
    ) -> None:
        self.pending: BaseException | None = None
        imports = wasmer.ImportObject()
        imports.register(
            WASI_MODULE,
            {name: self._import(store, *described) for name, described in functions.items()},
        )
        self._exports = wasmer.Instance(module, imports).exports
        self._memory = WasmerMemory(self._exports.memory)

    def _import(self, store: Any, params: str, results: str, function: HostFunction) -> Any:
        masks = [_MASKS[char] for char in params]

        def call(*arguments: int) -> Any:
            try:
                return function(*[value & mask for value, mask in zip(arguments, masks, strict=True)])
            except BaseException as exc:
                self.pending = exc
                raise

        kind = wasmer.FunctionType([_TYPES[char] for char in params], [_TYPES[char] for char in results])
        return wasmer.Function(store, call, kind)

    @property
    def memory(self) -> Memory:
        return self._memory

    def get_global(self, name: str) -> int:
        return int(getattr(self._exports, name).value)

    def set_global(self, name: str, value: int) -> None:
        getattr(self._exports, name).value = value

    def call(self, name: str) -> None:
        try:
            getattr(self._exports, name)()
        except BaseException as exc:
            pending, self.pending = self.pending, None
            if pending is not None:
                raise pending from None
            message = str(exc).removeprefix("RuntimeError: ")
            for beginning, kind in _TRAP_KINDS:
                if message.startswith(beginning):
                    raise Trap(kind) from None
            raise EngineFailure(f"wasmer: {message}") from exc


class WasmerModule(LoadedModule):
    """A loaded module."""

    def __init__(self, store: Any, module: Any) -> None:
        self._store = store
        self._module = module

    def instantiate(self, functions: Mapping[str, tuple[str, str, HostFunction]]) -> Instance:
        try:
            return WasmerInstance(self._store, self._module, functions)
        except RuntimeError as exc:
            raise EngineFailure(f"wasmer: {exc}") from exc


class WasmerEngine(Engine):
    """The wasmer engine. It compiles with Cranelift in threads, and loads without threads."""

    def compile(self, module: bytes) -> bytes:
        store = wasmer.Store(wasmer.engine.JIT(wasmer_compiler_cranelift.Compiler))
        try:
            return bytes(wasmer.Module(store, module).serialize())
        except BaseException as exc:  # a panic of the compiler is no Exception
            raise EngineFailure(f"wasmer: {exc}") from exc

    def load(self, artefact: bytes) -> LoadedModule:
        store = wasmer.Store(wasmer.engine.JIT())
        try:
            return WasmerModule(store, wasmer.Module.deserialize(store, artefact))
        except RuntimeError as exc:
            raise EngineFailure(f"wasmer: {exc}") from exc
