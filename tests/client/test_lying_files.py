"""Nodes that serve other files than their receipts state, or none: the job's files come from an honest node.

Trio's time jumps here to the next moment that anything waits for, so minutes take none.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

from plasm_core.client import AsyncClient, Submission
from plasm_core.client.deadline import Deadline
from plasm_core.client.fetched_files import FetchLimits
from plasm_core.client.file_fetch import FETCH_S
from plasm_core.client.remote_files import LeftEntry, list_files
from plasm_core.errors import FilesNotServedError, RefusedError
from plasm_core.records import Handle, Limits
from plasm_core.records.files import FileLimits, Product
from plasm_core.tree_listing import DIRECTORY, FILE, LINK, TreeEntry, encode
from tests.client.test_lying_nodes import SPARE_S, evidence, is_right, network
from tests.support.lying_node import Script, Served
from tests.support.small_network import Elapsed

FILE_BYTES = b"what a job leaves\n" * 1000
LIMITS = FileLimits(data_bytes=1 << 20, entries=20, descriptors=10)


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where evidence is kept."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture(autouse=True)
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the client's threads' work done in the loop: trio's time would jump while one of them works."""

    async def at_once(work: Callable[..., object], *args: object, **_options: object) -> object:
        await trio.lowlevel.checkpoint()
        return work(*args)

    monkeypatch.setattr(trio.to_thread, "run_sync", at_once)


def entry(path: str, data: bytes) -> TreeEntry:
    return TreeEntry(path.encode(), FILE, size=len(data), digest=hashlib.sha256(data).digest())


def pack(entries: list[TreeEntry], *blobs: bytes) -> tuple[bytes, str]:
    """Return the pack of a tree, and the tree's digest."""
    listing = encode(entries)
    return struct.pack("<I", len(listing)) + listing + b"".join(blobs), hashlib.sha256(listing).hexdigest()


TREE, TREE_DIGEST = pack([TreeEntry(b"a", DIRECTORY), entry("a/one", b"1"), entry("two", b"22")], b"1", b"22")
PRODUCTS = (
    Product(path="file", kind="file", sha256=hashlib.sha256(FILE_BYTES).hexdigest()),
    Product(path="tree", kind="tree", sha256=TREE_DIGEST),
)
SERVED = {"file": Served(kind="file", data=FILE_BYTES), "tree": Served(kind="tree", data=TREE)}
HONEST = Script(files=PRODUCTS, served=SERVED)


def lies(path: str, served: Served) -> Script:
    return attrs.evolve(HONEST, served={**SERVED, path: served})


def stating(tree: bytes, digest: str) -> Script:
    """Return a node whose receipt states a tree that no job can leave."""
    products = (PRODUCTS[0], attrs.evolve(PRODUCTS[1], sha256=digest))
    return attrs.evolve(lies("tree", Served(kind="tree", data=tree)), files=products)


