"""Host calls that the test module `calls` makes, written in Python, and what came of them."""

from __future__ import annotations

import struct

import attrs

# As modules/calls.wat imports them.
FUNCTIONS: dict[str, str] = {
    name: params
    for name, _, params in (
        line.partition(" ")
        for line in """\
args_get ii
args_sizes_get ii
environ_get ii
environ_sizes_get ii
clock_res_get ii
clock_time_get iIi
fd_advise iIIi
fd_allocate iII
fd_close i
fd_datasync i
fd_fdstat_get ii
fd_fdstat_set_flags ii
fd_fdstat_set_rights iII
fd_filestat_get ii
fd_filestat_set_size iI
fd_filestat_set_times iIIi
fd_pread iiiIi
fd_prestat_dir_name iii
fd_prestat_get ii
fd_pwrite iiiIi
fd_read iiii
fd_readdir iiiIi
fd_renumber ii
fd_seek iIii
fd_sync i
fd_tell ii
fd_write iiii
path_create_directory iii
path_filestat_get iiiii
path_filestat_set_times iiiiIIi
path_link iiiiiii
path_open iiiiiIIii
path_readlink iiiiii
path_remove_directory iii
path_rename iiiiii
path_symlink iiiii
path_unlink_file iii
poll_oneoff iiii
proc_exit i
proc_raise i
random_get ii
sched_yield
sock_accept iii
sock_recv iiiiii
sock_send iiiii
sock_shutdown ii""".splitlines()
    )
}
"""The functions of `wasi_snapshot_preview1` (witx) by name, with their parameters: 'i' an i32, 'I' an i64."""

_ORDER = list(FUNCTIONS)

MEMORY_BYTES = 2 << 16
_SCRIPT = 1 << 16
_CALLS = _SCRIPT + 64
_CALL = struct.Struct("<II9Q")
MAX_CALLS = 400

SUCCESS, BADF, FAULT, INVAL, NOTDIR, NOTSOCK, SPIPE, NOTCAPABLE = 0, 8, 21, 28, 54, 57, 70, 76
"""WASI's errno (witx)."""


@attrs.frozen(kw_only=True)
class Done:
    """What came of a script: each call's errno, the whole memory, and what the calls wrote themselves."""

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
    """Host calls over a memory of 131,072 bytes. The first 65,536, and from 98,304 on, are the test's.

    `dump_to` is the descriptor that the memory is written to at the end, so not the one under test.
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
        """Return what standard input must begin with."""
        whole = (0, MEMORY_BYTES)
        memory = bytearray(self._memory)
        head = struct.pack("<II4I", len(self._calls), self._dump_to, *whole, *whole)
        memory[_SCRIPT : _SCRIPT + len(head)] = head
        calls = b"".join(self._calls)
        memory[_CALLS : _CALLS + len(calls)] = calls
        return bytes(memory)

    def done(self, stdout: bytes, stderr: bytes) -> Done:
        """Read the dump, which ends the stream it was sent to."""
        streams = {1: stdout, 2: stderr}
        dumped = max(streams, key=lambda stream: len(streams[stream]))
        memory = streams[dumped][-MEMORY_BYTES:]
        streams[dumped] = streams[dumped][:-MEMORY_BYTES]
        errnos = [
            struct.unpack_from("<I", memory, _CALLS + _CALL.size * number + 4)[0]
            for number in range(len(self._calls))
        ]
        return Done(errnos=errnos, memory=memory, stdout=streams[1], stderr=streams[2])


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


def events_at(done: Done, address: int, count: int) -> list[Event]:
    """Decode the events that poll_oneoff wrote, 32 bytes each."""
    found = []
    for number in range(count):
        fields = struct.unpack_from("<QHB5xQH", done.memory, address + 32 * number)
        found.append(
            Event(**dict(zip(("userdata", "error", "kind", "nbytes", "flags"), fields, strict=True)))
        )
    return found
