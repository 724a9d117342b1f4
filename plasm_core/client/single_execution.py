"""One execution of a job: on one node, or on another node if the first one fails."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

import attrs

from plasm_core.client import evidence, session
from plasm_core.client.connection import Link
from plasm_core.client.deadline import Deadline
from plasm_core.client.dial import Dialler
from plasm_core.client.failover import FailoverState, NodeFailedError, give_up, persist
from plasm_core.client.fetched_files import FetchedFiles
from plasm_core.client.file_fetch import fetch_outputs
from plasm_core.client.job_control import withdraw
from plasm_core.client.one_run import AskedNodes, JobExecution, claim_problem, goes_with
from plasm_core.client.output import Digesting
from plasm_core.client.result import Rejected
from plasm_core.client.result_verification import Given, Judge, Judgement
from plasm_core.client.session import Following
from plasm_core.client.submission import Submission
from plasm_core.client.submitted_job import SentJobs
from plasm_core.client.wait_limits import Bounds
from plasm_core.client.watcher import Watcher
from plasm_core.errors import FilesNotServedError, PlasmError, ReceiptRejectedError, WaitTimeoutError
from plasm_core.protocol.messages import Result
from plasm_core.records import Handle, PeerId, Receipt, Verdict

_FOREVER = float("inf")


@attrs.define(kw_only=True)
class SingleExecution:
    """Runs a job on one node, and on another one if that node fails or lies.

    `avoid`: nodes and networks that must not run it. `alone`: no other executions will be compared with this one.
    `fetches`: also fetch the files that the job left; a node that does not serve the files that its receipt states
    has failed the job. `deadline`: for the whole execution. `patience_s`: see `FailoverState`.
    """

    dialler: Dialler
    judge: Judge
    sent: SentJobs
    submission: Submission
    output: Digesting
    avoid: Collection[PeerId | str]
    deadline: Deadline
    watch: Watcher
    placed: Callable[[Handle], None]
    asked: AskedNodes
    patience_s: float | None
    alone: bool
    fetches: bool
    _following: Following = attrs.field(factory=Following, init=False)
    _bounds: Bounds = attrs.field(factory=Bounds, init=False)
    _visits: dict[PeerId, Bounds] = attrs.field(factory=dict, init=False)
    """The time limits of the first visit to each node that accepted the job."""
    _rejected: list[Rejected] = attrs.field(factory=list, init=False)
    _state: FailoverState = attrs.field(init=False)

    async def run(self) -> JobExecution:
        """Run the job, and return the first execution that the verifiers do not reject.

        Raises: as `AsyncClient.run`.
        """
        patience_s = self.patience_s
        self._state = FailoverState(
            self.submission, avoid=set(self.avoid), patience_s=patience_s, waits=patience_s == _FOREVER
        )
        failed: JobExecution | None = None
        while True:
            try:
                handle, end = await persist(
                    self.dialler,
                    self._state,
                    self._visit,
                    self.deadline.left_s,
                    "the job's result",
                    self.watch,
                )
            except WaitTimeoutError:
                raise
            except PlasmError:
                if failed is None or not await goes_with(self.output, failed.given):
                    raise
                return failed  # every node failed the job: that is the result
            done, problem = await self._judged(handle, end)
            if done is None:
                continue
            if problem is None:
                self.dialler.succeeded(handle.peer)
                others = set(self._visits) - {handle.peer}
                await withdraw(self.dialler, [self.submission.handle(peer) for peer in others])
                return done
            lied = done.receipt.result.outcome.kind != "system_error"
            error = NodeFailedError(f"the node {handle.peer} {problem}", handle, end, lied=lied)
            if lied:
                self._reject(
                    error, handle, evidence.keep(handle.peer, handle.job_id, str(error), end.envelope)
                )
            else:
                failed = done
            if not self._go_on_after(error, handle):
                if failed is done:
                    return done
                raise error

    async def _visit(self, link: Link, peer: PeerId) -> tuple[Handle, Result]:
        """Submit the job to a node, or attach to it there, and follow it to its end."""
        handle = self.submission.handle(peer)
        self.asked.tried.append(handle)
        if self._state.node is None:
            self._following = Following(attempt=session.NEVER)
            first = self._visits.get(peer)
            self._bounds = Bounds.of(
                self.submission,
                replaceable=self.dialler.fails_over,
                own=self.dialler.is_own,
                delays=self._state.delays,
            )
            status = await session.submit(
                *(link, self.submission, peer),
                follow=True,
                route=self.dialler.route,
                watch=self.watch,
                bounds=self._bounds,
                has_files=self.sent.has_tree(peer, self.submission),
            )
            self.sent.add_tree(peer, self.submission)
            self._state.node = peer
            self._visits[peer] = first or attrs.evolve(self._bounds)
            self.asked.accepted.append(handle)
            self.placed(handle)
        else:
            status = await session.attach(link, handle, self._following, answer_s=self._bounds.answer_s)
        end = await session.follow(
            link, status, self._following, self.output, watch=self.watch, bounds=self._bounds
        )
        return handle, end

    async def _judged(self, handle: Handle, end: Result) -> tuple[JobExecution | None, str | None]:
        """Verify a node's result, and fetch the job's files.

        Return the execution, and why it is not the result of the job all the same. None in place of the execution:
        it was rejected, and another node may be asked.
        Raises: `ReceiptRejectedError` and `FilesNotServedError` if no other node may be asked;
        `ReceiptUndecidedError`.
        """
        given = Given.of(
            handle,
            end,
            self.output,
            believed=self.dialler.is_own and self.dialler.route == "network",
            manifest_json=self.submission.manifest_json,
        )
        files: FetchedFiles | None = None
        fetches = self.fetches and self.submission.pack is not None
        is_judged = self.alone and self.judge.signature_is_all
        judgement = await self._consider(given, signature_only=True, is_final=is_judged and not fetches)
        try:
            receipt, verdict = judgement.accepted()
            problem = self._claim_problem(receipt, handle.peer)
            if problem is None and fetches:
                files = await self._fetch(handle, receipt)
                given = attrs.evolve(given, files=files.found)
                judgement = await self._consider(given, signature_only=True, is_final=is_judged)
                receipt, verdict = judgement.accepted()
            if problem is None and self.alone and not is_judged:
                judgement = await self._consider(given)
                verdict = judgement.verdict
                is_judged = not (verdict.more and self.dialler.fails_over)
                if is_judged:
                    judgement.accepted()
        except (ReceiptRejectedError, FilesNotServedError) as exc:
            path = judgement.proofs.get(handle.peer) or evidence.keep(
                handle.peer, handle.job_id, str(exc), end.envelope
            )
            self._reject(exc, handle, path)
            if not self._go_on_after(exc, handle):
                raise
            return None, None
        return self._execution(given, receipt, verdict, files, is_judged=is_judged), problem

    async def _consider(
        self, given: Given, *, signature_only: bool = False, is_final: bool = True
    ) -> Judgement:
        return await self.judge.consider(
            [given],
            manifest_json=self.submission.manifest_json,
            job=self.submission,
            signature_only=signature_only,
            is_final=is_final,
        )

    async def _fetch(self, handle: Handle, receipt: Receipt) -> FetchedFiles:
        self.watch("fetching the files", None)
        return await fetch_outputs(
            self.dialler,
            handle,
            receipt,
            receipt.files,
            self.submission.fetch_limits,
            self.deadline,
            watch=self.watch,
        )

    def _execution(
        self,
        given: Given,
        receipt: Receipt,
        verdict: Verdict,
        files: FetchedFiles | None,
        *,
        is_judged: bool,
    ) -> JobExecution:
        return JobExecution(
            given=given,
            receipt=receipt,
            verdict=verdict,
            rejected=tuple(self._rejected),
            files=files,
            is_judged=is_judged,
        )

    def _claim_problem(self, receipt: Receipt, peer: PeerId) -> str | None:
        """Return why the node's claim about the end does not end the job for this client, or None."""
        return claim_problem(receipt, self._visits.get(peer)) if self.dialler.fails_over else None

    def _reject(self, exc: PlasmError, handle: Handle, path: Path | None) -> None:
        self._rejected.append(Rejected(node=handle.peer, reason=str(exc), file=path))
        exc.hint = f"kept as evidence: {path}" if path else None

    def _go_on_after(self, exc: PlasmError, handle: Handle) -> bool:
        """Exclude the node for this job. Return whether another node may be asked."""
        self._state.last = handle.peer
        if not give_up(self.dialler, self._state, exc):
            return False
        self.watch("looking for another node", None)
        return True
