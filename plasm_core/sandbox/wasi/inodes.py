"""A job's file system: inodes and names in memory, a function of the job alone (docs/files.md, "The tree").

No function here accesses a file of the host. Input files are read from the job's pack; written files are in
`FileBytes`. Each change is checked against the limits before anything is changed.
"""

from __future__ import annotations

from bisect import bisect_left

from plasm_core.sandbox.wasi import abi
from plasm_core.sandbox.wasi.abi import Errno
from plasm_core.sandbox.wasi.file_bytes import FileBytes
from plasm_core.tree_listing import (
    DIRECTORY,
    FILE,
    LINK,
    MAX_NAME_BYTES,
    MAX_PATH_BYTES,
    ListingError,
    TreeEntry,
    shown,
)

TYPE_CHECKING = False  # importing typing would cost every worker
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

FIRST_COOKIE = 2
"""What the cookie behind `..` is. Names are numbered from the next one on."""
_COPY_BYTES = 1 << 20


class TreeLimits:
    """The most bytes of files that the job has written, names in the tree, and open descriptors."""

    def __init__(self, *, data_bytes: int, entries: int, descriptors: int) -> None:
        self.data_bytes = data_bytes
        self.entries = entries
        self.descriptors = descriptors


class Inode:
    """A directory, file or link.

    `own`: its bytes count towards the limit, since the job created or changed it. A file's bytes are in `data` or,
    while it is unchanged (`packed`), in the pack from `offset` on. `path_bytes`: the length of a directory's path
    from the root, with one separator for each name.
    """

    __slots__ = (
        *("number", "kind", "links", "opens", "read_only", "own", "packed", "size", "atim", "mtim", "ctim"),
        *("data", "offset", "target", "names", "order", "by_number", "parent", "path_bytes"),
    )

    def __init__(self, number: int, kind: int, now: int) -> None:
        self.number = number
        self.kind = kind
        self.links = 0
        self.opens = 0
        self.read_only = False
        self.own = True
        self.packed = False
        self.size = 0
        self.atim = self.mtim = self.ctim = now
        self.data = _NO_BYTES
        self.offset = 0
        self.target = b""
        self.parent: Inode | None = None
        self.path_bytes = 0
        if kind == DIRECTORY:
            self.names: dict[bytes, tuple[int, Inode]] = {}  # name → number of the name, inode
            self.order: list[int] = []  # the numbers of its names, ascending
            self.by_number: dict[int, bytes] = {}
        else:
            self.names = _NO_NAMES

    @property
    def cost(self) -> int:
        """The bytes that count against the limit."""
        return self.size * max(1, self.links) if self.own else 0


_NO_NAMES: dict[bytes, tuple[int, Inode]] = {}
_NO_BYTES = FileBytes()


