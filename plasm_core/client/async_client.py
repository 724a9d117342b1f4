"""The client for trio programs."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, TypeVar

import attrs
import trio

from plasm_core.assurance import Standing
from plasm_core.client import evidence, job_control, session
from plasm_core.client.arguments import check_callbacks
from plasm_core.client.auditor import Auditor
from plasm_core.client.connection import Link
from plasm_core.client.deadline import Deadline
from plasm_core.client.dial import Dialler
from plasm_core.client.executions import Executions
from plasm_core.client.failover import FailoverState, persist
from plasm_core.client.fetched_files import FetchedFiles, FetchLimits
from plasm_core.client.file_fetch import fetch_outputs
from plasm_core.client.job_map import AHEAD, JobInputs, map_jobs
from plasm_core.client.one_run import (
    AskedNodes,
    JobExecution,
    collecting,
    fetch_limits,
    result_of,
)
from plasm_core.client.output import Digesting, Nowhere, Sink, call_sink
from plasm_core.client.remote_files import LeftEntry, list_files, read_file
from plasm_core.client.result import JobResult, Rejected
from plasm_core.client.result_files import ResultFiles
from plasm_core.client.result_verification import Given, Judge, Judgement
from plasm_core.client.reuse import Reuse
from plasm_core.client.session import Following
from plasm_core.client.single_execution import SingleExecution
from plasm_core.client.submission import Content, Submission, Terms
from plasm_core.client.submitted_job import Sent, SentJobs
from plasm_core.client.wait_limits import LEAST_BYTES_PER_S, Bounds
from plasm_core.client.watcher import Watcher, silent
from plasm_core.errors import (
    FilesNotServedError,
    PeerUnreachableError,
    PlasmError,
    ReceiptRejectedError,
    ReceiptUndecidedError,
)
from plasm_core.protocol.channels import OUTPUTS
from plasm_core.protocol.messages import (
    AskCapabilities,
    AskStatus,
    Cancel,
    Capabilities,
    Release,
    Result,
    Status,
)
from plasm_core.records import Envelope, Handle, Manifest, PeerId, Receipt, Verdict
from plasm_core.records import job_id as digest_of_job
from plasm_core.verification import plan

if TYPE_CHECKING:
    from typing_extensions import Unpack

log = logging.getLogger(__name__)

T = TypeVar("T")

_CHUNK_BYTES = 1 << 20
_RECEIVE_AGAIN_S = 120.0
"""How long a node has to send its output once more, beside what sending it takes (`LEAST_BYTES_PER_S`)."""

QUEUE_S = 3600.0
"""How long `run` waits beside the job's own wall time, if its caller does not say: for a node, and in its queue."""


