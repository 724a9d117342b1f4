"""A job's files in the worker: the pack that came with the job, and the outputs that it leaves."""

from __future__ import annotations

import ctypes
import os

from plasm_core.plugins.engine import EngineFailure, GuestFiles
from plasm_core.sandbox.process import worker_frames
from plasm_core.sandbox.wasi.file_calls import FileCalls
from plasm_core.sandbox.wasi.inodes import TreeLimits
from plasm_core.sandbox.wasi.open_files import FileJob
from plasm_core.tree_listing import MEMORY_PER_LISTING_BYTE

TYPE_CHECKING = False  # importing typing would cost every worker
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable

NOTE_BYTES = 8
"""The size of a `GasNote`."""
_READ_AND_WRITE, _SHARED = 3, 1
_mmap = ctypes.CDLL(None).mmap
_mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
_mmap.restype = ctypes.c_void_p
_FAILED = ctypes.c_void_p(-1).value
_PREFIX_BYTES = 4  # a pack begins with the length of its listing, which came with the job
_DATA_BYTES = 1 << 18
_ENTRY_MEMORY_BYTES = 2_048


class SentDescriptors:
    """The descriptors that came with a job: of its standard input and of its files' pack, if it has them."""

    def __init__(self, fds: list[int], flags: int) -> None:
        self.all = fds
        self.files: FileCalls | None = None
        left = iter(fds)
        self.stdin = next(left, None) if flags & worker_frames.HAS_STDIN else None
        self.pack = next(left, None) if flags & worker_frames.HAS_FILES else None
        self._note = next(left, None)

    def shared_note(self) -> memoryview | None:
        """Return the memory of the `GasNote`, if it came: with a worker's first job.

        Python's `mmap` would keep a descriptor of it open, which a guest that took the worker over could use.
        """
        if self._note is None:
            return None
        self.all.remove(self._note)
        address = _mmap(None, NOTE_BYTES, _READ_AND_WRITE, _SHARED, self._note, 0)
        os.close(self._note)
        if address == _FAILED:
            raise EngineFailure("cannot share memory with the node")
        return memoryview((ctypes.c_ubyte * NOTE_BYTES).from_address(address)).cast("B")

    def close(self) -> None:
        """Close them."""
        self.files = None
        for fd in self.all:
            os.close(fd)


def pack_reader(fd: int | None) -> Callable[[int, int], bytes]:
    """Return a function that reads `count` bytes of the pack at an offset after its prefix."""

    def read(offset: int, count: int) -> bytes:
        parts = []
        offset += _PREFIX_BYTES
        while count:
            try:
                part = b"" if fd is None else os.pread(fd, count, offset)
            except OSError as exc:  # the file may be on a disk
                raise EngineFailure(f"an input file cannot be read: {exc.strerror}") from None
            if not part:
                raise EngineFailure("the input files are shorter than announced")
            parts.append(part)
            offset, count = offset + len(part), count - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    return read


def file_job(files: worker_frames.WorkerFiles, fd: int | None) -> FileJob:
    """Return a job's files as the host takes them. `fd`: their pack."""
    limits = TreeLimits(data_bytes=files.data_bytes, entries=files.entries, descriptors=files.descriptors)
    return FileJob(
        listing_bytes=files.listing_bytes,
        read_only=files.read_only,
        outputs=files.outputs,
        limits=limits,
        read=pack_reader(fd),
    )


def guest_files(files: worker_frames.WorkerFiles, fd: int | None, sock: _socket.socket) -> GuestFiles:
    """Return a job's files for an engine with its own host. The job's outputs are sent to the socket."""
    return GuestFiles(
        listing_bytes=files.listing_bytes,
        read_only=files.read_only,
        outputs=files.outputs,
        data_bytes=files.data_bytes,
        entries=files.entries,
        descriptors=files.descriptors,
        read=pack_reader(fd),
        entry=lambda body: sock.sendall(worker_frames.frame(worker_frames.ENTRY, body)),
        data=lambda body: sock.sendall(worker_frames.frame(worker_frames.DATA, body)),
    )


def send_outputs(sock: _socket.socket, files: FileCalls) -> None:
    """Send the files and directories that a job leaves."""
    waiting = bytearray()
    for position, entry, read in files.outputs():
        body = worker_frames.pack_entry(position, entry.kind, entry.size, entry.path)
        waiting += worker_frames.frame(worker_frames.ENTRY, body)
        for start in range(0, entry.size, _DATA_BYTES):
            waiting += worker_frames.frame(
                worker_frames.DATA, read(start, min(_DATA_BYTES, entry.size - start))
            )
            if len(waiting) >= _DATA_BYTES:
                sock.sendall(waiting)
                waiting.clear()
        if len(waiting) >= _DATA_BYTES:
            sock.sendall(waiting)
            waiting.clear()
    sock.sendall(waiting)


def file_memory(files: worker_frames.WorkerFiles | None) -> int:
    """Return how much memory a job's files may take in a worker, in bytes: the worker's limit grows by it."""
    if files is None:
        return 0
    # Buffers that grow are allocated with an eighth more; an inode takes about 700 bytes besides its listing.
    written = files.data_bytes * 5 // 4
    return int(written + files.entries * _ENTRY_MEMORY_BYTES + MEMORY_PER_LISTING_BYTE * files.listing_bytes)
