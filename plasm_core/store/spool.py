"""A running job's outputs, appended by the run and read by whoever follows."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from pathlib import Path

from plasm_core.errors import OutputGoneError, StorageError
from plasm_core.sandbox.descriptor import write_all
from plasm_core.store.ballast import Ballast
from plasm_core.store.budget import Allowance
from plasm_core.store.disk import storage_errors, sync, sync_directory
from plasm_core.store.job import Output, Stream


def output_path(directory: Path, stream: Stream, attempt: int) -> Path:
    """Return where the output of one attempt lies."""
    return directory / f"{stream.name.lower()}.{attempt}"


def read_output(directory: Path, stream: Stream, attempt: int, offset: int, maximum_bytes: int) -> bytes:
    """Read some bytes of an output, none at or beyond its end so far.

    Raises: `OutputGoneError` if there is none of this attempt any more; `StorageError`.
    """
    with storage_errors("read an output", directory):
        try:
            fd = os.open(output_path(directory, stream, attempt), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise OutputGoneError("the output is not here any more") from None
        try:
            return os.pread(fd, maximum_bytes, offset)
        finally:
            os.close(fd)


def remove_outputs(directory: Path) -> None:
    """Delete the outputs of all attempts, as far as possible."""
    for stream in Stream:
        for path in directory.glob(f"{stream.name.lower()}.*"):
            with contextlib.suppress(OSError):
                path.unlink()


class Spool:
    """Both outputs of one attempt of a job. Thread-safe."""

    def __init__(self, directory: Path, attempt: int, allowance: Allowance, ballast: Ballast) -> None:
        """Make the files, empty. Raises: `StorageError`."""
        self._directory = directory
        self._allowance = allowance
        self._ballast = ballast
        self._lock = threading.Lock()
        self._sealed = False
        self._fds: dict[Stream, int] = {}
        self._sizes = dict.fromkeys(Stream, 0)
        self._sha256 = {stream: hashlib.sha256() for stream in Stream}
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        try:
            with storage_errors("make a job's output", directory):
                for stream in Stream:
                    self._fds[stream] = os.open(output_path(directory, stream, attempt), flags, 0o600)
        except BaseException:
            self.close()
            raise

    def append(self, stream: int, data: bytes) -> None:
        """Add bytes to stdout (1) or stderr (2); readers see them when this returns.

        Raises: `StorageFullError` when the quota or the disk ends, `StorageError`, and nothing is added: the
        run cannot go on, and it is the node's fault. `discard` gives the room back before the job's end.
        """
        which = Stream(stream)
        with self._lock, storage_errors("keep a job's output", self._directory):
            if self._sealed:
                raise StorageError("the job's output has been sealed")
            self._ballast.demand()
            self._allowance.use(len(data))
            try:
                write_all(self._fds[which], data)
            except BaseException:
                self._allowance.unuse(len(data))
                os.ftruncate(self._fds[which], self._sizes[which])
                raise
            self._sha256[which].update(data)
            self._sizes[which] += len(data)

    def size_bytes(self, stream: int) -> int:
        """Return how many bytes there are so far."""
        return self._sizes[Stream(stream)]

    def seal(self) -> dict[Stream, Output]:
        """Take no more output, and return what the receipt says of it. Sealing again returns the same."""
        with self._lock:
            self._sealed = True
            return {
                stream: Output(size_bytes=self._sizes[stream], digest=self._sha256[stream].hexdigest())
                for stream in Stream
            }

    def discard(self) -> None:
        """Make both outputs empty, as if nothing had been written, and seal them. Raises: `StorageError`."""
        with self._lock, storage_errors("empty a job's output", self._directory):
            self._sealed = True
            for stream, fd in self._fds.items():
                os.ftruncate(fd, 0)
                self._allowance.unuse(self._sizes[stream])
                self._sizes[stream] = 0
                self._sha256[stream] = hashlib.sha256()

    def sync(self) -> None:
        """Bring the outputs to the disk. Raises: `StorageError`, after which only `discard` helps."""
        with self._lock, storage_errors("keep a job's output", self._directory):
            written = [fd for stream, fd in self._fds.items() if self._sizes[stream]]
            for fd in written:
                sync(fd)
            if written:
                sync_directory(self._directory)

    def close(self) -> None:
        """Close the files; they stay."""
        with self._lock:
            self._sealed = True
            fds, self._fds = self._fds, {}
            for fd in fds.values():
                os.close(fd)
