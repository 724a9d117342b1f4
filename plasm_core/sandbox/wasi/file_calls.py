"""The host functions for paths, and the collection of a job's outputs. With the inherited functions, all of WASI
(docs/files.md).
"""

from __future__ import annotations

import struct

from plasm_core.sandbox.wasi import abi
from plasm_core.sandbox.wasi.abi import Errno
from plasm_core.sandbox.wasi.file_data import FileData
from plasm_core.sandbox.wasi.inodes import Inode
from plasm_core.sandbox.wasi.open_files import ALL_RIGHTS, ENTRY_GAS, Open
from plasm_core.sandbox.wasi.paths import check_text
from plasm_core.tree_listing import DIRECTORY, FILE, LINK, MAX_TARGET_BYTES, TreeEntry

TYPE_CHECKING = False  # importing typing would cost every worker
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class FileCalls(FileData):
    """The files of one job, and all host functions that work on them."""

    # -- opening

    def path_open(
        self,
        fd: int,
        lookup: int,
        path: int,
        length: int,
        how: int,
        rights: int,
        inheriting: int,
        flags: int,
        opened: int,
    ) -> int:
        right = abi.RIGHT_PATH_OPEN
        if how & abi.OPEN_CREATE:
            right |= abi.RIGHT_PATH_CREATE_FILE
        if how & abi.OPEN_TRUNCATE:
            right |= abi.RIGHT_PATH_FILESTAT_SET_SIZE
        start = self._directory(fd, right)
        rights, inheriting = (
            rights & ALL_RIGHTS,
            inheriting & ALL_RIGHTS,
        )  # other rights, such as those of sockets, have no effect
        if (rights | inheriting) & ~start.inheriting:
            return abi.NOTCAPABLE
        exclusive = how & (abi.OPEN_CREATE | abi.OPEN_EXCLUSIVE) == abi.OPEN_CREATE | abi.OPEN_EXCLUSIVE
        follow = bool(lookup & abi.LOOKUP_FOLLOW) and not exclusive
        found = self._find(fd, right, path, length, follow=follow, written=(opened, 4))
        if how & ~15 or flags & ~abi.ALL_FLAGS:
            return abi.INVAL
        if how & abi.OPEN_CREATE and how & abi.OPEN_DIRECTORY:
            return abi.INVAL
        if not self._has_room():
            return abi.NFILE
        inode = found.inode
        if inode is None:
            if not how & abi.OPEN_CREATE:
                return abi.NOENT
            if found.slash:
                return abi.ISDIR
            inode = self._tree.create(found.directory, found.name, FILE)
        else:
            if exclusive:
                return abi.EXIST
            self._check_open(inode, how, rights)
            if how & abi.OPEN_TRUNCATE:
                self._set_size(inode, 0)
        kept = abi.DIRECTORY_RIGHTS if inode.kind == DIRECTORY else abi.FILE_RIGHTS
        number = self._lowest()
        self._open[number] = Open(inode, rights & kept, inheriting, flags)
        self._host.write(opened, struct.pack("<I", number))
        return 0

    @staticmethod
    def _check_open(inode: Inode, how: int, rights: int) -> None:
        """Refuse to open what there is. Raises: loop, notdir, isdir, rofs."""
        changes = abi.RIGHT_FD_WRITE | abi.RIGHT_FD_ALLOCATE | abi.RIGHT_FD_FILESTAT_SET_SIZE
        if inode.kind == LINK:
            raise Errno(abi.NOTDIR if how & abi.OPEN_DIRECTORY else abi.LOOP)
        if inode.kind == FILE and how & abi.OPEN_DIRECTORY:
            raise Errno(abi.NOTDIR)
        if inode.kind == DIRECTORY and (how & abi.OPEN_TRUNCATE or rights & abi.RIGHT_FD_WRITE):
            raise Errno(abi.ISDIR)
        if inode.kind == FILE and inode.read_only and (how & abi.OPEN_TRUNCATE or rights & changes):
            raise Errno(abi.ROFS)

    # -- names

    def path_create_directory(self, fd: int, path: int, length: int) -> int:
        found = self._find(fd, abi.RIGHT_PATH_CREATE_DIRECTORY, path, length, naming=True)
        if found.inode is not None:
            return abi.EXIST
        self._tree.create(found.directory, found.name, DIRECTORY)
        return 0

    def path_symlink(self, target: int, target_length: int, fd: int, path: int, length: int) -> int:
        self._directory(fd, abi.RIGHT_PATH_SYMLINK)
        self._host.check(target, target_length)
        if target_length > MAX_TARGET_BYTES:
            self._host.check(path, length)
            return abi.NAMETOOLONG
        found = self._find(fd, abi.RIGHT_PATH_SYMLINK, path, length, naming=True)
        self._host.charge(target_length)
        text = self._host.read(target, target_length)
        check_text(text)
        if not text or (found.inode is None and found.slash):
            return abi.NOENT
        if text.startswith(b"/"):
            return abi.PERM
        if found.inode is not None:
            return abi.EXIST
        self._tree.create(found.directory, found.name, LINK, text)
        return 0

    def path_readlink(
        self, fd: int, path: int, length: int, buffer: int, buffer_length: int, used: int
    ) -> int:
        self._directory(fd, abi.RIGHT_PATH_READLINK)
        self._host.check(buffer, buffer_length)
        inode = self._found(self._find(fd, abi.RIGHT_PATH_READLINK, path, length, written=(used, 4)))
        if inode.kind != LINK:
            return abi.INVAL
        text = inode.target[:buffer_length]
        self._host.charge(len(text))
        self._host.memory.write(buffer, text)
        self._host.write(used, struct.pack("<I", len(text)))
        return 0

    def path_link(
        self, fd: int, lookup: int, path: int, length: int, new_fd: int, new_path: int, new_length: int
    ) -> int:
        self._directory(new_fd, abi.RIGHT_PATH_LINK_TARGET)
        self._host.check(new_path, new_length)
        source = self._find(fd, abi.RIGHT_PATH_LINK_SOURCE, path, length, naming=True)
        inode = self._found(source)
        target = self._find(new_fd, abi.RIGHT_PATH_LINK_TARGET, new_path, new_length, naming=True)
        if lookup & abi.LOOKUP_FOLLOW:
            return abi.INVAL
        if inode.kind == DIRECTORY:
            return abi.PERM
        if target.inode is not None:
            return abi.EXIST
        if target.slash:
            return abi.NOENT
        self._tree.link(inode, target.directory, target.name)
        return 0

    def path_rename(
        self, fd: int, path: int, length: int, new_fd: int, new_path: int, new_length: int
    ) -> int:
        self._directory(new_fd, abi.RIGHT_PATH_RENAME_TARGET)
        self._host.check(new_path, new_length)
        source = self._find(fd, abi.RIGHT_PATH_RENAME_SOURCE, path, length, naming=True)
        inode = self._found(source)
        target = self._find(new_fd, abi.RIGHT_PATH_RENAME_TARGET, new_path, new_length, naming=True)
        if not source.name or not target.name:
            return abi.BUSY
        if target.slash and inode.kind != DIRECTORY:
            return abi.NOTDIR
        place = target.directory, target.name
        self._tree.rename(source.directory, source.name, *place, self._host.charge, ENTRY_GAS)
        return 0

    def path_unlink_file(self, fd: int, path: int, length: int) -> int:
        found = self._find(fd, abi.RIGHT_PATH_UNLINK_FILE, path, length, naming=True)
        if self._found(found).kind == DIRECTORY:
            return abi.ISDIR
        self._tree.unlink(found.directory, found.name)
        return 0

    def path_remove_directory(self, fd: int, path: int, length: int) -> int:
        found = self._find(fd, abi.RIGHT_PATH_REMOVE_DIRECTORY, path, length, naming=True)
        inode = self._found(found)
        if inode.kind != DIRECTORY:
            return abi.NOTDIR
        if not found.name:
            return abi.INVAL
        if inode.names:
            return abi.NOTEMPTY
        self._tree.unlink(found.directory, found.name)
        return 0

    def _no_socket(self, fd: int, *_rest: int) -> int:
        if fd not in self._open and fd not in self._host.streams:
            return abi.BADF
        return abi.NOTSOCK

    sock_accept = sock_recv = sock_send = sock_shutdown = _no_socket

    # -- the outputs

    def outputs(self) -> Iterator[tuple[int, TreeEntry, Callable[[int, int], bytes]]]:
        """Yield the job's outputs: the position of the output, the entry, and a function that reads a file's bytes.

        Entries come in the order of a listing, links left out. The path of an entry is relative to its output, and
        empty for the output itself.
        """
        for position, output in enumerate(self._job.outputs):
            top: Inode | None = self._tree.root
            for name in output.split(b"/") if output else ():
                found = top.names.get(name) if top is not None else None
                top = found[1] if found is not None else None
            if top is not None and top.kind != LINK:
                for path, inode in _in_order(top):
                    entry = TreeEntry(path, inode.kind, size=inode.size if inode.kind == FILE else 0)
                    yield position, entry, self._reader(inode)

    def _reader(self, inode: Inode) -> Callable[[int, int], bytes]:
        return lambda offset, count: self._tree.read(inode, offset, count)


def _in_order(top: Inode) -> Iterator[tuple[bytes, Inode]]:
    """Yield an inode and all inodes below it except links, by path in byte order."""
    found: list[tuple[bytes, Inode]] = [(b"", top)]
    for path, inode in found:  # the listing grows during the loop
        prefix = path + b"/" if path else b""
        found += [(prefix + name, child) for name, (_, child) in inode.names.items() if child.kind != LINK]
    found.sort(key=_path_of)
    yield from found


def _path_of(item: tuple[bytes, Inode]) -> bytes:
    return item[0]
