"""The attempts of a job, from its start to its stored result."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from datetime import datetime, timedelta
from pathlib import Path

import attrs

from plasm_core.daemon.store.ballast import Ballast
from plasm_core.daemon.store.database import Change, Database
from plasm_core.daemon.store.disk import remove_tree
from plasm_core.daemon.store.inputs import remove_inputs
from plasm_core.daemon.store.job import Job
from plasm_core.daemon.store.job_table import STDOUT, JobTable
from plasm_core.daemon.store.live_job import LiveJob, kept_bytes
from plasm_core.daemon.store.recent import Recent
from plasm_core.daemon.store.spool import Spool, remove_outputs
from plasm_core.errors import JobEndedError, StorageError
from plasm_core.records import Outcome
from plasm_core.records.job import JobState
from plasm_core.records.output import OutputDigest, OutputStream


@attrs.frozen(kw_only=True)
class Attempts:
    """Changes the state of live jobs: in memory, and in the database where a restart needs it. Thread-safe.

    `directory` holds the jobs' directories. `get` returns a job in its present state. `keep_s`: how long a result is
    kept.
    """

    directory: Path
    live: dict[int, LiveJob]
    lock: threading.RLock
    recent: Recent
    table: JobTable
    database: Database
    ballast: Ballast
    clock: Callable[[], datetime]
    get: Callable[[int], Job]
    keep_s: float

    def begin(self, row: int) -> tuple[Job, Spool]:
        """Start a queued job's next attempt: INITIALIZING, with empty outputs. The attempt counts from here.

        Raises: `JobEndedError` if it is not queued or is to be cancelled; `StorageError`, `StorageFullError`,
        and it stays queued.
        """
        recent = self.recent.get(row)
        manifest_json = recent.job.manifest_json if recent is not None else self.get(row).manifest_json
        with self.lock:
            live = self._waiting(row)
            self.ballast.demand()
            job = live.job.changed(
                state=JobState.INITIALIZING,
                attempt=live.job.attempt + 1,
                counted_attempts=live.job.counted_attempts + 1,
                started_at=self.clock(),
            )
        noted = self._note_beginning(job, durable=live.was_there)
        if live.was_there:
            noted.result()
        with self.lock:
            live = self._waiting(row)
            live.job = job
            live.spool = Spool(self.directory / job.directory, job.attempt, live.allowance, self.ballast)
            begun = job.changed(manifest_json=manifest_json)
            if recent is not None:
                begun.take_manifest(recent.job.manifest)
            return begun, live.spool

    def _waiting(self, row: int) -> LiveJob:
        live = self.live.get(row)
        if live is None or live.job.state is not JobState.QUEUED or live.job.cancelling:
            raise JobEndedError("the job is not waiting to be run")
        return live

    def _note_beginning(self, job: Job, *, durable: bool) -> Future[None]:
        work = self.table.beginning(job)

        def begin(sql: sqlite3.Connection) -> None:
            with self.lock:
                live = self.live.get(job.row)
                is_over = live is None or live.job.attempt > job.attempt
            if not is_over:
                work(sql)

        return self.database.submit(
            Change(doing="start a job", work=begin, durable=durable, may_wait=not durable)
        )

    def started(self, row: int) -> Job:
        """Note that the guest itself runs: RUNNING. Raises: `JobEndedError`."""
        with self.lock:
            live = self.live.get(row)
            if live is None or live.job.state is not JobState.INITIALIZING:
                raise JobEndedError("cannot start a job: it has ended, or is not in that state")
            live.job = live.job.changed(state=JobState.RUNNING)
            return live.job

    def requeue(self, row: int, *, counted: bool = True) -> Job | None:
        """Put a job that has begun back into the queue, its outputs deleted, after the node failed it.

        `counted` False takes the attempt back: the node stopped by its own will, as at a shutdown.
        Returns None, and changes nothing, if no attempt is left or the job is to be cancelled: finish it.

        Raises: `JobEndedError` if it has not begun or has ended; `StorageError`.
        """
        with self.lock:
            live = self.live.get(row)
            if live is None or live.job.state not in (JobState.INITIALIZING, JobState.RUNNING):
                raise JobEndedError("the job does not run")
            job = live.job
            if job.cancelling or (counted and job.counted_attempts >= job.allowed_attempts):
                return None
            queued = job.changed(
                state=JobState.QUEUED,
                started_at=None,
                counted_attempts=job.counted_attempts - (0 if counted else 1),
            )
        work = self.table.requeuing(queued)
        self.database.submit(Change(doing="queue a job again", work=work, essential=True)).result()
        with self.lock:
            if self.live.get(row) is not live or live.job.attempt != job.attempt:
                raise JobEndedError("the job has ended, or is in another attempt")
            live.job = queued.changed(cancelling=live.job.cancelling)
            self._drop_spool(live)
        return self.get(row)

    def cancel(self, row: int) -> Job:
        """Store that a job's cancellation was requested, so that no restart runs it again.

        The caller still finishes it. A job that has ended is unchanged.

        Raises: `JobEndedError` if it has been forgotten; `StorageError`.
        """

        def committed(is_live: bool) -> bool:
            with self.lock:
                live = self.live.get(row)
                if is_live and live is not None:
                    live.job = live.job.changed(cancelling=True)
            return is_live

        change = Change(
            doing="cancel a job", work=self.table.cancelling(row), committed=committed, essential=True
        )
        self.database.submit(change).result()
        return self.get(row)

    def finishing(
        self, row: int, *, outcome: Outcome, envelope: bytes, node: str | None = None
    ) -> Future[Job]:
        """Store a job's only result; it is durable when the future is done. The outputs stay until the job expires.

        `node` is the signer, if that is another node. The outputs are those of the job's spool, which is sealed, or
        empty if the job has not begun.

        The future has `JobEndedError` if the job has a result, or `StorageError`. After `StorageError` the job has no
        result: discard the outputs and finish it as system_error, or leave it to the next start, which runs it again.
        Raises: the same errors.
        """
        with self.lock:
            live = self.live.get(row)
            spool = live.spool if live is not None else None
        outputs, contents = dict.fromkeys(OutputStream, OutputDigest()), dict[OutputStream, bytes]()
        if spool is not None:
            outputs = spool.seal()
            spool.sync()
            contents = spool.contents()
        recent = self.recent.get(row)
        manifest_json = recent.job.manifest_json if recent is not None else self.get(row).manifest_json
        kept = {STDOUT + stream - OutputStream.STDOUT: data for stream, data in contents.items()}

        def finish(sql: sqlite3.Connection) -> Job:
            with self.lock:
                if live is None or self.live.get(row) is not live or live.spool is not spool:
                    raise JobEndedError("the job has a result already, or is in another attempt")
                job = live.job
            now = self.clock()
            ended = job.changed(
                state=outcome.state,
                manifest_json=manifest_json,
                outcome=outcome,
                envelope=envelope,
                stdout=outputs[OutputStream.STDOUT],
                stderr=outputs[OutputStream.STDERR],
                file_bytes=spool.file_bytes if spool is not None else 0,
                node=node,
                finished_at=now,
                expires_at=now + timedelta(seconds=self.keep_s),
            )
            return self.table.finishing(ended, kept)(sql)

        def committed(job: Job) -> Job:
            assert live is not None
            with self.lock:
                self.live.pop(row, None)
            self.recent.put(row, job, kept, len(envelope) + len(manifest_json))
            for pin in live.pins:
                pin.release()
            if spool is not None:
                spool.close()
            if spool is not None and spool.has_files:
                remove_inputs(self.directory / job.directory)
            elif live.has_files:
                remove_tree(self.directory / job.directory)
            live.allowance.settle(kept_bytes(job))
            return job

        return self.database.submit(
            Change(doing="keep a job's result", work=finish, committed=committed, essential=True)
        )

    def _drop_spool(self, live: LiveJob) -> None:
        spool, live.spool = live.spool, None
        if spool is None:
            return
        with contextlib.suppress(StorageError):
            spool.discard()
        spool.close()
        if spool.has_files:
            live.has_files = True
            remove_outputs(self.directory / live.job.directory)
