"""All jobs of a token as one stream of events. The jobs are asked about in turn, while anybody listens.

A listener that reads slowly gets the latest of each job: what waits for it is bounded by the jobs that it watches.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import attrs
import trio

from plasm_core.errors import PlasmError, RefusedError
from plasm_core.protocol.messages import Status
from plasm_core.web.api_operations import EVENTS_TYPE
from plasm_core.web.bearer_tokens import ADMIN, BearerToken
from plasm_core.web.job_events import BEAT_S, RETRY_MS, event
from plasm_core.web.job_json import has_ended, status_json
from plasm_core.web.job_table import WebJob, WebJobTable
from plasm_core.web.problems import ApiProblem, problem_of
from plasm_core.web.streamed import Start
from plasm_core.web.web_jobs import ASK_S, WebJobs

log = logging.getLogger(__name__)

MOST_WATCHED = 1000
"""The jobs of one owner that are asked about, the latest: others are listed by GET."""
_PAUSE_S = 0.5
_REST_S = 5.0
_SHARE = 10
"""Asking takes at most one in so many parts of the time."""
_OVERLAP_S = 5.0
_ID = re.compile("[0-9]{1,12}")


@attrs.define(eq=False)
class Listener:
    """One client that listens. `pending`: what it has not been told, by job."""

    owner: str | None
    pending: dict[int, dict[str, Any]] = attrs.field(factory=dict)
    problem: ApiProblem | None = None
    some: trio.Event = attrs.field(factory=trio.Event)

    def tell(self, job: WebJob, told: dict[str, Any]) -> None:
        """Notify the listener of a job, if it is one of its own."""
        if self.owner in (None, job.owner):
            self.pending[job.number] = told
            self.some.set()


class JobWatch:
    """Asks about live jobs, and tells listeners what has changed. Also asks about those that have a webhook."""

    def __init__(self, jobs: WebJobs, table: WebJobTable) -> None:
        self._jobs = jobs
        self._table = table
        self._listeners: set[Listener] = set()
        self._came = trio.Event()
        self._told: dict[int, tuple[object, ...]] = {}
        jobs.observers.append(self.note)

    async def run(self) -> None:
        """Ask for ever, but only while there is a listener or a webhook to send."""
        while True:
            self._came = trio.Event()
            began = trio.current_time()
            try:
                if not self._listeners:
                    self._told.clear()
                    if not await trio.to_thread.run_sync(self._awaited):
                        with trio.move_on_after(_REST_S):
                            await self._came.wait()
                        continue
                await self._ask()
            except PlasmError as exc:
                log.warning("jobs cannot be asked about reason=%s", exc)
                for listener in self._listeners:
                    listener.problem = problem_of(exc)
                    listener.some.set()
            await trio.sleep(max(_PAUSE_S, _SHARE * (trio.current_time() - began)))

    async def _ask(self) -> None:
        owners = {listener.owner for listener in self._listeners}
        found: dict[int, WebJob] = {}
        for owner in {None} if None in owners else owners:
            live = await trio.to_thread.run_sync(partial(self._table.live, owner, limit=MOST_WATCHED))
            found.update((job.number, job) for job in live)
        found.update((job.number, job) for job in await trio.to_thread.run_sync(self._awaited))
        jobs = list(found.values())
        statuses = await self._jobs.client.statuses([job.handle for job in jobs], timeout_s=ASK_S)
        for job, status in zip(jobs, statuses, strict=True):
            if isinstance(status, Status) and not status.has_ended:
                self.note(job, status_json(status, None))
            elif isinstance(status, (Status, RefusedError)):
                await self._jobs.status(job)  # this records the job's end
            else:
                raise status

    def _awaited(self) -> list[WebJob]:
        """Return the live jobs whose end is to be told to a URL."""
        return self._table.awaited(limit=MOST_WATCHED)

    def note(self, job: WebJob, status: dict[str, Any]) -> None:
        """Tell listeners where a job stands, if that has changed."""
        if job.webhook is not None and not has_ended(status):
            self._came.set()
        key = (status["state"], status["attempt"], status.get("position"), job.released)
        if not self._listeners or self._told.get(job.number) == key:
            return
        self._told[job.number] = key
        if has_ended(status):
            del self._told[job.number]
        told = self._jobs.told(job, status)
        for listener in self._listeners:
            listener.tell(job, told)

    def stream(self, token: BearerToken, last_id: str | None, check_token: Callable[[], None]) -> JobsStream:
        """Return the stream of a token's jobs. Raises: `ApiProblem`."""
        if last_id is not None and not _ID.fullmatch(last_id):
            raise ApiProblem(400, "bad_event_id", "Last-Event-ID is not an id that this server gave")
        owner = None if token.permits(ADMIN) else token.identity
        return JobsStream(self, owner, None if last_id is None else int(last_id), check_token)

    async def first(self, owner: str | None, since: int | None) -> list[tuple[WebJob, dict[str, Any]]]:
        """Return the live jobs, and those that ended since a moment.

        All are asked about at once. The end of a job that ended between two questions is reported when `run` has its
        receipt.
        """
        live = await trio.to_thread.run_sync(partial(self._table.live, owner, limit=MOST_WATCHED))
        live.reverse()
        found: list[tuple[WebJob, dict[str, Any]]] = []
        statuses = await self._jobs.client.statuses([job.handle for job in live], timeout_s=ASK_S)
        for job, status in zip(live, statuses, strict=True):
            if isinstance(status, Status):
                found += [] if status.has_ended else [(job, status_json(status, None))]
            elif not isinstance(status, RefusedError):
                raise status
        if since is not None:
            ended = await trio.to_thread.run_sync(
                partial(self._table.ended_since, owner, since - _OVERLAP_S, limit=MOST_WATCHED)
            )
            found += [(job, job.status or {}) for job in reversed(ended)]
        return found

    def add(self, listener: Listener) -> None:
        """Have a listener told from now on."""
        self._listeners.add(listener)
        self._came.set()

    def remove(self, listener: Listener) -> None:
        """Forget a listener."""
        self._listeners.discard(listener)

    def told(self, job: WebJob, status: dict[str, Any]) -> dict[str, Any]:
        """Return a job as JSON data."""
        return self._jobs.told(job, status)


@attrs.define
class JobsStream:
    """Writes the events of one listener."""

    watch: JobWatch
    owner: str | None
    since: int | None
    check_token: Callable[[], None]

    async def produce(self, start: Start) -> None:
        """Write events until the client leaves."""
        listener = Listener(self.owner)
        self.watch.add(listener)
        try:
            first = await self.watch.first(self.owner, self.since)
            write = await start(200, {"Content-Type": EVENTS_TYPE, "X-Accel-Buffering": "no"})
            await write(f"retry: {RETRY_MS}\n\n".encode())
            for job, status in first:
                await write(event("job", self.watch.told(job, status), str(int(time.time()))))
            while True:
                with trio.move_on_after(BEAT_S):
                    await listener.some.wait()
                try:
                    self.check_token()
                except PlasmError as exc:
                    await write(event("problem", problem_of(exc).to_json()))
                    return
                listener.some = trio.Event()
                pending, listener.pending = listener.pending, {}
                problem, listener.problem = listener.problem, None
                if problem is not None:
                    await write(event("problem", problem.to_json()))
                    return
                for told in pending.values():
                    await write(event("job", told, str(int(time.time()))))
                if not pending:
                    await write(b": beat\n\n")
        finally:
            self.watch.remove(listener)