MANY = pack([entry(f"{number:03}", b"") for number in range(LIMITS.entries + 2)])
HUGE = entry("big", b"")
HUGE.size = LIMITS.data_bytes * 2
LINKED = pack([TreeEntry(b"link", LINK, target=b"elsewhere")])
LARGE = b"x" * LIMITS.data_bytes
LARGE_TREE, LARGE_TREE_DIGEST = pack([entry("large", LARGE)], LARGE)
TWO_LARGE = attrs.evolve(
    HONEST,
    files=(
        Product(path="file", kind="file", sha256=hashlib.sha256(LARGE).hexdigest()),
        Product(path="tree", kind="tree", sha256=LARGE_TREE_DIGEST),
    ),
    served={"file": Served(kind="file", data=LARGE), "tree": Served(kind="tree", data=LARGE_TREE)},
)
LIARS = {
    "a file that is missing": lies("file", Served(kind="none")),
    "a tree that is missing": lies("tree", Served(kind="none")),
    "a file in place of a tree": lies("tree", Served(kind="file", data=TREE)),
    "a flipped byte in a file": lies("file", Served(kind="file", data=b"W" + FILE_BYTES[1:])),
    "a file cut short": lies("file", Served(kind="file", data=FILE_BYTES[:-1])),
    "a longer file": lies("file", Served(kind="file", data=FILE_BYTES + b"!")),
    "a flipped byte in a tree": lies("tree", Served(kind="tree", data=TREE[:-1] + b"3")),
    "a renamed file": lies("tree", Served(kind="tree", data=TREE.replace(b"two", b"tow"))),
    "a tree cut short": lies("tree", Served(kind="tree", data=TREE[:-1])),
    "a byte behind a tree": lies("tree", Served(kind="tree", data=TREE + b"!")),
    "a listing that is none": lies("tree", Served(kind="tree", data=b"\xff" * 100)),
    "nothing for a tree": lies("tree", Served(kind="tree")),
    "a file of a petabyte": lies("file", Served(kind="file", data=FILE_BYTES, size=1 << 50)),
    "a tree of a petabyte": lies("tree", Served(kind="tree", data=TREE, size=1 << 50)),
    "a refusal": lies("file", Served(kind="file", refuses=True)),
    "too many entries, as stated": stating(*MANY),
    "too many bytes, as stated": stating(*pack([HUGE])),
    "too many bytes in all, as stated": TWO_LARGE,
    "a link, as stated": stating(*LINKED),
}


def job(*outputs: str) -> Submission:
    return Submission.of(
        b"module",
        files={"in": b"x"},
        outputs=outputs or ["file", "tree/"],
        file_limits=LIMITS,
        limits=Limits(gas=10**9, memory_bytes=1 << 20, output_bytes=1 << 16),
        wall_time_s=30,
    )


@pytest.fixture
def submission() -> Iterator[Submission]:
    with job() as made:
        yield made


@pytest.mark.trio
async def test_files_are_taken_from_an_honest_node(
    autojump_clock: trio.testing.MockClock, submission: Submission
) -> None:
    async with network(HONEST) as (small, client):
        found = await client.run(submission)

        assert is_right(found, small, 0)
        assert {path: file.read() for path, file in found.files.items()} == {
            "file": FILE_BYTES,
            "tree/a/one": b"1",
            "tree/two": b"22",
        }
        assert found.rejected == ()


@pytest.mark.trio
@pytest.mark.parametrize("lie", LIARS)
async def test_a_node_that_serves_other_files_has_failed_the_job(
    autojump_clock: trio.testing.MockClock, state: Path, submission: Submission, lie: str
) -> None:
    async with network(LIARS[lie], HONEST) as (small, client):
        elapsed = Elapsed()
        found = await client.run(submission)

        assert is_right(found, small, 1)
        assert found.files["file"].read() == FILE_BYTES
        assert [item.node for item in found.rejected] == [small.nodes[0].signer.peer_id]
        assert elapsed.seconds < SPARE_S
    assert len(evidence(state)) == 1


@pytest.mark.trio
@pytest.mark.parametrize(
    "served",
    [
        Served(kind="file", data=FILE_BYTES[:100], size=len(FILE_BYTES), talks=True),
        Served(kind="file", data=FILE_BYTES[:100], size=len(FILE_BYTES)),
    ],
    ids=["and talks on", "and hangs up"],
)
async def test_a_node_that_stops_serving_is_left(
    autojump_clock: trio.testing.MockClock, submission: Submission, served: Served
) -> None:
    async with network(lies("file", served), HONEST) as (small, client):
        elapsed = Elapsed()
        found = await client.run(submission)

        assert is_right(found, small, 1)
        assert elapsed.seconds < FETCH_S + SPARE_S


