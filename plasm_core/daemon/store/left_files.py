"""The output files of an ended job: one file in the job's directory for each output, in the form in which it is sent."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Protocol

import attrs

from plasm_core.daemon.store.ballast import Ballast
from plasm_core.daemon.store.budget import Allowance
from plasm_core.daemon.store.disk import create, storage_errors, sync, sync_directory
from plasm_core.records.files import Product
from plasm_core.sandbox.process.descriptor import write_all

_KINDS = ("file", "tree")


class LeftBehind(Protocol):
    """The output files of a job that ran on this node or on another one."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """The outputs that the manifest names, in its order."""

    @property
    def digests(self) -> tuple[Product, ...]:
        """The outputs that the job left."""

    def kind(self, path: str) -> str | None:
        """Return an output's kind, `file` or `tree`; None if the job did not leave it."""

    def contents(self, path: str) -> Iterator[bytes]:
        """Yield an output in the form in which it is sent, in pieces."""


def _path(directory: Path, kind: str, position: int, attempt: int) -> Path:
    return directory / f"{kind}-{position}.{attempt}"


def keep_files(
    directory: Path, attempt: int, left: LeftBehind, allowance: Allowance, ballast: Ballast
) -> int:
    """Store a job's output files durably. Return their bytes. Raises: `StorageError`, after which none is stored."""
    kept = 0
    try:
        with storage_errors("keep a job's files", directory):
            directory.mkdir(mode=0o700, exist_ok=True)
            for position, path in enumerate(left.outputs):
                kind = left.kind(path)
                if kind is None:
                    continue
                fd = create(_path(directory, kind, position, attempt))
                try:
                    for chunk in left.contents(path):
                        ballast.demand()
                        allowance.use(len(chunk))
                        kept += len(chunk)
                        write_all(fd, chunk)
                    sync(fd)
                finally:
                    os.close(fd)
            sync_directory(directory)
            sync_directory(directory.parent)
    except BaseException:
        remove_files(directory)
        allowance.unuse(kept)
        raise
    return kept


@attrs.define(eq=False)
class LeftFile:
    """An output that is open. `kind` is `file`, with the file's bytes, or `tree`, with the tree's pack."""

    kind: str
    fd: int
    size_bytes: int

    def read(self, offset: int, maximum_bytes: int) -> bytes:
        """Return some bytes. Raises: `StorageError`."""
        with storage_errors("read a job's files", Path(f"{self.kind} of a job")):
            return os.pread(self.fd, maximum_bytes, offset)

    def __enter__(self) -> LeftFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.fd)


def open_file(directory: Path, attempt: int, position: int) -> LeftFile | None:
    """Open an output, None if the job did not leave it. Raises: `StorageError`."""
    for kind in _KINDS:
        with storage_errors("read a job's files", directory), contextlib.suppress(FileNotFoundError):
            path = _path(directory, kind, position, attempt)
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            return LeftFile(kind, fd, os.fstat(fd).st_size)
    return None


def remove_files(directory: Path) -> None:
    """Delete the outputs of all attempts, as far as possible."""
    for kind in _KINDS:
        for path in directory.glob(f"{kind}-*.*"):
            with contextlib.suppress(OSError):
                path.unlink()


class CountedScratch:
    """An unnamed file whose bytes count towards a job while it is open."""

    def __init__(self, directory: Path, allowance: Allowance, ballast: Ballast) -> None:
        """Make it. Raises: `StorageError`."""
        with storage_errors("take a job's files", directory):
            self._file = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115 - `close` does
        self._directory = directory
        self._allowance = allowance
        self._ballast = ballast
        self._used = 0
        self.fileno: Callable[[], int] = self._file.fileno

    def write(self, data: bytes) -> int:
        """Write the next bytes. Raises: `StorageFullError`, `StorageError`."""
        with storage_errors("take a job's files", self._directory):
            self._ballast.demand()
            self._allowance.use(len(data))
            self._used += len(data)
            return self._file.write(data)

    def flush(self) -> None:
        """Hand all bytes to the system. Raises: `StorageError`."""
        with storage_errors("take a job's files", self._directory):
            self._file.flush()

    def close(self) -> None:
        """Free it."""
        used, self._used = self._used, 0
        self._allowance.unuse(used)
        self._file.close()
