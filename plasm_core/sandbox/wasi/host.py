"""The host functions: default-deny, every pointer checked, every loop bounded and charged.

A job sees three descriptors, a virtual clock and seeded randomness, and nothing else; a job with files also sees its
own tree (`file_calls`).
"""

from __future__ import annotations

import struct

from plasm_core.sandbox.wasi import abi
from plasm_core.sandbox.wasi.abi import Errno
from plasm_core.sandbox.wasi.endings import Exit, OutOfGas, OutputLimit
from plasm_core.sandbox.wasi.host_job import HostJob, Strings
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

_note_left = struct.Struct("<q").pack_into
TYPE_CHECKING = False  # importing typing would cost every worker
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any, Protocol

    from plasm_core.plugins.engine import HostFunction, Instance, Memory

    class Files(Protocol):
        """The files of a job."""

        def functions(self) -> Mapping[str, Callable[..., int | None]]:
            """Return the host functions over them, by name."""

        def has(self, fd: int) -> bool:
            """Return whether a descriptor is of one of them."""

        def ready_bytes(self, fd: int, *, writing: bool) -> int:
            """Return how many bytes such a descriptor has left to read, or room for. Raises: `Errno`."""

        def close(self) -> None:
            """Forget them."""


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


class Host:
    """The functions of `wasi_snapshot_preview1` over one instance. Created first, given its job later."""

    def __init__(self, gas_global: str) -> None:
        self._gas_global = gas_global
        self.noted: Any = bytearray(8)
        """A buffer that shows the gas left after the last charge, i64 in little-endian order."""
        self._instance: Instance
        self.memory: Memory
        self._job: HostJob
        self._files: Files | None = None
        self.streams = {0: 0, 1: 1, 2: 2}  # descriptor → stream
        self.rights = dict(_RIGHTS)  # by descriptor
        self._called: dict[str, Callable[..., int | None]] = {}
        self.functions: dict[str, tuple[str, str, HostFunction]] = {}
        for name, (params, results) in abi.FUNCTIONS.items():
            self._called[name] = getattr(self, name)
            self.functions[name] = (params, results, self._wrapped(name))
        """Every function of the module with its type, as `LoadedModule.instantiate` takes them."""

    def attach(self, instance: Instance) -> None:
        """Set the instance whose memory and gas the host uses."""
        self._instance = instance
        self.memory = instance.memory

    def detach(self) -> None:
        """Break the reference cycles that contain this host, so that memory is freed without a garbage collection."""
        self.functions.clear()
        self._called.clear()
        if self._files is not None:
            self._files.close()
            self._files = None
        del self._instance, self.memory

    def begin(self, job: HostJob) -> None:
        """Give the host its job. One host serves one job."""
        self._job = job

    def take_files(self, files: Files) -> None:
        """Give the host the job's files. Their functions replace the host's own. Call it after `begin`."""
        self._files = files
        self._called.update(files.functions())

    def _wrapped(self, name: str) -> HostFunction:
        called = self._called

        def call(*arguments: int) -> int | None:
            self.charge(CALL_GAS)
            try:
                return called[name](*arguments)
            except Errno as exc:
                return exc.code

        return call

    # -- gas and memory

    def charge(self, amount: int) -> None:
        left = self._instance.get_global(self._gas_global) - amount
        self._instance.set_global(self._gas_global, left)
        _note_left(self.noted, 0, left)
        if left < 0:
            raise OutOfGas

    def check(self, pointer: int, length: int) -> None:
        if pointer + length > self.memory.size():
            raise Errno(abi.FAULT)

    def read(self, pointer: int, length: int) -> bytes:
        self.check(pointer, length)
        return self.memory.read(pointer, length)

    def write(self, pointer: int, data: bytes) -> None:
        self.check(pointer, len(data))
        self.memory.write(pointer, data)

    def _descriptor(self, fd: int, right: int = 0) -> int:
        """Return the stream of an open descriptor that has a right. Raises: badf, notcapable."""
        stream = self.streams.get(fd)
        if stream is None:
            raise Errno(abi.BADF)
        if right & ~self.rights[fd]:
            raise Errno(abi.NOTCAPABLE)
        return stream

    # -- arguments and environment

    def _strings_get(self, strings: Strings, pointers: int, buffer: int) -> int:
        self.charge(4 * strings.count + len(strings.joined))
        self.check(pointers, 4 * strings.count)
        self.check(buffer, len(strings.joined))
        if strings.count:
            self.memory.write(buffer, strings.joined)
            self.memory.write(pointers, strings.pointers(buffer))
        return 0

    def _strings_sizes(self, strings: Strings, count: int, size: int) -> int:
        self.check(count, 4)
        self.write(size, struct.pack("<I", len(strings.joined)))
        self.write(count, struct.pack("<I", strings.count))
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
        self.write(resolution, struct.pack("<Q", 1_000))
        return 0

    def clock_time_get(self, clock: int, _precision: int, timestamp: int) -> int:
        if clock > abi.CLOCK_THREAD:
            return abi.INVAL
        self.check(timestamp, 8)
        self.write(timestamp, struct.pack("<Q", self._job.clock.read(clock)))
        return 0

    def random_get(self, buffer: int, length: int) -> int:
        self.charge(length)
        self.check(buffer, length)
        for start in range(0, length, _CHUNK):
            self.write(buffer + start, self._job.random.take(min(_CHUNK, length - start)))
        return 0

    def proc_exit(self, code: int) -> None:
        raise Exit(code)

    def proc_raise(self, _signal: int) -> int:
        return abi.NOSYS

    def sched_yield(self) -> int:
        return 0

    # -- descriptors

    def vectors(self, iovs: int, count: int) -> list[tuple[int, int]]:
        """Read a list of (pointer, length), each checked."""
        if count > MAX_VECTORS:
            raise Errno(abi.INVAL)
        self.charge(8 * count)
        vectors = list(struct.iter_unpack("<II", self.read(iovs, 8 * count)))
        size = self.memory.size()
        for pointer, length in vectors:
            if pointer + length > size:
                raise Errno(abi.FAULT)
        return vectors

    def fill(self, vectors: list[tuple[int, int]], count: int, read: Callable[[int], bytes]) -> None:
        """Fill vectors with `count` bytes. `read(most)` returns the next of them, at least one."""
        left, data, at = count, b"", 0
        pieces: list[tuple[int, bytes]] = []
        for pointer, length in vectors:
            end = pointer + min(length, left)
            while pointer < end:
                if at == len(data):  # one read serves as many vectors as it can
                    self.memory.scatter(pieces)
                    data, at, pieces = read(min(_CHUNK, left)), 0, []
                piece = data[at : at + end - pointer]
                pieces.append((pointer, piece))
                size = len(piece)
                at += size
                left -= size
                pointer += size
        self.memory.scatter(pieces)

    def gathered(self, vectors: list[tuple[int, int]], count: int) -> Iterator[bytes]:
        """Return the first `count` bytes that vectors hold, piece by piece."""
        return map(self.memory.gather, _chunks(vectors, count))

    def fd_read(self, fd: int, iovs: int, count: int, nread: int) -> int:
        self._descriptor(fd, abi.RIGHT_FD_READ)
        vectors = self.vectors(iovs, count)
        self.check(nread, 4)
        stdin = self._job.stdin
        wanted = min(sum(length for _, length in vectors), stdin.remaining(), 0xFFFF_FFFF)
        self.charge(wanted)
        self.fill(vectors, wanted, stdin.read)
        self.write(nread, struct.pack("<I", wanted))
        return 0

    def fd_write(self, fd: int, iovs: int, count: int, nwritten: int) -> int:
        stream = self._descriptor(fd, abi.RIGHT_FD_WRITE)
        vectors = self.vectors(iovs, count)
        self.check(nwritten, 4)
        total = sum(length for _, length in vectors)
        if total > 0xFFFF_FFFF:
            return abi.INVAL
        self.charge(total)
        left, room = self._job.left, min(total, self._job.left[stream])
        left[stream] -= room
        for data in self.gathered(vectors, room):
            self._job.output(stream, data)
        if room < total:
            raise OutputLimit
        self.write(nwritten, struct.pack("<I", total))
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
        del self.streams[fd], self.rights[fd]
        return 0

    def fd_renumber(self, source: int, target: int) -> int:
        self._descriptor(source)
        self._descriptor(target)
        if source != target:
            self.streams[target] = self.streams.pop(source)
            self.rights[target] = self.rights.pop(source)
        return 0

    def fd_fdstat_get(self, fd: int, stat: int) -> int:
        self._descriptor(fd)
        self.write(stat, struct.pack("<B7xQQ", 0, self.rights[fd], 0))
        return 0

    def fd_fdstat_set_flags(self, fd: int, flags: int) -> int:
        self._descriptor(fd)
        return abi.NOTSUP if flags else 0

    def fd_fdstat_set_rights(self, fd: int, rights: int, inheriting: int) -> int:
        self._descriptor(fd)
        if rights & ~self.rights[fd] or inheriting:
            return abi.NOTCAPABLE
        self.rights[fd] = rights
        return 0

    def fd_filestat_get(self, fd: int, stat: int) -> int:
        self._descriptor(fd)
        self.write(stat, bytes(64))
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
        self.charge(SUBSCRIPTION_BYTES * count)
        data = self.read(subscriptions, SUBSCRIPTION_BYTES * count)
        self.check(events, EVENT_BYTES * count)
        self.check(nevents, 4)
        asked = read_subscriptions(data)
        if any(item.kind > abi.EVENT_FD_WRITE for item in asked):
            return abi.INVAL
        ready = [self._event(item) for item in wait(asked, self._job.clock)]
        self.write(events, b"".join(ready))
        self.write(nevents, struct.pack("<I", len(ready)))
        return 0

    def _event(self, item: Subscription) -> bytes:
        if item.kind == abi.EVENT_CLOCK:
            return item.event(abi.INVAL if item.clock > abi.CLOCK_THREAD else 0)
        try:
            if self._files is not None and self._files.has(item.clock):
                return item.event(
                    0, self._files.ready_bytes(item.clock, writing=item.kind == abi.EVENT_FD_WRITE)
                )
            right = abi.RIGHT_FD_READ if item.kind == abi.EVENT_FD_READ else abi.RIGHT_FD_WRITE
            stream = self._descriptor(item.clock, right | abi.RIGHT_POLL)
        except Errno as exc:
            return item.event(exc.code)
        size = self._job.left[stream] if stream else self._job.stdin.remaining()
        return item.event(0, size, 0 if size else abi.HANGUP)
