"""What the HTTP API does with jobs: a client of the daemon, with a table of the jobs that came through it."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any, TypeVar

import attrs
import trio

from plasm_core.client import session
from plasm_core.client.async_client import AsyncClient
from plasm_core.client.connection import Link
from plasm_core.client.output import Nowhere
from plasm_core.client.session import Following
from plasm_core.client.submission import Submission
from plasm_core.client.submitted_job import SentJobs
from plasm_core.client.upload import Source
from plasm_core.client.wait_limits import Bounds
from plasm_core.errors import (
    ConnectionLostError,
    PeerUnreachableError,
    PlasmError,
    RefusedError,
    WaitTimeoutError,
)
from plasm_core.protocol.channels import OUTPUTS
from plasm_core.protocol.messages import Result, Status
from plasm_core.records import Handle, PeerId, job_id
from plasm_core.web.bearer_tokens import ADMIN, BearerToken
from plasm_core.web.job_json import has_ended, job_json, lost, status_json
from plasm_core.web.job_table import WebJob, WebJobTable
from plasm_core.web.problems import ApiProblem, not_found
from plasm_core.web.sent_store import MAX_KEPT_TREE_BYTES, MODULES, TREES, SentStore
from plasm_core.web.uploads import StoredFile

log = logging.getLogger(__name__)

T = TypeVar("T")

ACCEPT_S = 300.0
"""How long a submission may take: uploading, compiling, waiting for a daemon that restarts."""
ASK_S = 6.0
_PAUSE_S = 0.5
_RECOVER_S, _MOST_RECOVERED = 60.0, 1000
_DIGEST = re.compile("[0-9a-f]{64}")
GONE = frozenset({"unknown_job", "released", "expired"})


@attrs.define
class _Turn:
    lock: trio.Lock = attrs.field(factory=trio.Lock)
    waiting: int = 0


class WebJobs:
    """Submits jobs, and tells of those in the table. Raises: every `PlasmError` of the client, and `ApiProblem`."""

    def __init__(self, client: AsyncClient, table: WebJobTable) -> None:
        self.client = client
        self._table = table
        self._modules = SentStore(table, MODULES)
        self._trees = SentStore(table, TREES)
        self._sent = SentJobs()
        self.observers: list[Callable[[WebJob, dict[str, Any]], None]] = []
        """Called with a job and its status when it was submitted, has ended, or was released."""
        self._turns: dict[tuple[str, str], _Turn] = {}

    async def submit(
        self, token: BearerToken, submission: Submission, name: str, webhook: str | None = None
    ) -> tuple[WebJob, dict[str, Any]]:
        """Submit a job, or find it if this token has submitted it before. Return it with its status as JSON.

        `webhook`: the URL to tell of its end, which was checked.
        """
        owner = token.identity
        async with self._turn(owner, job_id(submission.manifest_json)):
            job, _ = await self._in_table(self._table.add, owner, submission.manifest_json, name, webhook)
            if job.peer is None:
                submission = attrs.evolve(submission, secret=job.secret)
                try:
                    peer = await self._hand_in(submission)
                except RefusedError:
                    await self._in_table(self._table.forget, job)
                    raise
                job = await self._in_table(self._table.placed, job, peer)
        status = await self.status(job)
        if not has_ended(status):
            self._note(job, status)
        return job, status

    async def _hand_in(self, submission: Submission) -> PeerId:
        """Submit a job, and return the node's PeerId. A refusal is final; a daemon that is away gets `ASK_S` to return."""
        until = trio.current_time() + ASK_S
        while True:
            try:
                with trio.fail_after(ACCEPT_S):
                    return await self._submit_once(submission)
            except (ConnectionLostError, PeerUnreachableError):
                if trio.current_time() + _PAUSE_S > until:
                    raise
                await trio.sleep(_PAUSE_S)
            except trio.TooSlowError:
                raise WaitTimeoutError(
                    f"the daemon has not accepted the job within {ACCEPT_S:.0f} s"
                ) from None

    async def _submit_once(self, submission: Submission) -> PeerId:
        dialler = self.client.dialler
        bounds = Bounds.of(submission, replaceable=False, own=True)
        async with dialler.converse(None, job=submission) as (link, peer):
            await session.submit(
                link,
                submission,
                peer,
                follow=False,
                route=dialler.route,
                bounds=bounds,
                has_files=self._sent.has_tree(peer, submission),
            )
            self._sent.add_tree(peer, submission)
            return peer

    async def run(self) -> None:
        """Recover jobs now and then, for ever: at once those of an earlier server."""
        before = datetime.now(timezone.utc)
        while True:
            try:
                await self.recover(before)
                before = datetime.now(timezone.utc) - timedelta(seconds=2 * ACCEPT_S)
            except PlasmError as exc:
                log.warning("lost jobs cannot be asked about reason=%s", exc)
            await trio.sleep(_RECOVER_S)

    async def recover(self, before: datetime) -> None:
        """Find the jobs that the node accepted without this server learning it, and forget those that it did not.

        The server was killed, or the client left, between the node's answer and the note of it: the job would run,
        and its owner could neither see nor cancel it. `before`: leave out jobs that were submitted later.
        """
        unplaced = await self._in_table(partial(self._table.unplaced, before, limit=_MOST_RECOVERED))
        if not unplaced:
            return
        async with self.client.dialler.converse(None) as (_, peer):
            pass
        handles = [Handle(job_id=job.job_id, secret=job.secret, peer=peer) for job in unplaced]
        answers = await self.client.statuses(handles, timeout_s=ASK_S)
        for job, answer in zip(unplaced, answers, strict=True):
            async with self._turn(job.owner, job.job_id):
                now = await self._in_table(self._table.numbered, job.number)
                if now is None or now.peer is not None:
                    continue
                if isinstance(answer, Status):
                    placed = await self._in_table(self._table.placed, job, peer)
                    log.info("lost job found job=%s", job.job_id)
                    if not answer.has_ended:
                        self._note(placed, status_json(answer, None))
                elif isinstance(answer, RefusedError) and answer.reason in GONE:
                    await self._in_table(self._table.forget, job)

    async def keep_module(self, token: BearerToken, module: Source) -> bool:
        """Store a module for jobs that name it. Return whether this token had not sent it before."""
        return await self._in_table(self._modules.put, token.identity, module)

    async def module(self, token: BearerToken, digest: str) -> StoredFile:
        """Return a module that this token has sent. The caller closes it. Raises: `ApiProblem`."""
        found = await self._in_table(self._modules.open, token.identity, digest)
        if found is None:
            raise ApiProblem(
                404,
                "unknown_module",
                f"this token has sent no module {digest}, or it was deleted to make room",
                hint="send it with: PUT /v1/modules/DIGEST",
            )
        return found

    async def keep_tree(self, token: BearerToken, pack: Source) -> None:
        """Store a tree for jobs that name it, unless it is too large for that. Raises: `StorageError`."""
        if pack.size_bytes <= MAX_KEPT_TREE_BYTES:
            await self._in_table(self._trees.put, token.identity, pack)

    def open_tree(self, token: BearerToken, digest: str) -> StoredFile:
        """Return the pack of a tree that this token has sent. Blocks. The caller closes it. Raises: `ApiProblem`."""
        found = self._trees.open(token.identity, digest) if _DIGEST.fullmatch(digest) else None
        if found is None:
            raise ApiProblem(
                404,
                "unknown_tree",
                "this token has sent no such tree of files, or it was deleted to make room",
                hint="send the files",
            )
        return found

    async def find(self, token: BearerToken, job_id: str) -> WebJob:
        """Return a job of a token; of any token, if it has the scope `admin`. Raises: `ApiProblem`."""
        owner = None if token.permits(ADMIN) else token.identity
        own = await self._in_table(self._table.find, token.identity, job_id)
        job = own or (await self._in_table(self._table.find, owner, job_id) if owner is None else None)
        if job is None:
            raise not_found(f"job {job_id} of this token")
        return job

    async def listed(
        self, token: BearerToken, *, limit: int, before: int | None
    ) -> list[tuple[WebJob, dict[str, Any] | None]]:
        """Return jobs, the latest first, with the status of each; those whose node does not answer have none."""
        owner = None if token.permits(ADMIN) else token.identity
        found = await self._in_table(partial(self._table.listed, owner, limit=limit, before=before))
        live = [job for job in found if job.status is None]
        told = await self.client.statuses([job.handle for job in live], timeout_s=ASK_S)
        statuses: dict[int, dict[str, Any] | None] = {}
        for job, status in zip(live, told, strict=True):
            if isinstance(status, Status):
                statuses[job.number] = status_json(status, None)
            elif isinstance(status, RefusedError) and status.reason in GONE:
                statuses[job.number] = None
            else:
                raise status
        return [(job, statuses.get(job.number, job.status)) for job in found]

    async def status(self, job: WebJob) -> dict[str, Any]:
        """Return a job's status as JSON data, with its full outcome once it has ended."""
        if job.status is not None:
            return job.status
        try:
            status = await self._asked(self.client.status, job)
            if not status.has_ended:
                return status_json(status, None)
            return await self._end(job, status)
        except RefusedError as exc:
            if exc.reason not in GONE:
                raise
            _, status_now = await self.ended(job, lost(), None)
            return status_now

    async def wait(self, job: WebJob, seconds: float) -> dict[str, Any]:
        """Return a job's status when it has ended, or after some seconds."""
        status = await self.status(job)
        if seconds > 0 and not has_ended(status):
            with contextlib.suppress(WaitTimeoutError):
                await self.client.wait(job.handle, timeout_s=seconds)
            status = await self.status(job)
        return status

    async def cancel(self, job: WebJob) -> dict[str, Any]:
        """Cancel a job, and return its status."""
        if job.status is None:
            await self._asked(self.client.cancel, job)
        return await self.status(job)

    async def release(self, job: WebJob) -> WebJob:
        """Have an ended job's data deleted."""
        if not job.released:
            try:
                await self._asked(self.client.release, job)
            except RefusedError as exc:
                if exc.reason not in GONE:
                    raise
            job = await self._in_table(self._table.release, job)
            self._note(job, await self.status(job))
        return job

    async def _asked(self, question: Callable[..., Awaitable[Status]], job: WebJob) -> Status:
        with self.saying_why():
            return await question(job.handle, timeout_s=ASK_S)

    @contextmanager
    def saying_why(self) -> Iterator[None]:
        """Raise the reason why the daemon could not be used, in place of the error that a wait for it timed out."""
        try:
            yield
        except WaitTimeoutError as exc:
            problem = self.client.dialler.problem
            if problem is None:
                raise
            raise PeerUnreachableError(str(problem), hint=problem.hint) from exc

    async def ended(
        self, job: WebJob, status: dict[str, Any], envelope: str | None
    ) -> tuple[WebJob, dict[str, Any]]:
        """Record a job's end, and tell the observers."""
        job, is_new = await self._in_table(self._table.ended, job, status, envelope)
        if is_new:
            self._note(job, status)
        return job, status

    def _note(self, job: WebJob, status: dict[str, Any]) -> None:
        for observe in self.observers:
            observe(job, status)

    async def envelope(self, job: WebJob) -> str | None:
        """Return the receipt's envelope of a job; None if it has not ended, or if it was deleted."""
        if job.envelope is None:
            await self.status(job)
            found = await self._in_table(self._table.find, job.owner, job.job_id)
            return None if found is None else found.envelope
        return job.envelope

    async def ended_envelope(self, job: WebJob) -> str:
        """Return the receipt's envelope of a job that has ended. Raises: `ApiProblem` if there is none."""
        envelope = None if job.released else await self.envelope(job)
        if envelope is not None:
            return envelope
        if job.released or has_ended(await self.status(job)):
            raise ApiProblem(410, "released", "the job's receipt was deleted", job_id=job.job_id)
        raise ApiProblem(
            409,
            "not_ended",
            "the job has not ended: there is no receipt yet",
            hint="wait for it with: GET /v1/jobs/JOB, Prefer: wait=60",
            job_id=job.job_id,
        )

    def told(self, job: WebJob, status: dict[str, Any] | None) -> dict[str, Any]:
        """Return a job as JSON data."""
        return job_json(job, status)

    async def _end(self, job: WebJob, status: Status) -> dict[str, Any]:
        """Fetch the receipt of a job that has ended, and record it."""
        following = Following(
            attempt=status.attempt,
            offsets={channel: status.output_bytes(channel.output) for channel in OUTPUTS},
        )
        with trio.move_on_after(ASK_S):
            async with self.client.dialler.converse(job.handle.peer) as (link, _):
                end = await _result(link, job, following)
            _, told = await self.ended(job, status_json(end.status, end.envelope), end.envelope)
            return told
        raise WaitTimeoutError(f"after {ASK_S:g} s still waiting for the job's receipt")

    @asynccontextmanager
    async def _turn(self, owner: str, job_id: str) -> AsyncIterator[None]:
        """Let one request at a time submit a job."""
        key = (owner, job_id)
        turn = self._turns.setdefault(key, _Turn())
        turn.waiting += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.waiting -= 1
            if not turn.waiting:
                del self._turns[key]

    async def _in_table(self, method: Callable[..., T], *arguments: object) -> T:
        return await trio.to_thread.run_sync(method, *arguments)


async def _result(link: Link, job: WebJob, following: Following) -> Result:
    status = await session.attach(link, job.handle, following)
    return await session.follow(link, status, following, Nowhere(), bounds=Bounds(own=True))


def gone(job: WebJob) -> ApiProblem:
    """Return the problem of a job whose outputs were deleted."""
    return ApiProblem(410, "released", "the job's outputs were deleted", job_id=job.job_id)


@asynccontextmanager
async def telling_gone(job: WebJob) -> AsyncIterator[None]:
    """Raise an `ApiProblem` in place of a node's error that it has deleted the job."""
    try:
        yield
    except RefusedError as exc:
        if exc.reason in GONE:
            raise gone(job) from exc
        raise
