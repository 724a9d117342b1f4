"""What batches may take of the server, and one token of that."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import sqlite3
import threading
from datetime import datetime, timezone
from pathlib import Path
from typing import cast

import pytest
import trio
import trio.testing

from plasm_core.batch.folder import DATABASE
from plasm_core.client.async_client import AsyncClient
from plasm_core.client.upload import Bytes
from plasm_core.errors import StorageFullError
from plasm_core.records.files import DEFAULT_FILE_LIMITS, JobFiles
from plasm_core.sandbox.process.tree_packing import bytes_source, pack_tree
from plasm_core.web import web_batches
from plasm_core.web.batch_storage import ReceivedBatch
from plasm_core.web.bearer_tokens import BearerToken
from plasm_core.web.job_trees import JobTree
from plasm_core.web.problems import ApiProblem
from plasm_core.web.web_batch import BatchState, WebBatch
from plasm_core.web.web_batches import WebBatches

pytestmark = pytest.mark.trio

MOST = 1 << 20


@pytest.fixture
def batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WebBatches:
    monkeypatch.setattr(web_batches, "MAX_KEPT_BYTES", MOST)
    made = WebBatches(cast(AsyncClient, None), tmp_path / "batches")
    made.load()
    return made


def token(name: str) -> BearerToken:
    return BearerToken(
        name=name, scopes=("submit",), sha256=secrets.token_hex(32), made_at=datetime.now(timezone.utc)
    )


async def stored(
    batches: WebBatches,
    owner: BearerToken,
    batch_id: str | None = None,
    *,
    module: bytes = b"module",
    files: bytes | None = None,
) -> WebBatch:
    """Store a batch of one job. `files`: what the one file of its tree has."""
    with contextlib.ExitStack() as stack:
        tree = None
        if files is not None:
            pack = stack.enter_context(pack_tree([bytes_source(b"data", files)]))
            asked = JobFiles(tree=pack.tree, read_only=(), outputs=(), limits=DEFAULT_FILE_LIMITS)
            tree = JobTree(pack=pack, asked=asked)
        received = ReceivedBatch(
            batch_id=batch_id or secrets.token_hex(16),
            name="a batch",
            module=Bytes(module),
            jobs=Bytes(b"{}\n"),
            tree=tree,
        )
        made, _ = await batches.create(owner, received, trio.CapacityLimiter(2))
        return made


async def test_files_of_a_batch_for_which_its_token_has_no_room_are_not_stored(batches: WebBatches) -> None:
    """Counted afterwards only, one tree took the room of all: the server then ended the batches of other tokens."""
    greedy, modest = token("greedy"), token("modest")
    running = await stored(batches, modest)

    with pytest.raises(StorageFullError, match="of this token"):
        await stored(batches, greedy, files=bytes(MOST))
    assert [path.name for path in running.path.parent.iterdir()] == [running.path.name]
    await stored(batches, greedy, files=bytes(MOST // 2))
    batches._check_kept_bytes(modest.identity)


async def test_files_count_while_a_batch_is_being_stored(batches: WebBatches) -> None:
    greedy = token("greedy")
    refused: list[StorageFullError] = []

    async def store() -> None:
        try:
            await stored(batches, greedy, files=bytes(MOST // 2))
        except StorageFullError as exc:
            refused.append(exc)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(store)
        nursery.start_soon(store)

    assert len(refused) == 1
    assert batches._being_made == {}


async def test_batches_of_one_token_leave_room_for_those_of_others(batches: WebBatches) -> None:
    greedy = token("greedy")
    await stored(batches, greedy, module=bytes(MOST * 3 // 4))

    with pytest.raises(StorageFullError, match="of this token"):
        await stored(batches, greedy)
    await stored(batches, token("modest"))


async def test_all_batches_together_are_bounded(batches: WebBatches) -> None:
    for name in ("one", "another"):
        await stored(batches, token(name), module=bytes(MOST // 2))

    with pytest.raises(StorageFullError, match="of this server"):
        await stored(batches, token("third"))


async def test_a_batch_that_is_stored_while_sizes_are_added_up_is_no_error(batches: WebBatches) -> None:
    """Results are counted in threads; the event loop stores and releases batches meanwhile."""
    owner = token("owner")
    found = await stored(batches, owner)
    entries = batches._batches

    class Concurrent:
        owner = "another thread"

        @property
        def kept_bytes(self) -> int:
            entries[owner.identity, secrets.token_hex(16)] = found
            return 0

    entries[owner.identity, "concurrent"] = cast(WebBatch, Concurrent())

    batches._check_kept_bytes(owner.identity)


async def test_a_batch_is_not_stored_in_a_folder_that_is_being_deleted(
    batches: WebBatches, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, delete = threading.Event(), shutil.rmtree

    def delete_late(path: Path, *, ignore_errors: bool) -> None:
        assert go_on.wait(30)
        delete(path, ignore_errors=ignore_errors)

    owner, batch_id = token("owner"), secrets.token_hex(16)
    found = await stored(batches, owner, batch_id)
    found.state = BatchState.ENDED
    monkeypatch.setattr(shutil, "rmtree", delete_late)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(batches.release, found)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(ApiProblem, match="storing or deleting"):
            await stored(batches, owner, batch_id)
        go_on.set()
    again = await stored(batches, owner, batch_id)

    assert again.path.is_dir()


async def test_an_unreadable_batch_is_not_changed(batches: WebBatches) -> None:
    """Its results may be of a newer release, to which the operator returns."""
    newer, unfinished = await stored(batches, token("owner")), await stored(batches, token("owner"))
    for path, statement in (
        (newer.path, "PRAGMA user_version = 99"),
        (unfinished.path, "DELETE FROM facts WHERE name = 'planned'"),
    ):
        with contextlib.closing(sqlite3.connect(path / DATABASE)) as connection, connection:
            connection.execute(statement)

    WebBatches(cast(AsyncClient, None), newer.path.parent).load()

    assert newer.path.is_dir()
    assert not unfinished.path.exists()


async def test_an_error_that_nobody_foresaw_ends_one_batch_and_not_the_server(batches: WebBatches) -> None:
    """Without a client each batch ends with an AttributeError."""
    owner = token("owner")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(batches.run)
        for _ in range(2):
            batch = await stored(batches, owner)
            with trio.fail_after(30):
                await batch.done.wait()

            assert batch.state is BatchState.FAILED
            assert batch.problem == "an error of the server, which its log describes"
        nursery.cancel_scope.cancel()
