"""A job's files take no more memory than the node counts for them (`FileLimits.memory_bytes`), whatever it does to them."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest

from plasm_core.records.files import FileLimits
from plasm_core.sandbox.wasi.inodes import Inode, Tree, TreeLimits
from plasm_core.tree_listing import FILE

LIMITS = FileLimits(data_bytes=16 << 20, entries=1_024, descriptors=64)


class Files:
    """A tree, and files in it by number."""

    def __init__(self) -> None:
        limits = TreeLimits(
            data_bytes=LIMITS.data_bytes, entries=LIMITS.entries, descriptors=LIMITS.descriptors
        )
        self.tree = Tree([], [], limits, read=lambda _offset, count: bytes(count), now=lambda: 0)
        self.made = 0

    def new(self) -> Inode:
        self.made += 1
        return self.tree.create(self.tree.root, b"%d" % self.made, FILE)

    @property
    def left(self) -> int:
        return self.tree.free_bytes


def shrunk_to_half(files: Files) -> None:
    """Each file once had all the room, and has half of it."""
    while files.left > 64:
        file, room = files.new(), files.left
        files.tree.resize(file, room)
        files.tree.resize(file, room // 2 + 1)


def emptied(files: Files) -> None:
    for _ in range(20):
        file = files.new()
        files.tree.resize(file, files.left)
        files.tree.resize(file, 0)


def small_and_shrunk(files: Files) -> None:
    for _ in range(1_000):
        file = files.new()
        files.tree.resize(file, min(files.left, 32_000))
        files.tree.resize(file, min(files.left, 16_001))


def grown_bit_by_bit(files: Files) -> None:
    file = files.new()
    for size in range(0, LIMITS.data_bytes + 1, 20_011):
        files.tree.resize(file, size)


def shrunk_bit_by_bit(files: Files) -> None:
    file = files.new()
    files.tree.resize(file, LIMITS.data_bytes)
    for size in range(LIMITS.data_bytes, 0, -20_011):
        files.tree.resize(file, size)
        files.tree.resize(files.new() if files.made < 500 else file, min(files.left, 15_000))


@pytest.mark.parametrize(
    "work", [shrunk_to_half, emptied, small_and_shrunk, grown_bit_by_bit, shrunk_bit_by_bit]
)
def test_files_take_what_is_counted_for_them(work: Callable[[Files], None]) -> None:
    files = Files()
    tracemalloc.start()
    try:
        work(files)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak_bytes <= LIMITS.memory_bytes