@pytest.mark.trio
async def test_a_node_without_the_feature_is_sent_no_job_with_files(
    autojump_clock: trio.testing.MockClock, submission: Submission
) -> None:
    """As of an earlier release: it would not know what the manifest asks for."""
    async with network(Script(), HONEST) as (small, client):
        found = await client.run(submission)

        assert is_right(found, small, 1)
        assert small.nodes[0].submissions == 0
    async with network(Script()) as (small, client):
        with pytest.raises(RefusedError) as caught:
            await client.run(submission)
        assert caught.value.reason == "files_unsupported"


@pytest.mark.trio
@pytest.mark.parametrize("lie", ["a flipped byte in a tree", "a renamed file", "a file that is missing"])
async def test_a_named_node_that_lies_gives_no_result(
    autojump_clock: trio.testing.MockClock, submission: Submission, lie: str
) -> None:
    async with network(LIARS[lie]) as (small, client):
        handle = submission.handle(small.nodes[0].signer.peer_id)
        await client.submit(submission)
        with pytest.raises(FilesNotServedError):
            await client.result(handle)


@pytest.mark.trio
async def test_files_are_listed_and_read_one_by_one(
    autojump_clock: trio.testing.MockClock, submission: Submission
) -> None:
    async with network(HONEST) as (small, client):
        handle = submission.handle(small.nodes[0].signer.peer_id)
        await client.submit(submission)
        parts: list[bytes] = []
        products = {entry.path: entry for entry in await _listed(client, handle)}
        await client.read_file(handle, products["tree/two"], parts.append)
        await client.read_file(handle, products["file"], parts.append)

        assert parts == [b"22", FILE_BYTES]


async def _listed(client: AsyncClient, handle: Handle) -> list[LeftEntry]:
    return await list_files(client.dialler, handle, PRODUCTS, FetchLimits(), Deadline(30))


@pytest.mark.trio
@pytest.mark.parametrize("entries", [5, 6])
async def test_what_is_listed_is_bounded_for_all_outputs_together(
    autojump_clock: trio.testing.MockClock, submission: Submission, entries: int
) -> None:
    products = (PRODUCTS[1], attrs.evolve(PRODUCTS[1], path="twin"))
    script = Script(files=products, served={"tree": SERVED["tree"], "twin": SERVED["tree"]})
    async with network(script) as (small, client):
        handle = submission.handle(small.nodes[0].signer.peer_id)
        await client.submit(submission)
        limits = FetchLimits(entries=entries)
        if entries < 6:
            with pytest.raises(FilesNotServedError):
                await list_files(client.dialler, handle, products, limits, Deadline(30))
        else:
            assert len(await list_files(client.dialler, handle, products, limits, Deadline(30))) == 2 + 6


@pytest.mark.trio
@pytest.mark.parametrize("lie", ["a flipped byte in a tree", "a byte behind a tree"])
async def test_a_file_that_is_read_alone_is_compared_alone(
    autojump_clock: trio.testing.MockClock, submission: Submission, lie: str
) -> None:
    async with network(LIARS[lie]) as (small, client):
        handle = submission.handle(small.nodes[0].signer.peer_id)
        await client.submit(submission)
        products = {entry.path: entry for entry in await _listed(client, handle)}
        good: list[bytes] = []
        await client.read_file(handle, products["tree/a/one"], good.append)

        assert good == [b"1"]
        if lie == "a flipped byte in a tree":
            with pytest.raises(FilesNotServedError):
                await client.read_file(handle, products["tree/two"], good.append)
            assert good == [b"1"]


@pytest.mark.trio
async def test_a_link_that_a_node_states_is_not_listed_as_a_file(
    autojump_clock: trio.testing.MockClock, submission: Submission
) -> None:
    """No job leaves links: as a file it would have no digest."""
    script = stating(*LINKED)
    async with network(script) as (small, client):
        handle = submission.handle(small.nodes[0].signer.peer_id)
        await client.submit(submission)

        with pytest.raises(FilesNotServedError, match="an entry that no output has"):
            await list_files(client.dialler, handle, script.files[1:], FetchLimits(), Deadline(30))
