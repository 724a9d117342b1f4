"""One run of a job: on as many nodes as the verifiers ask for, until they accept a result."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

import attrs
import trio

from plasm_core.client import session
from plasm_core.client.connection import Link
from plasm_core.client.deadline import Deadline
from plasm_core.client.dial import Dialler
from plasm_core.client.executions import Executions
from plasm_core.client.failover import FailoverState, persist
from plasm_core.client.file_fetch import fetch_outputs
from plasm_core.client.one_run import AskedNodes, JobExecution, collecting, result_of
from plasm_core.client.output import Buffer, Digesting, Nowhere, Sink, call_sink
from plasm_core.client.result import JobResult, Rejected
from plasm_core.client.result_files import ResultFiles
from plasm_core.client.result_verification import Judge, Judgement
from plasm_core.client.session import Following
from plasm_core.client.single_execution import SingleExecution
from plasm_core.client.submission import Submission
from plasm_core.client.submitted_job import SentJobs
from plasm_core.client.wait_limits import LEAST_BYTES_PER_S, Bounds
from plasm_core.client.watcher import Watcher
from plasm_core.errors import PeerUnreachableError, PlasmError, ReceiptRejectedError, ReceiptUndecidedError
from plasm_core.protocol.messages import Result
from plasm_core.records import Envelope, Handle, PeerId, Plan, Receipt, Verdict
from plasm_core.verification import plan

log = logging.getLogger(__name__)

QUEUE_S = 3600.0
"""How long a run waits beside the job's own wall time, if its caller does not say: for a node, and in its queue."""
_RECEIVE_AGAIN_S = 120.0
"""How long a node has to send its output once more, beside what sending it takes (`LEAST_BYTES_PER_S`)."""


