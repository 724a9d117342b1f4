"""The pack of a tree: the length of its listing, the listing, then each blob once in the order of the listing.

A tree is sent, stored and passed to a worker in this form (docs/protocol.md, "Jobs with files").
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterable, Iterator

import attrs

from plasm_core.errors import RefusedError
from plasm_core.records.files import JobFiles, path_bytes
from plasm_core.tree_listing import (
    FILE,
    MAX_ENTRIES,
    MAX_LISTING_BYTES,
    ListingError,
    TreeEntry,
)
from plasm_core.tree_listing import read as read_listing

PREFIX_BYTES = 4
"""The length of the listing, u32le, with which a pack begins."""
_PREFIX = struct.Struct("<I")
_CHUNK_BYTES = 1 << 20
_SHORT_BYTES = 256 << 10
"""A listing of some 4,000 files: what is known of it takes 1 MB for each upload."""


@attrs.frozen(kw_only=True)
class FilePack:
    """A tree that cannot change any more. `tree` is its digest; `fd` has its pack.

    A node has the tree of each running job open, so that this holds no entries: those are read where they are needed.
    `file_bytes`: all files together, equal ones counted each; `size_bytes`: the pack.
    """

    fd: int
    tree: str
    listing_bytes: int
    entry_count: int
    file_bytes: int
    size_bytes: int
    in_memory: bool = False
    """Whether reading it waits for no disk."""

    @property
    def entries(self) -> Iterator[TreeEntry]:
        """The entries of the listing, which is read now. Raises: `ListingError`, OSError."""
        return read_listing(_pread(self.fd, self.listing_bytes, PREFIX_BYTES))

    @property
    def offsets(self) -> dict[bytes, int]:
        """Where each blob begins in the pack, by its digest. Raises: as `entries`."""
        found, at = {}, PREFIX_BYTES + self.listing_bytes
        for digest, size in blobs(self.entries):
            found[digest] = at
            at += size
        return found

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.fd)

    def __enter__(self) -> FilePack:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def prefix(listing: bytes) -> bytes:
    """Return the bytes of a pack before its listing: the listing's length."""
    return _PREFIX.pack(len(listing))


def listing_length(prefix: bytes) -> int:
    """Return the length of the listing of a pack that begins with these bytes. Raises: `ListingError`."""
    if len(prefix) != PREFIX_BYTES or (found := int(_PREFIX.unpack(prefix)[0])) > MAX_LISTING_BYTES:
        raise ListingError("a pack without the length of its listing")
    return found


def blobs(entries: Iterable[TreeEntry]) -> Iterator[tuple[bytes, int]]:
    """Return digest and size of each blob, once, in the order of the listing."""
    seen = set()
    for entry in entries:
        if entry.kind == FILE and entry.digest not in seen:
            seen.add(entry.digest)
            yield entry.digest, entry.size


def read_pack(
    fd: int,
    size: int,
    *,
    tree: str | None = None,
    maximum_entries: int = MAX_ENTRIES,
    maximum_bytes: int | None = None,
    checked: bool = True,
) -> FilePack:
    """Return the tree whose pack a descriptor has, with every blob compared with its digest.

    `size`: the bytes of the pack. `tree`: the digest that the tree must have. `maximum_bytes`: the most bytes of all
    files together; equal files count each. `checked` False leaves the blobs unread: they have been compared before.

    Raises: `ListingError` on anything else; OSError. The caller keeps the descriptor open until this returns.
    """
    (listing_bytes,) = _PREFIX.unpack(_pread(fd, PREFIX_BYTES, 0))
    if listing_bytes > min(MAX_LISTING_BYTES, size - PREFIX_BYTES):
        raise ListingError(f"a pack of {size} bytes with a listing of {listing_bytes}")
    listing = _pread(fd, listing_bytes, PREFIX_BYTES)
    found = hashlib.sha256(listing).hexdigest()
    if tree is not None and found != tree:
        raise ListingError("the listing has another digest")
    told, unique = tree_size(read_listing(listing, maximum=maximum_entries), listing_bytes)
    del listing
    if told.size_bytes != size:
        raise ListingError(f"a pack of {size} bytes, whose listing tells of {told.size_bytes}")
    if maximum_bytes is not None and told.file_bytes > maximum_bytes:
        raise ListingError(f"{told.file_bytes} bytes of files, more than {maximum_bytes}")
    if checked:
        _check_blobs(fd, PREFIX_BYTES + listing_bytes, unique)
    return FilePack(fd=fd, listing_bytes=listing_bytes, tree=found, **attrs.asdict(told))


@attrs.frozen(kw_only=True)
class TreeSize:
    """What a listing tells of its tree as a whole."""

    entry_count: int
    file_bytes: int
    size_bytes: int


