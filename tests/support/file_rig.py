"""A host over a job's files, called as a guest calls it, without an engine."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence

from plasm_core.sandbox.process.file_pack import PREFIX_BYTES
from plasm_core.sandbox.process.tree_packing import TreeSource, pack_tree
from plasm_core.sandbox.wasi import abi
from plasm_core.sandbox.wasi.file_calls import FileCalls
from plasm_core.sandbox.wasi.host import Host
from plasm_core.sandbox.wasi.host_job import HostJob
from plasm_core.sandbox.wasi.inodes import TreeLimits
from plasm_core.sandbox.wasi.open_files import FileJob
from plasm_core.testing.fakes import FakeInstance, FakeOutput, FakeStdin
from plasm_core.tree_listing import DIRECTORY

AMPLE_GAS = 2**53 - 1
MEMORY_BYTES = 1 << 18
PATH, OTHER, VECTOR, RESULT, DATA = 0, 8_192, 16_384, 16_400, 1 << 16
ALL = abi.DIRECTORY_RIGHTS | abi.FILE_RIGHTS
READ, WRITE = abi.RIGHT_FD_READ, abi.RIGHT_FD_WRITE


class FileRig:
    """A job with files. Each call returns its errno first."""

    def __init__(
        self,
        sources: Sequence[TreeSource] = (),
        *,
        read_only: Sequence[bytes] = (),
        outputs: Sequence[bytes] = (b"",),
        data_bytes: int = 1 << 20,
        entries: int = 1_000,
        descriptors: int = 64,
        gas: int = AMPLE_GAS,
    ) -> None:
        self.instance = FakeInstance(gas=gas, memory_bytes=MEMORY_BYTES)
        host = Host("gas")
        host.attach(self.instance)
        journal = self.instance.journal
        job = HostJob(
            args=[],
            env=[],
            stdin=FakeStdin(b"", journal),
            seed=bytes(32),
            output_bytes=1 << 20,
            output=FakeOutput(journal),
        )
        host.begin(job)
        self.clock = job.clock
        pack = pack_tree(sources)
        with pack:
            whole = os.pread(pack.fd, 1 << 24, PREFIX_BYTES)
        self.calls = FileCalls(
            host,
            FileJob(
                listing_bytes=pack.listing_bytes,
                read_only=list(read_only),
                outputs=list(outputs),
                limits=TreeLimits(data_bytes=data_bytes, entries=entries, descriptors=descriptors),
                read=lambda offset, count: whole[offset : offset + count],
            ),
            job.clock,
        )
        host.take_files(self.calls)
        self._functions = host.functions

    @property
    def memory(self) -> bytearray:
        return self.instance.memory.data

    @property
    def gas_used(self) -> int:
        return AMPLE_GAS - self.instance.gas

    def call(self, name: str, *arguments: int) -> int:
        """Call a host function."""
        result = self._functions[name][2](*[value % 2**64 for value in arguments])
        assert isinstance(result, int)
        return result

    def _put(self, at: int, data: bytes) -> tuple[int, int]:
        self.memory[at : at + len(data)] = data
        return at, len(data)

    def path(self, name: str, path: bytes, *rest: int, fd: int = 3) -> int:
        """Call a function that takes a descriptor and a path first."""
        return self.call(name, fd, *self._put(PATH, path), *rest)

    def open(
        self,
        path: bytes,
        *,
        fd: int = 3,
        follow: int = 1,
        how: int = 0,
        rights: int = READ,
        inheriting: int = 0,
        flags: int = 0,
    ) -> tuple[int, int]:
        """Call path_open. Return its errno and the descriptor."""
        place = self._put(PATH, path)
        code = self.call("path_open", fd, follow, *place, how, rights, inheriting, flags, RESULT)
        return code, self.u32(RESULT)

    def write(self, fd: int, data: bytes, offset: int | None = None) -> tuple[int, int]:
        """Call fd_write, or fd_pwrite at an offset. Return its errno and how much was written."""
        self._put(DATA, data)
        struct.pack_into("<II", self.memory, VECTOR, DATA, len(data))
        if offset is None:
            return self.call("fd_write", fd, VECTOR, 1, RESULT), self.u32(RESULT)
        return self.call("fd_pwrite", fd, VECTOR, 1, offset, RESULT), self.u32(RESULT)

    def read(self, fd: int, count: int, offset: int | None = None) -> tuple[int, bytes]:
        """Call fd_read, or fd_pread at an offset. Return its errno and the bytes."""
        struct.pack_into("<II", self.memory, VECTOR, DATA, count)
        if offset is None:
            code = self.call("fd_read", fd, VECTOR, 1, RESULT)
        else:
            code = self.call("fd_pread", fd, VECTOR, 1, offset, RESULT)
        return code, bytes(self.memory[DATA : DATA + self.u32(RESULT)]) if code == 0 else b""

    def seek(self, fd: int, offset: int, whence: int) -> tuple[int, int]:
        """Call fd_seek. Return its errno and the position."""
        return self.call("fd_seek", fd, offset, whence, RESULT), self.u64(RESULT)

    def symlink(self, target: bytes, path: bytes, *, fd: int = 3) -> int:
        """Call path_symlink."""
        return self.call("path_symlink", *self._put(OTHER, target), fd, *self._put(PATH, path))

    def rename(self, old: bytes, new: bytes) -> int:
        """Call path_rename in the root."""
        return self.call("path_rename", 3, *self._put(PATH, old), 3, *self._put(OTHER, new))

    def link(self, old: bytes, new: bytes) -> int:
        """Call path_link in the root."""
        return self.call("path_link", 3, 0, *self._put(PATH, old), 3, *self._put(OTHER, new))

    def stat(self, path: bytes, *, follow: int = 0, fd: int = 3) -> tuple[int, dict[str, int]]:
        """Call path_filestat_get. Return its errno and the fields."""
        code = self.call("path_filestat_get", fd, follow, *self._put(PATH, path), DATA)
        names = ("device", "inode", "kind", "links", "size", "atim", "mtim", "ctim")
        return code, dict(zip(names, struct.unpack_from("<QQB7xQQQQQ", self.memory, DATA), strict=True))

    def names(self, fd: int, cookie: int = 0, room: int = 4_096) -> list[tuple[int, int, bytes]]:
        """Call fd_readdir. Return cookie, inode and name of each whole entry."""
        assert self.call("fd_readdir", fd, DATA, room, cookie, RESULT) == 0
        data, at, found = bytes(self.memory[DATA : DATA + self.u32(RESULT)]), 0, []
        while at + 24 <= len(data):
            behind, inode, length, _ = struct.unpack_from("<QQIB3x", data, at)
            if at + 24 + length > len(data):
                break
            found.append((behind, inode, data[at + 24 : at + 24 + length]))
            at += 24 + length
        return found

    def left(self) -> dict[bytes, bytes | None]:
        """Return the files of the only output with their bytes, directories as None."""
        return {
            entry.path: None if entry.kind == DIRECTORY else read(0, entry.size)
            for _, entry, read in self.calls.outputs()
            if entry.path
        }

    def u32(self, address: int) -> int:
        return int(struct.unpack_from("<I", self.memory, address)[0])

    def u64(self, address: int) -> int:
        return int(struct.unpack_from("<Q", self.memory, address)[0])
