"""Run the jobs of a batch's folder, and store each result as it is verified."""

from __future__ import annotations

import contextlib
import errno
import json
import secrets
from collections import deque
from collections.abc import Callable
from pathlib import Path

import attrs
import trio

from plasm_core.background_tasks import alongside
from plasm_core.batch.files import KeptFiles, kept_tree
from plasm_core.batch.folder import BatchFolder, not_begun
from plasm_core.batch.plan import BatchTerms
from plasm_core.batch.rows import BatchJobResult, BatchJobState, Counts, JobRow
from plasm_core.batch.storage import storage_errors
from plasm_core.client.async_client import AsyncClient
from plasm_core.client.dispatcher import Dispatcher, Finished, QueuedJob
from plasm_core.client.module_profile import needed_profile
from plasm_core.client.submission import Submission
from plasm_core.client.upload import Bytes, File, Pack, Source
from plasm_core.errors import PlasmError, RefusedError
from plasm_core.protocol.channels import Channel
from plasm_core.records import Handle, JobInput, PeerId
from plasm_core.records.digest import decode_list
from plasm_core.records.manifest import Manifest, manifest_of

_PREPARED = 64
"""How many jobs are prepared at once: their manifests reach the disk by one sync."""
_EMITTED = 32

Emit = Callable[[list[JobRow]], None]
Told = Callable[[BatchJobResult], None]


