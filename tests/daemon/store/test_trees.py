"""Input trees in the store: kept once, as long as a job has them, and never taken for what they are not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from plasm_core.config import StorageLimits
from plasm_core.daemon.store import Job, Store
from plasm_core.errors import RefusedError, StorageError, StorageFullError
from plasm_core.fair_shares import Holder
from plasm_core.records.files import DEFAULT_FILE_LIMITS, JobFiles
from plasm_core.records.manifest import PROFILE_V2
from plasm_core.sandbox.process.file_pack import FilePack
from plasm_core.sandbox.process.tree_packing import bytes_source, pack_tree
from tests.daemon.store.submission import EXITED, LIMITS, Submission, accepted, submission

OWN = Holder(names=("own",), is_own=True)
MANY = 300_000
"""More bytes than are taken in memory."""


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def store(state: Path) -> Iterator[Store]:
    with Store(state, LIMITS) as store:
        store.recover()
        yield store


def packed(data: bytes) -> FilePack:
    return pack_tree([bytes_source(b"data", data)])


def put(store: Store, data: bytes, *, as_tree: str = "") -> str:
    """Upload a tree in pieces, and return its digest. It is pinned by nothing but its jobs."""
    with packed(data) as pack:
        whole = os.pread(pack.fd, 1 << 24, 0)
        upload = store.trees.upload(as_tree or pack.tree, len(whole), OWN)
        try:
            for start in range(0, len(whole), 65_536):
                upload.write(whole[start : start + 65_536])
            store.trees.retain(pack.tree)
            upload.commit().release()
        finally:
            upload.discard()
        return pack.tree


def with_tree(tree: str) -> Submission:
    """Make a job with files."""
    made = submission()
    files = JobFiles(tree=tree, read_only=(), outputs=("data",), limits=DEFAULT_FILE_LIMITS)
    return attrs.evolve(made, manifest=attrs.evolve(made.manifest, profile=PROFILE_V2, files=files))


def job_of(store: Store, data: bytes) -> Job:
    """Have a job with files accepted, which alone has them."""
    tree = put(store, data)
    job = accepted(store, with_tree(tree))
    store.trees.let_go(tree)
    return job


def test_the_size_of_a_listing_is_known_while_the_tree_is_stored(state: Path) -> None:
    """The memory that a job with files may take depends on it."""
    with Store(state, LIMITS) as store:
        store.recover()
        job = job_of(store, b"one")
        with store.trees.open(job.tree) as pack:
            size = pack.listing_bytes
        assert store.trees.listing_bytes(job.tree) == size > 0
    with Store(state, LIMITS) as store:
        store.recover()
        assert store.trees.listing_bytes(job.tree) == size
        store.trees.let_go(job.tree)
        assert store.trees.listing_bytes("ab" * 32) == 0


@pytest.mark.parametrize("size", [10, MANY])
def test_a_tree_is_read_as_it_was_sent(store: Store, size: int) -> None:
    tree = put(store, bytes(size))

    with store.trees.open(tree) as pack:
        assert (pack.tree, pack.file_bytes) == (tree, size)
        assert os.pread(pack.fd, size, pack.offsets[next(pack.entries).digest]) == bytes(size)


@pytest.mark.parametrize("size", [10, MANY])
def test_a_tree_under_another_digest_is_refused(store: Store, size: int) -> None:
    other = packed(b"other")
    with other, pytest.raises(RefusedError) as caught:
        put(store, bytes(size), as_tree=other.tree)

    assert caught.value.reason == "digest_mismatch"
    assert len(store.trees) == 0
    assert store.trees.used_bytes == 0


@pytest.mark.parametrize("size", [10, MANY])
def test_a_tree_goes_with_the_last_job_that_has_it(store: Store, size: int) -> None:
    one = job_of(store, bytes(size))
    other = accepted(store, with_tree(one.tree))

    for job in (one, other):
        assert one.tree in store.trees
        begun, _ = store.begin(job.row)
        store.finish(begun.row, outcome=EXITED, envelope=b"{}")
        assert one.tree in store.trees
        store.release(job.row)

    assert one.tree not in store.trees
    assert store.trees.used_bytes == 0


def test_a_start_keeps_the_trees_of_jobs_and_deletes_others(state: Path) -> None:
    with Store(state, LIMITS) as store:
        store.recover()
        job = job_of(store, b"of a job")
        lonely = put(store, b"of no job")
        assert len(store.trees) == 2

    with Store(state, LIMITS) as store:
        store.recover()

        assert (job.tree in store.trees, lonely in store.trees) == (True, False)
        with store.trees.open(store.get(job.row).tree) as pack:
            assert pack.file_bytes == len(b"of a job")


@pytest.mark.parametrize("damage", [b"?", None], ids=["a byte", "its end"])
def test_a_tree_that_the_disk_has_damaged_is_not_used(state: Path, damage: bytes | None) -> None:
    with Store(state, LIMITS) as store:
        store.recover()
        job = job_of(store, bytes(MANY))
    path = state / "trees" / job.tree[:2] / job.tree
    with path.open("r+b") as file:
        if damage is None:
            file.truncate(MANY // 2)
        else:
            file.seek(MANY // 2)
            file.write(damage)

    with Store(state, LIMITS) as store:
        store.recover()
        with pytest.raises(StorageError, match="damaged"):
            store.trees.open(job.tree)

        assert job.tree not in store.trees


def test_a_right_upload_says_nothing_of_what_is_stored_already(state: Path) -> None:
    with Store(state, LIMITS) as store:
        store.recover()
        job = job_of(store, b"content")
    path = state / "trees" / job.tree[:2] / job.tree
    path.write_bytes(path.read_bytes().replace(b"content", b"CONTENT"))

    with Store(state, LIMITS) as store, packed(b"content") as pack:
        store.recover()
        upload = store.trees.upload(pack.tree, pack.size_bytes, OWN)
        upload.write(os.pread(pack.fd, pack.size_bytes, 0))
        pin = upload.pin()
        assert pin is not None
        with pytest.raises(StorageError, match="damaged"):
            store.trees.open(job.tree)
        pin.release()


def test_the_trees_of_ended_jobs_make_room_for_those_of_others(state: Path) -> None:
    with Store(state, StorageLimits(spare_bytes=0, tree_bytes=1_000_000)) as store:
        store.recover()
        live, ended = job_of(store, bytes(300_001)), job_of(store, bytes(300_002))
        begun, _ = store.begin(ended.row)
        store.finish(begun.row, outcome=EXITED, envelope=b"{}")

        third = put(store, bytes(420_000))
        assert (live.tree in store.trees, ended.tree in store.trees, third in store.trees) == (
            *(True, False, True),
        )
        with pytest.raises(StorageFullError):
            store.trees.upload("00" * 32, 900_000)


def test_a_client_has_no_more_than_its_share(state: Path) -> None:
    with Store(state, StorageLimits(spare_bytes=0, tree_bytes=1_000_000)) as store:
        store.recover()
        stranger = Holder(names=("stranger",), is_own=False)
        with pytest.raises(StorageFullError):
            store.trees.upload("00" * 32, 990_000, stranger)
        store.trees.upload("00" * 32, 990_000, OWN).discard()
