"""What an engine does inside a worker process, and what it is given.

An engine compiles, loads and calls; everything that a job can observe is the core's.
Workers start fast and import little: this module and the engines' own import nothing of the core's records.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

TYPE_CHECKING = False  # importing typing would cost every worker
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    HostFunction = Callable[..., Any]
    """Takes the guest's integers, unsigned, and returns an unsigned i32, or None where its type has no result.

    An exception it raises ends the guest and leaves `Instance.call` unchanged.
    """

PAGE_BYTES = 65_536
WASI_MODULE = "wasi_snapshot_preview1"

TRAP_KINDS = (
    "unreachable",
    "memory_out_of_bounds",
    "table_out_of_bounds",
    "indirect_call_to_null",
    "bad_signature",
    "integer_overflow",
    "integer_division_by_zero",
    "bad_conversion_to_integer",
    "stack_exhausted",
)
"""Kinds of trap, as docs/determinism.md names them."""


class Trap(Exception):
    """The guest trapped. `kind` is one of `TRAP_KINDS`."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class EngineFailure(Exception):
    """The engine failed by no fault of the guest."""


class Memory(ABC):
    """The guest's linear memory. Callers check bounds against `size` first."""

    @abstractmethod
    def size(self) -> int:
        """Return the present size in bytes."""

    @abstractmethod
    def read(self, offset: int, length: int) -> bytes:
        """Copy `length` bytes out, from `offset`."""

    @abstractmethod
    def write(self, offset: int, data: bytes) -> None:
        """Copy `data` in, at `offset`."""


class Instance(ABC):
    """One instantiated module."""

    @property
    @abstractmethod
    def memory(self) -> Memory:
        """The memory exported as `memory`."""

    @abstractmethod
    def get_global(self, name: str) -> int:
        """Read an exported i32 or i64 global, as a signed integer."""

    @abstractmethod
    def set_global(self, name: str, value: int) -> None:
        """Write an exported mutable i32 or i64 global."""

    @abstractmethod
    def call(self, name: str) -> None:
        """Call an exported function of type () → ().

        Raises: `Trap`, `EngineFailure`, or what a host function raised.
        """


class LoadedModule(ABC):
    """A module ready to be instantiated, as often as asked."""

    @abstractmethod
    def instantiate(self, functions: Mapping[str, tuple[str, str, HostFunction]]) -> Instance:
        """Instantiate the module. No guest code runs.

        `functions` maps the name of each function of `wasi_snapshot_preview1` to its parameter types,
        result types ('i' an i32, 'I' an i64, one character each) and the function.

        Raises: `EngineFailure`.
        """


class Engine(ABC):
    """An engine in a child process. Its constructor takes the options its `Runtime` component gives.

    Constructing it must import all it will ever need: a child is locked down right afterwards, and opens no
    file from then on.
    """

    @abstractmethod
    def compile(self, module: bytes) -> bytes:
        """Compile a validated, metered module to an artefact that `load` takes.

        Raises: `EngineFailure` with a reason the operator can read.
        """

    @abstractmethod
    def load(self, artefact: bytes) -> LoadedModule:
        """Load an artefact that this engine compiled. Raises: `EngineFailure`."""
