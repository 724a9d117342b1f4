"""Run many jobs over one daemon or many nodes: a window of jobs for each node, failover, and a second try for stragglers."""

from __future__ import annotations

import contextlib
import logging
import statistics
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol

import attrs
import trio

from plasm_core.background_tasks import alongside
from plasm_core.client.dial import Dialler
from plasm_core.client.failover import MAX_NODES, NodeFailedError
from plasm_core.client.node_choice import RemoteDialler
from plasm_core.client.one_node import OneNode
from plasm_core.client.output import Buffer, Sink
from plasm_core.client.result import JobResult
from plasm_core.client.session import PROVE_FROM_BYTES
from plasm_core.client.submission import Submission
from plasm_core.client.window import Window
from plasm_core.errors import (
    ConnectionLostError,
    FilesNotServedError,
    PeerUnreachableError,
    PlasmError,
    ProtocolError,
    ReceiptRejectedError,
    RefusedError,
)
from plasm_core.protocol.channels import Channel
from plasm_core.protocol.messages import Status
from plasm_core.records import Handle, PeerId

log = logging.getLogger(__name__)

MOST_AT_A_DAEMON = 32
"""The greatest window at one daemon whose processors are not known."""
MOST_AT_A_NODE = 64
_JOBS_PER_CPU = 4
"""Jobs in flight for each processor that a node advertises: one runs, the others hide the way there and back."""
PATIENCE_S = 60.0
"""How long a batch waits where every node has gone, before it stops."""
_MOST_NODES = 64
_SEARCH_AGAIN_S = 30.0
_SETTLE_S = 2.0
_LOST_AFTER = 3
"""A node that fails so often in a row is left until a search finds it again."""
_STRAGGLES, _STRAGGLES_LEAST_S = 3.0, 1.0
"""A job that takes so many times the median, and at least so long, is sent a second time near the end."""
_LATEST = 256
_TICK_S = 0.25
_WITHDRAW_S = 2.0
_OUTPUT_BYTES = 1 << 40
_OF_THE_JOB = frozenset({"input_too_large", "limit_too_high", "invalid_manifest", "digest_mismatch"})
"""Reasons of a refusal that say nothing about the other jobs of a batch."""


class JobRunner(Protocol):
    """The part of an `AsyncClient` that a dispatcher uses."""

    dialler: Dialler

    def at(self, dialler: Dialler) -> JobRunner:
        """Return one that reaches nodes by another dialler."""

    def executions(self, submission: Submission) -> int:
        """Return how many nodes the verifiers ask to run a job."""

    async def run(
        self,
        submission: Submission,
        *,
        sink: Sink | None,
        timeout_s: float | None,
        placed: Callable[[Handle], None],
        patience_s: float | None,
    ) -> JobResult:
        """Submit a job and wait for its verified result. Raises: `PlasmError`."""

    async def cancel(self, handle: Handle, *, timeout_s: float | None) -> Status:
        """End a job. Raises: `PlasmError`."""


@attrs.define(eq=False)
class QueuedJob:
    """A job with its number in the batch. `preferred`: a node that may already have the job from an earlier run."""

    index: int
    submission: Submission
    preferred: PeerId | None = None
    tried: set[Lane] = attrs.field(factory=set)
    copies: dict[Lane, trio.CancelScope] = attrs.field(factory=dict)
    failures: int = 0
    started_at: float = 0.0
    last_error: PlasmError | None = None
    is_done: bool = False


@attrs.define(eq=False)
class Lane:
    """A node with its window. `peer` None: the daemon of this machine, or any node that the client chooses."""

    peer: PeerId | None
    client: JobRunner
    window: Window
    latest: deque[float] = attrs.field(factory=lambda: deque(maxlen=_LATEST))
    sending: set[str] = attrs.field(factory=set)
    """The trees of files that a job is about to bring there: another job with the same files waits until it has."""
    sent: str | None = None
    """The tree that was brought there last."""


