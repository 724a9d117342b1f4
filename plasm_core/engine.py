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

    def gather(self, pieces: list[tuple[int, int]]) -> bytes:
        """Copy pieces out, each (offset, length), one behind the other. An engine may know a faster way."""
        return b"".join([self.read(offset, length) for offset, length in pieces])

    def scatter(self, pieces: list[tuple[int, bytes]]) -> None:
        """Copy pieces in, each (offset, data), in their order. An engine may know a faster way."""
        for offset, data in pieces:
            self.write(offset, data)


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


class GuestJob:
    """One job, for an engine that brings a WASI host of its own.

    `stdin` has `read(count)`, which returns at least one byte while `remaining()` is not 0. `output(stream, data)`
    takes what the guest writes, stream 1 or 2. `gas` and `pages` go into the globals of these names before the
    guest runs; the function `start_export` is called before `_start` if the module has it.
    """

    def __init__(
        self,
        *,
        args: list[bytes],
        env: list[bytes],
        seed: bytes,
        stdin: Any,
        output: Callable[[int, bytes], None],
        output_bytes: int,
        gas: int,
        pages: int,
        has_start: bool,
        real_clock: bool,
        real_random: bool,
        names: dict[str, str],
    ) -> None:
        self.args = args
        self.env = env
        self.seed = seed
        self.stdin = stdin
        self.output = output
        self.output_bytes = output_bytes
        self.gas = gas
        self.pages = pages
        self.has_start = has_start
        self.real_clock = real_clock
        self.real_random = real_random
        self.names = names
        """Exported name by use: `gas`, `pages`, `fault`, `start`."""


class GuestEnd:
    """How a guest ended: `exited` with a code, `trapped` with a kind, `out_of_gas` or `output_limit`.

    `gas_left` and `fault` are the values of those globals at the end.
    """

    def __init__(self, *, kind: str, code: int, trap: str, gas_left: int, fault: int) -> None:
        self.kind = kind
        self.code = code
        self.trap = trap
        self.gas_left = gas_left
        self.fault = fault


class HostedModule(ABC):
    """A module on an engine that brings a WASI host of its own: it runs whole jobs instead of calling back."""

    @abstractmethod
    def run(self, job: GuestJob) -> GuestEnd:
        """Run one job to its end. Raises: `EngineFailure`, or what `stdin` or `output` raised."""


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


class HostedEngine(ABC):
    """An engine in a child process that brings a WASI host of its own. Constructed and locked down as an `Engine`."""

    @abstractmethod
    def compile(self, module: bytes) -> bytes:
        """As `Engine.compile`."""

    @abstractmethod
    def load(self, artefact: bytes) -> HostedModule:
        """Load an artefact that this engine compiled. Raises: `EngineFailure`."""
