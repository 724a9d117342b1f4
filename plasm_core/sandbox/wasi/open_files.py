"""A job's open files, and the host functions that need no more than a descriptor (docs/files.md).

A descriptor that is none of a file is one of the three streams: the host itself answers then.
"""

from __future__ import annotations

import struct
from bisect import insort

from plasm_core.sandbox.wasi import abi
from plasm_core.sandbox.wasi.abi import Errno
from plasm_core.sandbox.wasi.inodes import Inode, Tree, TreeLimits
from plasm_core.sandbox.wasi.paths import Found, resolve
from plasm_core.tree_listing import DIRECTORY
from plasm_core.tree_listing import read as listed

TYPE_CHECKING = False  # importing typing would cost every worker
if TYPE_CHECKING:
    from collections.abc import Callable

    from plasm_core.sandbox.wasi.host import Host
    from plasm_core.sandbox.wasi.machine import VirtualClock

PREOPEN = 3
PREOPEN_NAME = b"/"
MAX_PATH_ARGUMENT_BYTES = 4_096
ENTRY_GAS = 100
"""What each entry costs that `fd_readdir` tells, and each under a directory that is renamed."""
ALL_RIGHTS = abi.DIRECTORY_RIGHTS | abi.FILE_RIGHTS
_FILESTAT = struct.Struct("<QQB7xQQQQQ")
_DEVICE = 1


class FileJob:
    """A job's files, as a worker holds them. `read(offset, count)` reads the pack: the listing, then the blobs."""

    def __init__(
        self,
        *,
        listing_bytes: int,
        read_only: list[bytes],
        outputs: list[bytes],
        limits: TreeLimits,
        read: Callable[[int, int], bytes],
    ) -> None:
        self.listing_bytes = listing_bytes
        self.read_only = read_only
        self.outputs = outputs
        self.limits = limits
        self.read = read


class Open:
    """An open file or directory. `position` is where the next read or write is."""

    __slots__ = ("flags", "inheriting", "inode", "position", "preopen", "rights")

    def __init__(self, inode: Inode, rights: int, inheriting: int, flags: int = 0, *, preopen: bool = False):
        self.inode = inode
        self.rights = rights
        self.inheriting = inheriting
        self.flags = flags
        self.position = 0
        self.preopen = preopen
        inode.opens += 1


