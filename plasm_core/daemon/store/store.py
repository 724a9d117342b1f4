"""The store: every accepted job, from its acceptance until its tombstone is deleted."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from datetime import datetime, timedelta
from pathlib import Path

from plasm_core.config import StorageLimits
from plasm_core.daemon.store.acceptance import JobAcceptance
from plasm_core.daemon.store.attempts import Attempts
from plasm_core.daemon.store.ballast import Ballast
from plasm_core.daemon.store.budget import Allowance, Budget
from plasm_core.daemon.store.database import Database
from plasm_core.daemon.store.disk import remove_tree, storage_errors, sync_directory
from plasm_core.daemon.store.inputs import (
    SMALL_BYTES,
    OpenInputs,
    StagedInputs,
    open_inputs,
    read_inputs,
    remove_inputs,
)
from plasm_core.daemon.store.job import Gone, Job, Recovery, StoredSubmission, Totals
from plasm_core.daemon.store.job_outputs import JobOutputs
from plasm_core.daemon.store.job_table import INPUTS, JobTable
from plasm_core.daemon.store.known_jobs import KnownJobs
from plasm_core.daemon.store.left_files import LeftFile
from plasm_core.daemon.store.live_job import LiveJob, kept_bytes
from plasm_core.daemon.store.lock import DirectoryLock
from plasm_core.daemon.store.modules import Modules
from plasm_core.daemon.store.persistent_clock import SteadyClock
from plasm_core.daemon.store.recent import Recent
from plasm_core.daemon.store.schema import Schema, current_schema
from plasm_core.daemon.store.spool import Spool, remove_outputs
from plasm_core.daemon.store.trees import Trees
from plasm_core.daemon.store.usage import UsageTable
from plasm_core.errors import JobEndedError, StorageFullError
from plasm_core.fair_shares import NOBODY, Holder
from plasm_core.paths import private_directory
from plasm_core.records import JobInput, Manifest, Outcome
from plasm_core.records.job import JobState
from plasm_core.records.output import OutputStream

_RECENT_BYTES = 8 << 20
_FEW_JOBS = 4
_GATHER_PER_JOB_S, _MOST_GATHER_S = 0.0005, 0.015
"""With 30 jobs a commit waits 15 ms, a sixth of what a job then takes: a sync, and a commit's work, serve several."""


