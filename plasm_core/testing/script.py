"""Host calls for the test module `calls`, written in Python, and their results."""

from __future__ import annotations

import struct

import attrs

from plasm_core.sandbox.wasi import abi

FUNCTIONS: dict[str, str] = {name: parameters for name, (parameters, _) in abi.FUNCTIONS.items()}
"""The functions of `wasi_snapshot_preview1` by name, with their parameter types, in the order of modules/calls.wat."""

_ORDER = list(FUNCTIONS)

MEMORY_BYTES = 2 << 16
_SCRIPT = 1 << 16
_CALLS = _SCRIPT + 64
_CALL = struct.Struct("<II9Q")
MAX_CALLS = 400

SUCCESS, BADF, FAULT, INVAL, NOTDIR, NOTSOCK, SPIPE, NOTCAPABLE = 0, 8, 21, 28, 54, 57, 70, 76
"""WASI's errno (witx)."""


@attrs.frozen(kw_only=True)
class ScriptOutcome:
    """The result of a script: each call's errno, the whole memory, and the output of the calls themselves."""

    errnos: list[int]
    memory: bytes
    stdout: bytes
    stderr: bytes

    def u32(self, address: int) -> int:
        """Return the u32 at an address."""
        return int(struct.unpack_from("<I", self.memory, address)[0])

    def u64(self, address: int) -> int:
        """Return the u64 at an address."""
        return int(struct.unpack_from("<Q", self.memory, address)[0])


class Script:
    """Host calls with a memory of 131,072 bytes. The test may use bytes 0 to 65,535, and those from 98,304.

    `dump_to`: the descriptor to which the memory is written at the end, not the one under test.
    """

    def __init__(self, *, dump_to: int = 2) -> None:
        self._dump_to = dump_to
        self._memory = bytearray(MEMORY_BYTES)
        self._calls: list[bytes] = []

    def put(self, address: int, data: bytes) -> None:
        """Put bytes into the memory before the first call."""
        self._memory[address : address + len(data)] = data

    def vectors(self, address: int, *vectors: tuple[int, int]) -> None:
        """Put (pointer, length) pairs, as fd_read and fd_write take them."""
        self.put(address, b"".join(struct.pack("<II", *vector) for vector in vectors))

    def call(self, name: str, *arguments: int) -> None:
        """Add a call. Arguments are taken modulo their type's size."""
        assert len(arguments) == len(FUNCTIONS[name])
        assert len(self._calls) < MAX_CALLS
        padded = [value % 2**64 for value in arguments] + [0] * (9 - len(arguments))
        self._calls.append(_CALL.pack(_ORDER.index(name), 0xFFFF_FFFF, *padded))

    def image(self) -> bytes:
        """Return the bytes with which standard input must begin."""
        whole = (0, MEMORY_BYTES)
        memory = bytearray(self._memory)
        head = struct.pack("<II4I", len(self._calls), self._dump_to, *whole, *whole)
        memory[_SCRIPT : _SCRIPT + len(head)] = head
        calls = b"".join(self._calls)
        memory[_CALLS : _CALLS + len(calls)] = calls
        return bytes(memory)

    def done(self, stdout: bytes, stderr: bytes) -> ScriptOutcome:
        """Parse the output of the script's run, which ends with the memory."""
        streams = {1: stdout, 2: stderr}
        dumped = max(streams, key=lambda stream: len(streams[stream]))
        memory = streams[dumped][-MEMORY_BYTES:]
        streams[dumped] = streams[dumped][:-MEMORY_BYTES]
        errnos = [
            struct.unpack_from("<I", memory, _CALLS + _CALL.size * number + 4)[0]
            for number in range(len(self._calls))
        ]
        return ScriptOutcome(errnos=errnos, memory=memory, stdout=streams[1], stderr=streams[2])


@attrs.frozen(kw_only=True)
class Event:
    """An event of poll_oneoff."""

    userdata: int
    error: int
    kind: int
    nbytes: int
    flags: int


CLOCK, FD_READ, FD_WRITE = range(3)
REALTIME, MONOTONIC, PROCESS_CPUTIME, THREAD_CPUTIME = range(4)
ABSOLUTE = 1
HANGUP = 1


def clock_subscription(userdata: int, clock: int, timeout_ns: int, *, flags: int = 0) -> bytes:
    """Encode a subscription to a clock: 48 bytes."""
    return struct.pack("<QB7xI4xQQH6x", userdata, CLOCK, clock, timeout_ns, 1, flags)


def fd_subscription(userdata: int, kind: int, fd: int) -> bytes:
    """Encode a subscription to a descriptor: 48 bytes."""
    return struct.pack("<QB7xI28x", userdata, kind, fd)


def events_at(done: ScriptOutcome, address: int, count: int) -> list[Event]:
    """Decode the events that poll_oneoff wrote, 32 bytes each."""
    found = []
    for number in range(count):
        fields = struct.unpack_from("<QHB5xQH", done.memory, address + 32 * number)
        found.append(
            Event(**dict(zip(("userdata", "error", "kind", "nbytes", "flags"), fields, strict=True)))
        )
    return found
