"""The files of a .tar or .zip archive as a job's input tree, read from the archive without extracting it
(docs/files.md). An archive may be hostile. Its entries and sizes are counted before a file is read.
"""

from __future__ import annotations

import bz2
import copy
import errno
import gzip
import io
import lzma
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import IO

import attrs

from plasm_core.client.tar_reader import TarError, read_tar
from plasm_core.scratch_file import scratch_file
from plasm_core.tree_listing import MAX_ENTRIES, shown

MAX_BYTES = 4 << 30
"""What the files of an archive may come to, unpacked; the default of a node too (`limits.tree_bytes`)."""
_CHUNK_BYTES = 1 << 20
_XZ_MEMORY_BYTES = 256 << 20
_MAX_DIRECTORY_BYTES = 64 << 20
_ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)
_DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, struct.error),
    *(NotImplementedError, UnicodeDecodeError, OverflowError, RuntimeError),
)
"""What the standard library's readers raise on damaged archives, and OSError without a number."""
_ZIP_LENGTHS = struct.Struct("<28x3H12x")
"""A file's header in the central directory, 46 bytes: the lengths of its name, extra field and comment."""
# End of central directory: signature, two disk numbers, two counts, its size and offset, length of the comment.
_ZIP_END = struct.Struct("<4s4H2IH")
_ZIP64_LOCATOR = b"PK\x06\x07"


class ArchiveError(ValueError):
    """An archive cannot be a job's tree. The text says why."""


@attrs.frozen(kw_only=True)
class ArchiveEntry:
    """A file, or a directory: then `open` is None. `path` is relative, with single slashes."""

    path: bytes
    size: int = 0
    open: Callable[[], io.RawIOBase] | None = None