class Tree:
    """The inodes of one job. `read(offset, count)` reads the pack; `now()` is the time of a change, in nanoseconds.

    `entries` is a listing that is read, `read_only` the paths below which nothing may change.
    Raises: `ListingError` if a path of `read_only` is not in the tree, or the tree exceeds its limits.
    """

    def __init__(
        self,
        entries: Iterable[TreeEntry],
        read_only: list[bytes],
        limits: TreeLimits,
        *,
        read: Callable[[int, int], bytes],
        now: Callable[[], int],
    ) -> None:
        self.limits = limits
        self.used_bytes = 0
        self.count = 0
        self._read = read
        self._now = now
        self._next_inode = 1
        self._next_name = FIRST_COOKIE + 1
        start = now()
        self.root = self._made(DIRECTORY, start)
        self.root.links = 1
        by_path, fixed = {b"": self.root}, set(read_only)
        offsets: dict[bytes, int] = {}
        end = 0
        for entry in entries:
            inode = self._made(entry.kind, start)
            if entry.kind == DIRECTORY or entry.path in fixed:
                by_path[entry.path] = inode
            inode.own = False
            if entry.kind == FILE:
                inode.size, inode.packed = entry.size, True
                if entry.digest not in offsets:  # each blob is in the pack once, in the order of the listing
                    offsets[entry.digest] = end
                    end += entry.size
                inode.offset = offsets[entry.digest]
            elif entry.kind == LINK:
                inode.target, inode.size = entry.target, len(entry.target)
            parent, _, name = entry.path.rpartition(b"/")
            self._attach(by_path[parent], name, inode)
        if self.count > limits.entries:
            raise ListingError(f"the tree has {self.count} entries, more than its limit of {limits.entries}")
        for path in read_only:
            top = by_path.get(path)
            if top is None:
                raise ListingError(f"{shown(path)} is to be read-only, and not in the tree")
            for inode in _below(top):
                inode.read_only = True

    def _made(self, kind: int, now: int) -> Inode:
        inode = Inode(self._next_inode, kind, now)
        self._next_inode += 1
        return inode

    def clear(self) -> None:
        """Forget all inodes: they hold each other, and a worker collects no garbage."""
        for inode in list(_below(self.root)):
            inode.parent = None
            if inode.kind == DIRECTORY:
                inode.names.clear()

    # -- names

    def _attach(self, directory: Inode, name: bytes, inode: Inode) -> None:
        number = self._next_name
        self._next_name += 1
        directory.names[name] = (number, inode)
        directory.order.append(number)
        directory.by_number[number] = name
        inode.links += 1
        self.count += 1
        if inode.kind == DIRECTORY:
            inode.parent = directory
            inode.path_bytes = directory.path_bytes + len(name) + 1

    def _detach(self, directory: Inode, name: bytes) -> None:
        number, inode = directory.names.pop(name)
        del directory.order[bisect_left(directory.order, number)]
        del directory.by_number[number]
        inode.links -= 1
        self.count -= 1

    def _touch(self, *changed: Inode) -> None:
        now = self._now()
        for inode in changed:
            inode.ctim = now
            if inode.kind == DIRECTORY:
                inode.mtim = now

    def _check_place(self, directory: Inode, name: bytes, below: int = 0) -> None:
        """Refuse a new name in a directory. `below`: the longest path under it, with its separator."""
        if directory.read_only:
            raise Errno(abi.ROFS)
        if not directory.links:
            raise Errno(abi.NOENT)
        if len(name) > MAX_NAME_BYTES or directory.path_bytes + len(name) + below > MAX_PATH_BYTES:
            raise Errno(abi.NAMETOOLONG)

    def create(self, directory: Inode, name: bytes, kind: int, target: bytes = b"") -> Inode:
        """Make a directory, an empty file, or a link. Raises: rofs, noent, nametoolong, nospc."""
        self._check_place(directory, name)
        if self.count >= self.limits.entries or len(target) > self.free_bytes:
            raise Errno(abi.NOSPC)
        inode = self._made(kind, self._now())
        self._attach(directory, name, inode)
        if kind == LINK:
            inode.target, inode.size = target, len(target)
            self.used_bytes += len(target)
        self._touch(directory)
        return inode

    def link(self, inode: Inode, directory: Inode, name: bytes) -> None:
        """Give a file or link another name. Its bytes count once for each. Raises: rofs, noent, nospc, xdev."""
        if inode.read_only:
            raise Errno(abi.XDEV)
        self._check_place(directory, name)
        cost = inode.size * (inode.links + 1)
        if self.count >= self.limits.entries or self.used_bytes - inode.cost + cost > self.limits.data_bytes:
            raise Errno(abi.NOSPC)
        self.used_bytes += cost - inode.cost
        self._attach(directory, name, inode)
        inode.own = True
        self._touch(directory, inode)

    def unlink(self, directory: Inode, name: bytes) -> None:
        """Take a name away. The directory may be changed, and a directory of that name is empty. Raises: rofs."""
        inode = directory.names[name][1]
        if directory.read_only or inode.read_only:
            raise Errno(abi.ROFS)
        before = inode.cost
        self._detach(directory, name)
        self.used_bytes += inode.cost - before
        self._touch(directory, inode)
        self.release(inode)

    def release(self, inode: Inode) -> None:
        """Forget the bytes of an inode that has no name and is not open."""
        if not inode.links and not inode.opens:
            self.used_bytes -= inode.cost
            inode.own, inode.packed, inode.size, inode.data = False, False, 0, _NO_BYTES

    def rename(
        self,
        source: Inode,
        old: bytes,
        target: Inode,
        new: bytes,
        charge: Callable[[int], None],
        entry_gas: int,
    ) -> None:
        """Rename an entry, and replace the entry with the new name. A directory's entries are charged, since their
        paths change.

        Raises: rofs, inval (into itself), isdir, notdir, notempty, noent, nametoolong.
        """
        inode = source.names[old][1]
        there = target.names.get(new)
        if there is not None and there[1] is inode:
            return
        below = 0
        fixed = source.read_only or inode.read_only
        if inode.kind == DIRECTORY:
            up: Inode | None = target
            while up is not None:
                if up is inode:
                    raise Errno(abi.INVAL)
                up = up.parent
            for each, length in _lengths(inode):
                charge(entry_gas)
                below = max(below, length)
                fixed = fixed or each.read_only
        if there is not None:
            self._check_replaced(inode, there[1])
        if fixed:
            raise Errno(abi.ROFS)
        self._check_place(target, new, below)
        if there is not None:
            self.unlink(target, new)
        self._detach(source, old)
        self._attach(target, new, inode)
        if inode.kind == DIRECTORY:
            for each in _below(inode):
                if each.kind == DIRECTORY:
                    for name, (_, child) in each.names.items():
                        if child.kind == DIRECTORY:
                            child.path_bytes = each.path_bytes + len(name) + 1
        self._touch(source, target)
        inode.ctim = self._now()

    @staticmethod
    def _check_replaced(inode: Inode, there: Inode) -> None:
        if inode.kind == DIRECTORY:
            if there.kind != DIRECTORY:
                raise Errno(abi.NOTDIR)
            if there.names:
                raise Errno(abi.NOTEMPTY)
        elif there.kind == DIRECTORY:
            raise Errno(abi.ISDIR)

    # -- bytes of files

    @property
    def free_bytes(self) -> int:
        """How many more bytes may be written."""
        return self.limits.data_bytes - self.used_bytes

    def room(self, inode: Inode) -> int:
        """Return the greatest size that a file may have now."""
        return (self.free_bytes + inode.cost) // max(1, inode.links)

    def read(self, inode: Inode, offset: int, count: int) -> bytes:
        """Return bytes of a file: `count` of them, which it has there."""
        if inode.packed:
            return self._read(inode.offset + offset, count)
        return inode.data.read(offset, count)

    def copied(self, inode: Inode, size: int) -> int:
        """Return how many bytes changing a file copies and fills if `size` is its size afterwards."""
        return (min(inode.size, size) if inode.packed else 0) + max(0, size - inode.size)

    def resize(self, inode: Inode, size: int) -> None:
        """Set a file's size, which is no more than its `room`. A file of the input becomes the job's own."""
        before = inode.cost
        if inode.data is _NO_BYTES:
            inode.data = FileBytes()
        if inode.packed:
            kept = min(inode.size, size)
            for start in range(0, kept, _COPY_BYTES):
                part = self._read(inode.offset + start, min(_COPY_BYTES, kept - start))
                inode.data.resize(start + len(part))
                inode.data.write(start, part)
            inode.packed = False
        inode.data.resize(size)
        inode.size, inode.own = size, True
        self.used_bytes += inode.cost - before

    def written(self, inode: Inode) -> None:
        """Note that a file's bytes changed now."""
        inode.mtim = inode.ctim = self._now()


def _below(top: Inode) -> Iterator[Inode]:
    """Return an inode and all that is under it."""
    waiting = [top]
    while waiting:
        inode = waiting.pop()
        yield inode
        waiting.extend(child for _, child in inode.names.values())


def _lengths(top: Inode) -> Iterator[tuple[Inode, int]]:
    """Return each inode under a directory with the length of its path from there, separators included."""
    waiting = [(top, 0)]
    while waiting:
        directory, length = waiting.pop()
        for name, (_, child) in directory.names.items():
            yield child, length + len(name) + 1
            if child.kind == DIRECTORY:
                waiting.append((child, length + len(name) + 1))
