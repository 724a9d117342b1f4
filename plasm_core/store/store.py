"""The store: every job that was accepted, until it is forgotten."""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from pathlib import Path

import attrs

from plasm_core.config import StorageLimits
from plasm_core.errors import JobEndedError, OutputGoneError, RefusedError, StorageError, StorageFullError
from plasm_core.paths import private_directory
from plasm_core.records import JobInput, Manifest, Outcome, job_id
from plasm_core.shares import NOBODY, Holder
from plasm_core.store.ballast import Ballast
from plasm_core.store.budget import Allowance, Budget
from plasm_core.store.clock import SteadyClock
from plasm_core.store.database import Database
from plasm_core.store.disk import remove_tree, storage_errors, sync_directory
from plasm_core.store.inputs import OpenInputs, StagedInputs, open_inputs, read_inputs, remove_inputs
from plasm_core.store.job import Accepted, Gone, Job, Output, Recovery, State, Stream, Totals
from plasm_core.store.lock import DirectoryLock
from plasm_core.store.modules import Modules, Pin
from plasm_core.store.schema import Schema, current_schema
from plasm_core.store.spool import Spool, read_output, remove_outputs
from plasm_core.store.table import JobTable


@attrs.define
class _Live:
    """What a job without a result holds."""

    allowance: Allowance
    pin: Pin
    spool: Spool | None = None


