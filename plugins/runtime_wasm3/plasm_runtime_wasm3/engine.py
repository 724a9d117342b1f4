"""The wasm3 engine inside a child: load, call, reach the memory. Nothing a job can observe."""

from __future__ import annotations

import wasm3

from plasm_core.engine import WASI_MODULE, Engine, EngineFailure, Instance, LoadedModule, Memory, Trap

TYPE_CHECKING = False  # importing typing would cost every worker
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from plasm_core.engine import HostFunction

STACK_BYTES = 64 << 20
"""Room for the deepest recursion of docs/determinism.md, with the constants wasm3 keeps in each frame."""

_TRAP_KINDS = {
    "[trap] unreachable executed": "unreachable",
    "[trap] out of bounds memory access": "memory_out_of_bounds",
    "[trap] undefined element": "table_out_of_bounds",
    "[trap] null table element": "indirect_call_to_null",
    "[trap] indirect call type mismatch": "bad_signature",
    "[trap] integer overflow": "integer_overflow",
    "[trap] integer divide by zero": "integer_division_by_zero",
    "[trap] invalid conversion to integer": "bad_conversion_to_integer",
    "[trap] stack overflow": "stack_exhausted",
}
_MASKS = {"i": 0xFFFF_FFFF, "I": 0xFFFF_FFFF_FFFF_FFFF}


class Wasm3Memory(Memory):
    """The guest's memory. Its view dangles once the memory grows, so it is asked for anew each time."""

    def __init__(self, runtime: Any) -> None:
        self._view = runtime.get_memory

    def size(self) -> int:
        view = self._view(0)
        return 0 if view is None else len(view)

    def read(self, offset: int, length: int) -> bytes:
        return bytes(self._view(0)[offset : offset + length])

    def write(self, offset: int, data: bytes) -> None:
        self._view(0)[offset : offset + len(data)] = data


class Wasm3Instance(Instance):
    """One instance in a runtime of its own."""

    def __init__(self, runtime: Any, module: Any) -> None:
        self._runtime = runtime
        self._module = module
        self._memory = Wasm3Memory(runtime)

    @property
    def memory(self) -> Memory:
        return self._memory

    def get_global(self, name: str) -> int:
        return int(self._module.get_global(name))

    def set_global(self, name: str, value: int) -> None:
        self._module.set_global(name, value)

    def call(self, name: str) -> None:
        try:
            self._runtime.find_function(name)()
        except RuntimeError as exc:
            # A debug build of wasm3 adds details in parentheses.
            kind = _TRAP_KINDS.get(str(exc).partition(" (")[0])
            if kind is None:
                raise EngineFailure(f"wasm3: {exc}") from exc
            raise Trap(kind) from None


class Wasm3Module(LoadedModule):
    """A metered module. wasm3 gives a parsed module away to its runtime, so it is parsed for each instance."""

    def __init__(self, environment: Any, code: bytes) -> None:
        self._environment = environment
        self._code = code

    def instantiate(self, functions: Mapping[str, tuple[str, str, HostFunction]]) -> Instance:
        runtime = self._environment.new_runtime(STACK_BYTES)
        try:
            module = self._environment.parse_module(self._code)
            runtime.load(module)
            for name, (params, results, function) in functions.items():
                _link(module, name, params, results, function)
        except RuntimeError as exc:
            raise EngineFailure(f"wasm3: {exc}") from exc
        return Wasm3Instance(runtime, module)


def _link(module: Any, name: str, params: str, results: str, function: HostFunction) -> None:
    masks = [_MASKS[char] for char in params]

    def call(*arguments: int) -> int | None:
        return function(*[value & mask for value, mask in zip(arguments, masks, strict=True)])  # type: ignore[no-any-return]

    try:
        module.link_function(WASI_MODULE, name, f"{results or 'v'}({params})", call)
    except RuntimeError as exc:
        if "lookup failed" not in str(exc):  # the module does not import it
            raise


class Wasm3Engine(Engine):
    """Interprets: its artefact is the module itself."""

    def __init__(self) -> None:
        self._environment = wasm3.Environment()

    def compile(self, module: bytes) -> bytes:
        try:
            self._environment.new_runtime(STACK_BYTES).load(self._environment.parse_module(module))
        except RuntimeError as exc:
            raise EngineFailure(f"wasm3: {exc}") from exc
        return module

    def load(self, artefact: bytes) -> LoadedModule:
        return Wasm3Module(self._environment, artefact)
