"""The jobs without a result: starting those whose turn it is, keeping their results, ending those that cannot run."""

from __future__ import annotations

import logging
import time
from datetime import timedelta

import trio

from plasm_core.config import Config
from plasm_core.daemon.gateway import Gateway
from plasm_core.daemon.gathered_calls import GATHER_BYTES, GatheredCalls
from plasm_core.daemon.run_threads import RunThreads
from plasm_core.daemon.runner import Attempt, Keeping, Runner
from plasm_core.daemon.schedule import Schedule, thread_limits
from plasm_core.daemon.scheduling.owners import Owner
from plasm_core.daemon.scheduling.quotas import Quotas
from plasm_core.daemon.settled import settled
from plasm_core.daemon.store import Job, Store
from plasm_core.daemon.tracked_job import Track
from plasm_core.errors import JobEndedError, StorageError
from plasm_core.local_node import LocalNode
from plasm_core.machine import Demand
from plasm_core.metrics import Counters
from plasm_core.records import Outcome
from plasm_core.sandbox.process.child import unmetered

log = logging.getLogger(__name__)

_POSITIONS_S = 1.0
_OVERDUE_S = 1.0
_AGAIN_S = 5.0
_KILL_S = 10.0
"""How long ending a run may take, once it is to end."""
_ON_REQUEST = "on request"


