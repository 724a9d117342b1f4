"""What a worker says of its job's files: honest words are kept, and no others get past the parent's checks."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plasm_core.records.files import FileLimits, JobFiles
from plasm_core.sandbox.process.collected_files import CollectedFiles
from plasm_core.sandbox.process.file_pack import FilePack
from plasm_core.sandbox.process.tree_packing import pack_tree
from plasm_core.sandbox.process.worker_frames import DATA, ENTRY, pack_entry
from plasm_core.tree_listing import DIRECTORY, FILE, LINK, TreeEntry, encode


@pytest.fixture(scope="module")
def pack() -> Iterator[FilePack]:
    with pack_tree([]) as made:
        yield made


def collected(pack: FilePack, *, data_bytes: int = 100, entries: int = 10) -> CollectedFiles:
    files = JobFiles(
        tree=pack.tree,
        read_only=(),
        outputs=("a", "b"),
        limits=FileLimits(data_bytes=data_bytes, entries=entries, descriptors=4),
    )
    return CollectedFiles(files, pack)


def test_messages_of_an_honest_worker_are_kept(pack: FilePack) -> None:
    left = collected(pack)
    for kind, body in [
        (ENTRY, pack_entry(0, DIRECTORY, 0, b"")),
        (ENTRY, pack_entry(0, FILE, 5, b"x")),
        *((DATA, b"he"), (DATA, b"llo")),
        (ENTRY, pack_entry(0, DIRECTORY, 0, b"y")),
        (ENTRY, pack_entry(0, FILE, 0, b"y/empty")),
        (ENTRY, pack_entry(1, FILE, 1, b"")),
        (DATA, b"!"),
    ]:
        left.take(kind, body)
    left.finish()

    tree = encode(
        [
            TreeEntry(b"x", FILE, size=5, digest=hashlib.sha256(b"hello").digest()),
            TreeEntry(b"y", DIRECTORY),
            TreeEntry(b"y/empty", FILE, digest=hashlib.sha256().digest()),
        ]
    )
    assert [(item.subject, item.sha256) for item in left.digests] == [
        ("tree:a", hashlib.sha256(tree).hexdigest()),
        ("file:b", hashlib.sha256(b"!").hexdigest()),
    ]
    assert b"".join(left.read(left.entries("a")[1])) == b"hello"
    left.discard()
    assert left.digests == ()


def take_all(left: CollectedFiles, frames: list[tuple[int, bytes]]) -> None:
    for kind, body in frames:
        left.take(kind, body)


TOP = (ENTRY, pack_entry(0, DIRECTORY, 0, b""))


@pytest.mark.parametrize(
    "frames",
    [
        [(ENTRY, b"")],
        [(ENTRY, pack_entry(2, FILE, 0, b""))],
        [(ENTRY, pack_entry(0, FILE, 0, b"x"))],
        [(ENTRY, pack_entry(0, LINK, 0, b""))],
        [(ENTRY, pack_entry(0, DIRECTORY, 1, b""))],
        [(ENTRY, pack_entry(0, FILE, 101, b""))],
        [(ENTRY, pack_entry(0, FILE, 60, b"")), (DATA, b"x" * 60), (ENTRY, pack_entry(1, FILE, 41, b""))],
        [(ENTRY, pack_entry(0, FILE, 2, b"")), (ENTRY, pack_entry(1, FILE, 0, b""))],
        [(ENTRY, pack_entry(0, FILE, 2, b"")), (DATA, b"abc")],
        [(ENTRY, pack_entry(0, FILE, 2, b"")), (DATA, b"")],
        [(DATA, b"x")],
        [(ENTRY, pack_entry(0, FILE, 0, b"")), (ENTRY, pack_entry(0, FILE, 0, b"x"))],
        [TOP, (ENTRY, pack_entry(0, FILE, 0, b"b")), (ENTRY, pack_entry(0, FILE, 0, b"a"))],
        [TOP, (ENTRY, pack_entry(0, FILE, 0, b"a")), (ENTRY, pack_entry(0, FILE, 0, b"a"))],
        [TOP, (ENTRY, pack_entry(0, FILE, 0, b"a")), (ENTRY, pack_entry(0, FILE, 0, b"a/b"))],
        [TOP, (ENTRY, pack_entry(0, FILE, 0, b"no/where"))],
        *(
            [TOP, (ENTRY, pack_entry(0, FILE, 0, path))]
            for path in (b"..", b"../x", b"/x", b"x/", b"x//y", b".")
        ),
        *(
            [TOP, (ENTRY, pack_entry(0, FILE, 0, path))]
            for path in (b"x\0", b"\xff", b"x" * 256, b"", b"x/../y")
        ),
        [TOP, (ENTRY, pack_entry(1, DIRECTORY, 0, b"")), (ENTRY, pack_entry(0, FILE, 0, b"x"))],
        [TOP, *((ENTRY, pack_entry(0, FILE, 0, b"%02d" % number)) for number in range(11))],
    ],
)
def test_messages_that_no_honest_worker_sends_are_refused(
    pack: FilePack, frames: list[tuple[int, bytes]]
) -> None:
    left = collected(pack)

    with pytest.raises(ValueError, match=r"."):
        take_all(left, frames)
    left.discard()


def test_a_file_that_did_not_come_whole_is_refused(pack: FilePack) -> None:
    left = collected(pack)
    left.take(ENTRY, pack_entry(0, FILE, 2, b""))

    with pytest.raises(ValueError, match="cut short"):
        left.finish()


_PATHS = st.sampled_from([b"", b"a", b"a/b", b"..", b"a/../b", b"/", b"b", b"\xff", b"x" * 300]) | st.binary(
    max_size=8
)


@settings(max_examples=2_000, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.just(ENTRY),
            st.builds(
                pack_entry, st.integers(0, 3), st.sampled_from([0, 3, 4, 7]), st.integers(0, 5), _PATHS
            ),
        )
        | st.tuples(st.just(DATA), st.binary(max_size=5))
        | st.tuples(st.just(ENTRY), st.binary(max_size=20)),
        max_size=25,
    )
)
def test_every_kept_tree_is_within_the_limits(pack: FilePack, frames: list[tuple[int, bytes]]) -> None:
    """50,000 hostile entries and pieces: an error that the supervisor knows, or a tree that is one."""
    left = collected(pack, data_bytes=20, entries=8)
    try:
        for kind, body in frames:
            left.take(kind, body)
        left.finish()
    except (ValueError, struct.error) as exc:
        assert isinstance(exc, ValueError)
    else:
        kept = [item.entry for path in ("a", "b") for item in left.entries(path)]
        assert sum(entry.size for entry in kept) <= 20
        assert len(kept) <= 9
        assert len(left.digests) <= 2
    finally:
        left.discard()
