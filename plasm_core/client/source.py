"""Bytes to upload: in memory, or in a file that is read piece by piece."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path

from plasm_core.records import sha256

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
    """A file, which must not change meanwhile: a node refuses what is not of the digest announced."""

    def __init__(self, path: Path) -> None:
        """Open the file. Raises: OSError."""
        self.path = path
        self._file = path.open("rb", buffering=0)
        self._size_bytes = os.fstat(self._file.fileno()).st_size

    @property
    def size_bytes(self) -> int:
        return self._size_bytes

    @cached_property
    def digest(self) -> str:
        hasher = hashlib.sha256()
        for offset in range(0, self._size_bytes, _CHUNK_BYTES):
            hasher.update(self.read(offset, _CHUNK_BYTES))
        return hasher.hexdigest()

    def read(self, offset: int, maximum: int) -> bytes:
        wanted = min(maximum, self._size_bytes - offset)
        data = os.pread(self._file.fileno(), wanted, offset)
        if len(data) < wanted:
            raise OSError(None, "it was cut short while it was read", str(self.path))
        return data

    def close(self) -> None:
        self._file.close()