class Store:
    """A state directory: `plasmd.db`, `modules/`, `trees/`, `jobs/<random>/`. Thread-safe.

    An accepted job is durable when the method returns or its future is done, and so is its result. Methods that
    return a future do not wait for the disk if inputs and outputs are small. The progress of a run is in memory. The
    start of an attempt is written without a sync, so that it survives the end of the process; for a job that may have
    killed a daemon it is durable before the attempt begins. A method that raises `StorageError` has changed no job.
    """

    def __init__(
        self,
        directory: Path,
        limits: StorageLimits,
        *,
        schema: Schema | None = None,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        """Open a state directory, create it if it is missing, and delete the remains of a crash. Then call `recover`.

        Raises: `StateInUseError`, `StorageError`.
        """
        self.limits = limits
        self._directory = directory
        self._jobs = directory / "jobs"
        self._steady: SteadyClock | None = None
        # A holder never waits for the database's writer thread, because that thread takes it too.
        self._lock = threading.RLock()
        self._clearing = threading.Lock()
        self._live: dict[int, LiveJob] = {}
        self._recent = Recent(_RECENT_BYTES)
        self._known = KnownJobs()
        self._budget = Budget(limits.job_bytes)
        with contextlib.ExitStack() as undo, storage_errors("use the state directory", directory):
            private_directory(directory)
            self._directory_lock = DirectoryLock(directory / "plasmd.lock")
            undo.callback(self._directory_lock.release)
            if clock is None:
                self._steady = SteadyClock(directory / "clock.json")
                clock = self._steady.now
            self._clock = clock
            self._ballast = Ballast(directory / "ballast", limits.spare_bytes)
            self._database = self._open_database(directory / "plasmd.db", schema or current_schema())
            undo.callback(self._database.close)
            self._table = JobTable(self._database)
            self.usage = UsageTable(self._database)
            self._attempts = Attempts(
                directory=self._jobs,
                live=self._live,
                lock=self._lock,
                recent=self._recent,
                table=self._table,
                database=self._database,
                ballast=self._ballast,
                clock=clock,
                get=self.get,
                keep_s=limits.keep_s,
            )
            self._outputs = JobOutputs(
                directory=self._jobs,
                live=self._live,
                lock=self._lock,
                recent=self._recent,
                table=self._table,
                get=self.get,
            )
            self._ballast.restore()
            private_directory(self._jobs)
            self.modules = Modules(directory / "modules", limits.module_bytes, self._ballast)
            self.trees = Trees(directory / "trees", limits.tree_bytes, self._ballast)
            self._acceptance = JobAcceptance(
                directory=self._jobs,
                live=self._live,
                lock=self._lock,
                recent=self._recent,
                known=self._known,
                table=self._table,
                database=self._database,
                ballast=self._ballast,
                budget=self._budget,
                modules=self.modules,
                trees=self.trees,
                clock=clock,
                current=self._current,
                output_reserve_bytes=limits.output_reserve_bytes,
            )
            self._take_stock()
            sync_directory(directory)
            sync_directory(directory.parent)
            undo.pop_all()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close everything; twice is harmless. Jobs that run are as after a crash: `requeue` them before."""
        self._database.close()
        with self._lock:
            for live in self._live.values():
                if live.spool is not None:
                    live.spool.close()
            self._live.clear()
            if self._steady is not None:
                self._steady.keep()
            self._directory_lock.release()

    def now(self) -> datetime:
        """Return the time of the store's clock, which setting the machine's clock does not change."""
        return self._clock()

    @property
    def directory(self) -> Path:
        """The state directory."""
        return self._directory

    @property
    def job_bytes(self) -> int:
        """The bytes of jobs' inputs and outputs on the disk, with reservations."""
        return self._budget.used_bytes

    def ended(self, count: int) -> list[Job]:
        """Return the latest accepted jobs that have a result and are not gone, the latest first. Raises: `StorageError`."""
        return self._table.ended(count)

    def shown(self, moment: datetime | None) -> datetime | None:
        """Return a moment of a job as the machine's clock shows it."""
        return moment if moment is None or self._steady is None else self._steady.shown(moment)

    def find(self, job_id: str, token: bytes) -> Job | None:
        """Return the job with this id and token, also if its data is deleted; None if there is none."""
        found = self._table.find(job_id, token)
        return None if found is None else self._current(found)

    def may_have(self, job_id: str) -> bool:
        """Return whether a job of an id may exist, without reading the disk. False is certain."""
        return job_id in self._known

    def get(self, row: int) -> Job:
        """Return a job in its present state. Raises: `JobEndedError` if it has been forgotten; `StorageError`."""
        job = self._table.get(row)
        if job is None:
            raise JobEndedError("the job has been forgotten")
        return self._current(job)

    def _current(self, job: Job) -> Job:
        """Return the present state of a job that was read from the disk: the progress of its run is in memory."""
        with self._lock:
            live = self._live.get(job.row)
            if live is None:
                return job if not job.state.live else self._read_again(job.row)
            return live.job.changed(manifest_json=job.manifest_json)

    def _read_again(self, row: int) -> Job:
        job = self._table.get(row)
        if job is None:
            raise JobEndedError("the job has been forgotten")
        return job

    def stage(self, manifest: Manifest, sizes: Mapping[str, int], holder: Holder = NOBODY) -> StagedInputs:
        """Begin to receive a job's inputs. See `JobAcceptance.stage`."""
        return self._acceptance.stage(manifest, sizes, holder)

    def staged_bytes(self, manifest: Manifest, sizes: Mapping[str, int]) -> int:
        """Return how many bytes `stage` reserves."""
        return self._acceptance.staged_bytes(manifest, sizes)

    def giver(self, holder: Holder, amount_bytes: int, among: Collection[str]) -> str | None:
        """Return the name that gives first for a holder that `stage` has no room for: see `Shares.giver`."""
        return self._budget.giver(holder, amount_bytes, among)

    def accept(
        self,
        inputs: StagedInputs,
        *,
        manifest_json: bytes,
        token: bytes,
        route: str = "here",
        holder: Holder = NOBODY,
    ) -> StoredSubmission:
        """Store an accepted job durably, as `accepting`, and wait for the commit. Raises: as `accepting` and its future."""
        return self.accepting(
            inputs,
            manifest=Manifest.from_json(manifest_json),
            manifest_json=manifest_json,
            token=token,
            route=route,
            holder=holder,
        ).result()

    def accepting(
        self,
        inputs: StagedInputs,
        *,
        manifest: Manifest,
        manifest_json: bytes,
        token: bytes,
        route: str = "here",
        holder: Holder = NOBODY,
    ) -> Future[StoredSubmission]:
        """Accept a job whose inputs, module and files are complete. See `JobAcceptance.accepting`."""
        return self._acceptance.accepting(
            inputs,
            manifest=manifest,
            manifest_json=manifest_json,
            token=token,
            route=route,
            holder=holder,
        )

    def inputs(self, job: Job) -> JobInput:
        """Read a live job's inputs. Raises: `StorageError` if they are damaged: the job cannot be run."""
        return read_inputs(self._jobs / job.directory, job.manifest, self._small_inputs(job))

    def open_inputs(self, job: Job) -> OpenInputs:
        """Open a live job's inputs, without reading standard input into memory. Raises: `StorageError`, as `inputs`."""
        return open_inputs(self._jobs / job.directory, job.manifest, self._small_inputs(job))

    def _small_inputs(self, job: Job) -> Mapping[int, bytes]:
        """Return the inputs that are stored in the database. Earlier releases stored small inputs as files."""
        if job.input_bytes > SMALL_BYTES:
            return {}
        recent = self._recent.get(job.row)
        return recent.contents if recent is not None else self._table.contents(job.row, INPUTS)

    def begin(self, row: int) -> tuple[Job, Spool]:
        """Start a queued job's next attempt. See `Attempts.begin`."""
        return self._attempts.begin(row)

    def started(self, row: int) -> Job:
        """Record that the guest runs. See `Attempts.started`."""
        return self._attempts.started(row)

    def requeue(self, row: int, *, counted: bool = True) -> Job | None:
        """Requeue a job whose attempt the node failed. See `Attempts.requeue`."""
        return self._attempts.requeue(row, counted=counted)

    def cancel(self, row: int) -> Job:
        """Store that a job's cancellation was requested. See `Attempts.cancel`."""
        return self._attempts.cancel(row)

    def finish(self, row: int, *, outcome: Outcome, envelope: bytes, node: str | None = None) -> Job:
        """Call `finishing` and wait for its future. Raises: as `finishing` and its future."""
        return self.finishing(row, outcome=outcome, envelope=envelope, node=node).result()

    def finishing(
        self, row: int, *, outcome: Outcome, envelope: bytes, node: str | None = None
    ) -> Future[Job]:
        """Store a job's only result. See `Attempts.finishing`."""
        return self._attempts.finishing(row, outcome=outcome, envelope=envelope, node=node)

    def output_bytes(self, job: Job, stream: OutputStream) -> int:
        """Return the size of an output, so far if the job runs."""
        return self._outputs.output_bytes(job, stream)

    def read_output(self, job: Job, stream: OutputStream, offset: int, maximum_bytes: int) -> bytes:
        """Read a part of an output. See `JobOutputs.read_output`."""
        return self._outputs.read_output(job, stream, offset, maximum_bytes)

    def output_now(self, job: Job, stream: OutputStream, offset: int, maximum_bytes: int) -> bytes | None:
        """As `read_output`, but return None if that would wait for the disk. Raises: `OutputGoneError`."""
        return self._outputs.output_now(job, stream, offset, maximum_bytes)

    def open_file(self, job: Job, path: str) -> LeftFile | None:
        """Open an output file of an ended job. See `JobOutputs.open_file`."""
        return self._outputs.open_file(job, path)

    def release(self, row: int) -> Job:
        """Delete an ended job's inputs, outputs and receipt. The tombstone that remains prevents another run.

        Raises: `JobEndedError` if it has not ended or is forgotten; `StorageError`.
        """
        with self._clearing:
            job = self.get(row)
            if job.state.live:
                raise JobEndedError("the job has not ended: cancel it first")
            if job.gone is not None:
                return job
            self._table.bury([row], Gone.RELEASED)
            self._recent.drop(row)
        self._clear(job)
        return self.get(row)

    def expire(self, now: datetime | None = None) -> int:
        """Delete expired jobs' data and expired tombstones, and return their number.

        Afterwards no file, including the database's log, contains released or expired data. Call it about once a
        minute.

        Raises: `StorageError`.
        """
        now = now or self._clock()
        if self._steady is not None:
            self._steady.keep()
        count = 0
        while True:
            with self._clearing:
                due = self._table.due(now)
                if not due:
                    break
                self._table.bury([job.row for job in due], Gone.EXPIRED)
            for job in due:
                self._recent.drop(job.row)
                self._clear(job)
            count += len(due)
        count += self._table.forget(now - timedelta(seconds=self.limits.tombstone_s))
        with contextlib.suppress(StorageFullError):  # the next call deletes it
            self._database.fold()
        return count

    def recover(self) -> Recovery:
        """Load the live jobs at a start. Call it once, before any other method.

        Jobs that ran are requeued with empty outputs, unless they have no attempts left. The interrupted attempt
        counts if the job had been interrupted before and ran alone: so a job that kills its node is not run without
        limit, and the jobs that ran at the same time lose no attempt. See `Job.interruptions`.

        Raises: `StorageError`.
        """
        self._table.requeue_all()
        jobs = self._table.live()
        with self._lock:
            for job in jobs:
                self._live[job.row].job = job.changed(manifest_json=b"")
        waiting = [job for job in jobs if not job.cancelling]
        return Recovery(
            queued=tuple(job for job in waiting if job.state is JobState.QUEUED),
            exhausted=tuple(job for job in waiting if job.state is not JobState.QUEUED),
            cancelling=tuple(job for job in jobs if job.cancelling),
        )

    def totals(self) -> Totals:
        """Count jobs, modules, trees and their bytes. Raises: `StorageError`."""
        with self._lock:
            live = [item.job.state for item in self._live.values()]
            counts = self._table.counts()
        jobs = dict.fromkeys(JobState, 0)
        jobs |= {state: count for state, gone, count in counts if not gone and not state.live}
        jobs |= {state: live.count(state) for state in JobState if state.live}
        return Totals(
            jobs=jobs,
            tombstones=sum(count for _, gone, count in counts if gone),
            job_bytes=self._budget.used_bytes,
            modules=len(self.modules),
            module_bytes=self.modules.used_bytes,
            trees=len(self.trees),
            tree_bytes=self.trees.used_bytes,
        )

    def _clear(self, job: Job) -> None:
        """Remove the files of a job that has just been buried."""
        remove_tree(self._jobs / job.directory)
        if job.tree:
            self.trees.let_go(job.tree)
        self._budget.give_back(kept_bytes(job), job.holder)

    def _open_database(self, path: Path, schema: Schema) -> Database:
        try:
            return Database(path, schema, self._ballast, gather_s=self._gather_s)
        except StorageFullError:
            self._ballast.spend()
            return Database(path, schema, self._ballast, gather_s=self._gather_s)

    def _gather_s(self) -> float:
        """Return how long a commit waits for others: longer with more live jobs, each of which will need a commit."""
        jobs = len(self._live)
        return 0.0 if jobs < _FEW_JOBS else min(_MOST_GATHER_S, jobs * _GATHER_PER_JOB_S)

    def _take_stock(self) -> None:
        """Count the bytes and pins of all jobs, and delete the files of no job."""
        # Files there may belong to others, such as the list of the user's own handles (`plasm jobs`).
        known, there = set(), {path.name for path in self._jobs.iterdir() if path.is_dir()}
        for identity in self._table.identities():
            self._known.add(identity)
        for job in self._table.present():
            known.add(job.directory)
            self.modules.attribute(job.module, job.holder)
            if job.tree:
                self.trees.retain(job.tree)
                self.trees.attribute(job.tree, job.holder)
            directory, has_files = self._jobs / job.directory, job.directory in there
            if job.state.live:
                if has_files:
                    remove_outputs(directory)
                reserved = job.input_bytes + job.reserved_bytes
                allowance = Allowance(self._budget, reserved, job.holder, force=True)
                allowance.use(job.input_bytes)
                self._live[job.row] = LiveJob(
                    job.changed(manifest_json=b""),
                    allowance,
                    (self.modules.hold(job.module), *([self.trees.hold(job.tree)] if job.tree else [])),
                    has_files=has_files,
                    was_there=True,
                )
            else:
                if has_files:
                    remove_inputs(directory)
                self._budget.take(kept_bytes(job), job.holder, force=True)
        self.trees.delete_unused()
        for name in there - known:
            remove_tree(self._jobs / name)
