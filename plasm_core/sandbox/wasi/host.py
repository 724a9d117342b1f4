"""The host functions: default-deny, every pointer checked, every loop bounded and charged.

A job sees three descriptors, a virtual clock, seeded randomness, and nothing else.
"""

from __future__ import annotations

import struct

from plasm_core.sandbox.wasi import abi
from plasm_core.sandbox.wasi.machine import RealClock, RealRandom, SeededRandom, VirtualClock
from plasm_core.sandbox.wasi.poll import (
    EVENT_BYTES,
    MAX_SUBSCRIPTIONS,
    SUBSCRIPTION_BYTES,
    Subscription,
    read_subscriptions,
    wait,
)

CALL_GAS = 1_000
MAX_VECTORS = 1_024
_CHUNK = 1 << 16

TYPE_CHECKING = False  # importing typing would cost every worker
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Protocol

    from plasm_core.engine import HostFunction, Instance, Memory

    class Stdin(Protocol):
        """Where standard input comes from."""

        def read(self, count: int) -> bytes:
            """Return the next bytes: at least one, at most `count`. Called only while some are left."""

        def remaining(self) -> int:
            """Return how many bytes are left."""


_RIGHTS = {
    0: abi.RIGHT_FD_READ | abi.RIGHT_POLL,
    1: abi.RIGHT_FD_WRITE | abi.RIGHT_POLL,
    2: abi.RIGHT_FD_WRITE | abi.RIGHT_POLL,
}


def _chunks(vectors: list[tuple[int, int]], room: int) -> Iterator[list[tuple[int, int]]]:
    """Cut vectors, up to `room` bytes in all, to lists of pieces of `_CHUNK` bytes: each is sent at once."""
    pieces: list[tuple[int, int]] = []
    chunk = min(_CHUNK, room)
    for pointer, length in vectors:
        while length and room:
            size = min(length, chunk)
            pieces.append((pointer, size))
            pointer, length, chunk, room = pointer + size, length - size, chunk - size, room - size
            if not chunk:
                yield pieces
                pieces, chunk = [], min(_CHUNK, room)


class Exit(Exception):
    """The guest called proc_exit. `code` is a u32."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class OutOfGas(Exception):
    """A host call's charge took the counter below zero."""


class OutputLimit(Exception):
    """The guest wrote more than its cap to stdout or stderr."""


