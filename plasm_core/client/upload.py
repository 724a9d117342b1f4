"""Bytes to upload: in memory, or in a file that is read piece by piece."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import IO

from plasm_core.input_file import TooLargeError, is_stored, open_input, read_some
from plasm_core.records import sha256
from plasm_core.sandbox.process.file_pack import FilePack
from plasm_core.sandbox.process.sealed_memory import is_sealed
from plasm_core.scratch_file import scratch_file

MAX_STREAM_BYTES = 1 << 30
_CHUNK_BYTES = 1 << 20
_SMALL_BYTES = 128 << 10


class Source(ABC):
    """Bytes to upload; their size and digest are known before the upload."""

    @property
    @abstractmethod
    def size_bytes(self) -> int:
        """How many bytes there are."""

    @property
    @abstractmethod
    def digest(self) -> str:
        """Their SHA-256, in hexadecimal."""

    @abstractmethod
    def read(self, offset: int, maximum: int) -> bytes:
        """Return at most `maximum` bytes from `offset` on. Raises: OSError."""

    @property
    def in_memory(self) -> bool:
        """Whether `read` waits for no disk."""
        return False

    def close(self) -> None:  # noqa: B027 - most sources have nothing to close
        """Close its file, if it has one."""

    def proof(self, challenge: bytes) -> str:
        """Return sha256(challenge ‖ bytes) in hexadecimal (docs/protocol.md, "Uploading"). Raises: OSError."""
        hasher = hashlib.sha256(challenge)
        for offset in range(0, self.size_bytes, _CHUNK_BYTES):
            hasher.update(self.read(offset, _CHUNK_BYTES))
        return hasher.hexdigest()


class Bytes(Source):
    """Bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    @property
    def size_bytes(self) -> int:
        return len(self.data)

    @property
    def in_memory(self) -> bool:
        return True

    @cached_property
    def digest(self) -> str:
        return _digest_of(self.data) if len(self.data) <= _SMALL_BYTES else sha256(self.data)

    def read(self, offset: int, maximum: int) -> bytes:
        return self.data[offset : offset + maximum]


_digest_of = functools.lru_cache(maxsize=8)(sha256)
"""Programs submit one module again and again: the hash of the same object is kept in it, and costs nothing."""


class File(Source):
    """A file to upload. It must not change during the upload: the node refuses bytes that do not match the digest.

    A pipe, a terminal, a device or a file of `/proc` is first copied to an unnamed temporary file, at most
    `maximum` bytes of it.
    """

    def __init__(self, path: str | Path, maximum: int = MAX_STREAM_BYTES) -> None:
        """Open the file. Raises: OSError."""
        self.path = path
        path = "./-" if os.fspath(path) == "-" else path  # a file name of this machine, not standard input
        with _named(path):
            self._file: IO[bytes] = open_input(path) if is_stored(path) else _copied(path, maximum)

    @property
    def size_bytes(self) -> int:
        return self._measured[0]

    @property
    def digest(self) -> str:
        return self._measured[1]

    @cached_property
    def _measured(self) -> tuple[int, str]:
        """Read all there is. The file is as long as that from now on, should it grow."""
        hasher, size = hashlib.sha256(), 0
        with _named(self.path):
            while data := os.pread(self._file.fileno(), _CHUNK_BYTES, size):
                hasher.update(data)
                size += len(data)
        return size, hasher.hexdigest()

    def read(self, offset: int, maximum: int) -> bytes:
        wanted = max(0, min(maximum, self.size_bytes - offset))
        parts: list[bytes] = []
        while wanted:
            with _named(self.path):
                data = os.pread(self._file.fileno(), wanted, offset)
            if not data:
                raise OSError(errno.EIO, "it was cut short while it was read", str(self.path))
            parts.append(data)
            offset += len(data)
            wanted -= len(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        self._file.close()


class Pack(Source):
    """The pack of a job's input files. `owned`: it is closed with this source."""

    def __init__(self, pack: FilePack, *, owned: bool = False) -> None:
        self._pack = pack
        self._closing = weakref.finalize(self, pack.close) if owned else None

    @cached_property
    def size_bytes(self) -> int:
        return self._pack.size_bytes

    @property
    def in_memory(self) -> bool:
        return self._pack.in_memory

    @property
    def digest(self) -> str:
        """The digest of the tree, which is not that of these bytes."""
        return self._pack.tree

    @property
    def sealed_fd(self) -> int | None:
        """The descriptor of the pack, if it is sealed memory."""
        return self._pack.fd if is_sealed(self._pack.fd, self.size_bytes) else None

    def read(self, offset: int, maximum: int) -> bytes:
        parts, wanted = [], max(0, min(maximum, self.size_bytes - offset))
        while wanted:
            data = os.pread(self._pack.fd, wanted, offset)
            if not data:
                raise OSError(errno.EIO, "the job's files were cut short")
            parts.append(data)
            offset, wanted = offset + len(data), wanted - len(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        if self._closing is not None:
            self._closing()


@contextlib.contextmanager
def _named(path: str | Path) -> Iterator[None]:
    """Have an error name its file: one of opening does, one of reading does not."""
    try:
        yield
    except OSError as exc:
        if exc.filename is None:
            exc.filename = os.fspath(path)
        raise


def _copied(path: str | Path, maximum: int) -> IO[bytes]:
    """Copy a stream to an unnamed file. Raises: OSError."""
    copy = scratch_file()
    try:
        size = 0
        with open_input(path) as file:
            while data := read_some(file, _CHUNK_BYTES):
                size += len(data)
                if size > maximum:
                    raise TooLargeError(str(path), maximum)
                copy.write(data)
        copy.flush()
    except BaseException:
        copy.close()
        raise
    return copy