class LiveJobs:
    """Runs jobs, from their acceptance to their result. All its methods belong to the loop that it is made in.

    `tracks`: the jobs, by row.
    """

    def __init__(
        self,
        node: LocalNode,
        store: Store,
        *,
        quotas: Quotas,
        counters: Counters,
        gateway: Gateway | None,
    ) -> None:
        config = node.config
        self.tracks: dict[int, Track] = {}
        self.schedule = Schedule(
            config, quotas, self.tracks, lambda free_bytes: node.executor.make_room(free_bytes)
        )
        self.is_stopping = False
        self._store = store
        self._quotas = quotas
        self._counters = counters
        self._config = config
        self._runner = Runner(node, store, gateway)
        self._keeping: set[Attempt] = set()
        self._work = trio.lowlevel.ParkingLot()
        self._threads = trio.CapacityLimiter(thread_limits(self.schedule.slots.total, config)[1])
        self._run_threads = RunThreads()
        self._handing_on = trio.CapacityLimiter(config.gateway.jobs)
        self._token = trio.lowlevel.current_trio_token()
        self._gathered = GatheredCalls(self._token)

    def reconfigure(self, config: Config) -> None:
        """Apply the settings that may change while the daemon runs."""
        self._config = config
        self.schedule.reconfigure(config)
        self._threads.total_tokens = thread_limits(self.schedule.slots.total, config)[1]
        self.wake()

    def wake(self) -> None:
        """Have `run` see whether a job may start."""
        self._work.unpark_all()

    def add(self, job: Job, owner: Owner, demand: Demand) -> Track:
        """Track a job that has no result. It runs when it is in the schedule's queue."""
        track = self.tracks[job.row] = Track(job, owner, demand)
        return track

    def in_order(self) -> list[Job]:
        """Return the jobs without a result, in the order of acceptance."""
        return [self.tracks[row].job for row in sorted(self.tracks)]

    def oldest_waiting_s(self) -> float:
        """Return how long the job that was accepted first among those that wait has waited, in seconds; 0 if none waits."""
        moments = [track.job.accepted_at for row, track in self.tracks.items() if row in self.schedule.queue]
        return max(0.0, (self._store.now() - min(moments)).total_seconds()) if moments else 0.0

    async def cancel(self, track: Track) -> Job:
        """End a job that the store has as cancelled, and return it when it has ended."""
        row = track.job.row
        if self.schedule.queue.remove(row):
            await self.end_unrun(track, cancelled())
        elif track.attempt is not None:
            track.attempt.cancelled.set()
        while self.tracks.get(row) is track:
            await track.news.after(track.news.count)
        return track.job

    async def run(self) -> None:
        """Start jobs when processors and memory are free, until cancelled. Running jobs still run to their end."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._end_overdue)
            nursery.start_soon(self._tell_positions)
            nursery.start_soon(self._gathered.run)
            while True:
                while not self.is_stopping and (track := self.schedule.take()) is not None:
                    track.attempt = self._attempt(track)
                    nursery.start_soon(self._execute, track, track.attempt)
                with trio.move_on_after(1):  # a job that does not fit is passed over for a limited time
                    await self._work.park()

    async def stop(self, deadline: float) -> None:
        """Start no more jobs, and wait until none runs. Those that run at `deadline`, of the loop's clock, are stopped
        then, and put back.
        """
        self.is_stopping = True
        if len(self.schedule.slots):
            log.info(
                "waiting for jobs running=%d at_most_s=%d",
                len(self.schedule.slots),
                self._config.daemon.shutdown_s,
            )
        while (len(self.schedule.slots) or self._keeping) and trio.current_time() < deadline + _KILL_S:
            if trio.current_time() >= deadline:
                running = [track.attempt for track in self.tracks.values() if track.attempt is not None]
                for attempt in (*running, *self._keeping):
                    attempt.stop()
            with trio.move_on_after(0.2):
                await self._work.park()
        if len(self.schedule.slots):
            log.warning("jobs are left to the next start running=%d", len(self.schedule.slots))

    def charge(self, owner: Owner, cpu_s: float) -> None:
        """Charge an owner for processor time, in seconds."""
        self._quotas.charge(owner.counted, cpu_s=cpu_s)

    def _attempt(self, track: Track) -> Attempt:
        age_s = (self._store.now() - track.job.accepted_at).total_seconds()
        untold = 0

        def grown(size_bytes: int) -> None:
            nonlocal untold
            untold += size_bytes
            if untold < GATHER_BYTES:
                self._gathered.add(track.news.tell)
            else:
                untold = 0
                self._token.run_sync_soon(track.news.tell, idempotent=True)

        return Attempt(
            row=track.job.row,
            client=track.owner.client,
            changed=lambda job: self._gathered.add(lambda: self._changed(track, job)),
            grown=grown,
            # Users of this machine have no quotas: the end of their jobs need not wake the loop.
            charge=(lambda cpu_s: self._token.run_sync_soon(self.charge, track.owner, cpu_s))
            if track.owner.counted
            else unmetered,
            deadline=time.monotonic() + self._config.queue.total_s - age_s,
        )

    async def _execute(self, track: Track, attempt: Attempt) -> None:
        ended: Job | Keeping
        try:
            # A job at another node only waits, for days perhaps, and must not wait in the place of one that runs here.
            if track.runs_here:
                ended = await self._run_threads.run(lambda: self._runner.execute(attempt))
            else:
                ended = await trio.to_thread.run_sync(
                    self._runner.execute, attempt, limiter=self._handing_on, abandon_on_cancel=True
                )
        except StorageError as exc:
            log.error("job cannot be started job=%s reason=%s", track.job.job_id, exc)
            await trio.sleep(_AGAIN_S)
            ended = track.job
        except Exception:
            log.exception("job cannot be started job=%s", track.job.job_id)
            await trio.sleep(_AGAIN_S)
            ended = track.job
        finally:
            self._gathered.make()  # or an earlier state would be told after the last
            self.schedule.give_back(track)
            self._counters.add("job_cpu_seconds_total", attempt.cpu_time_s)
            self._counters.add("job_gas_total", attempt.gas_used)
            self._counters.add("job_node_cpu_seconds_total", attempt.node_cpu_s)
            track.attempt = None
            self.wake()
        job = ended if isinstance(ended, Job) else await self._kept(ended, attempt)
        if not job.state.live:
            self._ended(track, job)
        elif attempt.cancelled.is_set() and not attempt.stopping:
            await self.end_unrun(track, cancelled())
        else:
            self._changed(track, job)
            self.schedule.put(track, first=True)

    async def _kept(self, keeping: Keeping, attempt: Attempt) -> Job:
        """Return a job when its result is on the disk. Others run meanwhile."""
        self._keeping.add(attempt)
        try:
            try:
                return await settled(keeping.done)
            except JobEndedError:
                return await trio.to_thread.run_sync(self._store.get, keeping.job.row)
            except StorageError:
                return await trio.to_thread.run_sync(
                    self._runner.keep_again, keeping, attempt, limiter=self._threads, abandon_on_cancel=True
                )
        finally:
            self._keeping.discard(attempt)
            self.wake()

    def _changed(self, track: Track, job: Job) -> None:
        if self.tracks.get(job.row) is track:
            track.job = job
            track.news.tell()

    def _ended(self, track: Track, job: Job) -> None:
        track.job = job
        self.tracks.pop(job.row, None)
        track.news.tell()
        self._counters.add("jobs_ended_total", outcome=job.outcome.kind if job.outcome else "none")
        log.info(
            "job ended job=%s state=%s outcome=%s attempt=%d",
            *(job.job_id, job.state.value, job.outcome, job.attempt),
        )

    async def end_unrun(self, track: Track, outcome: Outcome) -> None:
        """Give a job that does not run its result, as soon as the disk takes it."""
        while True:
            try:
                job = await trio.to_thread.run_sync(self._runner.end_unrun, track.job, outcome)
                break
            except JobEndedError:
                job = await trio.to_thread.run_sync(self._store.get, track.job.row)
                break
            except StorageError as exc:
                log.error("cannot keep a result job=%s reason=%s", track.job.job_id, exc)
                await trio.sleep(_AGAIN_S)
        self._ended(track, job)

    async def _end_overdue(self) -> None:
        """End jobs that have waited longer than their deadline. Runs until cancelled."""
        while True:
            await trio.sleep(_OVERDUE_S)
            allowed_s = min(self._config.queue.wait_s, self._config.queue.total_s)
            latest = self._store.now() - timedelta(seconds=allowed_s)
            overdue = [row for row, track in self.tracks.items() if track.job.accepted_at < latest]
            for row in overdue:
                if self.schedule.queue.remove(row):
                    outcome = Outcome(kind="timed_out", detail=f"after {allowed_s} s in the queue")
                    await self.end_unrun(self.tracks[row], outcome)

    async def _tell_positions(self) -> None:
        """Wake the followers of waiting jobs periodically: each start of a job changes the positions of others."""
        while True:
            await trio.sleep(_POSITIONS_S)
            for row, track in list(self.tracks.items()):
                if track.news.is_awaited and row in self.schedule.queue:
                    track.news.tell()


def cancelled() -> Outcome:
    """Return the outcome of a job that was cancelled on request."""
    return Outcome(kind="cancelled", detail=_ON_REQUEST)
