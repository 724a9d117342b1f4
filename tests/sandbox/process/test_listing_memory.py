"""A listing may have 134 MB, and any client may send one: what is known of a tree while its job runs takes next to nothing."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from plasm_core.records.files import FileLimits, JobFiles
from plasm_core.sandbox.process import worker_frames
from plasm_core.sandbox.process.collected_files import CollectedFiles
from plasm_core.sandbox.process.file_pack import PREFIX_BYTES, FilePack, check_files, read_pack
from plasm_core.sandbox.process.tree_packing import directory_source, link_source, pack_tree
from plasm_core.sandbox.wasi.inodes import Tree, TreeLimits
from plasm_core.tree_listing import DIRECTORY, LINK, TreeEntry, encode, read

COUNT = 8_000
DEEP = b"d" * 250
PATHS = [DEEP + b"/%0250d" % number for number in range(COUNT)]
LISTING_BYTES = COUNT * 1_000
"""About what the listing takes: a path of 500 bytes and a target as long for each entry."""


@pytest.fixture(scope="module")
def pack() -> Iterator[FilePack]:
    with pack_tree([directory_source(DEEP), *(link_source(path, b"t" * 500) for path in PATHS)]) as made:
        yield made


@contextmanager
def traced() -> Iterator[Callable[[], tuple[int, int]]]:
    tracemalloc.start()
    try:
        yield tracemalloc.get_traced_memory
    finally:
        tracemalloc.stop()


def test_a_tree_that_is_open_holds_none_of_its_entries(pack: FilePack) -> None:
    """A running job has its tree open for as long as it runs."""
    with traced() as memory:
        opened = read_pack(pack.fd, pack.size_bytes, tree=pack.tree)
        held_bytes, peak_bytes = memory()

    assert (opened.entry_count, opened.file_bytes) == (COUNT + 1, 0)
    assert held_bytes < LISTING_BYTES / 100
    assert peak_bytes < 1.5 * LISTING_BYTES


def test_a_tree_is_compared_with_its_manifest_in_as_little(pack: FilePack) -> None:
    limits = FileLimits(data_bytes=0, entries=COUNT + 1, descriptors=4)
    asked = JobFiles(tree=pack.tree, read_only=(DEEP.decode(), PATHS[-1].decode()), outputs=(), limits=limits)

    with traced() as memory:
        check_files(asked, pack)
        held_bytes, peak_bytes = memory()

    assert held_bytes < LISTING_BYTES / 100
    assert peak_bytes < 1.5 * LISTING_BYTES


def test_a_listing_is_made_in_twice_its_size() -> None:
    entries = [TreeEntry(DEEP, DIRECTORY), *(TreeEntry(path, LINK, target=b"t" * 500) for path in PATHS)]

    with traced() as memory:
        listing = encode(entries)
        _, peak_bytes = memory()

    assert peak_bytes < 2.5 * len(listing)


def test_a_jobs_output_paths_are_reported_without_another_copy(pack: FilePack) -> None:
    limits = FileLimits(data_bytes=0, entries=COUNT + 1, descriptors=4)
    asked = JobFiles(tree=pack.tree, read_only=(), outputs=(".",), limits=limits)
    left = CollectedFiles(asked, pack)
    for path in (b"", DEEP, *PATHS):
        left.take(worker_frames.ENTRY, worker_frames.pack_entry(0, DIRECTORY, 0, path))
    left.finish()

    with traced() as memory:
        assert [item.kind for item in left.digests] == ["tree"]
        _, peak_bytes = memory()

    assert peak_bytes < 2.5 * COUNT * 505


def test_a_worker_reads_its_tree_without_a_copy_of_its_paths(pack: FilePack) -> None:
    """An inode's memory is counted by `FileLimits.memory_bytes`; the listing adds to it while it is read."""
    listing = os.pread(pack.fd, pack.listing_bytes, PREFIX_BYTES)
    limits = TreeLimits(data_bytes=0, entries=COUNT + 1, descriptors=4)
    counted = FileLimits(data_bytes=0, entries=COUNT + 1, descriptors=4).memory_bytes

    with traced() as memory:
        tree = Tree(read(listing), [], limits, read=lambda _offset, _count: b"", now=lambda: 0)
        _, peak_bytes = memory()

    assert tree.count == COUNT + 1
    assert peak_bytes < counted
