"""The batches that this server runs: a folder of each in its state directory, and the tasks that run them.

A batch is run by the code of `plasm map`: what was submitted is on the disk, each result is verified before it is stored,
and a server that was ended goes on where it was.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections import Counter
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import trio

from plasm_core.batch.files import KeptFiles
from plasm_core.batch.folder import BatchFolder, BatchNotBegunError
from plasm_core.batch.receipt import batch_document
from plasm_core.batch.rows import BatchJobResult, BatchJobState
from plasm_core.batch.run import BatchRun
from plasm_core.batch.storage import storage_errors
from plasm_core.client.async_client import AsyncClient
from plasm_core.errors import PlasmError, RefusedError, StorageError, StorageFullError
from plasm_core.paths import private_directory
from plasm_core.records import Handle, job_id
from plasm_core.records.output import OutputStream
from plasm_core.web.batch_storage import ReceivedBatch, store_batch
from plasm_core.web.bearer_tokens import ADMIN, BearerToken
from plasm_core.web.problems import ApiProblem, not_found
from plasm_core.web.web_batch import RECEIPT_FILE, BatchState, WebBatch, note_failure, read_batch

log = logging.getLogger(__name__)

MAX_BATCHES = 256
"""Batches that are kept, ended or not; one token has three quarters of them at most."""
MAX_KEPT_BYTES = 4 << 30
"""Inputs and results of all batches together; one token has three quarters of them at most.