def _tree_of(job: QueuedJob) -> str | None:
    """Return the digest of a job's files, if they are worth a proof that the node has them (`session.submit`)."""
    files = job.submission.sources.get(Channel.FILES)
    return None if files is None or files.size_bytes < PROVE_FROM_BYTES else files.digest


@attrs.frozen(kw_only=True)
class Finished:
    """The end of a job: its result, or the error that no retry mends. `output` is closed by the receiver."""

    index: int
    submission: Submission
    result: JobResult | None = None
    output: Buffer | None = None
    error: PlasmError | None = None
    duration_s: float = 0.0


Pull = Callable[[], Awaitable[QueuedJob | None]]
Deliver = Callable[[Finished], Awaitable[None]]
Placed = Callable[[QueuedJob, Handle], None]


class Dispatcher:
    """Runs the jobs that `pull` returns, until it returns None, and passes each end to `deliver`, in any order.

    `pull` is called when a node has room: jobs are made as they are needed. `deliver` may wait; the job keeps its
    place in the window meanwhile, which bounds the number of waiting results. `placed` is called with each node that
    accepted a job. `most`: the most jobs in flight, None for as many as the nodes advertise.
    """

    def __init__(
        self,
        client: JobRunner,
        pull: Pull,
        deliver: Deliver,
        *,
        placed: Placed = lambda _job, _handle: None,
        most: int | None = None,
        timeout_s: float | None = None,
    ) -> None:
        self._client = client
        self._pull = pull
        self._deliver = deliver
        self._placed = placed
        self._most = most
        self._timeout_s = timeout_s
        self.lanes: list[Lane] = []
        self._waiting: deque[QueuedJob] = deque()
        self.active: set[QueuedJob] = set()
        self._is_exhausted = False
        self._any_result = False
        self._changed = trio.lowlevel.ParkingLot()
        self._nursery: trio.Nursery
        self._gone_since: float | None = None
        self._gone: PlasmError | None = None
        self._fatal: Exception | None = None

    @property
    def waiting(self) -> int:
        """How many jobs have been made and wait for a node."""
        return len(self._waiting)

    async def run(self) -> None:
        """Run all jobs. Raises: `PlasmError` if no further job could be run; what `pull` and `deliver` raise."""
        first = await self._pull()
        if first is None:
            return
        self._waiting.append(first)
        async with alongside(*self._search_tasks(first.submission)):
            await self._run_all()

    def _search_tasks(self, sample: Submission) -> list[Callable[[], Awaitable[object]]]:
        """Make the lane of a client that has one, or return the task that looks for nodes."""
        dialler = self._client.dialler
        many = self._client.executions(sample) > 1
        if isinstance(dialler, RemoteDialler) and dialler.fails_over and not many:
            return [lambda: self._find_nodes(dialler, sample)]
        window = Window(most=self._most or MOST_AT_A_DAEMON)
        self.lanes.append(Lane(peer=None, client=self._client, window=window))
        return []

    async def _run_all(self) -> None:
        error: BaseException | None = None
        async with trio.open_nursery() as self._nursery:
            try:
                async with alongside(self._feed):
                    await self._dispatch()
            except trio.Cancelled:
                raise
            except Exception as exc:
                error = exc
            self._nursery.cancel_scope.cancel()
        if error is not None:
            raise error

    async def _feed(self) -> None:
        """Have jobs made, one whenever a node has room and none is waiting."""
        while True:
            while self._waiting or not self._has_room():
                await self._changed.park()
            job = await self._pull()
            if job is None:
                self._is_exhausted = True
                self._changed.unpark_all()
                await trio.sleep_forever()
            else:
                self._waiting.append(job)
                self._changed.unpark_all()

    def _has_room(self) -> bool:
        now = trio.current_time()
        full = self._most is not None and sum(lane.window.in_flight for lane in self.lanes) >= self._most
        return not full and any(lane.window.has_room(now) for lane in self.lanes)

    async def _dispatch(self) -> None:
        """Start jobs as there is room, until all have ended."""
        while True:
            await self._start_waiting()
            if self._fatal is not None:
                raise self._fatal
            if self._is_exhausted and not self._waiting:
                if not self.active:
                    return
                self._start_copies()
            self._check_patience()
            self._changed.unpark_all()
            with trio.move_on_after(_TICK_S):
                await self._changed.park()

    async def _start_waiting(self) -> None:
        for _ in range(len(self._waiting)):
            job = self._waiting.popleft()
            lane = self._lane_for(job)
            if lane is not None:
                self._start(job, lane)
            elif self.lanes and job.tried.issuperset(self.lanes) and not job.copies:
                await self._give_up(job)
            else:
                self._waiting.append(job)
                if not self._has_room():
                    return

    def _lane_for(self, job: QueuedJob) -> Lane | None:
        """Return the node with room that has the least of its window in use, the one that has the job already first."""
        if not self._has_room():
            return None
        now, not_these = trio.current_time(), job.tried.union(job.copies)
        free = [
            lane
            for lane in self.lanes
            if lane.window.has_room(now) and lane not in not_these and _tree_of(job) not in lane.sending
        ]
        for lane in free:
            if job.preferred is not None and lane.peer == job.preferred:
                return lane
        return min(free, key=lambda lane: lane.window.in_flight / lane.window.limit, default=None)

    def _start(self, job: QueuedJob, lane: Lane) -> None:
        if not job.copies:
            job.started_at = trio.current_time()
        self.active.add(job)
        lane.window.in_flight += 1
        job.copies[lane] = trio.CancelScope()
        tree = _tree_of(job)
        if tree is not None and tree != lane.sent:
            lane.sending.add(tree)
        self._nursery.start_soon(self._run_copy, job, lane)

    def _start_copies(self) -> None:
        """Near the end, send jobs that take much longer than others a second time: determinism makes that safe."""
        latest = [duration for lane in self.lanes for duration in lane.latest]
        if len(self.lanes) < 2 or not latest:
            return
        now = trio.current_time()
        late_s = max(_STRAGGLES_LEAST_S, _STRAGGLES * statistics.median(latest))
        for job in sorted(self.active, key=lambda job: job.started_at):
            if (
                len(job.copies) == 1
                and now - job.started_at > late_s
                and job.submission.manifest.reproducible
            ):
                lane = self._lane_for(job)
                if lane is not None:
                    log.info("straggler sent again job=%d after_s=%.1f", job.index, now - job.started_at)
                    self._start(job, lane)

    async def _run_copy(self, job: QueuedJob, lane: Lane) -> None:
        """Run a job at one node, and deliver its end if it is the first."""
        began = trio.current_time()
        handles: list[Handle] = []
        output, result, error = Buffer(_OUTPUT_BYTES), None, None

        tree = _tree_of(job)

        def placed(handle: Handle) -> None:
            handles.append(handle)
            if tree is not None:
                lane.sending.discard(tree)
                lane.sent = tree
                self._changed.unpark_all()
            self._placed(job, handle)

        try:
            with job.copies[lane]:
                result = await lane.client.run(
                    job.submission,
                    sink=output,
                    timeout_s=self._timeout_s,
                    placed=placed,
                    patience_s=None if lane.peer is None else 0.0,
                )
        except (PlasmError, OSError) as exc:
            error = (
                exc if isinstance(exc, PlasmError) else PlasmError(f"{exc.strerror or exc}: {exc.filename}")
            )
        finally:
            lane.window.in_flight -= 1
            del job.copies[lane]
            if not handles and tree is not None:
                lane.sending.discard(tree)
            if result is None or job.is_done:
                output.close()
            self._changed.unpark_all()
        if job.is_done:
            if result is None and handles and lane.peer is not None:
                await self._withdraw(lane, handles[-1])
            return
        if result is not None:
            duration_s = trio.current_time() - began
            lane.window.answered(duration_s)
            lane.latest.append(duration_s)
            self._any_result, self._gone_since = True, None
            finished = Finished(
                index=job.index,
                submission=job.submission,
                result=result,
                output=output,
                duration_s=duration_s,
            )
            await self._end(job, finished)
        elif error is not None:
            await self._failed(job, lane, error)

    async def _withdraw(self, lane: Lane, handle: Handle) -> None:
        """Cancel a job that another node has finished first, without waiting long for the answer."""
        with trio.move_on_after(_WITHDRAW_S), contextlib.suppress(PlasmError):
            await lane.client.cancel(handle, timeout_s=_WITHDRAW_S)

    async def _end(self, job: QueuedJob, finished: Finished) -> None:
        job.is_done = True
        for scope in job.copies.values():
            scope.cancel()
        try:
            await self._deliver(finished)
        except Exception as exc:
            self._fatal = self._fatal or exc
        self.active.discard(job)
        self._changed.unpark_all()

    async def _failed(self, job: QueuedJob, lane: Lane, error: PlasmError) -> None:
        """Decide whether an error concerns the node, the job, or the whole batch."""
        now = trio.current_time()
        job.last_error = error
        log.info("job failed at a node job=%d node=%s reason=%s", job.index, lane.peer, error)
        if isinstance(error, RefusedError):
            if error.retry_after_s is not None:
                lane.window.refused(now, error.retry_after_s)
            else:
                job.tried.add(lane)
        elif isinstance(error, (NodeFailedError, ReceiptRejectedError, FilesNotServedError, ProtocolError)):
            job.tried.add(lane)
            job.failures += 1
        elif isinstance(error, (PeerUnreachableError, ConnectionLostError)):
            lane.window.failed(now)
            self._gone, self._gone_since = error, now if self._gone_since is None else self._gone_since
            if lane.peer is None and not self._any_result:
                self._fatal = error
            if lane.peer is not None:
                job.failures += 1
                if lane.window.failures >= _LOST_AFTER and lane in self.lanes:
                    self.lanes.remove(lane)
        else:
            job.tried.update(self.lanes, [lane])
        if job.failures >= MAX_NODES or (lane.peer is None and lane in job.tried):
            await self._give_up(job)
        elif not job.copies:
            self.active.discard(job)
            self._waiting.appendleft(job)
        self._changed.unpark_all()

    async def _give_up(self, job: QueuedJob) -> None:
        error = job.last_error or PlasmError("no node took the job")
        if isinstance(error, RefusedError) and not self._any_result and error.reason not in _OF_THE_JOB:
            # If every node refuses before any job has ended, the cause is not this one job.
            self._fatal = error
            self.active.discard(job)
            return
        await self._end(job, Finished(index=job.index, submission=job.submission, error=error))

    def _check_patience(self) -> None:
        """Raise the last error where no node has answered for long."""
        if (
            self._gone is None
            or self._gone_since is None
            or any(not lane.window.failures for lane in self.lanes)
        ):
            return
        if trio.current_time() - self._gone_since > PATIENCE_S:
            raise self._gone

    async def _find_nodes(self, dialler: RemoteDialler, sample: Submission) -> None:
        """Look for nodes and make a lane for each, again and again. Raises: `PeerUnreachableError` if there is none."""
        settle_s: float | None = None
        while True:
            known = {lane.peer for lane in self.lanes}
            found = await dialler.survey(sample, enough=_MOST_NODES, settle_s=settle_s)
            for candidate in found:
                if candidate.peer in known:
                    continue
                most = min(MOST_AT_A_NODE, _JOBS_PER_CPU * candidate.record.cpu)
                alone = self._client.at(OneNode(dialler, candidate.peer))
                self.lanes.append(Lane(peer=candidate.peer, client=alone, window=Window(most=most)))
            if not self.lanes and not self._any_result:
                raise dialler.nobody()
            self._changed.unpark_all()
            if settle_s is not None:
                await trio.sleep(_SEARCH_AGAIN_S)
            settle_s = _SETTLE_S