class _Errno(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Strings:
    """Arguments or environment, as they are written to memory: joined once, however often the guest asks.

    Asking for their sizes costs the same gas however many there are, so it must cost the same time.
    """

    def __init__(self, strings: list[bytes]) -> None:
        self.count = len(strings)
        self.joined = b"\0".join([*strings, b""])
        self._lengths = list(map(len, strings))
        self._offsets = -1
        self._ones = 0

    def pointers(self, buffer: int) -> bytes:
        """Return the addresses of all strings if they begin at `buffer`, which must have room for them below 4 GiB."""
        if self._offsets < 0:
            offsets, offset = [], 0
            for length in self._lengths:
                offsets.append(offset)
                offset += length + 1
            # The offsets as one number, and one that adds 1 to each: moving all of them is one multiplication.
            self._offsets = int.from_bytes(struct.pack(f"<{self.count}I", *offsets), "little")
            self._ones = int.from_bytes(b"\1\0\0\0" * self.count, "little")
        return (self._offsets + buffer * self._ones).to_bytes(4 * self.count, "little")


class HostJob:
    """One job's inputs, as a worker holds them.

    `output(stream, data)` takes what the guest writes, stream 1 or 2. Arguments and environment strings
    contain no NUL. `seed` has 32 bytes.
    """

    def __init__(
        self,
        *,
        args: list[bytes],
        env: list[bytes],
        stdin: Stdin,
        seed: bytes,
        output_bytes: int,
        real_clock: bool = False,
        real_random: bool = False,
        output: Callable[[int, bytes], None],
    ) -> None:
        self.args = Strings([b"main", *args])
        self.env = Strings(env)
        self.stdin = stdin
        self.output = output
        self.left = {1: output_bytes, 2: output_bytes}
        self.clock = RealClock() if real_clock else VirtualClock()
        self.random = RealRandom() if real_random else SeededRandom(seed)


class Host:
    """The functions of `wasi_snapshot_preview1` over one instance. Made first, given its job later."""

    def __init__(self, gas_global: str) -> None:
        self._gas_global = gas_global
        self._instance: Instance
        self._memory: Memory
        self._job: HostJob
        self._streams = {0: 0, 1: 1, 2: 2}  # descriptor → stream
        self._rights = dict(_RIGHTS)  # by descriptor
        self.functions: dict[str, tuple[str, str, HostFunction]] = {
            name: (params, results, self._wrapped(getattr(self, name)))
            for name, (params, results) in abi.FUNCTIONS.items()
        }
        """Every function of the module with its type, as `LoadedModule.instantiate` takes them."""

    def attach(self, instance: Instance) -> None:
        """Give the host the instance whose memory and gas it works on."""
        self._instance = instance
        self._memory = instance.memory

    def detach(self) -> None:
        """Let go of all that holds this host in turn, so that nothing is left for a garbage collector."""
        self.functions.clear()
        del self._instance, self._memory

    def begin(self, job: HostJob) -> None:
        """Give the host its job. One host serves one job."""
        self._job = job

    def _wrapped(self, function: Callable[..., int | None]) -> HostFunction:
        def call(*arguments: int) -> int | None:
            self._charge(CALL_GAS)
            try:
                return function(*arguments)
            except _Errno as exc:
                return exc.code

        return call

    # -- gas and memory

    def _charge(self, amount: int) -> None:
        left = self._instance.get_global(self._gas_global) - amount
        self._instance.set_global(self._gas_global, left)
        if left < 0:
            raise OutOfGas

    def _check(self, pointer: int, length: int) -> None:
        if pointer + length > self._memory.size():
            raise _Errno(abi.FAULT)

    def _read(self, pointer: int, length: int) -> bytes:
        self._check(pointer, length)
        return self._memory.read(pointer, length)

    def _write(self, pointer: int, data: bytes) -> None:
        self._check(pointer, len(data))
        self._memory.write(pointer, data)

    def _descriptor(self, fd: int, right: int = 0) -> int:
        """Return the stream of an open descriptor that has a right. Raises: badf, notcapable."""
        stream = self._streams.get(fd)
        if stream is None:
            raise _Errno(abi.BADF)
        if right & ~self._rights[fd]:
            raise _Errno(abi.NOTCAPABLE)
        return stream

    # -- arguments and environment

    def _strings_get(self, strings: Strings, pointers: int, buffer: int) -> int:
        self._charge(4 * strings.count + len(strings.joined))
        self._check(pointers, 4 * strings.count)
        self._check(buffer, len(strings.joined))
        if strings.count:
            self._memory.write(buffer, strings.joined)
            self._memory.write(pointers, strings.pointers(buffer))
        return 0

    def _strings_sizes(self, strings: Strings, count: int, size: int) -> int:
        self._check(count, 4)
        self._write(size, struct.pack("<I", len(strings.joined)))
        self._write(count, struct.pack("<I", strings.count))
        return 0

    def args_get(self, argv: int, argv_buf: int) -> int:
        return self._strings_get(self._job.args, argv, argv_buf)

    def args_sizes_get(self, argc: int, argv_buf_size: int) -> int:
        return self._strings_sizes(self._job.args, argc, argv_buf_size)

    def environ_get(self, environ: int, environ_buf: int) -> int:
        return self._strings_get(self._job.env, environ, environ_buf)

    def environ_sizes_get(self, count: int, size: int) -> int:
        return self._strings_sizes(self._job.env, count, size)

    # -- clocks, randomness, the process

    def clock_res_get(self, clock: int, resolution: int) -> int:
        if clock > abi.CLOCK_THREAD:
            return abi.INVAL
        self._write(resolution, struct.pack("<Q", 1_000))
        return 0

    def clock_time_get(self, clock: int, _precision: int, timestamp: int) -> int:
        if clock > abi.CLOCK_THREAD:
            return abi.INVAL
        self._check(timestamp, 8)
        self._write(timestamp, struct.pack("<Q", self._job.clock.read(clock)))
        return 0

    def random_get(self, buffer: int, length: int) -> int:
        self._charge(length)
        self._check(buffer, length)
        for start in range(0, length, _CHUNK):
            self._write(buffer + start, self._job.random.take(min(_CHUNK, length - start)))
        return 0

    def proc_exit(self, code: int) -> None:
        raise Exit(code)

    def proc_raise(self, _signal: int) -> int:
        return abi.NOSYS

    def sched_yield(self) -> int:
        return 0

    # -- descriptors

    def _vectors(self, iovs: int, count: int) -> list[tuple[int, int]]:
        """Read a list of (pointer, length), each checked."""
        if count > MAX_VECTORS:
            raise _Errno(abi.INVAL)
        self._charge(8 * count)
        vectors = list(struct.iter_unpack("<II", self._read(iovs, 8 * count)))
        size = self._memory.size()
        for pointer, length in vectors:
            if pointer + length > size:
                raise _Errno(abi.FAULT)
        return vectors

    def fd_read(self, fd: int, iovs: int, count: int, nread: int) -> int:
        self._descriptor(fd, abi.RIGHT_FD_READ)
        vectors = self._vectors(iovs, count)
        self._check(nread, 4)
        stdin = self._job.stdin
        wanted = min(sum(length for _, length in vectors), stdin.remaining(), 0xFFFF_FFFF)
        self._charge(wanted)
        left, data, at = wanted, b"", 0
        pieces: list[tuple[int, bytes]] = []
        for pointer, length in vectors:
            end = pointer + min(length, left)
            while pointer < end:
                if at == len(data):  # one read serves as many vectors as it can
                    self._memory.scatter(pieces)
                    data, at, pieces = stdin.read(min(_CHUNK, left)), 0, []
                piece = data[at : at + end - pointer]
                pieces.append((pointer, piece))
                size = len(piece)
                at += size
                left -= size
                pointer += size
        self._memory.scatter(pieces)
        self._write(nread, struct.pack("<I", wanted))
        return 0

    def fd_write(self, fd: int, iovs: int, count: int, nwritten: int) -> int:
        stream = self._descriptor(fd, abi.RIGHT_FD_WRITE)
        vectors = self._vectors(iovs, count)
        self._check(nwritten, 4)
        total = sum(length for _, length in vectors)
        if total > 0xFFFF_FFFF:
            return abi.INVAL
        self._charge(total)
        left, room = self._job.left, min(total, self._job.left[stream])
        left[stream] -= room
        for pieces in _chunks(vectors, room):
            self._job.output(stream, self._memory.gather(pieces))
        if room < total:
            raise OutputLimit
        self._write(nwritten, struct.pack("<I", total))
        return 0

    def fd_pread(self, fd: int, _iovs: int, _count: int, _offset: int, _nread: int) -> int:
        self._descriptor(fd)
        return abi.SPIPE

    def fd_pwrite(self, fd: int, _iovs: int, _count: int, _offset: int, _nwritten: int) -> int:
        self._descriptor(fd)
        return abi.SPIPE

    def fd_seek(self, fd: int, _offset: int, _whence: int, _position: int) -> int:
        self._descriptor(fd)
        return abi.SPIPE

    def fd_tell(self, fd: int, _position: int) -> int:
        self._descriptor(fd)
        return abi.SPIPE

    def fd_close(self, fd: int) -> int:
        self._descriptor(fd)
        del self._streams[fd], self._rights[fd]
        return 0

    def fd_renumber(self, source: int, target: int) -> int:
        self._descriptor(source)
        self._descriptor(target)
        if source != target:
            self._streams[target] = self._streams.pop(source)
            self._rights[target] = self._rights.pop(source)
        return 0

    def fd_fdstat_get(self, fd: int, stat: int) -> int:
        self._descriptor(fd)
        self._write(stat, struct.pack("<B7xQQ", 0, self._rights[fd], 0))
        return 0

    def fd_fdstat_set_flags(self, fd: int, flags: int) -> int:
        self._descriptor(fd)
        return abi.NOTSUP if flags else 0

    def fd_fdstat_set_rights(self, fd: int, rights: int, inheriting: int) -> int:
        self._descriptor(fd)
        if rights & ~self._rights[fd] or inheriting:
            return abi.NOTCAPABLE
        self._rights[fd] = rights
        return 0

    def fd_filestat_get(self, fd: int, stat: int) -> int:
        self._descriptor(fd)
        self._write(stat, bytes(64))
        return 0

    def _not_capable(self, fd: int, *_rest: int) -> int:
        self._descriptor(fd)
        return abi.NOTCAPABLE

    fd_advise = fd_allocate = fd_datasync = fd_sync = _not_capable
    fd_filestat_set_size = fd_filestat_set_times = fd_readdir = _not_capable

    def _no_preopen(self, _fd: int, *_rest: int) -> int:
        return abi.BADF

    fd_prestat_get = fd_prestat_dir_name = _no_preopen

    def _no_directory(self, fd: int, *_rest: int) -> int:
        self._descriptor(fd)
        return abi.NOTDIR

    path_create_directory = path_filestat_get = path_filestat_set_times = path_open = _no_directory
    path_readlink = path_remove_directory = path_unlink_file = _no_directory
    path_link = path_rename = _no_directory

    def path_symlink(self, _old: int, _old_length: int, fd: int, *_rest: int) -> int:
        return self._no_directory(fd)

    def _no_socket(self, fd: int, *_rest: int) -> int:
        self._descriptor(fd)
        return abi.NOTSOCK

    sock_accept = sock_recv = sock_send = sock_shutdown = _no_socket

    # -- polling

    def poll_oneoff(self, subscriptions: int, events: int, count: int, nevents: int) -> int:
        if not 1 <= count <= MAX_SUBSCRIPTIONS:
            return abi.INVAL
        self._charge(SUBSCRIPTION_BYTES * count)
        data = self._read(subscriptions, SUBSCRIPTION_BYTES * count)
        self._check(events, EVENT_BYTES * count)
        self._check(nevents, 4)
        asked = read_subscriptions(data)
        if any(item.kind > abi.EVENT_FD_WRITE for item in asked):
            return abi.INVAL
        ready = [self._event(item) for item in wait(asked, self._job.clock)]
        self._write(events, b"".join(ready))
        self._write(nevents, struct.pack("<I", len(ready)))
        return 0

    def _event(self, item: Subscription) -> bytes:
        if item.kind == abi.EVENT_CLOCK:
            return item.event(abi.INVAL if item.clock > abi.CLOCK_THREAD else 0)
        try:
            right = abi.RIGHT_FD_READ if item.kind == abi.EVENT_FD_READ else abi.RIGHT_FD_WRITE
            stream = self._descriptor(item.clock, right | abi.RIGHT_POLL)
        except _Errno as exc:
            return item.event(exc.code)
        size = self._job.left[stream] if stream else self._job.stdin.remaining()
        return item.event(0, size, 0 if size else abi.HANGUP)