class BatchRun:
    """Runs what a batch has not run. `emit` is called in a thread with the ends of jobs, in order, from the first on.

    `told` is called with each end as it is stored, in any order.
    """

    def __init__(
        self,
        folder: BatchFolder,
        *,
        emit: Emit = lambda _rows: None,
        told: Told = lambda _result: None,
        most: int | None = None,
    ) -> None:
        """Prepare it. Raises: `BatchFolderError`, `StorageError`."""
        facts = folder.facts()
        if "planned" not in facts:
            raise not_begun(folder.path)
        self.folder = folder
        self.terms = BatchTerms.from_json(facts["terms"])
        self.before = folder.counts()
        self.dispatcher: Dispatcher | None = None
        self._emit = emit
        self._told = told
        self._most = most
        with storage_errors(folder.path):
            self._module: Source = File(folder.module)
            self._needed_profile = needed_profile(self._module)
            self._stdin: Source = Bytes(b"") if folder.stdin is None else File(folder.stdin)
        self._tree = kept_tree(folder)
        self._files = None if self._tree is None else Pack(self._tree[0], owned=True)
        self._prepared: deque[QueuedJob] = deque()
        self._after = -1
        self._ended: list[Finished] = []
        self._placed: list[tuple[int, str]] = []
        self._stored = trio.Event()
        self._wake = trio.Event()
        self._emitted = -1

    async def run(self, client: AsyncClient) -> Counts:
        """Run all jobs that have no result. Raises: `PlasmError`; what was stored by then is kept."""
        try:
            self._client = client
            self._remembers_nodes = not client.dialler.is_own
            async with alongside(self._write):
                await trio.to_thread.run_sync(self._show)
                self.dispatcher = Dispatcher(
                    client, self._pull, self._deliver, placed=self._note_place, most=self._most
                )
                await self.dispatcher.run()
            if self._ended or self._placed:
                await trio.to_thread.run_sync(self._store, self._ended, self._placed)
            await trio.to_thread.run_sync(self._show)
            return self.folder.counts()
        finally:
            self._module.close()
            self._stdin.close()
            if self._files is not None:
                self._files.close()

    async def _pull(self) -> QueuedJob | None:
        if not self._prepared:
            await trio.to_thread.run_sync(self._prepare)
        return self._prepared.popleft() if self._prepared else None

    def _prepare(self) -> None:
        """Make the next jobs, and store their manifests and secrets before any of them is sent."""
        while not self._prepared:
            rows = self.folder.to_send(self._after, _PREPARED)
            if not rows:
                return
            self._after = rows[-1].number
            jobs, fresh, failed = list[QueuedJob](), list[tuple[int, bytes, bytes]](), list[BatchJobResult]()
            for row in rows:
                try:
                    submission = self._submission(row)
                except (PlasmError, OSError, ValueError) as exc:
                    problem = f"{exc.strerror}: {exc.filename}" if isinstance(exc, OSError) else str(exc)
                    failed.append(
                        BatchJobResult(
                            number=row.number, state=BatchJobState.ERROR, error=problem, error_kind="input"
                        )
                    )
                    continue
                if row.manifest is None:
                    fresh.append((row.number, submission.manifest_json, submission.secret))
                preferred = PeerId.parse(row.peer) if row.peer is not None else None
                jobs.append(QueuedJob(row.number, submission, preferred))
            if fresh:
                self.folder.sending(fresh)
            if failed:
                self.folder.finish(failed)
                for result in failed:
                    self._told(result)
            self._prepared.extend(jobs)

    def _submission(self, row: JobRow) -> Submission:
        """Return a job to send: the same as before, if it was sent before. Raises: OSError, ValueError, `PlasmError`."""
        stdin = self._stdin
        if row.stdin is not None:
            stdin = Bytes(row.stdin)
        elif row.stdin_file is not None:
            stdin = _WhenRead(Path(row.stdin_file))
        sources: dict[Channel, Source] = {
            Channel.MODULE: self._module,
            Channel.ARGS: Bytes(row.args),
            Channel.ENV: Bytes(row.env),
            Channel.STDIN: stdin,
        }
        pack, asked = self._tree or (None, None)
        if self._files is not None:
            sources[Channel.FILES] = self._files
        if row.manifest is not None and row.secret is not None:
            if Manifest.from_json(row.manifest).stdin != stdin.digest:
                raise PlasmError(f"the input {row.stdin_file} has changed since the batch began")
            return Submission(manifest_json=row.manifest, sources=sources, pack=pack, secret=row.secret)
        terms = self.terms if row.terms is None else BatchTerms.from_json(json.loads(row.terms))
        manifest = manifest_of(
            module=self._module.digest,
            inputs=JobInput(args=decode_list(row.args), env=decode_list(row.env)),
            stdin=stdin.digest,
            limits=terms.limits,
            seed=terms.seed,
            wall_time_s=terms.wall_time_s,
            grants=terms.grants,
            entry=terms.entry,
            profile=terms.profile or self._needed_profile,
            files=asked,
        )
        return Submission(
            manifest_json=manifest.to_json(),
            sources=sources,
            pack=pack,
            secret=secrets.token_bytes(32),
        )

    def _note_place(self, job: QueuedJob, handle: Handle) -> None:
        if self._remembers_nodes:
            self._placed.append((job.index, str(handle.peer)))
            self._wake.set()

    async def _deliver(self, finished: Finished) -> None:
        """Have an end stored, and wait until it is."""
        self._ended.append(finished)
        stored = self._stored
        self._wake.set()
        await stored.wait()
        self._client.forget(finished.submission)

    async def _write(self) -> None:
        """Store the jobs that have ended, all of them by one sync. Raises: `StorageError`. Does not return."""
        while True:
            await self._wake.wait()
            self._wake, stored = trio.Event(), self._stored
            self._stored = trio.Event()
            ended, placed = self._ended, self._placed
            self._ended, self._placed = [], []
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self._store, ended, placed)
            stored.set()
            await trio.to_thread.run_sync(self._show)

    def _store(self, ended: list[Finished], placed: list[tuple[int, str]]) -> None:
        with storage_errors(self.folder.path):
            results = [self._result(item) for item in ended]
        self.folder.finish(results, placed)
        for result in results:
            self._told(result)

    def _show(self) -> None:
        while rows := self.folder.results(self._emitted, _EMITTED):
            self._emit(rows)
            self._emitted = rows[-1].number

    def _result(self, finished: Finished) -> BatchJobResult:
        """Return what is stored of an end. Raises: OSError."""
        if finished.result is None or finished.output is None:
            error = finished.error
            kind = error.reason if isinstance(error, RefusedError) else type(error).__name__
            return BatchJobResult(
                number=finished.index, state=BatchJobState.ERROR, error=str(error), error_kind=kind
            )
        found = finished.result
        stdout, stderr = self.folder.outputs(finished.index).keep(finished.output)
        if found.fetched is not None:
            KeptFiles(self.folder, finished.index).keep(found.fetched)
            found.fetched.close()
        missing = found.receipt.missing_outputs if found.ok else ()
        return BatchJobResult(
            number=finished.index,
            state=BatchJobState.SUCCEEDED if found.ok and not missing else BatchJobState.FAILED,
            error=f"the job left no {', '.join(missing)}" if missing else None,
            error_kind="output" if missing else None,
            peer=str(found.handle.peer),
            outcome=json.dumps(attrs.asdict(found.outcome)),
            gas_used=found.receipt.result.gas_used,
            envelope=found.envelope.to_json(),
            stdout=stdout,
            stderr=stderr,
            duration_ms=round(finished.duration_s * 1000),
            manifest=found.manifest_json,
            reused=found.reused,
        )


class _WhenRead(Source):
    """A file that is open only while it is read: a batch has more of them than a process may open."""

    def __init__(self, path: Path) -> None:
        """Measure the file. Raises: OSError."""
        self._path = path
        with contextlib.closing(File(path)) as file:
            self._size_bytes, self._digest = file.size_bytes, file.digest

    @property
    def size_bytes(self) -> int:
        return self._size_bytes

    @property
    def digest(self) -> str:
        return self._digest

    def read(self, offset: int, maximum: int) -> bytes:
        wanted = max(0, min(maximum, self._size_bytes - offset))
        with self._path.open("rb") as file:
            file.seek(offset)
            data = file.read(wanted)
        if len(data) < wanted:
            raise OSError(errno.EIO, "it was cut short while it was read", str(self._path))
        return data
