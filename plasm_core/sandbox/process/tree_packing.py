"""Packing a tree, from files of this machine, bytes, directories and links."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from collections.abc import Callable, Iterable
from typing import IO

import attrs

from plasm_core.errors import StorageError
from plasm_core.resource_hint import resource_hint
from plasm_core.sandbox.process.descriptor import write_all
from plasm_core.sandbox.process.file_pack import PREFIX_BYTES, FilePack, prefix, tree_size
from plasm_core.sandbox.process.sealed_memory import open_blob, seal
from plasm_core.scratch_file import scratch_file
from plasm_core.tree_listing import DIRECTORY, FILE, LINK, TreeEntry, encode

Readable = io.RawIOBase | io.BufferedIOBase
"""A file from which a buffer is filled, `readinto`."""
_READ_BYTES = 1 << 18
"""Files are read in such pieces into one buffer, which a processor's cache holds while it is hashed and stored."""
_MEMORY_BYTES = 256 << 20
"""A larger pack lies on the disk."""


@attrs.frozen(kw_only=True)
class TreeSource:
    """An entry to pack. `open` opens a file's bytes, with their size if known: a larger tree is stored on the disk."""

    path: bytes
    kind: int
    target: bytes = b""
    size_hint: int = 0
    open: Callable[[], Readable] | None = None


def pack_tree(
    sources: Iterable[TreeSource],
    *,
    progress: Callable[[int], None] = lambda _size: None,
    scratch: Callable[[], IO[bytes]] | None = None,
) -> FilePack:
    """Read all files once, and return the tree that was read. `progress` is called with the number of bytes read so
    far. `scratch` makes the file for the pack; without it a small one is kept in memory.

    Raises: `ListingError` if the entries are no tree; OSError with the file's name; `StorageError`.
    """
    ordered = sorted(sources, key=lambda source: source.path)
    entries = [
        TreeEntry(
            source.path, source.kind, digest=bytes(32) if source.kind == FILE else b"", target=source.target
        )
        for source in ordered
    ]
    listing_bytes = len(encode(entries))  # sizes and digests have a fixed length
    hinted = sum(source.size_hint for source in ordered)
    in_memory = scratch is None and hinted <= _MEMORY_BYTES
    fd = open_blob("plasm-files") if in_memory else _duplicate(scratch or scratch_file)
    try:
        seen: dict[bytes, int] = {}
        end = os.lseek(fd, PREFIX_BYTES + listing_bytes, os.SEEK_SET)
        read = 0
        room = memoryview(bytearray(_READ_BYTES))
        for source, entry in zip(ordered, entries, strict=True):
            if source.open is None:
                continue
            digest, size = hashlib.sha256(), 0
            with source.open() as file:
                while count := _read(file, room, source):
                    digest.update(room[:count])
                    _write(fd, room[:count])
                    size += count
                    read += count
                    progress(read)
            entry.size, entry.digest = size, digest.digest()
            if entry.digest in seen:  # each blob once
                os.lseek(fd, end, os.SEEK_SET)
                os.ftruncate(fd, end)
            else:
                seen[entry.digest] = end
                end += size
        listing = encode(entries)
        os.lseek(fd, 0, os.SEEK_SET)
        _write(fd, prefix(listing) + listing)
        seal(fd)
        told, _ = tree_size(entries, listing_bytes)
        return FilePack(
            fd=fd,
            listing_bytes=listing_bytes,
            tree=hashlib.sha256(listing).hexdigest(),
            in_memory=in_memory,
            **attrs.asdict(told),
        )
    except BaseException:
        os.close(fd)
        raise


def _read(file: Readable, room: memoryview, source: TreeSource) -> int | None:
    try:
        return file.readinto(room)
    except OSError as exc:
        name = getattr(file, "name", None)
        raise OSError(
            exc.errno, exc.strerror or str(exc), name if isinstance(name, str) else os.fsdecode(source.path)
        ) from exc


def _write(fd: int, data: bytes | memoryview) -> None:
    try:
        write_all(fd, data)
    except OSError as exc:
        raise StorageError(
            f"cannot keep a copy of the job's files: {exc.strerror or exc}", hint=resource_hint(exc)
        ) from exc


def _duplicate(scratch: Callable[[], IO[bytes]]) -> int:
    with scratch() as file:
        return os.dup(file.fileno())


def file_source(path: bytes, file: str | os.PathLike[str]) -> TreeSource:
    """Return the source of a file of this machine. Raises: OSError; ValueError if it is none that ends.

    Links are followed. It is opened once now, to be sure of its kind, and again when it is read.
    """
    os.close(_open_regular(file))
    return TreeSource(
        path=path,
        kind=FILE,
        size_hint=os.stat(file).st_size,
        open=lambda: io.FileIO(os.fspath(file), opener=lambda name, _flags: _open_regular(name)),
    )


def _open_regular(file: str | os.PathLike[str]) -> int:
    fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe would wait for its writer
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise ValueError(f"{os.fspath(file)} is no regular file")
    return fd


def opened_source(path: bytes, *, size_hint: int, open: Callable[[], Readable]) -> TreeSource:
    """Return the source of a file whose bytes `open` gives."""
    return TreeSource(path=path, kind=FILE, size_hint=size_hint, open=open)


def bytes_source(path: bytes, data: bytes) -> TreeSource:
    """Return the source of a file with these bytes."""
    return TreeSource(path=path, kind=FILE, size_hint=len(data), open=lambda: io.BytesIO(data))


def directory_source(path: bytes) -> TreeSource:
    """Return the source of a directory."""
    return TreeSource(path=path, kind=DIRECTORY)


def link_source(path: bytes, target: bytes) -> TreeSource:
    """Return the source of a symbolic link."""
    return TreeSource(path=path, kind=LINK, target=target)