class OpenFiles:
    """The tree of one job with its open files, and the host functions over them: a subclass's methods of WASI names."""

    def __init__(self, host: Host, job: FileJob, clock: VirtualClock) -> None:
        self._host = host
        self._job = job
        entries = listed(job.read(0, job.listing_bytes))

        def read(offset: int, count: int) -> bytes:
            return job.read(job.listing_bytes + offset, count)

        def now() -> int:
            return clock.start_of(abi.CLOCK_REALTIME) + clock.now()

        self._tree = Tree(entries, job.read_only, job.limits, read=read, now=now)
        self._now = now
        root = Open(self._tree.root, abi.DIRECTORY_RIGHTS, ALL_RIGHTS, preopen=True)
        self._open: dict[int, Open] = {PREOPEN: root}
        self._closed: list[int] = []  # numbers below `_next` that are free, ascending
        self._next = PREOPEN + 1

    def functions(self) -> dict[str, Callable[..., int | None]]:
        """Return the functions that take the place of the host's, by name."""
        return {name: getattr(self, name) for name in abi.FUNCTIONS if hasattr(type(self), name)}

    def close(self) -> None:
        """Forget the tree."""
        self._open.clear()
        self._tree.clear()

    # -- descriptors

    def has(self, fd: int) -> bool:
        """Return whether a descriptor is of a file or directory."""
        return fd in self._open

    def ready_bytes(self, fd: int, *, writing: bool) -> int:
        """Return how many bytes a file has left to read, or room for. Raises: notcapable."""
        right = abi.RIGHT_FD_WRITE if writing else abi.RIGHT_FD_READ
        inode = self._file(fd, right | abi.RIGHT_POLL).inode
        return self._tree.free_bytes if writing else max(0, inode.size - self._open[fd].position)

    def _file(self, fd: int, right: int = 0) -> Open:
        """Return an open descriptor that has a right. Raises: notcapable."""
        found = self._open[fd]
        if right & ~found.rights:
            raise Errno(abi.NOTCAPABLE)
        return found

    def _directory(self, fd: int, right: int) -> Open:
        """Return an open directory that has a right. Raises: badf, notdir, notcapable."""
        found = self._open.get(fd)
        if found is None:
            raise Errno(abi.NOTDIR if fd in self._host.streams else abi.BADF)
        if found.inode.kind != DIRECTORY:
            raise Errno(abi.NOTDIR)
        return self._file(fd, right)

    def _path(self, pointer: int, length: int) -> bytes:
        """Read a path from memory whose bounds were checked. Raises: nametoolong."""
        if length > MAX_PATH_ARGUMENT_BYTES:
            raise Errno(abi.NAMETOOLONG)
        self._host.charge(length)
        return self._host.read(pointer, length)

    def _find(
        self,
        fd: int,
        right: int,
        pointer: int,
        length: int,
        *,
        follow: bool = False,
        naming: bool = False,
        written: tuple[int, int] = (0, 0),
    ) -> Found:
        """Look up a path argument. `written`: a place that the call writes to afterwards, checked first."""
        start = self._directory(fd, right).inode
        self._host.check(pointer, length)
        self._host.check(*written)
        return resolve(start, self._path(pointer, length), self._host.charge, follow=follow, naming=naming)

    def _found(self, found: Found) -> Inode:
        if found.inode is None:
            raise Errno(abi.NOENT)
        return found.inode

    def _has_room(self) -> bool:
        return len(self._open) + len(self._host.streams) < self._tree.limits.descriptors

    def _lowest(self) -> int:
        """Take the lowest number that no open descriptor has."""
        if self._closed:
            return self._closed.pop(0)
        self._next += 1
        return self._next - 1

    def fd_close(self, fd: int) -> int:
        if fd not in self._open:
            code = self._host.fd_close(fd)
        else:
            code = 0
            self._release(self._open.pop(fd))
        insort(self._closed, fd)
        return code

    def _release(self, closed: Open) -> None:
        closed.inode.opens -= 1
        self._tree.release(closed.inode)

    def fd_renumber(self, source: int, target: int) -> int:
        streams = self._host.streams
        for fd in (source, target):
            if fd not in self._open and fd not in streams:
                raise Errno(abi.BADF)
        if source == target:
            return 0
        if target in self._open:
            self._release(self._open.pop(target))
        else:
            del streams[target], self._host.rights[target]
        if source in self._open:
            self._open[target] = self._open.pop(source)
        else:
            streams[target] = streams.pop(source)
            self._host.rights[target] = self._host.rights.pop(source)
        insort(self._closed, source)
        return 0

    def fd_prestat_get(self, fd: int, prestat: int) -> int:
        found = self._open.get(fd)
        if found is None or not found.preopen:
            return abi.BADF
        self._host.write(prestat, struct.pack("<B3xI", 0, len(PREOPEN_NAME)))
        return 0

    def fd_prestat_dir_name(self, fd: int, pointer: int, length: int) -> int:
        found = self._open.get(fd)
        if found is None or not found.preopen:
            return abi.BADF
        if length < len(PREOPEN_NAME):
            return abi.NAMETOOLONG
        self._host.write(pointer, PREOPEN_NAME)
        return 0

    def fd_fdstat_get(self, fd: int, stat: int) -> int:
        if fd not in self._open:
            return self._host.fd_fdstat_get(fd, stat)
        found = self._open[fd]
        packed = struct.pack("<BxH4xQQ", found.inode.kind, found.flags, found.rights, found.inheriting)
        self._host.write(stat, packed)
        return 0

    def fd_fdstat_set_flags(self, fd: int, flags: int) -> int:
        if fd not in self._open:
            return self._host.fd_fdstat_set_flags(fd, flags)
        found = self._file(fd, abi.RIGHT_FD_FDSTAT_SET_FLAGS)
        if flags & ~abi.ALL_FLAGS:
            return abi.INVAL
        found.flags = flags
        return 0

    def fd_fdstat_set_rights(self, fd: int, rights: int, inheriting: int) -> int:
        if fd not in self._open:
            return self._host.fd_fdstat_set_rights(fd, rights, inheriting)
        found = self._open[fd]
        if rights & ~found.rights or inheriting & ~found.inheriting:
            return abi.NOTCAPABLE
        found.rights, found.inheriting = rights, inheriting
        return 0

    # -- what is known of a file

    def _write_stat(self, pointer: int, inode: Inode) -> None:
        links, times = inode.links, (inode.atim, inode.mtim, inode.ctim)
        size = 0 if inode.kind == DIRECTORY else inode.size
        self._host.write(pointer, _FILESTAT.pack(_DEVICE, inode.number, inode.kind, links, size, *times))

    def fd_filestat_get(self, fd: int, stat: int) -> int:
        if fd not in self._open:
            return self._host.fd_filestat_get(fd, stat)
        self._write_stat(stat, self._file(fd, abi.RIGHT_FD_FILESTAT_GET).inode)
        return 0

    def path_filestat_get(self, fd: int, flags: int, path: int, length: int, stat: int) -> int:
        right = abi.RIGHT_PATH_FILESTAT_GET
        follow = bool(flags & abi.LOOKUP_FOLLOW)
        inode = self._found(self._find(fd, right, path, length, follow=follow, written=(stat, 64)))
        self._write_stat(stat, inode)
        return 0

    def _set_times(self, inode: Inode, atim: int, mtim: int, flags: int) -> int:
        if flags & ~15 or flags & 3 == 3 or flags & 12 == 12:
            return abi.INVAL
        if inode.read_only:
            return abi.ROFS
        now = self._now()
        if flags & (abi.SET_ATIM | abi.SET_ATIM_NOW):
            inode.atim = atim if flags & abi.SET_ATIM else now
        if flags & (abi.SET_MTIM | abi.SET_MTIM_NOW):
            inode.mtim = mtim if flags & abi.SET_MTIM else now
        inode.ctim = now
        return 0

    def fd_filestat_set_times(self, fd: int, atim: int, mtim: int, flags: int) -> int:
        if fd not in self._open:
            return self._host.fd_filestat_set_times(fd, atim, mtim, flags)
        return self._set_times(self._file(fd, abi.RIGHT_FD_FILESTAT_SET_TIMES).inode, atim, mtim, flags)

    def path_filestat_set_times(
        self, fd: int, lookup: int, path: int, length: int, atim: int, mtim: int, flags: int
    ) -> int:
        right = abi.RIGHT_PATH_FILESTAT_SET_TIMES
        found = self._find(fd, right, path, length, follow=bool(lookup & abi.LOOKUP_FOLLOW))
        return self._set_times(self._found(found), atim, mtim, flags)