class Store:
    """A state directory: `plasmd.db`, `modules/`, `jobs/<random>/`. Thread-safe; methods wait for the disk.

    Everything a method has done is on the disk when it returns, except `started` and output of a run that has
    not ended. A method that raises `StorageError` has changed nothing that a job depends on.
    """

    def __init__(
        self,
        directory: Path,
        limits: StorageLimits,
        *,
        schema: Schema | None = None,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        """Open a state directory, made if it is not there, and clear what a crash left. Then call `recover`.

        Raises: `StateInUseError`, `StorageError`.
        """
        self.limits = limits
        self._directory = directory
        self._jobs = directory / "jobs"
        self._steady: SteadyClock | None = None
        self._lock = threading.RLock()
        self._live: dict[int, _Live] = {}
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
            self._ballast.restore()
            private_directory(self._jobs)
            self.modules = Modules(directory / "modules", limits.module_bytes, self._ballast)
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
        with self._lock:
            for live in self._live.values():
                if live.spool is not None:
                    live.spool.close()
            self._live.clear()
            if self._steady is not None:
                self._steady.keep()
            self._database.close()
            self._directory_lock.release()

    def now(self) -> datetime:
        """Return the time that the moments of jobs are of: no setting of the machine's clock changes it."""
        return self._clock()

    def shown(self, moment: datetime | None) -> datetime | None:
        """Return a moment of a job as the machine's clock shows it."""
        return moment if moment is None or self._steady is None else self._steady.shown(moment)

    def find(self, job_id: str, token: bytes) -> Job | None:
        """Return the job of an id that a token opens, also if it is gone. A wrong token finds nothing."""
        return self._table.find(job_id, token)

    def get(self, row: int) -> Job:
        """Return a job as it is now. Raises: `JobEndedError` if it has been forgotten; `StorageError`."""
        job = self._table.get(row)
        if job is None:
            raise JobEndedError("the job has been forgotten")
        return job

    def stage(self, manifest: Manifest, sizes: Mapping[str, int], holder: Holder = NOBODY) -> StagedInputs:
        """Begin to take a job's inputs, of the sizes announced for `args`, `env` and `stdin`.

        Room is reserved for all of them, and some for the outputs, in the share of the holder.

        Raises: `StorageFullError`, `StorageError`.
        """
        reserved = self.staged_bytes(manifest, sizes)
        self._ballast.demand()
        allowance = Allowance(self._budget, reserved, holder)
        try:
            return StagedInputs(self._jobs / secrets.token_hex(8), sizes, allowance, self._ballast)
        except BaseException:
            allowance.settle(0)
            raise

    def staged_bytes(self, manifest: Manifest, sizes: Mapping[str, int]) -> int:
        """Return how many bytes `stage` reserves."""
        return sum(sizes.values()) + self._output_reserve(manifest)

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
    ) -> Accepted:
        """Accept a job whose inputs are complete and whose module is here. It is durable when this returns.

        A job of this manifest and token that is there already, gone or not, is returned instead. In that case,
        and whatever is raised, the inputs are discarded. `holder` is kept with the job: its names must be keyed
        digests, which tell nobody who that is.

        Raises: `RefusedError` (`digest_mismatch`; `module_missing`), `InvalidRecordError`, `StorageError`.
        """
        with contextlib.ExitStack() as undo:
            undo.callback(inputs.discard)
            manifest = Manifest.from_json(manifest_json)
            identity = job_id(manifest_json)
            inputs.check(manifest)
            pin = self.modules.pin(manifest.module)
            if pin is None:
                raise RefusedError("module_missing", "the module is not here any more: send it again")
            undo.callback(pin.release)
            inputs.sync()
            with self._lock:
                existing = self.find(identity, token)
                if existing is not None:
                    return Accepted(job=existing, created=False)
                job = self._table.accept(
                    manifest,
                    manifest_json,
                    token,
                    accepted_at=self._clock(),
                    input_bytes=sum(inputs.received.values()),
                    reserved_bytes=self._output_reserve(manifest),
                    directory=inputs.directory.name,
                    route=route,
                    holder=holder,
                )
                self._live[job.row] = _Live(inputs.hand_over(), pin)
            undo.pop_all()
            return Accepted(job=job, created=True)

    def inputs(self, job: Job) -> JobInput:
        """Read a live job's inputs. Raises: `StorageError` if they are damaged: the job cannot be run."""
        return read_inputs(self._jobs / job.directory, job.manifest)

    def open_inputs(self, job: Job) -> OpenInputs:
        """Open a live job's inputs, without reading standard input into memory. Raises: `StorageError`, as `inputs`."""
        return open_inputs(self._jobs / job.directory, job.manifest)

    def begin(self, row: int) -> tuple[Job, Spool]:
        """Start a queued job's next attempt: INITIALIZING, with empty outputs. The attempt counts from here.

        Raises: `JobEndedError` if it is not queued or is to be cancelled; `StorageError`, `StorageFullError`,
        and it stays queued.
        """
        with self._lock:
            job = self.get(row)
            if job.state is not State.QUEUED or job.cancelling:
                raise JobEndedError("the job is not waiting to be run")
            live = self._live[row]
            directory = self._jobs / job.directory
            self._ballast.demand()
            spool = Spool(directory, job.attempt + 1, live.allowance, self._ballast)
            try:
                begun = self._table.begin(row, self._clock())
            except BaseException:
                spool.close()
                remove_outputs(directory)
                raise
            live.spool = spool
            return begun, spool

    def started(self, row: int) -> Job:
        """Note that the guest itself runs: RUNNING. Raises: `JobEndedError`, `StorageError`."""
        return self._table.started(row)

    def requeue(self, row: int, *, counted: bool = True) -> Job | None:
        """Put a job that has begun back into the queue, its outputs deleted, after the node failed it.

        `counted` False takes the attempt back: the node stopped by its own will, as at a shutdown.
        Returns None, and changes nothing, if no attempt is left or the job is to be cancelled: finish it.

        Raises: `JobEndedError` if it has not begun or has ended; `StorageError`.
        """
        with self._lock:
            job = self.get(row)
            if job.state not in (State.INITIALIZING, State.RUNNING):
                raise JobEndedError("the job does not run")
            if job.cancelling or (counted and job.counted_attempts >= job.allowed_attempts):
                return None
            queued = self._table.requeue(row, counted=counted)
            self._drop_spool(job)
            return queued

    def cancel(self, row: int) -> Job:
        """Note that a job is to be cancelled, so that no crash has it run again. It is still to be finished.

        One that has ended stays as it is.

        Raises: `JobEndedError` if it has been forgotten; `StorageError`.
        """
        return self._table.cancel(row) or self.get(row)

    def finish(self, row: int, *, outcome: Outcome, envelope: bytes, node: str | None = None) -> Job:
        """Give a job its one result. Its inputs are deleted, its outputs stay until it expires.

        `node` is who signed it, if that is another. The outputs are those of the spool, sealed by now, or empty
        if the job has not begun.

        Raises: `JobEndedError` if it has a result; `StorageError`, and it has none: discard the outputs and
        finish it as system_error, or leave it to the next start, which runs it again.
        """
        with self._lock:
            live = self._live.get(row)
            spool = live.spool if live is not None else None
        outputs = dict.fromkeys(Stream, Output())
        if spool is not None:
            outputs = spool.seal()
            spool.sync()
        with self._lock:
            live = self._live.get(row)
            if live is None or live.spool is not spool:
                raise JobEndedError("the job has a result already, or is in another attempt")
            now = self._clock()
            job = self._table.finish(
                row,
                outcome=outcome,
                envelope=envelope,
                outputs=outputs,
                node=node,
                finished_at=now,
                expires_at=now + timedelta(seconds=self.limits.keep_s),
            )
            del self._live[row]
        live.pin.release()
        if spool is not None:
            spool.close()
        remove_inputs(self._jobs / job.directory)
        live.allowance.settle(_kept_bytes(job))
        return job

    def release(self, row: int) -> Job:
        """Delete an ended job's inputs, outputs and receipt. What stays keeps it from being run again.

        Raises: `JobEndedError` if it has not ended or is forgotten; `StorageError`.
        """
        with self._lock:
            job = self.get(row)
            if job.state.live:
                raise JobEndedError("the job has not ended: cancel it first")
            if job.gone is not None:
                return job
            self._table.bury([row], Gone.RELEASED)
        self._clear(job)
        return self.get(row)

    def expire(self, now: datetime | None = None) -> int:
        """Delete what has been kept for its time, and forget jobs whose tombstone has. Returns how many.

        From then nothing that was released or has expired is in any file, the database's log included: call it
        every minute or so.

        Raises: `StorageError`.
        """
        now = now or self._clock()
        if self._steady is not None:
            self._steady.keep()
        count = 0
        while True:
            with self._lock:
                due = self._table.due(now)
                if not due:
                    break
                self._table.bury([job.row for job in due], Gone.EXPIRED)
            for job in due:
                self._clear(job)
            count += len(due)
        count += self._table.forget(now - timedelta(seconds=self.limits.tombstone_s))
        with contextlib.suppress(StorageFullError):  # the next call does it
            self._database.fold()
        return count

    def output_bytes(self, job: Job, stream: int) -> int:
        """Return how long an output is, so far if the job runs."""
        with self._lock:
            live = self._live.get(job.row)
            if live is not None:
                return live.spool.size_bytes(stream) if live.spool is not None else 0
        return self.get(job.row).output(stream).size_bytes

    def read_output(self, job: Job, stream: int, offset: int, maximum_bytes: int) -> bytes:
        """Read at most so many bytes of an output from an offset; none at or beyond its end so far.

        Of the attempt that `job` was in when it was read.

        Raises: `OutputGoneError` if the job is gone by now or in another attempt; `StorageError`.
        """
        if job.gone is not None:
            raise OutputGoneError(f"the job's output has been {job.gone.value}")
        ended = not job.state.live and offset >= job.output(stream).size_bytes
        if ended or job.state is State.QUEUED:
            return b""
        return read_output(self._jobs / job.directory, Stream(stream), job.attempt, offset, maximum_bytes)

    def recover(self) -> Recovery:
        """Take up the live jobs that a start found, once, before anything else is done.

        Those that ran are queued again with empty outputs, unless their attempts are used up. The attempt that
        was cut short counts if the job had been interrupted before and ran alone: a job that brings its node down
        does not do so forever, and one that ran beside it loses nothing. See `Job.interruptions`.

        Raises: `StorageError`.
        """
        with self._lock:
            self._table.requeue_all()
            jobs = self._table.live()
        waiting = [job for job in jobs if not job.cancelling]
        return Recovery(
            queued=tuple(job for job in waiting if job.state is State.QUEUED),
            exhausted=tuple(job for job in waiting if job.state is not State.QUEUED),
            cancelling=tuple(job for job in jobs if job.cancelling),
        )

    def totals(self) -> Totals:
        """Count what there is. Raises: `StorageError`."""
        counts = self._table.counts()
        jobs = dict.fromkeys(State, 0) | {state: count for state, gone, count in counts if not gone}
        return Totals(
            jobs=jobs,
            tombstones=sum(count for _, gone, count in counts if gone),
            job_bytes=self._budget.used_bytes,
            modules=len(self.modules),
            module_bytes=self.modules.used_bytes,
        )

    def _output_reserve(self, manifest: Manifest) -> int:
        return min(self.limits.output_reserve_bytes, 2 * manifest.limits.output_bytes)

    def _clear(self, job: Job) -> None:
        """Remove the files of a job that has just been buried."""
        remove_tree(self._jobs / job.directory)
        self._budget.give_back(_kept_bytes(job), job.holder)

    def _drop_spool(self, job: Job) -> None:
        live = self._live[job.row]
        spool, live.spool = live.spool, None
        if spool is not None:
            with contextlib.suppress(StorageError):
                spool.discard()
            spool.close()
        remove_outputs(self._jobs / job.directory)

    def _open_database(self, path: Path, schema: Schema) -> Database:
        try:
            return Database(path, schema, self._ballast)
        except StorageFullError:
            self._ballast.spend()
            return Database(path, schema, self._ballast)

    def _take_stock(self) -> None:
        """Count what jobs hold, and remove what no job has."""
        known = set()
        for job in self._table.present():
            known.add(job.directory)
            self.modules.attribute(job.module, job.holder)
            directory = self._jobs / job.directory
            if job.state.live:
                remove_outputs(directory)
                reserved = job.input_bytes + job.reserved_bytes
                allowance = Allowance(self._budget, reserved, job.holder, force=True)
                allowance.use(job.input_bytes)
                self._live[job.row] = _Live(allowance, self.modules.hold(job.module))
            else:
                remove_inputs(directory)
                self._budget.take(_kept_bytes(job), job.holder, force=True)
        for path in self._jobs.iterdir():
            if path.name not in known:
                remove_tree(path)


def _kept_bytes(job: Job) -> int:
    return job.stdout.size_bytes + job.stderr.size_bytes
