"""The interface of an engine inside a worker process.

An engine compiles, loads and calls; everything that a job can observe is done by the core. Workers start fast and
import little: this module and the engines' own import nothing of the core's records.
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
_FEW_PIECES = 8
"""Fewer pieces of memory take less time one by one than through a view."""


class Trap(Exception):
    """The guest trapped. `kind` is one of `TRAP_KINDS`."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class EngineFailure(Exception):
    """The engine failed, and the guest is not at fault."""


class Memory(ABC):
    """The guest's linear memory. Callers check bounds against `size` first."""

    @abstractmethod
    def size(self) -> int:
        """Return the current size in bytes."""

    @abstractmethod
    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`."""

    @abstractmethod
    def write(self, offset: int, data: bytes) -> None:
        """Write `data` at `offset`."""

    def gather(self, pieces: list[tuple[int, int]]) -> bytes:
        """Return several pieces, each (offset, length), joined. An engine may override it with a faster way."""
        return b"".join([self.read(offset, length) for offset, length in pieces])

    def scatter(self, pieces: list[tuple[int, bytes]]) -> None:
        """Write several pieces, each (offset, data), in order. An engine may override it with a faster way."""
        for offset, data in pieces:
            self.write(offset, data)


class MappedMemory(Memory):
    """A memory that the worker can address: many pieces are read and written through one view of all of it."""

    @abstractmethod
    def view(self) -> memoryview:
        """Return all of the memory, as bytes. The view may be used until the guest runs again."""

    def gather(self, pieces: list[tuple[int, int]]) -> bytes:
        if len(pieces) < _FEW_PIECES:
            return super().gather(pieces)
        view = self.view()
        return b"".join([view[offset : offset + length] for offset, length in pieces])

    def scatter(self, pieces: list[tuple[int, bytes]]) -> None:
        if len(pieces) < _FEW_PIECES:
            super().scatter(pieces)
            return
        view = self.view()
        for offset, data in pieces:
            view[offset : offset + len(data)] = data


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
    """A module that can be instantiated any number of times."""

    @abstractmethod
    def instantiate(self, functions: Mapping[str, tuple[str, str, HostFunction]]) -> Instance:
        """Instantiate the module. No guest code runs.

        `functions` maps the name of each function of `wasi_snapshot_preview1` to its parameter types,
        result types ('i' an i32, 'I' an i64, one character each) and the function.

        Raises: `EngineFailure`.
        """


class GuestFiles:
    """A job's files, for an engine with its own WASI host (docs/files.md).

    `read(offset, count)` reads the pack: the listing, `listing_bytes` long, then each blob once in the order of the
    listing. `entry(body)` receives an entry that the job leaves: u32le position of its output ‖ u8 kind ‖ u64le size
    ‖ path in the output; `data(bytes)` receives the file's bytes after its entry, in pieces of at most 1 MiB.
    """

    def __init__(
        self,
        *,
        listing_bytes: int,
        read_only: list[bytes],
        outputs: list[bytes],
        data_bytes: int,
        entries: int,
        descriptors: int,
        read: Callable[[int, int], bytes],
        entry: Callable[[bytes], None],
        data: Callable[[bytes], None],
    ) -> None:
        self.listing_bytes = listing_bytes
        self.read_only = read_only
        self.outputs = outputs
        self.data_bytes = data_bytes
        self.entries = entries
        self.descriptors = descriptors
        self.read = read
        self.entry = entry
        self.data = data


class GuestJob:
    """One job, for an engine with its own WASI host.

    `stdin` has `read(count)`, which returns at least one byte while `remaining()` is not 0. `output(stream, data)`
    receives the guest's output, stream 1 or 2. The values of `gas` and `pages` are written to the globals with these
    names before the guest runs. The function `start` is called before `_start` if `has_start` is true. After `_start`
    has returned, the exit code is the unsigned value of the global `exit` if that is not empty, else 0. `noted` is a
    buffer of 8 bytes that the engine keeps up to date as far as it can: the gas left, i64 in little-endian order. If
    the job is killed, the node says from it how much gas the job used at least.
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
        files: GuestFiles | None = None,
        noted: Any = None,
    ) -> None:
        self.noted = bytearray(8) if noted is None else noted
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
        """Exported name by use: `gas`, `pages`, `fault`, `start`; for a job with an entry also `exit`."""
        self.files = files


class GuestEnd:
    """How a guest ended: `exited` with a code, `trapped` with a kind, `out_of_gas` or `output_limit`.

    `gas_left` and `fault`: the final values of the globals with these names.
    """

    def __init__(self, *, kind: str, code: int, trap: str, gas_left: int, fault: int) -> None:
        self.kind = kind
        self.code = code
        self.trap = trap
        self.gas_left = gas_left
        self.fault = fault


class HostedModule(ABC):
    """A module on an engine with its own WASI host: it runs whole jobs, without calls back into Python."""

    @abstractmethod
    def run(self, job: GuestJob) -> GuestEnd:
        """Run one job to its end. Raises: `EngineFailure`, or what `stdin` or `output` raised."""


class Engine(ABC):
    """An engine in a child process. Its constructor takes the options that its `Runtime` component returns.

    The constructor must import everything that the engine will need: the child is locked down right afterwards, and
    cannot open files from then on.
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
    """An engine with its own WASI host, in a child process. Constructed and locked down as an `Engine`."""

    @abstractmethod
    def compile(self, module: bytes) -> bytes:
        """As `Engine.compile`."""

    @abstractmethod
    def load(self, artefact: bytes) -> HostedModule:
        """Load an artefact that this engine compiled. Raises: `EngineFailure`."""
