"""Runs one job, from its start to its stored result. All of it blocks, in the job's own thread."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future

import attrs

from plasm_core.client.result import JobResult
from plasm_core.client.upload import Bytes, File, Source
from plasm_core.daemon.gateway import Gateway, GatewayCancelledError, SpoolSink
from plasm_core.daemon.store import Job, OpenInputs, Spool, Store
from plasm_core.errors import JobEndedError, PlasmError, StorageError
from plasm_core.execution import NO_OUTPUTS, certify, execute, not_run
from plasm_core.local_node import LocalNode
from plasm_core.records import Outcome
from plasm_core.records.files import Product
from plasm_core.records.output import OutputDigest, OutputStream
from plasm_core.records.run import Run
from plasm_core.sandbox.process.child import unmetered
from plasm_core.sandbox.process.file_pack import FilePack
from plasm_core.sandbox.process.supervision import StdinFile, printable
from plasm_core.stopwatch import Stopwatch

log = logging.getLogger(__name__)

_AGAIN_S = 5.0
"""How long to wait before the disk is asked again to take a result."""


@attrs.define(eq=False)
class Attempt:
    """The state that a job's thread shares with the event loop.

    `client`: the owner whose shared worker may be used. `cancelled` ends the run; `stopping` says that the daemon's
    shutdown is the reason. `deadline`: when the job must have ended, in seconds of `time.monotonic`. The thread
    calls `changed` with the job in its new state, `grown` with the bytes of output that have come, and `charge` with
    processor time that was used for the job, while the job runs. `cpu_time_s`: processor time of the run. `gas_used`: the gas of the
    run. `metered_s`: all processor time that was charged: of the run, of admission, of starting the worker, and of
    receiving output.
    """

    row: int
    client: str
    changed: Callable[[Job], None]
    grown: Callable[[int], None]
    deadline: float
    charge: Callable[[float], None] = unmetered
    cancelled: threading.Event = attrs.field(factory=threading.Event)
    stopping: bool = False
    cpu_time_s: float = 0.0
    gas_used: int = 0
    metered_s: float = 0.0

    def stop(self) -> None:
        """End the run because the daemon stops: the job returns to the queue."""
        self.stopping = True
        self.cancelled.set()

    def meter(self, cpu_s: float) -> None:
        """Charge processor time, in seconds, that was used for the job."""
        self.metered_s += cpu_s
        self.charge(cpu_s)

    @property
    def node_cpu_s(self) -> float:
        """Processor time that the node used for the job in addition to the run."""
        return max(0.0, self.metered_s - self.cpu_time_s)


@attrs.frozen(kw_only=True)
class Keeping:
    """A job that has ended and whose result is being written to the disk. `run`: how it ended."""

    job: Job
    spool: Spool
    run: Run
    done: Future[Job]


@attrs.frozen(kw_only=True)
class _Ran:
    """A run that has ended on this node, and the job's output files, which are already stored."""

    run: Run
    files: tuple[Product, ...] = ()


