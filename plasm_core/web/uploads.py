"""Bodies of requests, read piece by piece into unnamed files.

Every size is bounded before it is stored, and the body has to come at a least rate.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import IO

import trio
from starlette.requests import ClientDisconnect, Request

from plasm_core.client.upload import Source
from plasm_core.errors import StorageError, StorageFullError
from plasm_core.paths import cache_directory, private_directory
from plasm_core.resource_hint import resource_hint
from plasm_core.sandbox.process.descriptor import write_all
from plasm_core.scratch_file import scratch_file
from plasm_core.web.problems import ApiProblem

LEAST_BYTES_PER_S = 16 << 10
GRACE_S = 30.0
"""A body may take this long, and beside it what its bytes take at the least rate."""
_FLUSH_BYTES = 1 << 20


class StoredFile(Source):
    """Received bytes in an unnamed file, with their size and digest."""

    def __init__(self, file: IO[bytes], size_bytes: int, digest: str) -> None:
        self.file = file
        self._size_bytes = size_bytes
        self._digest = digest

    @property
    def size_bytes(self) -> int:
        return self._size_bytes

    @property
    def digest(self) -> str:
        return self._digest

    def read(self, offset: int, maximum: int) -> bytes:
        return os.pread(self.file.fileno(), max(0, min(maximum, self._size_bytes - offset)), offset)

    def close(self) -> None:
        self.file.close()

    def __enter__(self) -> StoredFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class GrowingFile:
    """A file while it is received. Bytes are gathered in memory, at most `_FLUSH_BYTES` and one piece.

    `taking`: called with the size of each piece before it is kept; it may refuse it. `is_hashed`: whether the digest
    of all bytes is wanted.
    """

    def __init__(
        self,
        name: str,
        maximum: int,
        *,
        scratch: Callable[[], IO[bytes]] = scratch_file,
        taking: Callable[[int], None] = lambda _size: None,
        is_hashed: bool = True,
    ) -> None:
        self._name = name
        self._maximum = maximum
        self._file = scratch()
        self._taking = taking
        self._gathered = bytearray()
        self._sha256 = hashlib.sha256() if is_hashed else None
        self.size_bytes = 0

    def add(self, data: bytes) -> None:
        """Take the next bytes. Raises: `ApiProblem` if they are more than `maximum`."""
        self.size_bytes += len(data)
        if self.size_bytes > self._maximum:
            raise too_large(f"{self._name} is larger than {self._maximum:,} bytes")
        self._taking(len(data))
        self._gathered += data

    async def flush(self, least: int = _FLUSH_BYTES) -> None:
        """Write what was gathered, if it is `least` bytes or more. Raises: `StorageFullError`, `StorageError`."""
        if len(self._gathered) >= least:
            data, self._gathered = self._gathered, bytearray()
            await trio.to_thread.run_sync(self._store, data)

    def _store(self, data: bytearray) -> None:
        if self._sha256 is not None:
            self._sha256.update(data)
        try:
            write_all(self._file.fileno(), bytes(data))
        except OSError as exc:
            hint = resource_hint(exc)
            kind = StorageError if hint is None else StorageFullError
            raise kind(f"cannot store {self._name}: {exc.strerror or exc}", hint=hint) from exc

    async def done(self) -> StoredFile:
        """Return the file, which is complete."""
        await self.flush(1)
        digest = "" if self._sha256 is None else self._sha256.hexdigest()
        return StoredFile(self._file, self.size_bytes, digest)

    def close(self) -> None:
        """Forget the bytes."""
        self._file.close()


def disk_file() -> IO[bytes]:
    """Return a new file without a name in the cache directory: a directory for temporary files may be in memory.

    Raises: `StorageError`.
    """
    try:
        return tempfile.TemporaryFile(dir=private_directory(cache_directory() / "web-uploads"))
    except OSError as exc:
        hint = resource_hint(exc)
        raise StorageError(f"cannot make a temporary file: {exc.strerror or exc}", hint=hint) from exc


def too_large(detail: str) -> ApiProblem:
    """Return the problem of a body that is too large."""
    return ApiProblem(413, "too_large", detail)


async def pieces(request: Request, maximum: int) -> AsyncIterator[bytes]:
    """Yield a request's body. Raises: `ApiProblem` if it is larger than `maximum` bytes, breaks off or comes too slowly."""
    given = request.headers.get("content-length")
    if given is not None and given.isascii() and given.isdigit() and int(given) > maximum:
        raise too_large(f"the body is larger than {maximum:,} bytes")
    began, size = trio.current_time(), 0
    body = request.stream().__aiter__()
    while True:
        try:
            with trio.fail_at(began + GRACE_S + size / LEAST_BYTES_PER_S):
                data = await body.__anext__()
        except StopAsyncIteration:
            return
        except trio.TooSlowError:
            raise ApiProblem(
                408, "too_slow", "the body of the request came too slowly", headers={"Connection": "close"}
            ) from None
        except ClientDisconnect:
            raise ApiProblem(400, "broken_off", "the request broke off") from None
        size += len(data)
        if size > maximum:
            raise too_large(f"the body is larger than {maximum:,} bytes")
        if data:
            yield data


@asynccontextmanager
async def received_file(request: Request, name: str, maximum: int) -> AsyncIterator[StoredFile]:
    """Receive a body as one file, which is deleted when the context ends. Raises: `ApiProblem`."""
    growing = GrowingFile(name, maximum)
    try:
        async for data in pieces(request, maximum):
            growing.add(data)
            await growing.flush()
        yield await growing.done()
    finally:
        growing.close()
