"""The entries of a tar archive: ustar, with pax headers and GNU's long names (POSIX.1-2017 pax, "ustar Interchange Format").

Each header is bounded before it is read. tarfile of the standard library reads headers of any size into memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import IO

import attrs

from plasm_core.tree_listing import shown

BLOCK_BYTES = 512
MAX_HEADER_BYTES = 1 << 20
_FILE, _HARD_LINK, _LINK, _CHARACTER, _BLOCK, _DIRECTORY, _FIFO, _CONTIGUOUS = b"01234567"
_KINDS = {
    _HARD_LINK: "a hard link",
    _LINK: "a symbolic link",
    _CHARACTER: "a device",
    _BLOCK: "a device",
    _FIFO: "a pipe",
}
_PAX, _PAX_GLOBAL, _GNU_NAME, _GNU_TARGET = b"xgLK"


class TarError(ValueError):
    """The bytes are no tar archive, or it has an entry that no job's tree can have."""


@attrs.frozen(kw_only=True)
class TarEntry:
    """One entry: a file whose bytes begin at `offset`, or a directory."""

    name: bytes
    is_directory: bool
    offset: int
    size: int


def read_tar(file: IO[bytes]) -> Iterator[TarEntry]:
    """Yield the files and directories of an archive. Raises: `TarError`, OSError."""
    end = file.seek(0, os.SEEK_END)
    at, name, size = 0, b"", None
    while True:
        header = _read(file, at, BLOCK_BYTES)
        if not any(header):
            return
        _check(header)
        stated = _number(header[124:136])
        kind, start = header[156], at + BLOCK_BYTES
        actual = stated if size is None or kind in (_PAX, _PAX_GLOBAL, _GNU_NAME, _GNU_TARGET) else size
        if actual > end - start:
            raise TarError("the archive is cut short")
        at = start + -(-actual // BLOCK_BYTES) * BLOCK_BYTES
        if kind in (_PAX, _PAX_GLOBAL, _GNU_NAME, _GNU_TARGET):
            if actual > MAX_HEADER_BYTES:
                raise TarError(f"a header of {actual} bytes, more than {MAX_HEADER_BYTES}")
            data = _read(file, start, actual)
            if kind == _GNU_NAME:
                name = data.rstrip(b"\0")
            elif kind == _PAX:
                name, size = _pax(data, name, size)
            elif kind == _PAX_GLOBAL and _pax(data, b"", None) != (b"", None):
                raise TarError("a header gives one name or size to all entries")
            continue
        own = name or _name(header)
        if kind in _KINDS:
            raise TarError(f"{shown(own)} is {_KINDS[kind]}")
        if kind not in (0, _FILE, _CONTIGUOUS, _DIRECTORY):
            raise TarError(f"{shown(own)} is of the unknown kind {chr(kind)!a}")
        # Before ustar, a name with a slash at its end was a directory.
        is_directory = kind == _DIRECTORY or (kind == 0 and own.endswith(b"/"))
        yield TarEntry(name=own, is_directory=is_directory, offset=start, size=actual)
        name, size = b"", None
        if is_directory:
            at = start


def _read(file: IO[bytes], at: int, count: int) -> bytes:
    file.seek(at)
    data = file.read(count)
    if len(data) < count:
        raise TarError("the archive is cut short")
    return data


def _check(header: bytes) -> None:
    """Refuse a header whose checksum is wrong. Old programs summed signed bytes. Raises: `TarError`."""
    field = header[148:156]
    rest = header[:148] + b" " * 8 + header[156:]
    signed = sum(byte - 256 if byte > 127 else byte for byte in rest)
    if _number(field) not in (sum(rest), signed):
        raise TarError("not a tar archive, or a damaged one: a checksum is wrong")


def _number(field: bytes) -> int:
    """Read an octal number, or GNU's binary one. Raises: `TarError`."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    text = field.split(b"\0", 1)[0].strip()
    if not all(byte in b"01234567" for byte in text):
        raise TarError("not a tar archive, or a damaged one: a number is wrong")
    return int(text, 8) if text else 0


def _name(header: bytes) -> bytes:
    name = header[:100].split(b"\0", 1)[0]
    prefix = header[345:500].split(b"\0", 1)[0] if header[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def _pax(data: bytes, name: bytes, size: int | None) -> tuple[bytes, int | None]:
    """Return the name and size that a pax header gives, else those given. Raises: `TarError`."""
    at = 0
    while at < len(data):
        digits, space, _ = data[at : at + 12].partition(b" ")
        if not space or not digits.isdigit() or not 0 < int(digits) <= len(data) - at:
            raise TarError("a pax header is damaged")
        record = data[at + len(digits) + 1 : at + int(digits)]
        key, equals, value = record.removesuffix(b"\n").partition(b"=")
        if not equals:
            raise TarError("a pax header is damaged")
        if key == b"path":
            name = value
        elif key == b"size":
            if not value.isdigit() or len(value) > 16:
                raise TarError("a pax header is damaged")
            size = int(value)
        elif key.startswith(b"GNU.sparse"):
            raise TarError("it has a sparse file")
        at += int(digits)
    return name, size