class TreeArchive:
    """An open archive. Raises: `ArchiveError`, OSError."""

    def __init__(
        self,
        file: str | Path | IO[bytes],
        *,
        name: str | None = None,
        maximum_bytes: int | None = None,
        scratch: Callable[[], IO[bytes]] = scratch_file,
        unpacking: Callable[[int], None] = lambda _size: None,
    ) -> None:
        """`file`: a path, or an open file, which stays open. `name`: what errors call it.

        `maximum_bytes`: the most that its files may come to, unpacked, `MAX_BYTES` if None. `scratch` makes the file
        that a compressed tar is decompressed into; `unpacking` is called with the size of each piece before it is written there.
        """
        self._name = name or (os.fspath(file) if isinstance(file, (str, os.PathLike)) else "the archive")
        self._maximum_bytes = MAX_BYTES if maximum_bytes is None else maximum_bytes
        self._scratch = scratch
        self._unpacking = unpacking
        self._opened = ExitStack()
        try:
            opened = self._open(file) if isinstance(file, (str, os.PathLike)) else file
            opened.seek(0)
            with self._telling():
                self._entries = self._bounded(self._read(opened))
        except BaseException:
            self._opened.close()
            raise

    def _open(self, path: str | Path) -> IO[bytes]:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe would wait for its writer
        opened: IO[bytes] = self._opened.enter_context(os.fdopen(fd, "rb"))
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ArchiveError(f"{self._name} is no regular file")
        return opened

    def close(self) -> None:
        """Close it. What is read from it must be read before."""
        self._opened.close()

    def __iter__(self) -> Iterator[ArchiveEntry]:
        return iter(self._entries)

    def _read(self, file: IO[bytes]) -> Iterator[ArchiveEntry]:
        head = file.read(8)
        if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            return self._zip(file)
        if head.startswith(b"\x1f\x8b"):
            return self._tar(self._unpacked(gzip.open(_from_start(file))))
        if head.startswith(b"BZh"):
            return self._tar(self._unpacked(bz2.BZ2File(_from_start(file))))
        if head.startswith(b"\xfd7zXZ\0"):
            return self._tar(self._xz(_from_start(file)))
        return self._tar(file)

    def _bounded(self, entries: Iterator[ArchiveEntry]) -> list[ArchiveEntry]:
        """Return all entries, if they are not too many and not too large. Raises: `ArchiveError`."""
        found: list[ArchiveEntry] = []
        total = 0
        with self._telling():
            for entry in entries:
                total += entry.size
                if total > self._maximum_bytes:
                    raise self._error(f"its files have more than {self._maximum_bytes} bytes")
                if len(found) >= MAX_ENTRIES:
                    raise self._error(f"it has more than {MAX_ENTRIES} entries")
                if entry.path:
                    found.append(entry)
        return found

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Turn errors about the archive into `ArchiveError`. Raises: `ArchiveError`; OSError."""
        try:
            yield
        except TarError as exc:
            raise self._error(str(exc)) from exc
        except _DAMAGED as exc:
            raise self._error(f"it is damaged: {exc}") from exc
        except OSError as exc:
            if exc.errno in (None, errno.EINVAL):  # wrong data; a place before the file's beginning
                raise self._error(f"it is damaged: {exc}") from exc
            raise

    def _error(self, what: str) -> ArchiveError:
        return ArchiveError(f"{self._name}: {what}")

    def _path(self, name: bytes) -> bytes:
        """Return an entry's path, empty for the archive's root. Raises: `ArchiveError`."""
        if name.startswith(b"/"):
            raise self._error(f"{shown(name)} is an absolute path")
        parts = [part for part in name.split(b"/") if part not in (b"", b".")]
        if b".." in parts:
            raise self._error(f"{shown(name)} leads out of the archive")
        return b"/".join(parts)

    # -- tar

    def _tar(self, file: IO[bytes]) -> Iterator[ArchiveEntry]:
        for entry in read_tar(file):
            path = self._path(entry.name)
            if entry.is_directory:
                yield ArchiveEntry(path=path)
            elif not path:
                raise self._error("it has a file without a name")
            else:
                yield ArchiveEntry(path=path, size=entry.size, open=_part(file, entry.offset, entry.size))

    def _unpacked(self, packed: gzip.GzipFile | bz2.BZ2File) -> IO[bytes]:
        """Decompress a tar into an unnamed file, and return the file. Raises: `ArchiveError`; `StorageError`."""
        unpacked = self._opened.enter_context(self._scratch())
        with packed:
            self._copy(iter(lambda: packed.read(_CHUNK_BYTES), b""), unpacked)
        return unpacked

    def _xz(self, file: IO[bytes]) -> IO[bytes]:
        """Decompress xz with a memory limit: its dictionary takes as much memory as the archive states."""
        unpacked = self._opened.enter_context(self._scratch())
        self._copy(_xz_chunks(file), unpacked)
        return unpacked

    def _copy(self, chunks: Iterator[bytes], unpacked: IO[bytes]) -> None:
        size = 0
        for chunk in chunks:
            size += len(chunk)
            if size > self._maximum_bytes:
                raise self._error(f"unpacked it has more than {self._maximum_bytes} bytes")
            self._unpacking(len(chunk))
            unpacked.write(chunk)

    # -- zip

    def _zip(self, file: IO[bytes]) -> Iterator[ArchiveEntry]:
        self._check_zip_directory(file)
        archive = self._opened.enter_context(zipfile.ZipFile(file))
        for info in archive.infolist():
            name = info.orig_filename.encode("utf-8", "surrogateescape")
            path = self._path(name)
            kind = stat.S_IFMT(info.external_attr >> 16) if info.create_system == 3 else 0
            if info.flag_bits & 1:
                raise self._error(f"{shown(name)} is encrypted")
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise self._error(f"{shown(name)} is a link or a device")
            if name.endswith(b"/") or kind == stat.S_IFDIR:
                yield ArchiveEntry(path=path)
                continue
            if info.compress_type not in _ZIP_METHODS:
                raise self._error(f"{shown(name)} is compressed by the method {info.compress_type}")
            if not path:
                raise self._error("it has a file without a name")
            yield ArchiveEntry(path=path, size=info.file_size, open=self._member(archive, info))

    def _check_zip_directory(self, file: IO[bytes]) -> None:
        """Refuse a directory that is too large, before zipfile reads it into memory. Raises: `ArchiveError`."""
        end = file.seek(0, os.SEEK_END)
        start = max(0, end - _ZIP_END.size - 65_535 - 20)
        file.seek(start)
        tail = file.read()
        at = tail.rfind(b"PK\x05\x06")
        if at < 0 or len(tail) - at < _ZIP_END.size:
            raise self._error("it is damaged: a zip archive without its end")
        size = _ZIP_END.unpack_from(tail, at)[5]
        if tail[max(0, at - 20) : at].startswith(_ZIP64_LOCATOR):
            raise self._error(f"it has a zip64 directory, for more than {MAX_ENTRIES} entries or 4 GiB")
        if size > _MAX_DIRECTORY_BYTES:
            raise self._error(f"its directory has more than {_MAX_DIRECTORY_BYTES} bytes")
        file.seek(max(0, start + at - size))
        self._count_zip_headers(file.read(size))

    def _count_zip_headers(self, directory: bytes) -> None:
        """Refuse too many entries, of each of which zipfile makes an object that is larger. Raises: `ArchiveError`."""
        at = count = 0
        while at + _ZIP_LENGTHS.size <= len(directory):
            count += 1
            if count > MAX_ENTRIES:
                raise self._error(f"it has more than {MAX_ENTRIES} entries")
            at += _ZIP_LENGTHS.size + sum(_ZIP_LENGTHS.unpack_from(directory, at)[:3])

    def _member(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Callable[[], io.RawIOBase]:
        def opened() -> io.RawIOBase:
            with self._telling():
                is_bzip2 = info.compress_type == zipfile.ZIP_BZIP2
                return _Checked(
                    _Bzip2Member(archive, info) if is_bzip2 else archive.open(info), self._telling
                )

        return opened


class _Bzip2Member:
    """A file of a zip archive that is compressed by bzip2.

    zipfile decompresses all that it has read of such a file at once: 256 KiB of zeros so compressed are 5 GiB of memory.
    """

    def __init__(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
        packed = copy.copy(info)
        packed.compress_type, packed.file_size = zipfile.ZIP_STORED, info.compress_size
        del packed.CRC  # of the unpacked bytes
        self._packed = archive.open(packed)
        self._file = bz2.BZ2File(self._packed)
        self._left, self._crc, self._wanted_crc = info.file_size, 0, info.CRC

    def read(self, size: int) -> bytes:
        """Return at most so many of the next bytes. Raises: as zipfile."""
        data = self._file.read(min(size, self._left))
        if not data and self._left:
            raise EOFError("a file ends too early")
        self._left -= len(data)
        self._crc = zlib.crc32(data, self._crc)
        if not self._left and self._crc != self._wanted_crc:
            raise zipfile.BadZipFile("a file has another CRC-32 than the archive states")
        return data

    def close(self) -> None:
        """Close it."""
        self._file.close()
        self._packed.close()


class _Checked(io.RawIOBase):
    """A file of a zip archive; errors of zipfile are raised as `ArchiveError`."""

    def __init__(
        self, file: IO[bytes] | _Bzip2Member, telling: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._file = file
        self._telling = telling

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read the next bytes, and return how many. Raises: `ArchiveError`."""
        with self._telling():
            data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Close it."""
        self._file.close()
        super().close()


class FilePart(io.RawIOBase):
    """Some bytes of a file, which other parts are read from too."""

    def __init__(self, file: IO[bytes], offset: int, size: int) -> None:
        self._file, self._at, self._left = file, offset, size

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read the next bytes, and return how many."""
        self._file.seek(self._at)
        data = self._file.read(min(len(buffer), self._left))
        if not data and self._left:
            raise ArchiveError("the archive has changed while it was read")
        self._at += len(data)
        self._left -= len(data)
        buffer[: len(data)] = data
        return len(data)


def _part(file: IO[bytes], offset: int, size: int) -> Callable[[], io.RawIOBase]:
    return lambda: FilePart(file, offset, size)


def _from_start(file: IO[bytes]) -> IO[bytes]:
    file.seek(0)
    return file


def _xz_chunks(file: IO[bytes]) -> Iterator[bytes]:
    unpacker = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_BYTES)
    while not unpacker.eof:
        data = file.read(_CHUNK_BYTES) if unpacker.needs_input else b""
        if unpacker.needs_input and not data:
            raise EOFError("it ends too early")
        yield unpacker.decompress(data, _CHUNK_BYTES)
