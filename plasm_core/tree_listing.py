"""The listing of a tree of files, as its digest is taken of (docs/files.md, "The listing"). Standard library only.

A tree has one listing. Workers read it too, so this module imports nothing of the core.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False  # importing typing would cost every worker
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAGIC = b"plasm.tree/v1\n"
DIRECTORY, FILE, LINK = 3, 4, 7
"""Kinds of entries: the file types of WASI preview 1."""

MAX_ENTRIES = 65_536
MAX_NAME_BYTES = 255
MAX_PATH_BYTES = 1_024
MAX_TARGET_BYTES = 1_024
MAX_LISTING_BYTES = len(MAGIC) + MAX_ENTRIES * (5 + MAX_PATH_BYTES + 4 + MAX_TARGET_BYTES)
MAX_FILE_BYTES = 2**40
MEMORY_PER_LISTING_BYTE = 4
"""How much memory of a worker each byte of its job's listing may take: the listing itself, its names, and its index."""

_NO_NAMES = frozenset((b"", b".", b".."))
_HEAD = struct.Struct("<BI")  # kind, length of the path
_FILE = struct.Struct("<Q32s")  # size, SHA-256
_LENGTH = struct.Struct("<I")


class ListingError(ValueError):
    """These bytes are not the listing of a tree."""


class TreeEntry:
    """One entry. `path` is relative to the tree's root. A file has `size` and `digest`, a link `target`."""

    __slots__ = ("digest", "kind", "path", "size", "target")

    def __init__(self, path: bytes, kind: int, *, size: int = 0, digest: bytes = b"", target: bytes = b""):
        self.path = path
        self.kind = kind
        self.size = size
        self.digest = digest
        self.target = target

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TreeEntry) and self.fields == other.fields

    def __hash__(self) -> int:
        return hash(self.fields)

    def __repr__(self) -> str:
        return f"TreeEntry{self.fields}"

    @property
    def fields(self) -> tuple[bytes, int, int, bytes, bytes]:
        """Path, kind, size, digest and target."""
        return self.path, self.kind, self.size, self.digest, self.target


def encode(entries: Iterable[TreeEntry]) -> bytes:
    """Return the listing of entries in any order. Raises: `ListingError` if they are no tree."""
    parts = [MAGIC]
    for entry in sorted(entries, key=lambda item: item.path):
        parts.append(_HEAD.pack(entry.kind, len(entry.path)) + entry.path)
        if entry.kind == FILE:
            parts.append(_FILE.pack(entry.size, entry.digest))
        elif entry.kind == LINK:
            parts.append(_LENGTH.pack(len(entry.target)) + entry.target)
    data = b"".join(parts)
    parts.clear()
    for _ in read(data):
        pass
    return data


def parse(data: bytes, *, maximum: int = MAX_ENTRIES) -> list[TreeEntry]:
    """Return the entries of a listing, at most `maximum`. Raises: `ListingError`."""
    return list(read(data, maximum=maximum))


def read(data: bytes, *, maximum: int = MAX_ENTRIES) -> Iterator[TreeEntry]:
    """Yield the entries of a listing one by one: all of them take more than the listing. Raises: as `parse`."""
    if data[: len(MAGIC)] != MAGIC:
        raise ListingError("not the listing of a tree")
    directories = {b""}
    at, last, count = len(MAGIC), b"", 0
    try:
        while at < len(data):
            if count >= maximum:
                raise ListingError(f"more than {maximum} entries")
            kind, length = _HEAD.unpack_from(data, at)
            at += _HEAD.size
            if length > MAX_PATH_BYTES:
                raise ListingError(f"a path of {length} bytes, more than {MAX_PATH_BYTES}")
            path = data[at : at + length]
            at += length
            if at > len(data):
                raise ListingError("cut short")
            parent, _, name = path.rpartition(b"/")
            if parent and parent in directories:  # the names of a checked listing need no second check
                _check_text(path)
                _check_name(name, path)
            else:
                check_path(path)
            if path <= last:
                raise ListingError(f"{shown(path)} is out of order")
            if parent not in directories:
                raise ListingError(f"{shown(path)} is in no directory of the tree")
            entry = TreeEntry(path, kind)
            if kind == DIRECTORY:
                directories.add(path)
            elif kind == FILE:
                entry.size, entry.digest = _FILE.unpack_from(data, at)
                at += _FILE.size
                if entry.size > MAX_FILE_BYTES:
                    raise ListingError(f"{shown(path)} has more than {MAX_FILE_BYTES} bytes")
            elif kind == LINK:
                (length,) = _LENGTH.unpack_from(data, at)
                at += _LENGTH.size
                if length > MAX_TARGET_BYTES:
                    raise ListingError(f"the target of {shown(path)} has more than {MAX_TARGET_BYTES} bytes")
                entry.target = data[at : at + length]
                at += length
                if at > len(data):
                    raise ListingError("cut short")
                check_target(entry.target)
            else:
                raise ListingError(f"{shown(path)} is of the unknown kind {kind}")
            count += 1
            last = path
            yield entry
    except struct.error:
        raise ListingError("cut short") from None


def check_path(path: bytes) -> None:
    """Refuse an invalid path of a tree. Raises: `ListingError`."""
    if not path:
        raise ListingError("an empty path")
    if len(path) > MAX_PATH_BYTES:
        raise ListingError(f"a path of {len(path)} bytes, more than {MAX_PATH_BYTES}")
    _check_text(path)
    names = path.split(b"/")
    if not _NO_NAMES.isdisjoint(names) or max(map(len, names)) > MAX_NAME_BYTES:
        for name in names:
            _check_name(name, path)


def _check_name(name: bytes, path: bytes) -> None:
    if name in _NO_NAMES:
        raise ListingError(f"{shown(path)} has an empty name, . or ..")
    if len(name) > MAX_NAME_BYTES:
        raise ListingError(f"a name in {shown(path)} has more than {MAX_NAME_BYTES} bytes")


def check_target(target: bytes) -> None:
    """Refuse an invalid target of a symbolic link. Raises: `ListingError`."""
    if not target or target.startswith(b"/"):
        raise ListingError(f"{shown(target)} is no relative target of a link")
    _check_text(target)


def _check_text(data: bytes) -> None:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        raise ListingError(f"{shown(data)} is not UTF-8") from None
    if b"\0" in data:
        raise ListingError(f"{shown(data)} contains NUL")


def shown(path: bytes) -> str:
    """Return a path as a message can carry it."""
    return ascii(path.decode("utf-8", "replace")[:200])
