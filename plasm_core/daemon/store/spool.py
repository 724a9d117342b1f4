"""A running job's outputs, appended by the run and read by its followers."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

from plasm_core.daemon.store.ballast import Ballast
from plasm_core.daemon.store.budget import Allowance
from plasm_core.daemon.store.disk import storage_errors, sync, sync_directory
from plasm_core.daemon.store.inputs import SMALL_BYTES
from plasm_core.daemon.store.left_files import CountedScratch, LeftBehind, keep_files, remove_files
from plasm_core.errors import OutputGoneError, StorageError
from plasm_core.records.output import OutputDigest, OutputHasher, OutputStream
from plasm_core.sandbox.process.descriptor import write_all


def output_path(directory: Path, stream: OutputStream, attempt: int) -> Path:
    """Return the path of the file for an output of one attempt."""
    return directory / f"{stream.label}.{attempt}"


def read_output(
    directory: Path, stream: OutputStream, attempt: int, offset: int, maximum_bytes: int
) -> bytes:
    """Return some bytes of an output, none at or after its present end.

    Raises: `OutputGoneError` if the attempt's output was deleted; `StorageError`.
    """
    with storage_errors("read an output", directory):
        try:
            fd = os.open(output_path(directory, stream, attempt), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise OutputGoneError("the output was deleted") from None
        try:
            return os.pread(fd, maximum_bytes, offset)
        finally:
            os.close(fd)


def remove_outputs(directory: Path) -> None:
    """Delete the outputs of all attempts, as far as possible."""
    for stream in OutputStream:
        for path in directory.glob(f"{stream.label}.*"):
            with contextlib.suppress(OSError):
                path.unlink()
    remove_files(directory)


class Spool:
    """Both outputs of one attempt at a job: in memory while they are small, then in files. Thread-safe.

    And the files that the job left (`keep_files`).
    """

    def __init__(self, directory: Path, attempt: int, allowance: Allowance, ballast: Ballast) -> None:
        """Begin, with empty outputs."""
        self.attempt = attempt
        self._directory = directory
        self._allowance = allowance
        self._ballast = ballast
        self._lock = threading.Lock()
        self._sealed = False
        self.file_bytes = 0
        """The bytes of the files that the job left."""
        self._has_left = False
        self._small: dict[OutputStream, bytearray] | None = {stream: bytearray() for stream in OutputStream}
        self._fds: dict[OutputStream, int] = {}
        self._hashers = {stream: OutputHasher() for stream in OutputStream}

    def append(self, stream: OutputStream, data: bytes) -> None:
        """Add bytes to an output; readers see them when this returns.

        Raises: `StorageFullError` at the end of the quota or the disk, `StorageError`; nothing is added then. The
        run cannot continue, and the node is at fault. `discard` frees the room before the job's end.
        """
        with self._lock, storage_errors("keep a job's output", self._directory):
            if self._sealed:
                raise StorageError("the job's output has been sealed")
            self._ballast.demand()
            self._allowance.use(len(data))
            try:
                if self._small is not None and self._size_bytes + len(data) > SMALL_BYTES:
                    self._spill(self._small)
                if self._small is not None:
                    self._small[stream] += data
                else:
                    write_all(self._fds[stream], data)
            except BaseException:
                self._allowance.unuse(len(data))
                if self._fds:
                    os.ftruncate(self._fds[stream], self._hashers[stream].size_bytes)
                raise
            self._hashers[stream].update(data)

    def _spill(self, small: dict[OutputStream, bytearray]) -> None:
        """Go on in files. Raises: OSError, and nothing has changed."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        self._directory.mkdir(mode=0o700, exist_ok=True)
        fds: dict[OutputStream, int] = {}
        try:
            for stream, data in small.items():
                fds[stream] = os.open(output_path(self._directory, stream, self.attempt), flags, 0o600)
                write_all(fds[stream], bytes(data))
        except BaseException:
            for fd in fds.values():
                os.close(fd)
            raise
        self._fds, self._small = fds, None

    @property
    def _size_bytes(self) -> int:
        return sum(hasher.size_bytes for hasher in self._hashers.values())

    def size_bytes(self, stream: OutputStream) -> int:
        """Return the present size of an output in bytes."""
        return self._hashers[stream].size_bytes

    def read(self, stream: OutputStream, offset: int, maximum_bytes: int) -> bytes | None:
        """Return some bytes of an output that is in memory, None if it is a file."""
        with self._lock:
            small = self._small
            return None if small is None else bytes(small[stream][offset : offset + maximum_bytes])

    def contents(self) -> dict[OutputStream, bytes]:
        """Return the outputs that are in memory and not empty."""
        with self._lock:
            return {stream: bytes(data) for stream, data in (self._small or {}).items() if data}

    def scratch(self) -> CountedScratch:
        """Return an unnamed file for the job's output files until they are stored. Raises: `StorageError`."""
        return CountedScratch(self._directory.parent, self._allowance, self._ballast)

    def keep_files(self, left: LeftBehind) -> None:
        """Keep the files that the job left; they are on the disk when this returns. Raises: `StorageError`."""
        if left.digests:
            self._has_left = True
            self.file_bytes = keep_files(self._directory, self.attempt, left, self._allowance, self._ballast)

    @property
    def has_files(self) -> bool:
        """Whether the job's directory has outputs."""
        return self._small is None or self._has_left

    def seal(self) -> dict[OutputStream, OutputDigest]:
        """Close both outputs for writing, and return their digests and sizes. A second call returns the same."""
        with self._lock:
            self._sealed = True
            return {stream: hasher.digest for stream, hasher in self._hashers.items()}

    def discard(self) -> None:
        """Make both outputs empty, and seal them; no file is left. Raises: `StorageError`."""
        with self._lock, storage_errors("empty a job's output", self._directory):
            self._sealed = True
            if self._has_left:
                remove_files(self._directory)
            kept, self.file_bytes = self.file_bytes, 0
            self._allowance.unuse(kept)
            for stream in OutputStream:
                if self._small is not None:
                    self._small[stream].clear()
                else:
                    os.ftruncate(self._fds[stream], 0)
                self._allowance.unuse(self._hashers[stream].size_bytes)
                self._hashers[stream] = OutputHasher()

    def sync(self) -> None:
        """Sync outputs that are files to the disk. Raises: `StorageError`; after it only `discard` is possible."""
        with self._lock, storage_errors("keep a job's output", self._directory):
            written = [fd for stream, fd in self._fds.items() if self._hashers[stream].size_bytes]
            for fd in written:
                sync(fd)
            if written:
                sync_directory(self._directory)
                sync_directory(self._directory.parent)

    def close(self) -> None:
        """Close the files; they stay."""
        with self._lock:
            self._sealed = True
            fds, self._fds = self._fds, {}
            for fd in fds.values():
                os.close(fd)
