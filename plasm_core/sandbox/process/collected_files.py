"""The files that a job leaves, taken from its worker: a worker may be its guest's, so that nothing it says is trusted."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from typing import Protocol

import attrs

from plasm_core.records.files import JobFiles, Product, path_bytes
from plasm_core.sandbox.process import worker_frames
from plasm_core.sandbox.process.file_pack import FilePack, blobs, prefix
from plasm_core.scratch_file import scratch_file
from plasm_core.tree_listing import DIRECTORY, FILE, MAX_PATH_BYTES, TreeEntry, check_path, encode


class Scratch(Protocol):
    """The file that a job's output files are written to while they come from the worker."""

    def write(self, data: bytes, /) -> int:
        """Write the next bytes."""

    def flush(self) -> None:
        """Hand all bytes to the system."""

    def fileno(self) -> int:
        """Return its descriptor."""

    def close(self) -> None:
        """Free it."""


@attrs.frozen(kw_only=True)
class Collected:
    """An entry of an output, and where its bytes are in the spool. `entry.path` is relative to the output."""

    entry: TreeEntry
    offset: int
    fd: int = -1
    """The file that has the bytes, if that is not the spool."""


class CollectedFiles:
    """Receives a job's output files from its worker, checks them, and stores the bytes in an unnamed file.

    Bounded by the manifest: the names in the tree, and the bytes that the job may write with those of its input.
    """

    def __init__(
        self, files: JobFiles, pack: FilePack, scratch: Callable[[], Scratch] = scratch_file
    ) -> None:
        """`scratch` makes the file for the bytes, when the first come."""
        self.files = files
        self.pack = pack
        self._scratch = scratch
        self._outputs = [path_bytes(path) for path in files.outputs]
        self._left_bytes = files.limits.data_bytes + pack.file_bytes
        self._left_entries = files.limits.entries + 1
        self._found: list[list[Collected]] = [[] for _ in files.outputs]
        self._position = 0
        self._directories: set[bytes] = set()
        self._hash = hashlib.sha256()
        self._missing = 0  # bytes of the last entry that have not come
        self._spool: Scratch | None = None
        self._end = 0

    def take(self, kind: int, body: bytes) -> None:
        """Receive an ENTRY or DATA. Raises: ValueError on a frame that no honest worker sends; OSError,
        `StorageError`.
        """
        if kind == worker_frames.DATA:
            self._take_data(body)
        else:
            self._take_entry(*worker_frames.unpack_entry(body))

    def _take_entry(self, position: int, kind: int, size: int, path: bytes) -> None:
        if self._missing:
            raise ValueError("a file cut short")
        if not self._position <= position < len(self._outputs) or kind not in (DIRECTORY, FILE):
            raise ValueError("an output that was not asked for")
        found = self._found[position]
        if not found:
            if path:
                raise ValueError("an output without its top")
            self._position, self._directories = position, {path}
        else:
            check_path(path)
            if path <= found[-1].entry.path or found[0].entry.kind != DIRECTORY:
                raise ValueError("an entry out of order")
            if path.rpartition(b"/")[0] not in self._directories:
                raise ValueError("an entry in no directory")
        if len(self._outputs[position]) + 1 + len(path) > MAX_PATH_BYTES + 1:
            raise ValueError("a path too long")
        self._left_entries -= 1
        if self._left_entries < 0:
            raise ValueError("more entries than the limit")
        entry = TreeEntry(path, kind)
        if kind == DIRECTORY:
            if size:
                raise ValueError("a directory with bytes")
            self._directories.add(path)
        else:
            self._left_bytes -= size
            if self._left_bytes < 0:
                raise ValueError("more bytes of files than the limit")
            entry.size, self._missing = size, size
            self._hash = hashlib.sha256()
            entry.digest = self._hash.digest()
        found.append(Collected(entry=entry, offset=self._end))

    def _take_data(self, body: bytes) -> None:
        if not body or len(body) > self._missing:
            raise ValueError("bytes of no file")
        if self._spool is None:
            self._spool = self._scratch()
        self._spool.write(body)
        self._hash.update(body)
        self._end += len(body)
        self._missing -= len(body)
        if not self._missing:
            self._found[self._position][-1].entry.digest = self._hash.digest()

    def finish(self) -> None:
        """Check that nothing is missing. Raises: ValueError."""
        if self._missing:
            raise ValueError("a file cut short")
        if self._spool is not None:
            self._spool.flush()

    def discard(self) -> None:
        """Forget all: the job left nothing."""
        self._found = [[] for _ in self._outputs]
        self.close()

    def close(self) -> None:
        """Forget the bytes."""
        if self._spool is not None:
            self._spool.close()
            self._spool = None

    @property
    def digests(self) -> tuple[Product, ...]:
        """The outputs that there are, as a receipt states them."""
        return tuple(
            Product(path=path, kind=kind, sha256=digest)
            for path, found in zip(self.files.outputs, self._found, strict=True)
            if found
            for kind, digest in [_digest(found)]
        )

    @property
    def outputs(self) -> tuple[str, ...]:
        """The outputs that the manifest names, whether or not they are there."""
        return self.files.outputs

    def entries(self, path: str) -> list[Collected]:
        """Return the entries of an output in the order of its listing, its top first; none if there is no output."""
        return self._found[self.files.outputs.index(path)]

    def kind(self, path: str) -> str | None:
        """Return an output's kind, `file` or `tree`; None if the job did not leave it."""
        found = self.entries(path)
        return None if not found else "file" if found[0].entry.kind == FILE else "tree"

    def contents(self, path: str) -> Iterator[bytes]:
        """Yield an output in the form in which it is sent, in pieces: a file's bytes, or a tree's pack."""
        found = self.entries(path)
        if self.kind(path) != "tree":
            for item in found:
                yield from self.read(item)
            return
        listing = encode(item.entry for item in found[1:])
        yield prefix(listing) + listing
        where = {item.entry.digest: item for item in found[1:] if item.entry.kind == FILE}
        for digest, _size in blobs(item.entry for item in found[1:]):
            yield from self.read(where[digest])

    def read(self, item: Collected, chunk_bytes: int = 1 << 20) -> Iterator[bytes]:
        """Return the bytes of a file, piece by piece."""
        for start in range(0, item.entry.size, chunk_bytes):
            assert self._spool is not None
            count = min(chunk_bytes, item.entry.size - start)
            yield os.pread(self._spool.fileno(), count, item.offset + start)


def _digest(found: list[Collected]) -> tuple[str, str]:
    top = found[0].entry
    if top.kind == FILE:
        return "file", top.digest.hex()
    return "tree", hashlib.sha256(encode(item.entry for item in found[1:])).hexdigest()
