"""The service of plasmd: accepts jobs, runs them, and notifies the sessions that follow them."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager

import trio

from plasm_core import paths
from plasm_core.background_tasks import alongside
from plasm_core.config import Config
from plasm_core.daemon import series
from plasm_core.daemon.capability_record import SignedRecord, record_of
from plasm_core.daemon.gateway import Gateway
from plasm_core.daemon.live_jobs import LiveJobs, cancelled
from plasm_core.daemon.module_admission import ModuleAdmission
from plasm_core.daemon.offer import Offer
from plasm_core.daemon.reservations import Offers
from plasm_core.daemon.schedule import thread_limits
from plasm_core.daemon.scheduling.compile_turns import Turns
from plasm_core.daemon.scheduling.owners import Owners, recovered
from plasm_core.daemon.scheduling.quotas import Quotas
from plasm_core.daemon.scheduling.slots import demand_of
from plasm_core.daemon.scheduling.usage import UsageLog
from plasm_core.daemon.settled import in_thread_if, settled
from plasm_core.daemon.store import Job, Store, StoredSubmission
from plasm_core.daemon.tracked_job import Track, demand_for, present, status_of
from plasm_core.errors import RefusedError, StorageError
from plasm_core.execution import FILES_FEATURE
from plasm_core.local_node import LocalNode
from plasm_core.metrics import Counters
from plasm_core.policy import check_submission
from plasm_core.protocol.messages import Status, Submit
from plasm_core.records import Manifest, Outcome, PeerId
from plasm_core.records.capabilities import CapabilityRecord, Load

log = logging.getLogger(__name__)

_TRACKED_S = 0.01
_EXPIRY_S = 60.0
_LAST_WORDS_S = 2.0


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
        self.counters = Counters()
        series.begin(self.counters)
        self.jobs = LiveJobs(node, store, quotas=self.quotas, counters=self.counters, gateway=gateway)
        self._usage = UsageLog(self.quotas, store)
        self.owners = Owners(paths.secret(paths.owners_key()))
        self.offers = Offers(store, self.jobs.schedule.queue, self.quotas, config.queue)
        self._ends_at: float | None = None
        self._answers_due = 0
        self._config = config
        self._gateway = gateway
        self._addresses = addresses
        self._turns = Turns(thread_limits(self.jobs.schedule.slots.total, config)[0])
        self._admission = ModuleAdmission(
            node=node,
            modules=store.modules,
            quotas=self.quotas,
            turns=self._turns,
            token=trio.lowlevel.current_trio_token(),
            charge=self.jobs.charge,
        )
        self.capabilities = SignedRecord(node.signer, self.record)

    @property
    def peer(self) -> PeerId:
        """The node's identity."""
        return self.node.signer.peer_id

    @property
    def is_stopping(self) -> bool:
        """Whether the service takes no more jobs."""
        return self.jobs.is_stopping

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
        self.jobs.reconfigure(config)
        self._turns.resize(thread_limits(self.jobs.schedule.slots.total, config)[0])

    def summary(self) -> str:
        """Return a line about the service's jobs."""
        word = "ending" if self.is_stopping else "serving"
        schedule = self.jobs.schedule
        return f"{word}: {len(schedule.slots)} running, {len(schedule.queue)} waiting, {len(self.offers)} uploading"

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
        while job.row not in self.jobs.tracks and job.state.live:  # ended, or accepted, a moment ago
            await trio.sleep(_TRACKED_S)
            job = await trio.to_thread.run_sync(self.store.get, job.row)
        track = self.jobs.tracks.get(job.row)
        return track.job if track is not None else job

    def record(self) -> CapabilityRecord:
        """Return the node's present capability record."""
        return record_of(
            self.node,
            self._config,
            lent=self.jobs.schedule.slots.total,
            lends=self._config.policy.lend and not self.is_stopping,
            load=Load(
                running=len(self.jobs.schedule.slots),
                waiting=len(self.jobs.schedule.queue),
                capacity=self.jobs.schedule.queue.capacity,
            ),
            addresses=self._addresses(),
        )

    def track(self, job: Job) -> Track | None:
        """Return the track of a job that has no result yet, and so of every `current` one that is live."""
        return self.jobs.tracks.get(job.row)

    def status(self, job: Job) -> Status:
        """Return a job's status, as the protocol sends it to clients."""
        return status_of(
            job, self.store, self.jobs.schedule.queue.position(job.row) if job.state.live else None
        )

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
            self.jobs.schedule.slots.check(demand_of(manifest))

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
            self.jobs.add(job, offer.owner, demand_for(job, self.store))
            offer.place.fill(job.row)
            self.jobs.wake()
            waiting = len(self.jobs.schedule.queue)
            log.info("job accepted job=%s module=%s waiting=%d", job.job_id, job.module, waiting)
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
        if job.row not in self.jobs.tracks:
            return await trio.to_thread.run_sync(self.store.get, job.row)
        log.info("job is being cancelled job=%s", job.job_id)
        track = self.jobs.tracks[job.row]
        await trio.to_thread.run_sync(self.store.cancel, job.row)
        return await self.jobs.cancel(track)

    async def release(self, job: Job) -> Job:
        """Delete an ended job's data; a job that has not ended is unchanged. Raises: `StorageError`."""
        if job.row in self.jobs.tracks:
            return self.jobs.tracks[job.row].job
        released = await trio.to_thread.run_sync(self.store.release, job.row)
        log.info("job released job=%s", job.job_id)
        return released

    async def recover(self) -> None:
        """Restore the jobs that an earlier process stored. Raises: `StorageError`."""
        await self._usage.restore()
        found = await trio.to_thread.run_sync(self.store.recover)
        live = (*found.queued, *found.exhausted, *found.cancelling)
        demands = await trio.to_thread.run_sync(lambda: [demand_for(job, self.store) for job in live])
        tracks = {
            job.row: self.jobs.add(job, recovered(job), demand)
            for job, demand in zip(live, demands, strict=True)
        }
        for job in found.queued:
            self.jobs.schedule.put(tracks[job.row])
        for job in found.exhausted:
            reason = f"the node was interrupted {job.interruptions} times while it ran"
            await self.jobs.end_unrun(tracks[job.row], Outcome(kind="system_error", detail=reason))
        for job in found.cancelling:
            await self.jobs.end_unrun(tracks[job.row], cancelled())
        log.info(
            "recovered queued=%d exhausted=%d cancelled=%d",
            *map(len, (found.queued, found.exhausted, found.cancelling)),
        )

    async def run(self) -> None:
        """Run jobs, and expire what is old, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.offers.expire)
            nursery.start_soon(self._expire)
            nursery.start_soon(self._usage.run)
            nursery.start_soon(self.jobs.run)

    async def _expire(self) -> None:
        while True:
            try:
                count = await trio.to_thread.run_sync(self.store.expire)
                if count:
                    log.info("expired jobs=%d", count)
            except StorageError as exc:
                log.error("cannot expire jobs reason=%s", exc)
            await trio.sleep(_EXPIRY_S)

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
        if self._ends_at is None:
            self._ends_at = trio.current_time() + self._config.daemon.shutdown_s
        await self.jobs.stop(self._ends_at)
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
