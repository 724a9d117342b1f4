"""Bytes to upload: in memory, or in a file that is read piece by piece."""

from __future__ import annotations

import errno
import hashlib
import os
from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path
from typing import IO

from plasm_core.input_file import TooLargeError, is_stored, open_input, read_some
from plasm_core.records import sha256
from plasm_core.scratch import scratch_file

MAX_STREAM_BYTES = 1 << 30
_CHUNK_BYTES = 1 << 20


class Source(ABC):
    """Some bytes whose number and digest are known before they are sent."""

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
        """Return some bytes. Raises: OSError."""

    def close(self) -> None:  # noqa: B027 - most sources have nothing to close
        """Give back what it holds."""

    def proof(self, challenge: bytes) -> str:
        """Return sha256(challenge ‖ bytes): docs/protocol.md, "Uploading". Raises: OSError."""
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

    @cached_property
    def digest(self) -> str:
        return sha256(self.data)

    def read(self, offset: int, maximum: int) -> bytes:
        return self.data[offset : offset + maximum]


class File(Source):
    """A file, which must not change meanwhile: a node refuses what is not of the digest announced.

    What is no stored file (a pipe, a terminal, a device, a file of `/proc`) is copied to an unnamed temporary file
    first, at most `maximum` bytes of it.
    """

    def __init__(self, path: Path, maximum: int = MAX_STREAM_BYTES) -> None:
        """Open the file. Raises: OSError."""
        self.path = path
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
        while data := os.pread(self._file.fileno(), _CHUNK_BYTES, size):
            hasher.update(data)
            size += len(data)
        return size, hasher.hexdigest()

    def read(self, offset: int, maximum: int) -> bytes:
        wanted = max(0, min(maximum, self.size_bytes - offset))
        parts: list[bytes] = []
        while wanted:
            data = os.pread(self._file.fileno(), wanted, offset)
            if not data:
                raise OSError(errno.EIO, "it was cut short while it was read", str(self.path))
            parts.append(data)
            offset += len(data)
            wanted -= len(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        self._file.close()


def _copied(path: Path, maximum: int) -> IO[bytes]:
    """Copy what comes of a stream to an unnamed file. Raises: OSError."""
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