class AsyncClient:
    """Submits jobs to nodes and returns verified results. Created by `open_client`.

    Safe operations are retried with growing pauses for `timeout_s` seconds (None: without limit, except for `run`):
    submitting is idempotent, and following continues at the offset that was reached. All methods raise
    `WaitTimeoutError`, `PeerUnreachableError`, `RefusedError` and `ProtocolError`.
    """

    def __init__(
        self,
        dialler: Dialler,
        judge: Judge,
        sent: SentJobs | None = None,
        reuse: Reuse | None = None,
        auditor: Auditor | None = None,
    ) -> None:
        self.dialler = dialler
        self.auditor = auditor
        """Checks accepted results later; None if this client knows one node only."""
        self._judge = judge
        self._sent = sent or SentJobs()
        self._reuse = reuse

    def at(self, dialler: Dialler) -> AsyncClient:
        """Return a client with the same verifiers and memory that reaches nodes through another dialler."""
        return AsyncClient(dialler, self._judge, self._sent, self._reuse, self.auditor)

    def forget(self, submission: Submission) -> None:
        """Forget a job whose result will not be requested again: a client of many jobs remembers the latest 10,000."""
        self._sent.forget(digest_of_job(submission.manifest_json))

    def executions(self, submission: Submission) -> int:
        """Return how many nodes the verifiers ask to run a job."""
        return plan(self._judge.verifiers, submission.manifest, self.dialler.histories()).executions

    async def submit(
        self,
        submission: Submission,
        *,
        timeout_s: float | None = None,
        watch: Watcher = silent,
        placed: Callable[[Handle], None] = lambda _handle: None,
    ) -> Handle:
        """Submit a job. The node has stored it on its disk when this returns, and when `placed` is called.

        If a node may have accepted the job, the error has the job's `handle`. Raises: OSError from its sources.
        """
        check_callbacks(watch=watch, placed=placed)
        self._remember(submission)
        asked = AskedNodes()

        async def once(link: Link, peer: PeerId) -> Handle:
            handle = submission.handle(peer)
            asked.tried.append(handle)
            await session.submit(
                link,
                submission,
                peer,
                follow=False,
                route=self.dialler.route,
                watch=watch,
                bounds=Bounds.of(submission, replaceable=self.dialler.fails_over, own=self.dialler.is_own),
                has_files=self._sent.has_tree(peer, submission),
            )
            self._sent.add_tree(peer, submission)
            asked.accepted.append(handle)
            placed(handle)
            return handle

        with asked.naming():
            return await persist(
                self.dialler, FailoverState(submission), once, timeout_s, "the job to be accepted", watch
            )

    async def run(
        self,
        submission: Submission,
        *,
        sink: Sink | None = None,
        timeout_s: float | None = None,
        watch: Watcher = silent,
        placed: Callable[[Handle], None] = lambda _handle: None,
        patience_s: float | None = None,
        avoid: Collection[PeerId | str] = (),
    ) -> JobResult:
        """Submit a job and wait for its verified result. Output is written to the sink, or is part of the result.

        `placed` is called whenever a node has accepted the job. If the verifiers ask for several executions, several
        nodes run it. `timeout_s`: the deadline for the whole call; None is the job's wall time and `QUEUE_S` (an
        hour) for each execution, `float("inf")` is no deadline. `patience_s`: how long to wait for a node when none
        is left (None: the job's wall time). `avoid`: nodes and networks that must not run the job. docs/network.md
        says which of a node's claims a client believes, and how long it waits.

        A client that reuses results (`reuse=True`) runs nothing if it knows the verified result of an equal task.

        Raises: as `submit` and `result`. Once a node has accepted the job, an error has its `handle`.
        """
        check_callbacks(watch=watch, placed=placed, sink=sink)

        async def run(sink: Sink | None) -> JobResult:
            return await self._run(
                *(submission, sink),
                timeout_s=timeout_s,
                watch=watch,
                placed=placed,
                patience_s=patience_s,
                avoid=avoid,
            )

        return await run(sink) if self._reuse is None else await self._reuse.run(submission, sink, run)

    async def _run(
        self,
        submission: Submission,
        sink: Sink | None,
        *,
        timeout_s: float | None,
        watch: Watcher,
        placed: Callable[[Handle], None],
        patience_s: float | None,
        avoid: Collection[PeerId | str],
    ) -> JobResult:
        """Run a job on as many nodes as the verifiers ask for. See `run`."""
        self._remember(submission)
        asked = AskedNodes()
        deadline, execution_s = Deadline(timeout_s), submission.manifest.wall_time_s + QUEUE_S
        with asked.naming(), collecting(sink) as (collected, first):
            planned = plan(self._judge.verifiers, submission.manifest, self.dialler.histories())
            if planned.executions > 1 and not self.dialler.fails_over:
                few = f"the verifiers ask for {planned.executions} nodes, and there is one"
                raise ReceiptUndecidedError((few,))
            executions: Executions[JobExecution] = Executions(
                plan=planned, network=self.dialler.network_of, avoided=avoid
            )
            rejected: list[Rejected] = []

            async def execute(output: Digesting) -> None:
                if pause_s := executions.pause_s():
                    await trio.sleep(deadline.within_s(pause_s))
                running = functools.partial(
                    SingleExecution,
                    judge=self._judge,
                    sent=self._sent,
                    output=output,
                    avoid=executions.avoid(),
                    deadline=Deadline(execution_s) if timeout_s is None else deadline,
                    watch=watch,
                    placed=placed,
                    asked=asked,
                    patience_s=patience_s,
                    alone=executions.next_is_alone,
                    fetches=executions.holder is None,
                )
                if executions.have_begun:
                    job = submission.another()
                    self._remember(job)
                    at_random = planned.at_random and bool(executions.done)
                    async with self.dialler.apart(at_random=at_random) as dialler:
                        attempt = await running(dialler=dialler, submission=job).run()
                else:
                    attempt = await running(dialler=self.dialler, submission=submission).run()
                executions.add(attempt.given.handle.peer, attempt)
                rejected.extend(attempt.rejected)
                if attempt.verdict.more and not executions.ask_for(attempt.verdict.more):
                    raise ReceiptUndecidedError(attempt.verdict.reasons)

            judgement: Judgement | None = None
            is_early = False  # verify the remaining results before looking for other nodes
            while True:
                while not executions.are_enough and not (is_early and executions.done):
                    try:
                        await execute(first if executions.holder is None else Digesting(Nowhere()))
                    except PeerUnreachableError as exc:
                        if not executions.done:
                            raise
                        if executions.make_do():
                            break
                        if judgement is not None:
                            await self._judge.leave_undecided(judgement)
                        raise self._too_few(executions, exc) from exc
                attempts = list(executions.done.values())
                done = attempts[0]
                holder = done.given.handle.peer
                if executions.holder is None:
                    again = await self._receive_again(submission, done, first, deadline)
                    if again is None:
                        executions.drop([holder])
                        continue
                    done = executions.done[holder] = attempts[0] = again
                executions.holder = holder
                receipt, verdict = done.receipt, done.verdict
                if done.is_judged:
                    break
                judgement = await self._judge.consider(
                    [item.given for item in attempts],
                    manifest_json=submission.manifest_json,
                    job=submission,
                )
                lying = {*judgement.proofs, *judgement.verdict.false}.intersection(executions.done)
                if lying and self.dialler.fails_over:
                    why = "; ".join(judgement.verdict.reasons) or "a fraud proof names the node"
                    for peer in lying:
                        self.dialler.failed(peer, lied=True)
                        if (left := executions.done[peer].files) is not None:
                            left.close()
                        rejected.append(Rejected(node=peer, reason=why, file=judgement.proofs.get(peer)))
                    if executions.drop(lying):
                        is_early = True
                        continue
                if is_early and judgement.problem is not None and not executions.are_enough:
                    is_early = False
                    watch("looking for another node", None)
                    continue
                if self.dialler.fails_over and executions.ask_for(judgement.verdict.more):
                    continue
                await self._judge.leave_undecided(judgement)
                receipt, verdict = judgement.accepted()
                break
            await call_sink(first, first.settle)
            standing = self._knows(done.given.signer)
            found = result_of(done.given, receipt, verdict, collected, standing, tuple(rejected))
            own = done.given.manifest_json
            others = tuple(Envelope.from_json(item.given.end.envelope.encode()) for item in attempts[1:])
            found = attrs.evolve(
                found,
                files=ResultFiles(done.files),
                fetched=done.files,
                executed=None if own == submission.manifest_json else own,
                others=others,
            )
            return self._judge.require(found)

    def _too_few(self, executions: Executions[JobExecution], exc: PlasmError) -> ReceiptUndecidedError:
        """Return the error that there are no more nodes, on networks of their own if the plan asks for that."""
        networks = executions.plan.networks
        where = f" on {networks} networks" if networks > 1 else ""
        few = (
            f"the verifiers ask for {executions.wanted} nodes{where}, and {len(executions.done)} did the job"
        )
        error = ReceiptUndecidedError((f"{few}: {exc}",))
        if networks > 1 and any(verifier.name == "quorum" for verifier in self._judge.verifiers):
            error.hint = (
                "for nodes of your own in one network, count keys: --set verifier.quorum.networks=false"
            )
        return error

    async def _receive_again(
        self, submission: Submission, done: JobExecution, output: Digesting, whole: Deadline
    ) -> JobExecution | None:
        """Receive a node's output and files again, for the caller's sink. Return None if they differ from the first
        time.
        """
        given, following = done.given, Following()
        size_bytes = sum(digest.size_bytes for digest in given.outputs.values())
        deadline = Deadline(whole.within_s(_RECEIVE_AGAIN_S + size_bytes / LEAST_BYTES_PER_S))
        dialler = self.dialler.others()

        async def once(link: Link, _peer: PeerId) -> Result:
            status = await session.attach(link, given.handle, following)
            return await session.follow(link, status, following, output, bounds=Bounds(own=True))

        await call_sink(output, output.restart)
        choice, left = FailoverState(node=given.handle.peer), None
        try:
            await persist(dialler, choice, once, deadline.left_s, "the output once more")
            if submission.pack is not None:
                limits = submission.fetch_limits
                # Each file has the time that it had before (`fetch_output`): an honest node would be dropped otherwise.
                left = await fetch_outputs(
                    dialler, given.handle, done.receipt, done.receipt.files, limits, whole
                )
                given = attrs.evolve(given, files=left.found)
        except PlasmError as exc:
            log.info("output not received again node=%s reason=%s", given.handle.peer, exc)
            return None
        return attrs.evolve(done, given=given, files=left) if output.digests == given.outputs else None

    def _knows(self, signer: PeerId) -> Standing:
        """Return the standing of a node: its relation to this client's user."""
        return self.dialler.standing(signer) or self._judge.standing(signer)

    def map(
        self,
        module: Content,
        inputs: JobInputs,
        *,
        ordered: bool = True,
        in_flight: int | None = None,
        ahead: int = AHEAD,
        timeout_s: float | None = None,
        **terms: Unpack[Terms],
    ) -> AbstractAsyncContextManager[AsyncIterator[JobResult | PlasmError]]:
        """Run a module once for each input. The block that it opens has an iterator of results; its end cancels the rest.

            async with client.map("examples/hello/hello.wasm", [b"one", b"two"]) as results:
                async for result in results:
                    print(result)

        See `Client.map`; the error of a job without a result is yielded. Raises: TypeError, ValueError; what ended all.
        """
        return map_jobs(
            self,
            module,
            inputs,
            ordered=ordered,
            in_flight=in_flight,
            ahead=ahead,
            timeout_s=timeout_s,
            **terms,
        )

    async def result(
        self,
        handle: Handle,
        *,
        sink: Sink | None = None,
        manifest_json: bytes | None = None,
        timeout_s: float | None = None,
        watch: Watcher = silent,
        sent: Sent | None = None,
        files: bool = True,
    ) -> JobResult:
        """Wait for a job's result, and verify it. Output is written to the sink, or is part of the result.

        `manifest_json`: compared with the receipt, if given; the handle alone identifies the job, too. `sent`: the
        terms of the submission, if another client submitted the job. `files`: False leaves the job's files at the
        node.

        Raises: `ReceiptRejectedError`, `ReceiptUndecidedError`, `FilesNotServedError`; what the sink raises.
        """
        following, sent = Following(), sent or self._sent.find(handle.job_id)
        believed = self.dialler.is_own and (sent.through_gateway or self.dialler.route == "network")
        limit = sent.output_bytes
        if manifest_json is not None:
            limit = Manifest.from_json(manifest_json).limits.output_bytes
        check_callbacks(watch=watch, sink=sink)
        deadline = Deadline(timeout_s)
        with collecting(sink) as (collected, digesting):

            async def once(link: Link, _peer: PeerId) -> Result:
                bounds = Bounds(own=True, output_bytes=limit)
                status = await session.attach(link, handle, following)
                return await session.follow(link, status, following, digesting, watch=watch, bounds=bounds)

            end = await persist(
                self.dialler,
                FailoverState(node=handle.peer),
                once,
                deadline.left_s,
                "the job's result",
                watch,
            )
            given = Given.of(handle, end, digesting, believed=believed)
            left: FetchedFiles | None = None
            try:
                receipt, verdict = await self._judge.judge([given], manifest_json=manifest_json)
                if files and receipt.files:
                    watch("fetching the files", None)
                    limits = fetch_limits(receipt, sent)
                    left = await fetch_outputs(
                        self.dialler, handle, receipt, receipt.files, limits, deadline, watch=watch
                    )
                    given = attrs.evolve(given, files=left.found)
                    receipt, verdict = await self._judge.judge([given], manifest_json=manifest_json)
            except (ReceiptRejectedError, FilesNotServedError) as exc:
                if self.dialler.is_own and end.status.node and not believed:
                    exc.hint = "a job that was sent through the daemon as a gateway: say so with --gateway"
                else:
                    path = evidence.keep(handle.peer, handle.job_id, str(exc), end.envelope)
                    exc.hint = f"kept as evidence: {path}" if path else None
                raise
            await call_sink(digesting, digesting.settle)
            found = result_of(given, receipt, verdict, collected, self._knows(given.signer))
            return self._judge.require(attrs.evolve(found, files=ResultFiles(left)))

    async def receipt(
        self, handle: Handle, *, timeout_s: float | None = None, sent: Sent | None = None
    ) -> tuple[Receipt, Verdict]:
        """Wait until a job has ended, and return its receipt and the verdict on it. Its output stays at the node.

        Raises: as `result`.
        """
        sent = sent or self._sent.find(handle.job_id)
        deadline = Deadline(timeout_s)
        ended = await self.wait(handle, timeout_s=deadline.left_s)

        async def once(link: Link, _peer: PeerId) -> Result:
            offsets = {channel: ended.output_bytes(channel.output) for channel in OUTPUTS}
            following = Following(attempt=ended.attempt, offsets=offsets)
            status = await session.attach(link, handle, following)
            bounds = Bounds(own=True, output_bytes=sent.output_bytes)
            return await session.follow(link, status, following, Nowhere(), bounds=bounds)

        end = await persist(
            self.dialler, FailoverState(node=handle.peer), once, deadline.left_s, "the job's receipt"
        )
        believed = self.dialler.is_own and (sent.through_gateway or self.dialler.route == "network")
        given = Given.of(handle, end, Digesting(Nowhere()), believed=believed)
        return await self._judge.judge([attrs.evolve(given, outputs={})])

    async def list_files(
        self, handle: Handle, *, timeout_s: float | None = None, sent: Sent | None = None
    ) -> list[LeftEntry]:
        """Return the files and directories that a job left, compared with its receipt, without their bytes.

        Raises: as `result`.
        """
        sent = sent or self._sent.find(handle.job_id)
        deadline = Deadline(timeout_s)
        receipt, _ = await self.receipt(handle, timeout_s=deadline.left_s, sent=sent)
        limits = fetch_limits(receipt, sent)
        return await list_files(self.dialler, handle, receipt.files, limits, deadline)

    async def read_file(
        self,
        handle: Handle,
        entry: LeftEntry,
        take: Callable[[bytes], object],
        *,
        timeout_s: float | None = None,
        watch: Watcher = silent,
        sent: Sent | None = None,
    ) -> None:
        """Fetch a file that `list_files` returned, compare it with its digest, and pass its bytes to `take`.

        `take` is called in a thread. Raises: as `result`; what `take` raises.
        """
        sent = sent or self._sent.find(handle.job_id)
        limits = FetchLimits() if sent.file_bytes is None else FetchLimits(file_bytes=sent.file_bytes)
        fetched = await read_file(self.dialler, handle, entry, limits, Deadline(timeout_s), watch)

        def pass_on() -> None:
            fetched.file.seek(0)
            while data := fetched.file.read(_CHUNK_BYTES):
                take(data)

        with contextlib.closing(fetched):
            await trio.to_thread.run_sync(pass_on)

    def _remember(self, submission: Submission) -> None:
        job_id = digest_of_job(submission.manifest_json)
        self._sent.add(submission, job_id, through_gateway=self.dialler.route == "network")

    async def peek(
        self, handle: Handle, sink: Sink, *, timeout_s: float | None = 30, sent: Sent | None = None
    ) -> Status:
        """Copy the output that a job has written so far to the sink, and return the job's status.

        `timeout_s`: None waits as long as output arrives, at most 30 s for each piece.
        """
        limit = (sent or self._sent.find(handle.job_id)).output_bytes
        return await job_control.copy_output_so_far(self.dialler, handle, sink, timeout_s, limit)

    async def wait(
        self, handle: Handle, *, timeout_s: float | None = None, watch: Watcher = silent
    ) -> Status:
        """Wait until a job has ended, without its output."""
        return await job_control.wait_for_end(self.dialler, handle, timeout_s, watch)

    async def status(self, handle: Handle, *, timeout_s: float | None = 30) -> Status:
        """Return a job's status."""
        return await job_control.ask_about(self.dialler, handle, AskStatus, timeout_s, "the job's status")

    async def statuses(
        self, handles: Sequence[Handle], *, timeout_s: float = 30
    ) -> list[Status | PlasmError]:
        """Return the status of each job, or the error in its place, in the order of the handles.

        The jobs are asked about concurrently, with one deadline for all.
        """
        return await job_control.ask_about_many(self.dialler, handles, timeout_s)

    async def cancel(self, handle: Handle, *, timeout_s: float | None = 60) -> Status:
        """Cancel a job, and return its status when it has ended."""
        return await job_control.ask_about(self.dialler, handle, Cancel, timeout_s, "the job to be cancelled")

    async def release(self, handle: Handle, *, timeout_s: float | None = 30) -> Status:
        """Delete an ended job's inputs and outputs on its node."""
        return await job_control.ask_about(self.dialler, handle, Release, timeout_s, "the job to be released")

    async def capabilities(self, peer: PeerId | None = None, *, timeout_s: float | None = 30) -> bytes:
        """Return a node's signed capability record, as JSON."""

        async def once(link: Link, _peer: PeerId) -> bytes:
            answer = await session.ask(link, AskCapabilities())
            return answer.envelope.encode() if isinstance(answer, Capabilities) else b""

        return await persist(
            self.dialler, FailoverState(node=peer), once, timeout_s, "the node's capabilities"
        )
