"""The engine room of plasmd: what was accepted, what runs, and who is told."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta

import trio

from plasm_core import paths
from plasm_core.alongside import alongside
from plasm_core.config import Config
from plasm_core.counters import Counters
from plasm_core.daemon.capability import SignedRecord, record_of
from plasm_core.daemon.compiling import Turn, Turns
from plasm_core.daemon.gateway import Gateway
from plasm_core.daemon.offers import Offer, Offers
from plasm_core.daemon.owners import Owner, Owners, recovered
from plasm_core.daemon.policy import check_submission
from plasm_core.daemon.quotas import Quotas
from plasm_core.daemon.runner import Attempt, Runner
from plasm_core.daemon.track import Track, demand_for, present, status_of
from plasm_core.errors import JobEndedError, RefusedError, StorageError
from plasm_core.machine import Demand, machine
from plasm_core.node import Node
from plasm_core.queue import FairQueue
from plasm_core.records import Manifest, Outcome, PeerId
from plasm_core.records.capabilities import CapabilityRecord, Load
from plasm_core.slots import Slots, demand_of, lendable_bytes
from plasm_core.store import Job, Store
from plasm_core.wire.messages import Status, Submit

log = logging.getLogger(__name__)

_POSITIONS_S = 1.0
_OVERDUE_S = 1.0
_TRACKED_S = 0.01
_EXPIRY_S = 60.0
_AGAIN_S = 5.0
_LAST_WORDS_S = 2.0
_KILL_S = 10.0
"""How long ending a run may take, once it is to end."""
_BY_OWNER = "by its owner"


class Service:
    """Takes, runs and ends jobs. All its methods belong to the loop that `open_service` runs in."""

    def __init__(self, node: Node, store: Store) -> None:
        config = node.config
        self.node = node
        self.store = store
        self.queue: FairQueue[int] = FairQueue(
            capacity=config.queue.jobs, per_owner=config.queue.jobs_per_client
        )
        self.slots: Slots[int] = Slots(_lent(config))
        self.quotas = Quotas(config.clients)
        self.owners = Owners(paths.secret(paths.owners_key()))
        self.counters = Counters()
        self.offers = Offers(store, self.queue, self.quotas, config.queue)
        self.is_stopping = False
        self._ends_at: float | None = None
        self._answers_due = 0
        self._config = config
        self._runner = Runner(node, store)
        self._tracks: dict[int, Track] = {}
        self._work = trio.lowlevel.ParkingLot()
        compiling, threads = _thread_limits(self.slots.total, config)
        self._turns, self._threads = Turns(compiling), trio.CapacityLimiter(threads)
        self._token = trio.lowlevel.current_trio_token()
        self._make_room()
        self.capabilities = SignedRecord(node.signer, self.record)
        self.whereabouts: Callable[[], tuple[str, ...]] = tuple
        """Tells where others reach this node, for its capability record."""

    @property
    def gateway(self) -> Gateway | None:
        """What hands jobs on to the network, if anything does."""
        return self._runner.gateway

    @gateway.setter
    def gateway(self, gateway: Gateway) -> None:
        self._runner.gateway = gateway

    @property
    def peer(self) -> PeerId:
        """The node's identity."""
        return self.node.signer.peer_id

    def reconfigure(self, config: Config) -> None:
        """Take over what may change while it runs: limits and policy."""
        self._config = config
        self.node.config = config
        self.offers.limits = config.queue
        self.quotas.limits = config.clients
        self.queue.capacity = config.queue.jobs
        self.queue.per_owner = config.queue.jobs_per_client
        self.slots.total = _lent(config)
        self._make_room()
        self._turns.total, self._threads.total_tokens = _thread_limits(self.slots.total, config)
        self._work.unpark_all()

    async def find(self, job_id: str, token: bytes) -> Job:
        """Return the job that a token opens. Raises: `RefusedError` (`unknown_job`, `released`, `expired`)."""
        job = await self.look_up(job_id, token)
        if job is None:
            raise RefusedError("unknown_job", "there is no job of this id that this token opens")
        return job

    async def look_up(self, job_id: str, token: bytes) -> Job | None:
        """Return the job that a token opens, None if there is none. Raises: `RefusedError` if it is gone."""
        job = await trio.to_thread.run_sync(self.store.find, job_id, token)
        return None if job is None else await self.current(present(job))

    async def current(self, job: Job) -> Job:
        """Return a job as it is now. If it has no result, it has a track."""
        while job.row not in self._tracks and job.state.live:  # ended, or accepted, a moment ago
            await trio.sleep(_TRACKED_S)
            job = await trio.to_thread.run_sync(self.store.get, job.row)
        track = self._tracks.get(job.row)
        return track.job if track is not None else job

    def record(self) -> CapabilityRecord:
        """Return what the node says of itself now."""
        return record_of(
            self.node,
            self._config,
            lent=self.slots.total,
            lends=self._config.policy.lend and not self.is_stopping,
            load=Load(running=len(self.slots), waiting=len(self.queue), capacity=self.queue.capacity),
            addresses=self.whereabouts(),
        )

    def track(self, job: Job) -> Track | None:
        """Return the track of a job that has no result yet, and so of every `current` one that is live."""
        return self._tracks.get(job.row)

    def status(self, job: Job) -> Status:
        """Return where a job stands, as clients are told."""
        return status_of(job, self.store, self.queue.position(job.row) if job.state.live else None)

    def check(self, manifest: Manifest, submit: Submit, *, stranger: PeerId | None = None) -> None:
        """Refuse what this node does not take. `stranger`: a client of another machine.

        Raises: `RefusedError`.
        """
        if self.is_stopping:
            raise RefusedError("shutting_down", "the node is about to end", retry_after_s=10)
        check_submission(manifest, submit, self._config, stranger=stranger, hands_on=self.gateway is not None)
        if submit.route != "network":
            self.slots.check(demand_of(manifest))

    async def accept(self, offer: Offer, token: bytes, progress: Callable[[str], None]) -> tuple[Job, bool]:
        """Admit and keep a job whose upload is complete. Return it, and whether it is new.

        `progress` is called in the loop. When cancelled, the offer stays, to be accepted another time.

        Raises: `RefusedError`, `StorageError`, `SandboxError`; the offer is discarded then.
        """
        await self.offers.take(offer)
        try:
            if offer.route == "here":
                await self._compile(offer, progress)
            if self.is_stopping:
                raise RefusedError("shutting_down", "the node is about to end", retry_after_s=10)
            accepted = await trio.to_thread.run_sync(
                lambda: self.store.accept(
                    offer.inputs,
                    manifest_json=offer.manifest_json,
                    token=token,
                    route=offer.route,
                    holder=offer.owner.holder,
                )
            )
        except Exception:
            await self.offers.discard(offer)
            raise
        job = accepted.job
        if accepted.created:
            self.counters.add("jobs_accepted_total", route=offer.route)
            self._tracks[job.row] = Track(job, offer.owner, demand_for(job))
            offer.place.fill(job.row)
            self._work.unpark_all()
            log.info("job accepted job=%s module=%s waiting=%d", job.job_id, job.module, len(self.queue))
        self.offers.remove(offer)
        return present(job), accepted.created

    async def _compile(self, offer: Offer, progress: Callable[[str], None]) -> None:
        """Check and compile an offer's module when it is its owner's turn. Raises: `RefusedError`, `SandboxError`.

        When cancelled, the thread goes on to its end, and keeps the turn until then.
        """
        turn = await self._turns.take(offer.owner)
        try:
            # The processor time that it had when it came may be used up by now.
            self.quotas.check(offer.owner.counted, uploads=False)
            alone = trio.CapacityLimiter(1)  # it is the turns that limit how many there are
            await trio.to_thread.run_sync(
                self._admit, offer, turn, progress, limiter=alone, abandon_on_cancel=True
            )
        finally:
            if not turn.begun:
                self._turns.give_back(turn)

    def _admit(self, offer: Offer, turn: Turn, progress: Callable[[str], None]) -> None:
        """Check and compile a module, in a thread. What was compiled stays in the cache for the run."""
        turn.begun = True
        if turn.is_over:
            return
        manifest, began_s = offer.manifest, time.thread_time()
        owner = offer.owner

        def tell(phase: str) -> None:
            self._token.run_sync_soon(progress, phase)

        def meter(cpu_s: float) -> None:
            self._token.run_sync_soon(self._charge_compiling, owner, cpu_s)

        try:
            module = self.store.modules.read(manifest.module)
            self.node.admission().admit(module, manifest.limits, progress=tell, meter=meter).close()
        finally:
            meter(time.thread_time() - began_s)
            self._token.run_sync_soon(self._turns.give_back, turn)

    def _charge_compiling(self, owner: Owner, cpu_s: float) -> None:
        self._turns.charge(owner, cpu_s)
        self.quotas.charge(owner.counted, cpu_s=cpu_s)

    async def cancel(self, job: Job) -> Job:
        """End a job, and return it when it has ended. Raises: `StorageError`."""
        track = self._tracks.get(job.row)
        if track is None:
            return await trio.to_thread.run_sync(self.store.get, job.row)
        log.info("job is being cancelled job=%s", job.job_id)
        await trio.to_thread.run_sync(self.store.cancel, job.row)
        if self.queue.remove(job.row):
            await self._end_unrun(track, Outcome(kind="cancelled", detail=_BY_OWNER))
        elif track.attempt is not None:
            track.attempt.cancelled.set()
        while self._tracks.get(job.row) is track:
            await track.news.after(track.news.count)
        return track.job

    async def release(self, job: Job) -> Job:
        """Delete what is kept of an ended job; one that has not ended stays. Raises: `StorageError`."""
        if job.row in self._tracks:
            return self._tracks[job.row].job
        released = await trio.to_thread.run_sync(self.store.release, job.row)
        log.info("job released job=%s", job.job_id)
        return released

    async def recover(self) -> None:
        """Take up what an earlier process left. Raises: `StorageError`."""
        found = await trio.to_thread.run_sync(self.store.recover)
        for job in (*found.queued, *found.exhausted, *found.cancelling):
            self._tracks[job.row] = Track(job, recovered(job), demand_for(job))
        for job in found.queued:
            self._enqueue(self._tracks[job.row])
        for job in found.exhausted:
            reason = f"the node was interrupted {job.interruptions} times while it ran"
            await self._end_unrun(self._tracks[job.row], Outcome(kind="system_error", detail=reason))
        for job in found.cancelling:
            await self._end_unrun(self._tracks[job.row], Outcome(kind="cancelled", detail=_BY_OWNER))
        log.info(
            "recovered queued=%d exhausted=%d cancelled=%d",
            *map(len, (found.queued, found.exhausted, found.cancelling)),
        )

    async def run(self) -> None:
        """Start jobs as there is room for them, until cancelled. Jobs that run then go on to their end."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.offers.expire)
            nursery.start_soon(self._expire)
            nursery.start_soon(self._end_overdue)
            nursery.start_soon(self._tell_positions)
            while True:
                while not self.is_stopping and (row := self._next()) is not None:
                    track = self._tracks[row]
                    self.queue.take(row)
                    self.slots.take(row, self._demand(track))
                    self._make_room()
                    self.quotas.started(track.owner.counted)
                    track.attempt = self._attempt(track)
                    nursery.start_soon(self._execute, track, track.attempt)
                with trio.move_on_after(1):  # a job that does not fit is passed over for a while only
                    await self._work.park()

    def _make_room(self) -> None:
        """Leave to zygotes and idle workers what no job has: jobs and they together never take more than is lent."""
        self.node.executor.make_room(max(0, self.slots.free.memory_bytes))

    def _next(self) -> int | None:
        suspected = any(track.is_suspect and track.attempt is not None for track in self._tracks.values())
        heads = ((row, self._tracks[row]) for row in self.queue.heads())
        return self.slots.choose(
            (row, self._demand(track))
            for row, track in heads
            if self.quotas.may_start(track.owner.counted) and not (suspected and track.is_suspect)
        )

    def _demand(self, track: Track) -> Demand:
        """Return what a job may use: all there is, if it must run alone so that it shows who ends the daemon."""
        return self.slots.total if track.must_run_alone else track.demand

    def _enqueue(self, track: Track, *, first: bool = False) -> None:
        """Queue a job. A suspect waits for other suspects, which its owner's other jobs need not wait for."""
        line = f"suspects of {track.owner.line}" if track.is_suspect else track.owner.line
        self.queue.put(line, track.job.row, track.owner.holder, first=first)

    def _attempt(self, track: Track) -> Attempt:
        age_s = (self.store.now() - track.job.accepted_at).total_seconds()
        return Attempt(
            row=track.job.row,
            client=track.owner.client,
            changed=lambda job: self._token.run_sync_soon(self._changed, track, job),
            grown=lambda: self._token.run_sync_soon(track.news.tell, idempotent=True),
            deadline=time.monotonic() + self._config.queue.total_s - age_s,
        )

    async def _execute(self, track: Track, attempt: Attempt) -> None:
        row = track.job.row
        try:
            job = await trio.to_thread.run_sync(
                self._runner.execute, attempt, limiter=self._threads, abandon_on_cancel=True
            )
        except StorageError as exc:
            log.error("job cannot be started job=%s reason=%s", track.job.job_id, exc)
            await trio.sleep(_AGAIN_S)
            job = track.job
        except Exception:
            log.exception("job cannot be started job=%s", track.job.job_id)
            await trio.sleep(_AGAIN_S)
            job = track.job
        finally:
            self.slots.give_back(row)
            self._make_room()
            self.quotas.ended(track.owner.counted)
            self.quotas.charge(track.owner.counted, cpu_s=attempt.cpu_time_s + attempt.node_cpu_s)
            self.counters.add("job_cpu_seconds_total", attempt.cpu_time_s)
            self.counters.add("job_node_cpu_seconds_total", attempt.node_cpu_s)
            track.attempt = None
            self._work.unpark_all()
        if not job.state.live:
            self._ended(track, job)
        elif attempt.cancelled.is_set() and not attempt.stopping:
            await self._end_unrun(track, Outcome(kind="cancelled", detail=_BY_OWNER))
        else:
            self._changed(track, job)
            self._enqueue(track, first=True)

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
        """End the jobs that have waited for longer than they may, for ever."""
        while True:
            await trio.sleep(_OVERDUE_S)
            allowed_s = min(self._config.queue.wait_s, self._config.queue.total_s)
            latest = self.store.now() - timedelta(seconds=allowed_s)
            overdue = [row for row, track in self._tracks.items() if track.job.accepted_at < latest]
            for row in overdue:
                if self.queue.remove(row):
                    outcome = Outcome(kind="timed_out", detail=f"after {allowed_s} s in the queue")
                    await self._end_unrun(self._tracks[row], outcome)

    async def _tell_positions(self) -> None:
        """Wake those that follow waiting jobs, now and then: a place changes with every job that starts."""
        while True:
            await trio.sleep(_POSITIONS_S)
            for row, track in list(self._tracks.items()):
                if track.news.is_awaited and row in self.queue:
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
        if len(self.slots):
            log.info(
                "waiting for jobs running=%d at_most_s=%d", len(self.slots), self._config.daemon.shutdown_s
            )
        while len(self.slots) and trio.current_time() < deadline + _KILL_S:
            if trio.current_time() >= deadline:
                for track in self._tracks.values():
                    if track.attempt is not None:
                        track.attempt.stopping = True
                        track.attempt.cancelled.set()
            with trio.move_on_after(0.2):
                await self._work.park()
        if len(self.slots):
            log.warning("jobs are left to the next start running=%d", len(self.slots))
        with trio.move_on_after(_LAST_WORDS_S):
            # Such as of a cancel, which is answered when its job has ended.
            while self._answers_due:  # noqa: ASYNC110 - a moment, once in a life
                await trio.sleep(0.02)
        await self.offers.close()


