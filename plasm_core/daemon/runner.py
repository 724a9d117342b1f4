"""Runs one job, from its start to its result on the disk. All of it waits, in a thread of its own."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import threading
import time
from collections.abc import Callable

import attrs

from plasm_core.client.result import JobResult
from plasm_core.client.source import Bytes, File, Source
from plasm_core.daemon.gateway import Gateway, GatewayCancelledError, SpoolSink
from plasm_core.errors import JobEndedError, PlasmError, StorageError
from plasm_core.issuer import Produced, receipt_of, sign
from plasm_core.node import Node
from plasm_core.records import Outcome
from plasm_core.sandbox.executor import Run, StdinFile, printable
from plasm_core.stopwatch import Stopwatch
from plasm_core.store import Job, OpenInputs, Spool, Store, Stream

log = logging.getLogger(__name__)

_AGAIN_S = 5.0
"""How long to wait before the disk is asked again to take a result."""


@attrs.define(eq=False)
class Attempt:
    """What the thread that runs a job shares with the others. `client` is whose shared worker it may have.

    `cancelled` ends the run; `stopping` says that it was for the daemon's own end. `deadline` is the moment by
    which the job must have ended, in seconds of `time.monotonic`. `changed` and `grown` are called in the
    thread: with the job in its new state, and when there is more output. `cpu_time_s` is the processor time that the
    run took, `node_cpu_s` what the node took for it beside: compiling, and the thread itself, which takes the output.
    """

    row: int
    client: str
    changed: Callable[[Job], None]
    grown: Callable[[], None]
    deadline: float
    cancelled: threading.Event = attrs.field(factory=threading.Event)
    stopping: bool = False
    cpu_time_s: float = 0.0
    node_cpu_s: float = 0.0

    def meter(self, cpu_s: float) -> None:
        """Take note of processor time that the node used for the job."""
        self.node_cpu_s += cpu_s


class Runner:
    """Runs jobs of a store on a node."""

    def __init__(self, node: Node, store: Store) -> None:
        self._node = node
        self._store = store
        self.gateway: Gateway | None = None

    def execute(self, attempt: Attempt) -> Job:
        """Run a queued job. Return it with its result, or queued again if the node failed it or stops.

        Raises: `StorageError` if it cannot be started.
        """
        began_s = time.thread_time()
        try:
            return self._execute(attempt)
        finally:
            attempt.meter(time.thread_time() - began_s)

    def _execute(self, attempt: Attempt) -> Job:
        try:
            job, spool = self._store.begin(attempt.row)
        except JobEndedError:
            return self._store.get(attempt.row)
        attempt.changed(job)
        sink = SpoolSink(job, spool, attempt.grown, lambda: self._again(attempt))
        run = self._attempt(job, sink, attempt)
        job, spool = sink.job, sink.spool  # a job that was handed on may be in another attempt by now
        if isinstance(run, Run):
            attempt.cpu_time_s = run.cpu_time_s
        if isinstance(run, JobResult):
            try:
                return self._keep_given(job, spool, run)
            except StorageError as exc:
                run = self._failed_storage(job, spool, exc)
        stopped = run.outcome.kind == "cancelled" and attempt.stopping
        if run.outcome.kind == "system_error":
            log.warning("run failed job=%s attempt=%d reason=%s", job.job_id, job.attempt, run.outcome.detail)
        if stopped or run.outcome.kind == "system_error":
            try:
                again = self._store.requeue(job.row, counted=not stopped)
            except StorageError as exc:
                log.error("cannot queue a job again job=%s reason=%s", job.job_id, exc)
                again = job if stopped else None  # the next start does it
            if again is not None:
                return again
        return self._finish(job, spool, run, attempt)

    def end_unrun(self, job: Job, outcome: Outcome) -> Job:
        """Give a job that does not run a result: it was cancelled, or waited too long, or cannot be run.

        Raises: `JobEndedError`, `StorageError`.
        """
        job = self._store.get(job.row)  # with its manifest
        return self._keep(job, _ended(outcome, Stopwatch()), dict.fromkeys(Stream, _NOTHING))

    def _again(self, attempt: Attempt) -> tuple[Job, Spool]:
        """Begin another attempt of a job that is handed on: a node failed it, and this daemon did not.

        Raises: `PlasmError` if the job is to be cancelled.
        """
        if self._store.requeue(attempt.row, counted=False) is None:
            raise GatewayCancelledError("cancelled")
        job, spool = self._store.begin(attempt.row)
        attempt.changed(self._store.started(attempt.row))
        return job, spool

    def _attempt(self, job: Job, sink: SpoolSink, attempt: Attempt) -> Run | JobResult:
        """Run the guest, here or at another node. Whatever goes wrong with that is a system error."""
        watch = Stopwatch()
        try:
            with self._store.open_inputs(job) as inputs:
                if job.route == "network":
                    return self._hand_on(job, inputs, sink, attempt)
                return self._run_guest(job, inputs, sink.spool, attempt)
        except GatewayCancelledError:
            return _ended(Outcome(kind="cancelled", detail="by its owner"), watch)
        except StorageError as exc:
            return self._failed_storage(job, sink.spool, exc)
        except PlasmError as exc:
            reason = str(exc)
        except Exception as exc:
            log.exception("unexpected error job=%s", job.job_id)
            reason = f"internal error: {type(exc).__name__}"
        self._discard(sink.spool)
        return _ended(Outcome(kind="system_error", detail=printable(reason)), watch)

    def _hand_on(self, job: Job, inputs: OpenInputs, sink: SpoolSink, attempt: Attempt) -> JobResult:
        """Have a node of the network run the job. Raises: `PlasmError`."""
        if self.gateway is None:
            raise PlasmError("this daemon hands no jobs on any more")
        stdin: Source = File(inputs.stdin_path) if inputs.stdin_bytes else Bytes(b"")
        with contextlib.closing(stdin):
            return self.gateway.run(
                job.manifest_json,
                self._store.modules.read(job.module),
                inputs.inputs,
                stdin,
                sink,
                cancelled=attempt.cancelled,
                begun=lambda: attempt.changed(self._store.started(job.row)),
                timeout_s=max(1.0, attempt.deadline - time.monotonic()),
            )

    def _run_guest(self, job: Job, inputs: OpenInputs, spool: Spool, attempt: Attempt) -> Run:
        """Run the guest here. Raises: `PlasmError`."""
        left_s = attempt.deadline - time.monotonic()
        if left_s < 1:
            outcome = Outcome(kind="timed_out", detail="before it could be started again")
            return _ended(outcome, Stopwatch())
        manifest = job.manifest

        def take(stream: int, data: bytes) -> None:
            spool.append(stream, data)
            attempt.grown()

        modules = self._store.modules
        with self._node.admission().admit_stored(
            job.module, lambda: modules.read(job.module), manifest.limits, meter=attempt.meter
        ) as program:
            if attempt.cancelled.is_set():
                return _ended(Outcome(kind="cancelled", detail="by its owner"), Stopwatch())
            attempt.changed(self._store.started(job.row))
            return self._node.executor.run(
                program,
                attrs.evolve(manifest, wall_time_s=min(manifest.wall_time_s, int(left_s))),
                inputs.inputs,
                take,
                client=attempt.client,
                cancelled=attempt.cancelled,
                stdin=StdinFile(fd=inputs.stdin_fd, size_bytes=inputs.stdin_bytes),
                close_program=True,
            )

    def _keep_given(self, job: Job, spool: Spool, given: JobResult) -> Job:
        """Keep what another node gave. Raises: `StorageError`."""
        kept = spool.seal()
        if (kept[Stream.STDOUT].digest, kept[Stream.STDERR].digest) != (
            given.receipt.stdout,
            given.receipt.stderr,
        ):
            raise StorageError("what was kept of the output is not what the receipt says")
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
        return _ended(outcome, Stopwatch())

    def _discard(self, spool: Spool) -> None:
        try:
            spool.discard()
        except StorageError as exc:
            log.error("cannot empty an output reason=%s", exc)

    def _finish(self, job: Job, spool: Spool, run: Run, attempt: Attempt) -> Job:
        """Keep the result. While the disk will not have it, try again: the job is accepted."""
        while True:
            outputs = {
                stream: Produced(size_bytes=output.size_bytes, hexdigest=output.digest)
                for stream, output in spool.seal().items()
            }
            try:
                return self._keep(job, run, outputs)
            except StorageError as exc:
                log.error("cannot keep a result job=%s reason=%s", job.job_id, exc)
            if attempt.stopping:
                return job  # it runs again after the next start
            time.sleep(_AGAIN_S)
            self._discard(spool)
            reason = "the node could not keep its result"
            run = attrs.evolve(run, outcome=Outcome(kind="system_error", detail=reason))

    def _keep(self, job: Job, run: Run, outputs: dict[Stream, Produced]) -> Job:
        receipt = receipt_of(
            run,
            manifest_json=job.manifest_json,
            manifest=job.manifest,
            stdout=outputs[Stream.STDOUT],
            stderr=outputs[Stream.STDERR],
            runtime=self._node.runtime(),
            isolation=self._node.executor.isolation,
            signer=self._node.signer,
            attempt=max(1, job.counted_attempts),
        )
        envelope = sign(receipt, self._node.signer).to_json()
        return self._store.finish(job.row, outcome=run.outcome, envelope=envelope)


_NOTHING = Produced(size_bytes=0, hexdigest=hashlib.sha256().hexdigest())


def _ended(outcome: Outcome, watch: Stopwatch) -> Run:
    """Return the run of a guest that never ran."""
    finished_at, wall_time_s = watch.read()
    return Run(
        outcome=outcome,
        gas_used=0,
        started_at=watch.started_at,
        finished_at=finished_at,
        wall_time_s=wall_time_s,
        cpu_time_s=0.0,
        peak_memory_bytes=0,
    )