@attrs.define(kw_only=True)
class VerifiedRun:
    """Has as many nodes as the verifiers ask for run a job, each under another identity, and judges their receipts.

    `timeout_s`, `placed`, `patience_s`, `avoid`: see `AsyncClient.run`.
    """

    dialler: Dialler
    judge: Judge
    sent: SentJobs
    submission: Submission
    timeout_s: float | None
    watch: Watcher
    placed: Callable[[Handle], None]
    patience_s: float | None
    avoid: Collection[PeerId | str]
    _asked: AskedNodes = attrs.field(factory=AskedNodes, init=False)
    _rejected: list[Rejected] = attrs.field(factory=list, init=False)
    _deadline: Deadline = attrs.field(init=False)
    _plan: Plan = attrs.field(init=False)
    _executions: Executions[JobExecution] = attrs.field(init=False)
    _judgement: Judgement | None = attrs.field(default=None, init=False)
    _is_early: bool = attrs.field(default=False, init=False)
    """Whether to judge the remaining results before another node is looked for: liars were dropped."""

    async def run(self, sink: Sink | None) -> JobResult:
        """Run the job, and return its verified result. Output goes to the sink, or is part of the result.

        Raises: as `AsyncClient.run`.
        """
        self.sent.add(self.submission, through_gateway=self.dialler.route == "network")
        self._deadline = Deadline(self.timeout_s)
        with self._asked.naming(), collecting(sink) as (collected, output):
            self._plan = plan(self.judge.verifiers, self.submission.manifest, self.dialler.histories())
            if self._plan.executions > 1 and not self.dialler.fails_over:
                few = f"the verifiers ask for {self._plan.executions} nodes, and there is one"
                raise ReceiptUndecidedError((few,))
            self._executions = Executions(
                plan=self._plan, network=self.dialler.network_of, avoided=self.avoid
            )
            while True:
                await self._execute_enough(output)
                if not await self._holds_output(output):
                    continue
                accepted = await self._judged()
                if accepted is not None:
                    break
            await call_sink(output, output.settle)
            return self.judge.require(self._result(*accepted, collected))

    async def _execute_enough(self, output: Digesting) -> None:
        """Have nodes run the job until there are as many results as wanted, or as possible.

        Raises: `ReceiptUndecidedError` if there are too few nodes; as `SingleExecution.run`.
        """
        executions = self._executions
        while not executions.are_enough and not (self._is_early and executions.done):
            try:
                await self._execute(output if executions.holder is None else Digesting(Nowhere()))
            except PeerUnreachableError as exc:
                if not executions.done:
                    raise
                if executions.make_do():
                    break
                if self._judgement is not None:
                    await self.judge.leave_undecided(self._judgement)
                raise self._too_few(exc) from exc

    async def _execute(self, output: Digesting) -> None:
        """Have one more node run the job: the first under this client's identity, others under a fresh one."""
        executions = self._executions
        if pause_s := executions.pause_s():
            await trio.sleep(self._deadline.within_s(pause_s))
        if executions.have_begun:
            job = self.submission.another()
            self.sent.add(job, through_gateway=self.dialler.route == "network")
            at_random = self._plan.at_random and bool(executions.done)
            async with self.dialler.apart(at_random=at_random) as dialler:
                done = await self._execution(dialler, job, output).run()
        else:
            done = await self._execution(self.dialler, self.submission, output).run()
        executions.add(done.given.handle.peer, done)
        self._rejected.extend(done.rejected)
        if done.verdict.more and not executions.ask_for(done.verdict.more):
            raise ReceiptUndecidedError(done.verdict.reasons)

    def _execution(self, dialler: Dialler, job: Submission, output: Digesting) -> SingleExecution:
        executions, wall_time_s = self._executions, self.submission.manifest.wall_time_s
        return SingleExecution(
            dialler=dialler,
            judge=self.judge,
            sent=self.sent,
            submission=job,
            output=output,
            avoid=executions.avoid(),
            deadline=Deadline(wall_time_s + QUEUE_S) if self.timeout_s is None else self._deadline,
            watch=self.watch,
            placed=self.placed,
            asked=self._asked,
            patience_s=self.patience_s,
            alone=executions.next_is_alone,
            fetches=executions.holder is None,
        )

    async def _holds_output(self, output: Digesting) -> bool:
        """Have the caller's sink hold the output of the first result. Return False if that result had to be dropped.

        Raises: as `_drop`.
        """
        executions = self._executions
        first = next(iter(executions.done.values()))
        holder = first.given.handle.peer
        if executions.holder is None:
            again = await self._receive_again(first, output)
            if again is None:
                self._drop([holder], f"{holder} did not send its output again as it was")
                return False
            executions.done[holder] = again
        executions.holder = holder
        return True

    async def _judged(self) -> tuple[Receipt, Verdict] | None:
        """Return the receipt and verdict that the verifiers accept; None if there must be more results first.

        Raises: as `AsyncClient.run`.
        """
        executions = self._executions
        first = next(iter(executions.done.values()))
        if first.is_judged:
            return first.receipt, first.verdict
        self._judgement = judgement = await self.judge.consider(
            [item.given for item in executions.done.values()],
            manifest_json=self.submission.manifest_json,
            job=self.submission,
        )
        if self.dialler.fails_over and self._drop_liars(judgement):
            self._is_early = True
            return None
        if self._is_early and judgement.problem is not None and not executions.are_enough:
            self._is_early = False
            self.watch("looking for another node", None)
            return None
        if self.dialler.fails_over and executions.ask_for(judgement.verdict.more):
            return None
        await self.judge.leave_undecided(judgement)
        return judgement.accepted()

    def _drop_liars(self, judgement: Judgement) -> bool:
        """Drop the results of nodes that lied. Return whether there were some. Raises: as `_drop`."""
        executions = self._executions
        lying = {*judgement.proofs, *judgement.verdict.false}.intersection(executions.done)
        if not lying:
            return False
        why = "; ".join(judgement.verdict.reasons) or "a fraud proof names the node"
        for peer in lying:
            self.dialler.failed(peer, lied=True)
            if (left := executions.done[peer].files) is not None:
                left.close()
            self._rejected.append(Rejected(node=peer, reason=why, file=judgement.proofs.get(peer)))
        self._drop(lying, why)
        return True

    def _drop(self, peers: Collection[PeerId], why: str) -> None:
        """Drop the results of nodes. Raises: `ReceiptRejectedError` if a job met more such nodes than it may."""
        if not self._executions.drop(peers):
            raise ReceiptRejectedError((why, "too many nodes gave false results for this job"))

    async def _receive_again(self, done: JobExecution, output: Digesting) -> JobExecution | None:
        """Receive a node's output and files again, for the caller's sink. Return None if they differ from the first
        time.
        """
        given, following = done.given, Following()
        size_bytes = sum(digest.size_bytes for digest in given.outputs.values())
        deadline = Deadline(self._deadline.within_s(_RECEIVE_AGAIN_S + size_bytes / LEAST_BYTES_PER_S))
        dialler = self.dialler.others()

        async def once(link: Link, _peer: PeerId) -> Result:
            status = await session.attach(link, given.handle, following)
            return await session.follow(link, status, following, output, bounds=Bounds(own=True))

        await call_sink(output, output.restart)
        choice, left = FailoverState(node=given.handle.peer), None
        try:
            await persist(dialler, choice, once, deadline.left_s, "the output once more")
            if self.submission.pack is not None:
                limits = self.submission.fetch_limits
                # Each file has the time that it had before (`fetch_output`): an honest node would be dropped otherwise.
                left = await fetch_outputs(
                    dialler, given.handle, done.receipt, done.receipt.files, limits, self._deadline
                )
                given = attrs.evolve(given, files=left.found)
        except PlasmError as exc:
            log.info("output not received again node=%s reason=%s", given.handle.peer, exc)
            return None
        return attrs.evolve(done, given=given, files=left) if output.digests == given.outputs else None

    def _result(self, receipt: Receipt, verdict: Verdict, collected: Buffer | None) -> JobResult:
        done, *others = self._executions.done.values()
        signer, own = done.given.signer, done.given.manifest_json
        standing = self.dialler.standing(signer) or self.judge.standing(signer)
        found = result_of(done.given, receipt, verdict, collected, standing, tuple(self._rejected))
        return attrs.evolve(
            found,
            files=ResultFiles(done.files),
            fetched=done.files,
            executed=None if own == self.submission.manifest_json else own,
            others=tuple(Envelope.from_json(item.given.end.envelope.encode()) for item in others),
        )

    def _too_few(self, exc: PlasmError) -> ReceiptUndecidedError:
        """Return the error that there are no more nodes, on networks of their own if the plan asks for that."""
        networks, executions = self._plan.networks, self._executions
        where = f" on {networks} networks" if networks > 1 else ""
        few = (
            f"the verifiers ask for {executions.wanted} nodes{where}, and {len(executions.done)} did the job"
        )
        error = ReceiptUndecidedError((f"{few}: {exc}",))
        if networks > 1 and any(verifier.name == "quorum" for verifier in self.judge.verifiers):
            error.hint = (
                "for nodes of your own in one network, count keys: --set verifier.quorum.networks=false"
            )
        return error