def _thread_limits(total: Demand, config: Config) -> tuple[int, int]:
    """Return how many modules may be compiled at once, and how many jobs may be seen to.

    Compilers have the memory that is not lent, each as much as it may take; one always runs.
    """
    rest = machine().memory_bytes - total.memory_bytes
    compilers = max(1, min(total.cpu, rest // config.admission.memory_bytes))
    return compilers, total.cpu * 2 + 8


def _lent(config: Config) -> Demand:
    """Return what jobs may have of the machine."""
    whole = machine()
    if config.limits.memory_bytes > whole.memory_bytes:
        log.warning(
            "more memory is lent than this process may have: the kernel will kill jobs limits=%d memory_bytes=%d",
            *(config.limits.memory_bytes, whole.memory_bytes),
        )
    return Demand(
        cpu=config.limits.cpu or whole.cpu,
        memory_bytes=config.limits.memory_bytes or lendable_bytes(whole.memory_bytes),
    )


@asynccontextmanager
async def open_service(node: Node, store: Store) -> AsyncIterator[Service]:
    """Recover, and run jobs until the context ends: then no job is started, and those that run are ended."""
    service = Service(node, store)
    await service.recover()
    async with alongside(service.run):
        try:
            yield service
        finally:
            with trio.CancelScope(shield=True):
                await service.stop()
