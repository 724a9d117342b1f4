"""The host functions over the bytes of a job's files and the entries of its directories (docs/files.md)."""

from __future__ import annotations

import struct
from bisect import bisect_right

from plasm_core.sandbox.wasi import abi
from plasm_core.sandbox.wasi.abi import Errno
from plasm_core.sandbox.wasi.inodes import FIRST_COOKIE, Inode
from plasm_core.sandbox.wasi.open_files import ENTRY_GAS, Open, OpenFiles
from plasm_core.tree_listing import DIRECTORY

TYPE_CHECKING = False  # importing typing would cost every worker
if TYPE_CHECKING:
    from collections.abc import Iterator

LAST_OFFSET = 2**63 - 1
_MAX_U32 = 0xFFFF_FFFF
_DIRENT = struct.Struct("<QQIB3x")


class FileData(OpenFiles):
    """Adds reading, writing and listing to open files."""

    def _data(self, fd: int, right: int) -> Open:
        """Return an open file, not a directory, that has a right. Raises: isdir, notcapable."""
        if self._open[fd].inode.kind == DIRECTORY:
            raise Errno(abi.ISDIR)
        return self._file(fd, right)

    def _read_at(self, file: Open, iovs: int, count: int, offset: int, nread: int) -> int:
        """Fill vectors from an offset. Return how many bytes were read."""
        vectors = self._host.vectors(iovs, count)
        self._host.check(nread, 4)
        inode = file.inode
        wanted = min(sum(length for _, length in vectors), max(0, inode.size - offset), _MAX_U32)
        self._host.charge(wanted)
        at = offset

        def read(most: int) -> bytes:
            nonlocal at
            data = self._tree.read(inode, at, most)
            at += len(data)
            return data

        self._host.fill(vectors, wanted, read)
        self._host.write(nread, struct.pack("<I", wanted))
        return wanted

    def fd_read(self, fd: int, iovs: int, count: int, nread: int) -> int:
        if fd not in self._open:
            return self._host.fd_read(fd, iovs, count, nread)
        file = self._data(fd, abi.RIGHT_FD_READ)
        file.position += self._read_at(file, iovs, count, file.position, nread)
        return 0

    def fd_pread(self, fd: int, iovs: int, count: int, offset: int, nread: int) -> int:
        if fd not in self._open:
            return self._host.fd_pread(fd, iovs, count, offset, nread)
        file = self._data(fd, abi.RIGHT_FD_READ | abi.RIGHT_FD_SEEK)
        if offset > LAST_OFFSET:
            return abi.INVAL
        self._read_at(file, iovs, count, offset, nread)
        return 0

    def _write_at(self, file: Open, iovs: int, count: int, offset: int | None, nwritten: int) -> int:
        """Write vectors at an offset, None for the file's end. Return the offset behind them. Raises: nospc."""
        vectors = self._host.vectors(iovs, count)
        self._host.check(nwritten, 4)
        total = sum(length for _, length in vectors)
        if total > _MAX_U32:
            raise Errno(abi.INVAL)
        inode = file.inode
        start = inode.size if offset is None else offset
        taken = max(0, min(total, self._tree.room(inode) - start))
        if total and not taken:
            raise Errno(abi.NOSPC)
        if taken:
            size = max(inode.size, start + taken)
            gap = max(0, start - inode.size)
            copied = inode.size if inode.packed else 0
            self._host.charge(taken + gap + copied)
            self._tree.resize(inode, size)
            at = start
            for piece in self._host.gathered(vectors, taken):
                inode.data.write(at, piece)
                at += len(piece)
            self._tree.written(inode)
        self._host.write(nwritten, struct.pack("<I", taken))
        return start + taken

    def fd_write(self, fd: int, iovs: int, count: int, nwritten: int) -> int:
        if fd not in self._open:
            return self._host.fd_write(fd, iovs, count, nwritten)
        file = self._data(fd, abi.RIGHT_FD_WRITE)
        offset = None if file.flags & abi.FLAG_APPEND else file.position
        file.position = self._write_at(file, iovs, count, offset, nwritten)
        return 0

    def fd_pwrite(self, fd: int, iovs: int, count: int, offset: int, nwritten: int) -> int:
        if fd not in self._open:
            return self._host.fd_pwrite(fd, iovs, count, offset, nwritten)
        file = self._data(fd, abi.RIGHT_FD_WRITE | abi.RIGHT_FD_SEEK)
        if offset > LAST_OFFSET:
            return abi.INVAL
        self._write_at(file, iovs, count, offset, nwritten)
        return 0

    def fd_seek(self, fd: int, offset: int, whence: int, position: int) -> int:
        if fd not in self._open:
            return self._host.fd_seek(fd, offset, whence, position)
        file = self._data(fd, 0)
        right = abi.RIGHT_FD_TELL if (offset, whence) == (0, abi.WHENCE_CURRENT) else abi.RIGHT_FD_SEEK
        if not file.rights & (right | abi.RIGHT_FD_SEEK):
            return abi.NOTCAPABLE
        self._host.check(position, 8)
        if whence > abi.WHENCE_END:
            return abi.INVAL
        begin = (0, file.position, file.inode.size)[whence]
        at = begin + (offset - 2**64 if offset >> 63 else offset)
        if not 0 <= at <= LAST_OFFSET:
            return abi.INVAL
        file.position = at
        self._host.write(position, struct.pack("<Q", at))
        return 0

    def fd_tell(self, fd: int, position: int) -> int:
        if fd not in self._open:
            return self._host.fd_tell(fd, position)
        file = self._data(fd, 0)
        if not file.rights & (abi.RIGHT_FD_TELL | abi.RIGHT_FD_SEEK):
            return abi.NOTCAPABLE
        self._host.write(position, struct.pack("<Q", file.position))
        return 0

    def _set_size(self, inode: Inode, size: int) -> None:
        """Raises: nospc."""
        if size > self._tree.room(inode):
            raise Errno(abi.NOSPC)
        self._host.charge(self._tree.copied(inode, size))
        self._tree.resize(inode, size)
        self._tree.written(inode)

    def fd_filestat_set_size(self, fd: int, size: int) -> int:
        if fd not in self._open:
            return self._host.fd_filestat_set_size(fd, size)
        self._set_size(self._data(fd, abi.RIGHT_FD_FILESTAT_SET_SIZE).inode, size)
        return 0

    def fd_allocate(self, fd: int, offset: int, length: int) -> int:
        if fd not in self._open:
            return self._host.fd_allocate(fd, offset, length)
        inode = self._data(fd, abi.RIGHT_FD_ALLOCATE).inode
        if not length or offset + length > LAST_OFFSET:
            return abi.INVAL
        if offset + length > inode.size:
            self._set_size(inode, offset + length)
        return 0

    def fd_advise(self, fd: int, offset: int, length: int, advice: int) -> int:
        if fd not in self._open:
            return self._host.fd_advise(fd, offset, length, advice)
        self._data(fd, abi.RIGHT_FD_ADVISE)
        return abi.INVAL if advice > abi.LAST_ADVICE or offset + length > LAST_OFFSET else 0

    def fd_sync(self, fd: int) -> int:
        if fd not in self._open:
            return self._host.fd_sync(fd)
        self._file(fd, abi.RIGHT_FD_SYNC)
        return 0

    def fd_datasync(self, fd: int) -> int:
        if fd not in self._open:
            return self._host.fd_datasync(fd)
        self._file(fd, abi.RIGHT_FD_DATASYNC)
        return 0

    def fd_readdir(self, fd: int, buffer: int, length: int, cookie: int, used: int) -> int:
        if fd not in self._open:
            return self._host.fd_readdir(fd, buffer, length, cookie, used)
        directory = self._directory(fd, abi.RIGHT_FD_READDIR).inode
        self._host.check(buffer, length)
        self._host.check(used, 4)
        self._host.charge(length)
        at = 0
        for number, name, inode in _entries(directory, cookie):
            self._host.charge(ENTRY_GAS)
            entry = _DIRENT.pack(number, inode.number, len(name), inode.kind) + name
            piece = entry[: length - at]
            self._host.memory.write(buffer + at, piece)
            at += len(piece)
            if at == length:
                break
        self._host.write(used, struct.pack("<I", at))
        return 0


def _entries(directory: Inode, cookie: int) -> Iterator[tuple[int, bytes, Inode]]:
    """Return a directory's entries behind a cookie: the cookie behind each, its name and its inode."""
    if cookie < 1:
        yield 1, b".", directory
    if cookie < FIRST_COOKIE:
        yield FIRST_COOKIE, b"..", directory.parent or directory
    for index in range(bisect_right(directory.order, cookie), len(directory.order)):
        number = directory.order[index]
        name = directory.by_number[number]
        yield number, name, directory.names[name][1]
