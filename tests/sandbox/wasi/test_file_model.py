"""The tree against a model of it: nested dictionaries, bytes, and the limits as sums over all of it."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from plasm_core.sandbox.process.tree_packing import bytes_source, directory_source
from plasm_core.sandbox.wasi import abi
from tests.support.file_rig import ALL, FileRig

DATA_BYTES, ENTRIES, DESCRIPTORS = 300, 12, 8
INPUT = {b"ro": None, b"ro/file": b"read only", b"in": b"the input"}
NAMES = st.sampled_from(
    [b"a", b"b", b"ro", b"in", b"ro/file", b"a/c", b"a/b", b"a/b/c", b"a/c/d", b"../a", b"x/y"]
)
BYTES = st.binary(max_size=60)


@attrs.define(eq=False)
class File:
    data: bytearray
    own: bool = True
    read_only: bool = False
    links: int = 0
    opens: int = 0


@attrs.define(eq=False)
class Directory:
    names: dict[bytes, File | Directory] = attrs.field(factory=dict)
    read_only: bool = False


@attrs.define(eq=False)
class Open:
    file: File
    position: int = 0
    append: bool = False


class _Refused(Exception):
    def __init__(self, code: int) -> None:
        self.code = code


class Model:
    """What a tree is, said in the shortest way."""

    def __init__(self) -> None:
        inner = File(bytearray(b"read only"), own=False, read_only=True, links=1)
        top = File(bytearray(b"the input"), own=False, links=1)
        self.root = Directory({b"ro": Directory({b"file": inner}, read_only=True), b"in": top})
        self.open: dict[int, Open] = {}

    def all(self, directory: Directory | None = None) -> Iterator[tuple[bytes, File | Directory]]:
        for name, item in (directory or self.root).names.items():
            yield name, item
            if isinstance(item, Directory):
                for inner, found in self.all(item):
                    yield name + b"/" + inner, found

    def used(self) -> int:
        files = {id(item): item for _, item in self.all() if isinstance(item, File)}
        files |= {id(item.file): item.file for item in self.open.values()}
        return sum(len(file.data) * max(1, file.links) for file in files.values() if file.own)

    def find(self, path: bytes) -> tuple[Directory, bytes, File | Directory | None]:
        if path.startswith(b"../"):
            raise _Refused(abi.PERM)
        *above, name = path.split(b"/")
        directory = self.root
        for each in above:
            inner = directory.names.get(each)
            if inner is None:
                raise _Refused(abi.NOENT)
            if isinstance(inner, File):
                raise _Refused(abi.NOTDIR)
            directory = inner
        return directory, name, directory.names.get(name)

    def place(self, directory: Directory) -> None:
        if directory.read_only:
            raise _Refused(abi.ROFS)
        if sum(1 for _ in self.all()) >= ENTRIES:
            raise _Refused(abi.NOSPC)

    def mkdir(self, path: bytes) -> None:
        directory, name, there = self.find(path)
        if there is not None:
            raise _Refused(abi.EXIST)
        self.place(directory)
        directory.names[name] = Directory()

    def opened(self, path: bytes, how: int, *, writes: bool, append: bool) -> Open:
        directory, name, there = self.find(path)
        if len(self.open) + 4 >= DESCRIPTORS:
            raise _Refused(abi.NFILE)
        if there is None:
            if not how & abi.OPEN_CREATE:
                raise _Refused(abi.NOENT)
            self.place(directory)
            there = directory.names[name] = File(bytearray(), links=1)
        elif how & abi.OPEN_CREATE and how & abi.OPEN_EXCLUSIVE:
            raise _Refused(abi.EXIST)
        if isinstance(there, Directory):
            raise _Refused(abi.ISDIR)
        if there.read_only and (writes or how & abi.OPEN_TRUNCATE):
            raise _Refused(abi.ROFS)
        if how & abi.OPEN_TRUNCATE:
            there.data, there.own = bytearray(), True
        there.opens += 1
        return Open(there, append=append)

    def room(self, file: File) -> int:
        cost = len(file.data) * max(1, file.links) if file.own else 0
        return (DATA_BYTES - self.used() + cost) // max(1, file.links)

    def write(self, file: File, offset: int, data: bytes) -> int:
        taken = max(0, min(len(data), self.room(file) - offset))
        if data and not taken:
            raise _Refused(abi.NOSPC)
        if taken:
            file.own = True
            file.data.extend(bytes(max(0, offset - len(file.data))))
            file.data[offset : offset + taken] = data[:taken]
        return taken

    def resize(self, file: File, size: int) -> None:
        if size > self.room(file):
            raise _Refused(abi.NOSPC)
        file.own = True
        file.data = bytearray(file.data[:size].ljust(size, b"\0"))

    def remove(self, path: bytes, *, directory: bool) -> None:
        above, name, there = self.find(path)
        if there is None:
            raise _Refused(abi.NOENT)
        if isinstance(there, Directory) != directory:
            raise _Refused(abi.NOTDIR if directory else abi.ISDIR)
        if isinstance(there, Directory) and there.names:
            raise _Refused(abi.NOTEMPTY)
        self.drop(above, name, there)

    def drop(self, above: Directory, name: bytes, there: File | Directory) -> None:
        if above.read_only or there.read_only:
            raise _Refused(abi.ROFS)
        del above.names[name]
        if isinstance(there, File):
            there.links -= 1

    def link(self, old: bytes, new: bytes) -> None:
        source = self.find(old)[2]
        if source is None:
            raise _Refused(abi.NOENT)
        above, name, there = self.find(new)
        if isinstance(source, Directory):
            raise _Refused(abi.PERM)
        if there is not None:
            raise _Refused(abi.EXIST)
        if source.read_only:
            raise _Refused(abi.XDEV)
        self.place(above)
        cost = len(source.data) * (source.links + 1)
        before = len(source.data) * source.links if source.own else 0
        if self.used() - before + cost > DATA_BYTES:
            raise _Refused(abi.NOSPC)
        above.names[name] = source
        source.links, source.own = source.links + 1, True

    def rename(self, old: bytes, new: bytes) -> None:
        above, name, source = self.find(old)
        if source is None:
            raise _Refused(abi.NOENT)
        target, new_name, there = self.find(new)
        if there is source:
            return
        fixed = above.read_only or source.read_only
        if isinstance(source, Directory):
            inside = [source, *(item for _, item in self.all(source))] if source.names else [source]
            if any(target is item for item in inside):
                raise _Refused(abi.INVAL)
            fixed = fixed or any(item.read_only for item in inside)
            if isinstance(there, File):
                raise _Refused(abi.NOTDIR)
            if there is not None and there.names:
                raise _Refused(abi.NOTEMPTY)
        elif isinstance(there, Directory):
            raise _Refused(abi.ISDIR)
        if fixed or target.read_only:
            raise _Refused(abi.ROFS)
        if there is not None:
            self.drop(target, new_name, there)
        del above.names[name]
        target.names[new_name] = source


class TreeMachine(RuleBasedStateMachine):
    """Does the same to a tree and to its model, and compares what both say and are."""

    @initialize()
    def begin(self) -> None:
        sources = [
            directory_source(path) if data is None else bytes_source(path, data)
            for path, data in INPUT.items()
        ]
        self.rig = FileRig(
            sources, read_only=[b"ro"], data_bytes=DATA_BYTES, entries=ENTRIES, descriptors=DESCRIPTORS
        )
        self.model = Model()

    def _agree(self, code: int, expected: int) -> bool:
        assert code == expected
        return code == 0

    def _expected(self, action: str, *arguments: object, **more: object) -> int:
        try:
            getattr(self.model, action)(*arguments, **more)
        except _Refused as exc:
            return exc.code
        return 0

    @rule(path=NAMES)
    def mkdir(self, path: bytes) -> None:
        self._agree(self.rig.path("path_create_directory", path), self._expected("mkdir", path))

    @rule(path=NAMES, how=st.sampled_from([0, 1, 5, 8, 9]), writes=st.booleans(), append=st.booleans())
    def open(self, path: bytes, how: int, writes: bool, append: bool) -> None:
        rights = (ALL if writes else ALL & ~abi.RIGHT_FD_WRITE & ~abi.RIGHT_FD_ALLOCATE) & abi.FILE_RIGHTS
        rights = rights if writes else rights & ~abi.RIGHT_FD_FILESTAT_SET_SIZE
        code, fd = self.rig.open(path, how=how, rights=rights, flags=int(append))
        try:
            opened = self.model.opened(path, how, writes=writes, append=append)
        except _Refused as exc:
            if exc.code == abi.ISDIR and code == 0 and not writes and not how & abi.OPEN_TRUNCATE:
                assert self.rig.call("fd_close", fd) == 0  # a directory may be opened to be listed
                return
            assert code == exc.code
            return
        assert code == 0
        assert fd == min(set(range(4, 100)) - self.model.open.keys())
        self.model.open[fd] = opened

    def _some(self, number: int) -> int | None:
        return sorted(self.model.open)[number % len(self.model.open)] if self.model.open else None

    @rule(number=st.integers(0, 7), data=BYTES, offset=st.none() | st.integers(0, 320))
    def write(self, number: int, data: bytes, offset: int | None) -> None:
        fd = self._some(number)
        if fd is None:
            return
        opened = self.model.open[fd]
        code, taken = self.rig.write(fd, data, offset)
        if code == abi.NOTCAPABLE:
            return
        at = offset
        if at is None:
            at = len(opened.file.data) if opened.append else opened.position
        try:
            expected = self.model.write(opened.file, at, data)
        except _Refused as exc:
            assert code == exc.code
            return
        assert (code, taken) == (0, expected)
        if offset is None:
            opened.position = at + taken

    @rule(number=st.integers(0, 7), count=st.integers(0, 80), offset=st.none() | st.integers(0, 320))
    def read(self, number: int, count: int, offset: int | None) -> None:
        fd = self._some(number)
        if fd is None:
            return
        opened = self.model.open[fd]
        at = opened.position if offset is None else offset
        expected = bytes(opened.file.data[at : at + count])
        assert self.rig.read(fd, count, offset) == (0, expected)
        if offset is None:
            opened.position += len(expected)

    @rule(number=st.integers(0, 7), size=st.integers(0, 320))
    def resize(self, number: int, size: int) -> None:
        fd = self._some(number)
        if fd is None:
            return
        code = self.rig.call("fd_filestat_set_size", fd, size)
        if code != abi.NOTCAPABLE:
            assert code == self._expected("resize", self.model.open[fd].file, size)

    @rule(number=st.integers(0, 7), to=st.integers(0, 320))
    def seek(self, number: int, to: int) -> None:
        fd = self._some(number)
        if fd is not None:
            assert self.rig.seek(fd, to, abi.WHENCE_SET) == (0, to)
            self.model.open[fd].position = to

    @rule(number=st.integers(0, 7))
    def close(self, number: int) -> None:
        fd = self._some(number)
        if fd is not None:
            assert self.rig.call("fd_close", fd) == 0
            self.model.open.pop(fd).file.opens -= 1

    @rule(path=NAMES)
    def unlink(self, path: bytes) -> None:
        self._agree(self.rig.path("path_unlink_file", path), self._expected("remove", path, directory=False))

    @rule(path=NAMES)
    def rmdir(self, path: bytes) -> None:
        self._agree(
            self.rig.path("path_remove_directory", path), self._expected("remove", path, directory=True)
        )

    @rule(old=NAMES, new=NAMES)
    def link(self, old: bytes, new: bytes) -> None:
        self._agree(self.rig.link(old, new), self._expected("link", old, new))

    @rule(old=NAMES, new=NAMES)
    def rename(self, old: bytes, new: bytes) -> None:
        self._agree(self.rig.rename(old, new), self._expected("rename", old, new))

    @invariant()
    def same_tree(self) -> None:
        if not hasattr(self, "rig"):
            return
        expected = {
            path: bytes(item.data) if isinstance(item, File) else None for path, item in self.model.all()
        }
        assert self.rig.left() == expected

    @invariant()
    def same_room(self) -> None:
        if not hasattr(self, "rig"):
            return
        code, fd = self.rig.open(b"in", rights=abi.RIGHT_FD_WRITE | abi.RIGHT_POLL)
        if code == 0:
            assert self.rig.calls.ready_bytes(fd, writing=True) == DATA_BYTES - self.model.used()
            assert self.rig.call("fd_close", fd) == 0


TestTree = TreeMachine.TestCase
TestTree.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