def tree_size(entries: Iterable[TreeEntry], listing_bytes: int) -> tuple[TreeSize, dict[bytes, int]]:
    """Go through a listing once. Return the sums, and the sizes of the blobs by digest, in their order."""
    count = file_bytes = 0
    unique: dict[bytes, int] = {}
    for entry in entries:
        count += 1
        file_bytes += entry.size
        if entry.kind == FILE:
            unique.setdefault(entry.digest, entry.size)
    size_bytes = PREFIX_BYTES + listing_bytes + sum(unique.values())
    return TreeSize(entry_count=count, file_bytes=file_bytes, size_bytes=size_bytes), unique


class PackDigests:
    """Compares a pack with its digests while it arrives, if its listing is short: so little of it is in memory.

    `is_whole` once all has come and is right; never for a pack with a longer listing, which `read_pack` compares.
    """

    def __init__(self, tree: str, size: int) -> None:
        """`tree`: the digest that the listing must have. `size`: the bytes of the pack."""
        self.is_whole = False
        self._tree = tree
        self._size = size
        self._head = bytearray()
        self._wanted: list[tuple[bytes, int]] | None = None
        self._digest = hashlib.sha256()
        self._left = 0
        self._gave_up = False

    def update(self, data: bytes | memoryview) -> None:
        """Take the next bytes. Raises: `ListingError` at the first that is wrong."""
        if self._gave_up:
            return
        if self._wanted is None:
            self._head += data
            rest = self._read_head()
            if rest is None or self._wanted is None:
                return
            data = rest
        view = memoryview(data)
        while self._wanted and (view or not self._left):
            part = view[: self._left]
            self._digest.update(part)
            self._left -= len(part)
            view = view[len(part) :]
            if not self._left:
                if self._digest.digest() != self._wanted.pop()[0]:
                    raise ListingError("a file has another digest than its listing says")
                self._begin()
        self.is_whole = not self._wanted

    def _begin(self) -> None:
        assert self._wanted is not None
        self._digest = hashlib.sha256()
        self._left = self._wanted[-1][1] if self._wanted else 0

    def _read_head(self) -> bytes | None:
        """Read the listing once it is complete. Return the bytes after it."""
        if len(self._head) < PREFIX_BYTES:
            return None
        (length,) = _PREFIX.unpack_from(self._head)
        end = PREFIX_BYTES + length
        if length > _SHORT_BYTES:
            self._gave_up = True
            self._head.clear()
            return None
        if len(self._head) < end:
            return None
        listing, rest = bytes(self._head[PREFIX_BYTES:end]), bytes(self._head[end:])
        self._head.clear()
        if hashlib.sha256(listing).hexdigest() != self._tree:
            raise ListingError("the listing has another digest")
        wanted = list(blobs(read_listing(listing)))
        found = end + sum(size for _, size in wanted)
        if found != self._size:
            raise ListingError(f"a pack of {self._size} bytes, whose listing tells of {found}")
        self._wanted = wanted[::-1]
        self._begin()
        return rest


def _check_blobs(fd: int, at: int, unique: dict[bytes, int]) -> None:
    """Compare the blobs that begin at an offset of a pack with their digests. Raises: `ListingError`."""
    for wanted, size in unique.items():
        digest = hashlib.sha256()
        for start in range(0, size, _CHUNK_BYTES):
            digest.update(_pread(fd, min(_CHUNK_BYTES, size - start), at + start))
        if digest.digest() != wanted:
            raise ListingError("a file has another digest than its listing says")
        at += size


def _pread(fd: int, count: int, offset: int) -> bytes:
    """Read the given number of bytes. Raises: `ListingError` if the descriptor has less."""
    parts = []
    while count:
        part = os.pread(fd, count, offset)
        if not part:
            raise ListingError("a pack cut short")
        parts.append(part)
        offset, count = offset + len(part), count - len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def parents(path: bytes) -> Iterator[bytes]:
    """Return the paths of a path's parent directories, the outermost first."""
    at = path.find(b"/")
    while at >= 0:
        yield path[:at]
        at = path.find(b"/", at + 1)


def check_files(files: JobFiles | None, pack: FilePack | None) -> None:
    """Refuse a pack that differs from a manifest's. Raises: `RefusedError`."""
    if files is None and pack is None:
        return
    if files is None or pack is None or files.tree != pack.tree:
        raise RefusedError("digest_mismatch", "the files are not what the manifest names")
    if pack.entry_count > files.limits.entries:
        raise RefusedError(
            "limit_too_low",
            f"the job's files and directories are {pack.entry_count}, more than its limit of {files.limits.entries}",
            hint=f"--file-limit entries={pack.entry_count} is the least; what the job makes counts too",
        )
    lacking = {path_bytes(path): path for path in files.read_only}
    lacking.pop(b"", None)
    for entry in pack.entries if lacking else ():
        lacking.pop(entry.path, None)
    if lacking:
        raise RefusedError(
            "bad_files", f"the job's files lack {min(lacking.values())!a}, which is to be read-only"
        )