class Runner:
    """Runs jobs of a store on a node."""

    def __init__(self, node: LocalNode, store: Store, gateway: Gateway | None = None) -> None:
        self._node = node
        self._store = store
        self._gateway = gateway

    def execute(self, attempt: Attempt) -> Job | Keeping:
        """Run a queued job.

        Return the job, queued again if the node failed or stops, or the result that is being written.

        Raises: `StorageError` if the job cannot be started.
        """
        began_s = time.thread_time()
        try:
            return self._execute(attempt)
        finally:
            attempt.meter(time.thread_time() - began_s)

    def _execute(self, attempt: Attempt) -> Job | Keeping:
        try:
            job, spool = self._store.begin(attempt.row)
        except JobEndedError:
            return self._store.get(attempt.row)
        if job.route == "network":
            attempt.changed(job)
        sink = SpoolSink(job, spool, attempt.grown, lambda: self._again(attempt))
        ran = self._attempt(job, sink, attempt)
        job, spool = sink.job, sink.spool  # a forwarded job may be in another attempt by now
        if isinstance(ran, JobResult):
            try:
                return self._keep_given(job, spool, ran)
            except StorageError as exc:
                ran = _Ran(run=self._failed_storage(job, spool, exc))
        run = ran.run
        attempt.cpu_time_s = run.cpu_time_s
        attempt.gas_used = run.gas_used
        stopped = run.outcome.kind == "cancelled" and attempt.stopping
        if run.outcome.kind == "system_error":
            log.warning("run failed job=%s attempt=%d reason=%s", job.job_id, job.attempt, run.outcome.detail)
        if stopped or run.outcome.kind == "system_error":
            try:
                again = self._store.requeue(job.row, counted=not stopped)
            except StorageError as exc:
                log.error("cannot queue a job again job=%s reason=%s", job.job_id, exc)
                again = job if stopped else None  # the next start of the daemon deletes it
            if again is not None:
                return again
        try:
            return Keeping(job=job, spool=spool, run=run, done=self._keep(job, run, spool.seal(), ran.files))
        except StorageError as exc:
            return Keeping(job=job, spool=spool, run=run, done=_failed(exc))

    def end_unrun(self, job: Job, outcome: Outcome) -> Job:
        """Store the result of a job that did not run: it was cancelled, waited too long, or cannot be run.

        Raises: `JobEndedError`, `StorageError`.
        """
        job = self._store.get(job.row)  # with its manifest
        return self._keep(job, not_run(outcome), NO_OUTPUTS).result()

    def _again(self, attempt: Attempt) -> tuple[Job, Spool]:
        """Begin another attempt of a job that is handed on: a node failed it, and this daemon did not.

        Raises: `PlasmError` if the job is to be cancelled.
        """
        if self._store.requeue(attempt.row, counted=False) is None:
            raise GatewayCancelledError("cancelled")
        job, spool = self._store.begin(attempt.row)
        attempt.changed(self._store.started(attempt.row))
        return job, spool

    def _attempt(self, job: Job, sink: SpoolSink, attempt: Attempt) -> _Ran | JobResult:
        """Run the guest, here or at another node. Any failure of that is a system error."""
        watch = Stopwatch()
        try:
            with self._store.open_inputs(job) as inputs:
                if job.route == "network":
                    return self._hand_on(job, inputs, sink, attempt)
                return self._run_guest(job, inputs, sink, attempt)
        except GatewayCancelledError:
            return _Ran(run=not_run(Outcome(kind="cancelled", detail="on request"), watch))
        except StorageError as exc:
            return _Ran(run=self._failed_storage(job, sink.spool, exc))
        except PlasmError as exc:
            reason = str(exc)
        except Exception as exc:
            log.exception("unexpected error job=%s", job.job_id)
            reason = f"internal error: {type(exc).__name__}"
        self._discard(sink.spool)
        return _Ran(run=not_run(Outcome(kind="system_error", detail=printable(reason)), watch))

    def _hand_on(self, job: Job, inputs: OpenInputs, sink: SpoolSink, attempt: Attempt) -> JobResult:
        """Have a node of the network run the job. Raises: `PlasmError`."""
        if self._gateway is None:
            raise PlasmError("this daemon forwards no more jobs")
        stdin: Source = File(inputs.stdin_path) if inputs.stdin_fd >= 0 else Bytes(inputs.inputs.stdin)
        with contextlib.ExitStack() as opened:
            opened.enter_context(contextlib.closing(stdin))
            # On disk: each may have 128 MiB, and there is one for each job at another node.
            module = opened.enter_context(
                contextlib.closing(File(self._store.modules.checked_path(job.module)))
            )
            pack = opened.enter_context(self._store.trees.open(job.tree)) if job.tree else None
            return self._gateway.run(
                job.manifest_json,
                module,
                inputs.inputs,
                stdin,
                sink,
                pack=pack,
                cancelled=attempt.cancelled,
                begun=lambda: attempt.changed(self._store.started(job.row)),
                timeout_s=max(1.0, attempt.deadline - time.monotonic()),
            )

    def _run_guest(self, job: Job, inputs: OpenInputs, sink: SpoolSink, attempt: Attempt) -> _Ran:
        """Run the guest here. Raises: `PlasmError`."""
        left_s = attempt.deadline - time.monotonic()
        if left_s < 1:
            outcome = Outcome(kind="timed_out", detail="before it could be started again")
            return _Ran(run=not_run(outcome))
        if not job.tree:
            return self._run_with(None, job, inputs, sink, attempt, left_s)
        with self._store.trees.open(job.tree) as pack:
            return self._run_with(pack, job, inputs, sink, attempt, left_s)

    def _run_with(
        self,
        pack: FilePack | None,
        job: Job,
        inputs: OpenInputs,
        sink: SpoolSink,
        attempt: Attempt,
        left_s: float,
    ) -> _Ran:
        """Run the guest with its input tree, and keep the files that it leaves. Raises: `PlasmError`."""
        manifest = job.manifest

        def tell(phase: str) -> None:
            # A compiled module starts at once: its followers get RUNNING without INITIALIZING.
            if phase != "running":
                attempt.changed(job)

        executed = execute(
            self._node,
            attrs.evolve(manifest, wall_time_s=min(manifest.wall_time_s, int(left_s))),
            lambda: self._store.modules.read(job.module),
            inputs.inputs,
            sink,
            client=attempt.client,
            stdin=StdinFile(fd=inputs.stdin_fd, size_bytes=inputs.stdin_bytes)
            if inputs.stdin_fd >= 0
            else None,
            cancelled=attempt.cancelled,
            progress=tell,
            admitted=lambda: attempt.changed(self._store.started(job.row)),
            meter=attempt.meter,
            files=pack,
            scratch=sink.spool.scratch,
        )
        left = executed.files
        if left is None:
            return _Ran(run=executed.run)
        with contextlib.closing(left):
            sink.spool.keep_files(left)
            return _Ran(run=executed.run, files=left.digests)

    def _keep_given(self, job: Job, spool: Spool, given: JobResult) -> Job:
        """Keep what another node gave. Raises: `StorageError`."""
        kept = spool.seal()
        if any(given.receipt.output(stream).sha256 != digest.sha256 for stream, digest in kept.items()):
            raise StorageError("the stored output differs from the receipt")
        if given.fetched is not None:
            with contextlib.closing(given.fetched):
                spool.keep_files(given.fetched)
        return self._store.finish(
            job.row,
            outcome=given.outcome,
            envelope=given.envelope.to_json(),
            node=str(given.receipt.node),
        )

    def _failed_storage(self, job: Job, spool: Spool, exc: StorageError) -> Run:
        log.error("storage failed job=%s reason=%s", job.job_id, exc)
        self._discard(spool)
        outcome = Outcome(kind="system_error", detail=printable(str(exc)))
        return not_run(outcome)

    def _discard(self, spool: Spool) -> None:
        try:
            spool.discard()
        except StorageError as exc:
            log.error("cannot empty an output reason=%s", exc)

    def keep_again(self, keeping: Keeping, attempt: Attempt) -> Job:
        """Write a result that the disk did not take, again and again until it does: an accepted job must get its result."""
        job, spool, run = keeping.job, keeping.spool, keeping.run
        problem = keeping.done.exception()
        while True:
            if not isinstance(problem, StorageError):
                assert problem is not None
                raise problem
            log.error("cannot keep a result job=%s reason=%s", job.job_id, problem)
            if attempt.stopping:
                return job  # the job runs again after the next start
            time.sleep(_AGAIN_S)
            self._discard(spool)
            reason = "the node could not keep its result"
            run = attrs.evolve(run, outcome=Outcome(kind="system_error", detail=reason))
            try:
                return self._keep(job, run, spool.seal()).result()
            except StorageError as exc:
                problem = exc

    def _keep(
        self,
        job: Job,
        run: Run,
        outputs: Mapping[OutputStream, OutputDigest],
        files: tuple[Product, ...] = (),
    ) -> Future[Job]:
        completed = certify(
            self._node,
            run,
            outputs,
            manifest_json=job.manifest_json,
            manifest=job.manifest,
            attempt=max(1, job.counted_attempts),
            files=files,
        )
        return self._store.finishing(job.row, outcome=run.outcome, envelope=completed.envelope.to_json())


def _failed(exc: StorageError) -> Future[Job]:
    failed: Future[Job] = Future()
    failed.set_exception(exc)
    return failed
