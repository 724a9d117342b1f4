"""The service of plasmd: accepts jobs, runs them, and notifies the sessions that follow them."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta

import trio

from plasm_core import paths
from plasm_core.background_tasks import alongside
from plasm_core.config import Config
from plasm_core.daemon import series
from plasm_core.daemon.capability_record import SignedRecord, record_of
from plasm_core.daemon.gateway import Gateway
from plasm_core.daemon.gathered_calls import GATHER_BYTES, GatheredCalls
from plasm_core.daemon.module_admission import ModuleAdmission
from plasm_core.daemon.offer import Offer
from plasm_core.daemon.reservations import Offers
from plasm_core.daemon.run_threads import RunThreads
from plasm_core.daemon.runner import Attempt, Keeping, Runner
from plasm_core.daemon.schedule import Schedule, thread_limits
from plasm_core.daemon.scheduling.compile_turns import Turns
from plasm_core.daemon.scheduling.owners import Owner, Owners, recovered
from plasm_core.daemon.scheduling.quotas import Quotas
from plasm_core.daemon.scheduling.slots import demand_of
from plasm_core.daemon.scheduling.usage import UsageLog
from plasm_core.daemon.settled import in_thread_if, settled
from plasm_core.daemon.store import Job, Store, StoredSubmission
from plasm_core.daemon.tracked_job import Track, demand_for, present, status_of
from plasm_core.errors import JobEndedError, RefusedError, StorageError
from plasm_core.execution import FILES_FEATURE
from plasm_core.local_node import LocalNode
from plasm_core.metrics import Counters
from plasm_core.policy import check_submission
from plasm_core.protocol.messages import Status, Submit
from plasm_core.records import Manifest, Outcome, PeerId
from plasm_core.records.capabilities import CapabilityRecord, Load
from plasm_core.sandbox.process.child import unmetered

log = logging.getLogger(__name__)

_POSITIONS_S = 1.0
_OVERDUE_S = 1.0
_TRACKED_S = 0.01
_EXPIRY_S = 60.0
_AGAIN_S = 5.0
_LAST_WORDS_S = 2.0
_KILL_S = 10.0
"""How long ending a run may take, once it is to end."""
_ON_REQUEST = "on request"


class Service:
    """Takes, runs and ends jobs. All its methods belong to the loop that `open_service` runs in."""

    def __init__(
        self,
        node: LocalNode,
        store: Store,
        *,
        gateway: Gateway | None = None,
        addresses: Callable[[], tuple[str, ...]] = tuple,
    ) -> None:
        """`gateway` hands jobs on to the network; `addresses` tells where others reach this node."""
        config = node.config
        self.node = node
        self.store = store
        self.quotas = Quotas(config.clients, lambda: store.now().timestamp())
        self._tracks: dict[int, Track] = {}
        self.schedule = Schedule(
            config, self.quotas, self._tracks, lambda free_bytes: node.executor.make_room(free_bytes)
        )
        self._usage = UsageLog(self.quotas, store)
        self.owners = Owners(paths.secret(paths.owners_key()))
        self.counters = Counters()
        series.begin(self.counters)
        self.offers = Offers(store, self.schedule.queue, self.quotas, config.queue)
        self.is_stopping = False
        self._ends_at: float | None = None
        self._answers_due = 0
        self._keeping: set[Attempt] = set()
        self._config = config
        self._gateway = gateway
        self._addresses = addresses
        self._runner = Runner(node, store, gateway)
        self._work = trio.lowlevel.ParkingLot()
        compiling, threads = thread_limits(self.schedule.slots.total, config)
        self._turns, self._threads = Turns(compiling), trio.CapacityLimiter(threads)
        self._run_threads = RunThreads()
        self._handing_on = trio.CapacityLimiter(config.gateway.jobs)
        self._token = trio.lowlevel.current_trio_token()
        self._gathered = GatheredCalls(self._token)
        self._admission = ModuleAdmission(
            node=node,
            modules=store.modules,
            quotas=self.quotas,
            turns=self._turns,
            token=self._token,
            charge=self._charge,
        )
        self.capabilities = SignedRecord(node.signer, self.record)

    @property
    def peer(self) -> PeerId:
        """The node's identity."""
        return self.node.signer.peer_id

    @property
    def features(self) -> tuple[str, ...]:
        """The features that the node's `hello` lists."""
        return (FILES_FEATURE,) if self._runs_files or self._gateway is not None else ()

    @property
    def _runs_files(self) -> bool:
        return FILES_FEATURE in self.node.runtime().features

    def reconfigure(self, config: Config) -> None:
        """Apply the settings that may change while the daemon runs: limits and policy."""
        self._config = config
        self.node.reconfigure(config)
        self.offers.reconfigure(config.queue)
        self.quotas.reconfigure(config.clients)
        self.schedule.reconfigure(config)
        compiling, self._threads.total_tokens = thread_limits(self.schedule.slots.total, config)
        self._turns.resize(compiling)
        self._work.unpark_all()

    def summary(self) -> str:
        """Return a line about the service's jobs."""
        word = "ending" if self.is_stopping else "serving"
        return f"{word}: {len(self.schedule.slots)} running, {len(self.schedule.queue)} waiting, {len(self.offers)} uploading"

    async def find(self, job_id: str, token: bytes) -> Job:
        """Return the job that a token opens. Raises: `RefusedError` (`unknown_job`, `released`, `expired`).

        The store is read also if no job has the id: otherwise the time of the answer would reveal that to a client
        without the token.
        """
        job = await self._stored(job_id, token)
        if job is None:
            raise RefusedError("unknown_job", "this token opens no job of this id")
        return job

    async def look_up(self, job_id: str, token: bytes) -> Job | None:
        """Return the job that a token opens, None if there is none. Raises: `RefusedError` if it is gone.

        It is for those who submit the job, who know its manifest: how long it takes tells whether there is one.
        """
        return await self._stored(job_id, token) if self.store.may_have(job_id) else None

    async def _stored(self, job_id: str, token: bytes) -> Job | None:
        job = await trio.to_thread.run_sync(self.store.find, job_id, token)
        return None if job is None else await self.current(present(job))

    async def current(self, job: Job) -> Job:
        """Return a job in its present state. A job without a result is tracked from here on."""
        while job.row not in self._tracks and job.state.live:  # ended, or accepted, a moment ago
            await trio.sleep(_TRACKED_S)
            job = await trio.to_thread.run_sync(self.store.get, job.row)
        track = self._tracks.get(job.row)
        return track.job if track is not None else job

    def record(self) -> CapabilityRecord:
        """Return the node's present capability record."""
        return record_of(
            self.node,
            self._config,
            lent=self.schedule.slots.total,
            lends=self._config.policy.lend and not self.is_stopping,
            load=Load(
                running=len(self.schedule.slots),
                waiting=len(self.schedule.queue),
                capacity=self.schedule.queue.capacity,
            ),
            addresses=self._addresses(),
        )

    def track(self, job: Job) -> Track | None:
        """Return the track of a job that has no result yet, and so of every `current` one that is live."""
        return self._tracks.get(job.row)

    def live(self) -> list[Job]:
        """Return the jobs without a result, in the order of acceptance."""
        return [self._tracks[row].job for row in sorted(self._tracks)]

    def oldest_waiting_s(self) -> float:
        """Return how long the job that was accepted first among those that wait has waited, in seconds; 0 if none waits."""
        moments = [track.job.accepted_at for row, track in self._tracks.items() if row in self.schedule.queue]
        return max(0.0, (self.store.now() - min(moments)).total_seconds()) if moments else 0.0

    def status(self, job: Job) -> Status:
        """Return a job's status, as the protocol sends it to clients."""
        return status_of(job, self.store, self.schedule.queue.position(job.row) if job.state.live else None)

    def check(self, manifest: Manifest, submit: Submit, *, stranger: PeerId | None = None) -> None:
        """Check a submission against policy and limits. `stranger`: a client of another machine.

        Raises: `RefusedError`.
        """
        if self.is_stopping:
            raise RefusedError("shutting_down", "the node is shutting down", retry_after_s=10)
        check_submission(
            manifest, submit, self._config, stranger=stranger, hands_on=self._gateway is not None
        )
        if manifest.files is not None and submit.route != "network" and not self._runs_files:
            raise RefusedError("files_unsupported", "this node takes no jobs with files")
        if submit.route != "network":
            self.schedule.slots.check(demand_of(manifest))

    def is_at_hand(self, offer: Offer) -> bool:
        """Return whether a job's module need not be compiled, so that `accept` tells no progress."""
        try:
            return offer.route != "here" or self._admission.is_at_hand(offer)
        except RefusedError:  # as `accept` will say
            return False

    async def accept(self, offer: Offer, token: bytes, progress: Callable[[str], None]) -> tuple[Job, bool]:
        """Admit and store a job whose upload is complete. Return it, and whether it is new.

        `progress` is called in the loop. When cancelled, the reservation stays and can be accepted later.

        Raises: `RefusedError`, `StorageError`, `SandboxError`; the offer is discarded then.
        """
        await self.offers.take(offer)
        try:
            if offer.route == "here":
                await self._admission.admit(offer, progress)
            if self.is_stopping:
                raise RefusedError("shutting_down", "the node is shutting down", retry_after_s=10)
            accepted = await settled(
                await in_thread_if(not offer.inputs.is_small, self._accepting, offer, token)
            )
        except Exception:
            await self.offers.discard(offer)
            raise
        job = accepted.job
        if accepted.created:
            self.counters.add("jobs_accepted_total", route=offer.route)
            self._tracks[job.row] = Track(job, offer.owner, demand_for(job, self.store))
            offer.place.fill(job.row)
            self._work.unpark_all()
            log.info(
                "job accepted job=%s module=%s waiting=%d", job.job_id, job.module, len(self.schedule.queue)
            )
        self.offers.remove(offer)
        return present(job), accepted.created

    def _accepting(self, offer: Offer, token: bytes) -> Future[StoredSubmission]:
        return self.store.accepting(
            offer.inputs,
            manifest=offer.manifest,
            manifest_json=offer.manifest_json,
            token=token,
            route=offer.route,
            holder=offer.owner.holder,
        )

    async def cancel(self, job: Job) -> Job:
        """End a job, and return it when it has ended. Raises: `StorageError`."""
        track = self._tracks.get(job.row)
        if track is None:
            return await trio.to_thread.run_sync(self.store.get, job.row)
        log.info("job is being cancelled job=%s", job.job_id)
        await trio.to_thread.run_sync(self.store.cancel, job.row)
        if self.schedule.queue.remove(job.row):
            await self._end_unrun(track, Outcome(kind="cancelled", detail=_ON_REQUEST))
        elif track.attempt is not None:
            track.attempt.cancelled.set()
        while self._tracks.get(job.row) is track:
            await track.news.after(track.news.count)
        return track.job

    async def release(self, job: Job) -> Job:
        """Delete an ended job's data; a job that has not ended is unchanged. Raises: `StorageError`."""
        if job.row in self._tracks:
            return self._tracks[job.row].job
        released = await trio.to_thread.run_sync(self.store.release, job.row)
        log.info("job released job=%s", job.job_id)
        return released

    async def recover(self) -> None:
        """Restore the jobs that an earlier process stored. Raises: `StorageError`."""
        await self._usage.restore()
        found = await trio.to_thread.run_sync(self.store.recover)
        live = (*found.queued, *found.exhausted, *found.cancelling)
        demands = await trio.to_thread.run_sync(lambda: [demand_for(job, self.store) for job in live])
        for job, demand in zip(live, demands, strict=True):
            self._tracks[job.row] = Track(job, recovered(job), demand)
        for job in found.queued:
            self.schedule.put(self._tracks[job.row])
        for job in found.exhausted:
            reason = f"the node was interrupted {job.interruptions} times while it ran"
            await self._end_unrun(self._tracks[job.row], Outcome(kind="system_error", detail=reason))
        for job in found.cancelling:
            await self._end_unrun(self._tracks[job.row], Outcome(kind="cancelled", detail=_ON_REQUEST))
        log.info(
            "recovered queued=%d exhausted=%d cancelled=%d",
            *map(len, (found.queued, found.exhausted, found.cancelling)),
        )

    async def run(self) -> None:
        """Start jobs when processors and memory are free, until cancelled. Running jobs still run to their end."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.offers.expire)
            nursery.start_soon(self._expire)
            nursery.start_soon(self._usage.run)
            nursery.start_soon(self._end_overdue)
            nursery.start_soon(self._tell_positions)
            nursery.start_soon(self._gathered.run)
            while True:
                while not self.is_stopping and (track := self.schedule.take()) is not None:
                    track.attempt = self._attempt(track)
                    nursery.start_soon(self._execute, track, track.attempt)
                with trio.move_on_after(1):  # a job that does not fit is passed over for a limited time
                    await self._work.park()

    def _attempt(self, track: Track) -> Attempt:
        age_s = (self.store.now() - track.job.accepted_at).total_seconds()
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
            charge=(lambda cpu_s: self._token.run_sync_soon(self._charge, track.owner, cpu_s))
            if track.owner.counted
            else unmetered,
            deadline=time.monotonic() + self._config.queue.total_s - age_s,
        )

    def _charge(self, owner: Owner, cpu_s: float) -> None:
        self.quotas.charge(owner.counted, cpu_s=cpu_s)

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
            self.counters.add("job_cpu_seconds_total", attempt.cpu_time_s)
            self.counters.add("job_gas_total", attempt.gas_used)
            self.counters.add("job_node_cpu_seconds_total", attempt.node_cpu_s)
            track.attempt = None
            self._work.unpark_all()
        job = ended if isinstance(ended, Job) else await self._kept(ended, attempt)
        if not job.state.live:
            self._ended(track, job)
        elif attempt.cancelled.is_set() and not attempt.stopping:
            await self._end_unrun(track, Outcome(kind="cancelled", detail=_ON_REQUEST))
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
                return await trio.to_thread.run_sync(self.store.get, keeping.job.row)
            except StorageError:
                return await trio.to_thread.run_sync(
                    self._runner.keep_again, keeping, attempt, limiter=self._threads, abandon_on_cancel=True
                )
        finally:
            self._keeping.discard(attempt)
            self._work.unpark_all()

    def _changed(self, track: Track, job: Job) -> None:
        if self._tracks.get(job.row) is track:
            track.job = job
            track.news.tell()

    def _ended(self, track: Track, job: Job) -> None:
        track.job = job
        self._tracks.pop(job.row, None)
        track.news.tell()
        self.counters.add("jobs_ended_total", outcome=job.outcome.kind if job.outcome else "none")
        log.info(
            "job ended job=%s state=%s outcome=%s attempt=%d",
            *(job.job_id, job.state.value, job.outcome, job.attempt),
        )

    async def _end_unrun(self, track: Track, outcome: Outcome) -> None:
        """Give a job that does not run its result, as soon as the disk takes it."""
        while True:
            try:
                job = await trio.to_thread.run_sync(self._runner.end_unrun, track.job, outcome)
                break
            except JobEndedError:
                job = await trio.to_thread.run_sync(self.store.get, track.job.row)
                break
            except StorageError as exc:
                log.error("cannot keep a result job=%s reason=%s", track.job.job_id, exc)
                await trio.sleep(_AGAIN_S)
        self._ended(track, job)

    async def _expire(self) -> None:
        while True:
            try:
                count = await trio.to_thread.run_sync(self.store.expire)
                if count:
                    log.info("expired jobs=%d", count)
            except StorageError as exc:
                log.error("cannot expire jobs reason=%s", exc)
            await trio.sleep(_EXPIRY_S)

    async def _end_overdue(self) -> None:
        """End jobs that have waited longer than their deadline. Runs until cancelled."""
        while True:
            await trio.sleep(_OVERDUE_S)
            allowed_s = min(self._config.queue.wait_s, self._config.queue.total_s)
            latest = self.store.now() - timedelta(seconds=allowed_s)
            overdue = [row for row, track in self._tracks.items() if track.job.accepted_at < latest]
            for row in overdue:
                if self.schedule.queue.remove(row):
                    outcome = Outcome(kind="timed_out", detail=f"after {allowed_s} s in the queue")
                    await self._end_unrun(self._tracks[row], outcome)

    async def _tell_positions(self) -> None:
        """Wake the followers of waiting jobs periodically: each start of a job changes the positions of others."""
        while True:
            await trio.sleep(_POSITIONS_S)
            for row, track in list(self._tracks.items()):
                if track.news.is_awaited and row in self.schedule.queue:
                    track.news.tell()

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Have the end of the service wait, for a moment, until a question is answered."""
        self._answers_due += 1
        try:
            yield
        finally:
            self._answers_due -= 1

    async def stop(self) -> None:
        """Take no more jobs, let those that run end within `daemon.shutdown_s`, then put them back."""
        self.is_stopping = True
        if self._ends_at is None:
            self._ends_at = trio.current_time() + self._config.daemon.shutdown_s
        deadline = self._ends_at
        if len(self.schedule.slots):
            log.info(
                "waiting for jobs running=%d at_most_s=%d",
                len(self.schedule.slots),
                self._config.daemon.shutdown_s,
            )
        while (len(self.schedule.slots) or self._keeping) and trio.current_time() < deadline + _KILL_S:
            if trio.current_time() >= deadline:
                running = [track.attempt for track in self._tracks.values() if track.attempt is not None]
                for attempt in (*running, *self._keeping):
                    attempt.stop()
            with trio.move_on_after(0.2):
                await self._work.park()
        if len(self.schedule.slots):
            log.warning("jobs are left to the next start running=%d", len(self.schedule.slots))
        with trio.move_on_after(_LAST_WORDS_S):
            # Such as of a cancel, which is answered when its job has ended.
            while self._answers_due:  # noqa: ASYNC110 - a moment, once in a life
                await trio.sleep(0.02)
        await self.offers.close()
        await self._usage.save()


@asynccontextmanager
async def open_service(
    node: LocalNode,
    store: Store,
    *,
    gateway: Gateway | None = None,
    addresses: Callable[[], tuple[str, ...]] = tuple,
) -> AsyncIterator[Service]:
    """Recover, and run jobs until the context ends: then no job is started, and those that run are ended.

    `gateway`, `addresses`: see `Service`.
    """
    service = Service(node, store, gateway=gateway, addresses=addresses)
    await service.recover()
    async with alongside(service.run):
        try:
            yield service
        finally:
            with trio.CancelScope(shield=True):
                await service.stop()