A batch whose result has no room ends.
"""
AT_ONCE = 4
CANCEL_S = 30.0
_MOST_OF_ONE_TOKEN = 3
_AGAIN_S = 10.0
_WITHDRAW_S = 10.0


class WebBatches:
    """Keeps batches, and runs a few at once. Raises: `PlasmError` and `ApiProblem`."""

    def __init__(self, client: AsyncClient, directory: Path) -> None:
        self._client = client
        self._directory = directory
        self._batches: dict[tuple[str, str], WebBatch] = {}
        self._being_made: dict[tuple[str, str], int] = {}
        """Owner and id of batches that are being stored or deleted, and the bytes of the files of those being stored."""
        self._running: set[WebBatch] = set()
        self._changed = trio.Event()

    def load(self) -> None:
        """Find the batches that there are, and delete those that were being made when the server ended.

        A batch that cannot be read stays: another release of Plasm may have written it. Blocks. Raises: `StorageError`.
        """
        with storage_errors(self._directory):
            private_directory(self._directory)
            places = sorted(path for path in self._directory.iterdir() if path.is_dir())
        for path in places:
            try:
                found = read_batch(path)
            except BatchNotBegunError as exc:
                log.warning("a batch is deleted folder=%s reason=%s", path.name, exc)
                shutil.rmtree(path, ignore_errors=True)
            except (PlasmError, KeyError, ValueError) as exc:
                log.warning("a batch cannot be used folder=%s reason=%s", path.name, exc)
            else:
                self._batches[found.owner, found.batch_id] = found

    async def create(
        self,
        token: BearerToken,
        received: ReceivedBatch,
        limiter: trio.CapacityLimiter,
    ) -> tuple[WebBatch, bool]:
        """Store a batch, or find it if this token has made it before. Return it, and whether it is new.

        Raises: `ApiProblem`, also if a line of the jobs is wrong: then there is no batch.
        """
        key = (token.identity, received.batch_id)
        if key in self._batches:
            return self._batches[key], False
        if key in self._being_made:
            raise ApiProblem(
                503, "being_made", "another request is storing or deleting the same batch", retry_after_s=1
            )
        size = 0 if received.tree is None else received.tree.pack.size_bytes
        self._check_room(token, size)
        self._being_made[key] = size
        try:
            batch = await trio.to_thread.run_sync(
                store_batch, self._directory, token.identity, received, limiter=limiter
            )
        finally:
            del self._being_made[key]
        self._batches[key] = batch
        self._changed.set()
        return batch, True

    def _check_room(self, token: BearerToken, size: int) -> None:
        keys = [*self._batches, *self._being_made]
        own = sum(owner == token.identity for owner, _ in keys)
        if len(keys) >= MAX_BATCHES or own >= MAX_BATCHES * 3 // 4:
            raise ApiProblem(
                429,
                "too_many_batches",
                f"{len(keys)} batches are kept, {own} of them of this token",
                hint="release one that has ended: POST /v1/batches/ID/release",
            )
        self._check_kept_bytes(token.identity, size)

    def _check_kept_bytes(self, owner: str, more: int = 0) -> None:
        """Raises: `StorageFullError` if a token's batches, or all, may keep no more. Called in threads, too.

        `more`: the bytes of the files of a new batch. They alone may be more than there is room for; its module and
        jobs are smaller than what one token leaves to others.
        """
        # copied in one step: the event loop adds and removes batches concurrently
        batches, being_made = list(self._batches.values()), list(self._being_made.items())
        kept = [(batch.owner, batch.kept_bytes) for batch in batches]
        kept += [(whose, size) for (whose, _), size in being_made]
        for whose, size, most in (
            ("this token", sum(size for name, size in kept if name == owner), MAX_KEPT_BYTES * 3 // 4),
            ("this server", sum(size for _, size in kept), MAX_KEPT_BYTES),
        ):
            if size >= most or size + more > most:
                raise StorageFullError(
                    f"the batches of {whose} have {size:,} bytes of inputs and results already, of {most:,}",
                    hint="release one that has ended: POST /v1/batches/ID/release",
                )

    def find(self, token: BearerToken, batch_id: str) -> WebBatch:
        """Return a batch of a token; of any token, if it has the scope `admin`. Raises: `ApiProblem`."""
        found = self._batches.get((token.identity, batch_id))
        if found is None and token.permits(ADMIN):
            found = next((batch for batch in self._all() if batch.batch_id == batch_id), None)
        if found is None:
            raise not_found(f"batch {batch_id} of this token")
        return found

    def listed(self, token: BearerToken) -> list[WebBatch]:
        """Return the batches of a token, or of all tokens for one with the scope `admin`, the latest first."""
        return [batch for batch in self._all() if token.permits(ADMIN) or batch.owner == token.identity]

    def _all(self) -> list[WebBatch]:
        return sorted(self._batches.values(), key=lambda batch: batch.created_at, reverse=True)

    async def cancel(self, batch: WebBatch) -> None:
        """Cancel a batch's jobs that have no result, and wait until that is done, for `CANCEL_S` at most."""
        if not batch.state.has_ended:
            batch.is_cancelled = True
            if batch.scope is not None:
                batch.scope.cancel()
            self._changed.set()
            with trio.move_on_after(CANCEL_S):
                await batch.done.wait()

    async def release(self, batch: WebBatch) -> None:
        """Delete an ended batch with its results. Raises: `ApiProblem` if it has not ended."""
        if not batch.state.has_ended:
            raise ApiProblem(409, "not_ended", "the batch has not ended", hint="cancel it first")
        key = (batch.owner, batch.batch_id)
        self._batches.pop(key, None)
        self._being_made[key] = 0  # a new batch of this id has the same folder
        try:
            await trio.to_thread.run_sync(partial(shutil.rmtree, batch.path, ignore_errors=True))
        finally:
            self._being_made.pop(key, None)

    async def run(self) -> None:
        """Run batches for ever, `AT_ONCE` at once."""
        async with trio.open_nursery() as nursery:
            while True:
                self._changed = trio.Event()
                while (batch := self._next()) is not None:
                    batch.state = BatchState.RUNNING
                    self._running.add(batch)
                    nursery.start_soon(self._run_one, batch)
                await self._changed.wait()

    def _next(self) -> WebBatch | None:
        """Return the batch to begin now: the oldest of the token that has the fewest running."""
        waiting = [batch for batch in self._batches.values() if batch.state is BatchState.WAITING]
        if cancelled := [batch for batch in waiting if batch.is_cancelled]:
            return cancelled[0]
        if len(self._running) >= AT_ONCE:
            return None
        taken = Counter(batch.owner for batch in self._running)
        able = [batch for batch in waiting if taken[batch.owner] < _MOST_OF_ONE_TOKEN]
        return min(able, key=lambda batch: (taken[batch.owner], batch.created_at), default=None)

    async def _run_one(self, batch: WebBatch) -> None:
        problem: str | None = None
        try:
            folder = await trio.to_thread.run_sync(BatchFolder.open, batch.path)
            with folder:
                batch.folder = folder
                try:
                    with trio.CancelScope() as batch.scope:
                        if not batch.is_cancelled:
                            await self._run_jobs(batch, folder)
                    if batch.is_cancelled:
                        await self._withdraw(folder)
                    await trio.to_thread.run_sync(self._finish, batch, folder)
                finally:
                    batch.folder = batch.scope = None
        except PlasmError as exc:
            problem = str(exc)
            log.error("a batch was given up batch=%s reason=%s", batch.batch_id, exc)
        except Exception:  # an error in one batch must not end the server and the other batches
            problem = "an error of the server, which its log describes"
            log.exception("a batch was given up batch=%s", batch.batch_id)
        finally:
            self._running.discard(batch)
            self._changed.set()
        if problem is not None:
            batch.state, batch.problem = BatchState.FAILED, problem
            batch.finished_at = datetime.now(timezone.utc)
            await trio.to_thread.run_sync(note_failure, batch)
        batch.done.set()

    async def _run_jobs(self, batch: WebBatch, folder: BatchFolder) -> None:
        """Run all jobs that have no result, again and again while the daemon is away.

        Raises: `StorageError`; `RefusedError` if the daemon refuses the first of them for good.
        """
        while True:
            try:
                told = partial(self._note_result, batch, folder)
                run = await trio.to_thread.run_sync(partial(BatchRun, folder, told=told))
                await run.run(self._client)
                batch.problem = None
                return
            except StorageError:
                raise
            except PlasmError as exc:
                if isinstance(exc, RefusedError) and exc.retry_after_s is None:
                    raise  # the node accepts no job of this kind
                batch.problem = str(exc)
                log.warning("a batch does not get on batch=%s reason=%s", batch.batch_id, exc)
            await trio.sleep(_AGAIN_S)

    def _note_result(self, batch: WebBatch, folder: BatchFolder, result: BatchJobResult) -> None:
        """Count what a result takes. Called in a thread. Raises: `StorageFullError`."""
        size = len(result.envelope or b"")
        for stream, inline in ((OutputStream.STDOUT, result.stdout), (OutputStream.STDERR, result.stderr)):
            if inline is not None:
                size += len(inline)
            elif result.envelope is not None:
                with storage_errors(folder.path):
                    size += folder.outputs(result.number).file(stream).stat().st_size
        size += KeptFiles(folder, result.number).size_bytes
        batch.kept_bytes += size
        self._check_kept_bytes(batch.owner)

    async def _withdraw(self, folder: BatchFolder) -> None:
        """Cancel the jobs that were sent, as far as the daemon answers in time."""
        rows = await trio.to_thread.run_sync(lambda: list(folder.rows(BatchJobState.SENT)))
        with trio.move_on_after(_WITHDRAW_S):
            try:
                async with self._client.dialler.converse(None) as (_, peer):
                    pass
                for row in rows:
                    if row.manifest is not None and row.secret is not None:
                        handle = Handle(job_id=job_id(row.manifest), secret=row.secret, peer=peer)
                        with contextlib.suppress(PlasmError):  # the job was not accepted, or was deleted
                            await self._client.cancel(handle, timeout_s=_WITHDRAW_S)
            except PlasmError as exc:
                log.warning("jobs of a cancelled batch may go on reason=%s", exc)

    def _finish(self, batch: WebBatch, folder: BatchFolder) -> None:
        """Record the end of a batch, with its receipt."""
        if batch.is_cancelled:
            folder.cancelled()
        document = batch_document(folder, None).to_json()
        with storage_errors(folder.path):
            part = folder.path / f"{RECEIPT_FILE}.part"
            part.write_bytes(document)
            part.replace(folder.path / RECEIPT_FILE)
        state = BatchState.CANCELLED if batch.is_cancelled else BatchState.ENDED
        finished_at = datetime.now(timezone.utc)
        folder.note(state=state.value, finished_at=finished_at.isoformat(timespec="milliseconds"))
        batch.counts, batch.state, batch.finished_at = folder.counts(), state, finished_at
