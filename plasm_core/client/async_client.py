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
from plasm_core.client import evidence, session
from plasm_core.client.arguments import check_callbacks
from plasm_core.client.auditor import Auditor
from plasm_core.client.connection import Link
from plasm_core.client.dial import Dialler
from plasm_core.client.executions import Executions
from plasm_core.client.failover import FailoverState, NodeFailedError, give_up, persist
from plasm_core.client.fetched_files import FetchedFiles, Fetching, FetchLimits
from plasm_core.client.file_fetch import fetch_output
from plasm_core.client.job_map import AHEAD, JobInputs, map_jobs
from plasm_core.client.one_run import (
    AskedNodes,
    JobExecution,
    claim_problem,
    collecting,
    fetch_limits,
    goes_with,
    result_of,
)
from plasm_core.client.output import Digesting, Nowhere, Sink, call_sink
from plasm_core.client.remote_files import LeftEntry, list_files, read_file
from plasm_core.client.result import JobResult, Rejected
from plasm_core.client.result_files import ResultFiles
from plasm_core.client.result_verification import Given, Judge
from plasm_core.client.reuse import Reuse
from plasm_core.client.session import Following
from plasm_core.client.submission import Content, Submission, Terms
from plasm_core.client.submitted_job import Sent, SentJobs
from plasm_core.client.wait_limits import Bounds
from plasm_core.client.watcher import Watcher, silent
from plasm_core.errors import (
    FilesNotServedError,
    NodeStalledError,
    PeerUnreachableError,
    PlasmError,
    ProtocolError,
    ReceiptRejectedError,
    ReceiptUndecidedError,
    RefusedError,
    WaitTimeoutError,
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
from plasm_core.records.files import Product
from plasm_core.verification import plan

if TYPE_CHECKING:
    from typing_extensions import Unpack

log = logging.getLogger(__name__)

T = TypeVar("T")

_CHUNK_BYTES = 1 << 20
_WITHDRAW_S = 2.0
_RECEIVE_AGAIN_S = 120.0
_PEEK_S = 30.0
"""How long a node may send none of the output that it has."""

QUEUE_S = 3600.0
"""How long `run` waits beside the job's own wall time, if its caller does not say: for a node, and in its queue."""
_STATUSES_AT_ONCE = 16
"""How many jobs are asked about beside one another: each takes a connection."""


class AsyncClient:
    """Hands jobs to nodes and takes their results, verified. Made by `open_client`.

    Whatever can be retried safely is, with growing pauses, until `timeout_s` (seconds, None: for ever, but for
    `run`) is over: submitting is idempotent, and following goes on where it broke off.
    All methods raise `WaitTimeoutError`, `PeerUnreachableError`, `RefusedError` and `ProtocolError`.
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
        """Return a client like this one that reaches nodes by another dialler."""
        return AsyncClient(dialler, self._judge, self._sent, self._reuse, self.auditor)

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
        """Hand a job in. It is on the node's disk when this returns, and when `placed` is called.

        An error that comes when a node may have the job by now has its `handle`. Raises: OSError from its sources.
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
        """Submit a job and wait for its verified result. Output goes to the sink, or into the result.

        `placed` is called whenever a node has accepted it. If the verifiers' plan asks for several executions, or a
        verifier asks for more, as many nodes run it. `timeout_s`: for all of it; None is the job's wall time and
        `QUEUE_S` (an hour) for each execution, `float("inf")` is for ever. `patience_s`: how long to wait for a node
        where none is left (None: the job's wall time). `avoid`: nodes and networks that may not run it. What a client
        believes of a node, and for how long it waits: docs/network.md.

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
        if timeout_s is None:
            timeout_s = submission.manifest.wall_time_s + QUEUE_S
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
                await trio.sleep(executions.pause_s())
                running = functools.partial(
                    AsyncClient._run_once,
                    output=output,
                    avoid=executions.avoid(),
                    timeout_s=timeout_s,
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
                    async with self.dialler.apart() as dialler:
                        attempt = await running(self.at(dialler), job)
                else:
                    attempt = await running(self, submission)
                executions.add(attempt.given.handle.peer, attempt)
                rejected.extend(attempt.rejected)
                if attempt.verdict.more and not executions.ask_for(attempt.verdict.more):
                    raise ReceiptUndecidedError(attempt.verdict.reasons)

            is_early = False  # judging those that are left, before others are looked for
            while True:
                while not executions.are_enough and not (is_early and executions.done):
                    try:
                        await execute(first if executions.holder is None else Digesting(Nowhere()))
                    except PeerUnreachableError as exc:
                        if not executions.done:
                            raise
                        if executions.make_do():
                            break
                        raise self._too_few(executions, exc) from exc
                attempts = list(executions.done.values())
                done = attempts[0]
                holder = done.given.handle.peer
                if executions.holder is None:
                    again = await self._receive_again(submission, done, first)
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
                receipt, verdict = judgement.accepted()
                break
            await call_sink(first, first.settle)
            standing = self._knows(done.given.signer)
            found = result_of(done.given, receipt, verdict, collected, standing, tuple(rejected))
            own = done.given.manifest_json
            found = attrs.evolve(
                found,
                files=ResultFiles(done.files),
                fetched=done.files,
                executed=None if own == submission.manifest_json else own,
            )
            others = tuple(Envelope.from_json(item.given.end.envelope.encode()) for item in attempts[1:])
            return self._judge.require(attrs.evolve(found, others=others))

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
        self, submission: Submission, done: JobExecution, output: Digesting
    ) -> JobExecution | None:
        """Receive once more what a node gave, for the caller, its files too. None if it is not the same as before."""
        given, following = done.given, Following()
        client = self.at(self.dialler.others())

        async def once(link: Link, _peer: PeerId) -> Result:
            status = await session.attach(link, given.handle, following)
            return await session.follow(link, status, following, output, bounds=Bounds(own=True))

        await call_sink(output, output.restart)
        choice, left = FailoverState(node=given.handle.peer), None
        try:
            await persist(client.dialler, choice, once, _RECEIVE_AGAIN_S, "the output once more")
            if submission.pack is not None:
                limits = submission.fetch_limits
                left = await client._fetch(
                    given.handle, done.receipt, done.receipt.files, limits, _RECEIVE_AGAIN_S
                )
                given = attrs.evolve(given, files=left.found)
        except PlasmError as exc:
            log.info("output not received again node=%s reason=%s", given.handle.peer, exc)
            return None
        return attrs.evolve(done, given=given, files=left) if output.digests == given.outputs else None

    def _knows(self, signer: PeerId) -> Standing:
        """Return what this client knows of a node."""
        return self.dialler.standing(signer) or self._judge.standing(signer)

    async def _run_once(
        self,
        submission: Submission,
        output: Digesting,
        avoid: Collection[PeerId | str],
        timeout_s: float | None,
        watch: Watcher,
        placed: Callable[[Handle], None],
        asked: AskedNodes,
        *,
        patience_s: float | None,
        alone: bool,
        fetches: bool,
    ) -> JobExecution:
        """Run a job on one node, or on another if that fails, but on none to avoid.

        `alone`: there are no other executions to judge it with. `fetches`: take the files that the job left, too; a
        node that does not serve what its receipt states has failed the job.
        """
        dialler = self.dialler
        following = Following()
        choice = FailoverState(
            submission,
            avoid=set(avoid),
            patience_s=patience_s,
            waits=patience_s is not None and patience_s == float("inf"),
        )
        visits: dict[PeerId, Bounds] = {}
        bounds = Bounds()
        deadline = trio.current_time() + (float("inf") if timeout_s is None else timeout_s)
        rejected: list[Rejected] = []

        async def once(link: Link, peer: PeerId) -> tuple[Handle, Result]:
            nonlocal following, bounds
            handle = submission.handle(peer)
            asked.tried.append(handle)
            if choice.node is None:
                following = Following(attempt=session.NEVER)
                first = visits.get(peer)
                bounds = Bounds.of(
                    submission, replaceable=dialler.fails_over, own=dialler.is_own, delays=choice.delays
                )
                status = await session.submit(
                    *(link, submission, peer),
                    follow=True,
                    route=dialler.route,
                    watch=watch,
                    bounds=bounds,
                    has_files=self._sent.has_tree(peer, submission),
                )
                self._sent.add_tree(peer, submission)
                choice.node = peer
                visits[peer] = first or attrs.evolve(bounds)
                asked.accepted.append(handle)
                placed(handle)
            else:
                status = await session.attach(link, handle, following, answer_s=bounds.answer_s)
            end = await session.follow(link, status, following, output, watch=watch, bounds=bounds)
            return handle, end

        failed: JobExecution | None = None
        while True:
            left_s = None if timeout_s is None else max(0.0, deadline - trio.current_time())
            try:
                handle, end = await persist(dialler, choice, once, left_s, "the job's result", watch)
            except WaitTimeoutError:
                raise
            except PlasmError:
                if failed is None or not await goes_with(output, failed.given):
                    raise
                return failed  # it failed everywhere: that is the result
            given = Given.of(
                handle,
                end,
                output,
                believed=dialler.is_own and dialler.route == "network",
                manifest_json=submission.manifest_json,
            )
            is_judged = alone and self._judge.signature_is_all
            judgement = await self._judge.consider(
                [given],
                manifest_json=submission.manifest_json,
                job=submission,
                signature_only=True,
                is_final=is_judged and not (fetches and submission.pack is not None),
            )
            try:
                receipt, verdict = judgement.accepted()
                problem = claim_problem(receipt, visits.get(handle.peer)) if dialler.fails_over else None
                left: FetchedFiles | None = None
                if problem is None and fetches and submission.pack is not None:
                    watch("fetching the files", None)
                    left_s = None if timeout_s is None else max(0.0, deadline - trio.current_time())
                    left = await self._fetch(
                        handle, receipt, receipt.files, submission.fetch_limits, left_s, watch=watch
                    )
                    given = attrs.evolve(given, files=left.found)
                    judgement = await self._judge.consider(
                        [given],
                        manifest_json=submission.manifest_json,
                        job=submission,
                        signature_only=True,
                        is_final=is_judged,
                    )
                    receipt, verdict = judgement.accepted()
                if problem is None and alone and not is_judged:
                    judgement = await self._judge.consider(
                        [given], manifest_json=submission.manifest_json, job=submission
                    )
                    verdict = judgement.verdict
                    is_judged = not (verdict.more and dialler.fails_over)
                    if is_judged:
                        judgement.accepted()
            except (ReceiptRejectedError, FilesNotServedError) as exc:
                path = judgement.proofs.get(handle.peer) or evidence.keep(
                    handle.peer, handle.job_id, str(exc), end.envelope
                )
                rejected.append(Rejected(node=handle.peer, reason=str(exc), file=path))
                exc.hint = f"kept as evidence: {path}" if path else None
                choice.last = handle.peer
                if not give_up(dialler, choice, exc):
                    raise
                watch("looking for another node", None)
                continue
            done = JobExecution(
                given=given,
                receipt=receipt,
                verdict=verdict,
                rejected=tuple(rejected),
                files=left,
                is_judged=is_judged,
            )
            if problem is None:
                dialler.succeeded(handle.peer)
                await self._withdraw(submission, set(visits) - {handle.peer})
                return done
            lied = receipt.result.outcome.kind != "system_error"
            error = NodeFailedError(f"the node {handle.peer} {problem}", handle, end, lied=lied)
            if lied:
                path = evidence.keep(handle.peer, handle.job_id, str(error), end.envelope)
                rejected.append(Rejected(node=handle.peer, reason=str(error), file=path))
                error.hint = f"kept as evidence: {path}" if path else None
            else:
                failed = done
            choice.last = handle.peer
            if not give_up(dialler, choice, error):
                if failed is done:
                    return done
                raise error
            watch("looking for another node", None)

    async def _fetch(
        self,
        handle: Handle,
        receipt: Receipt,
        products: Sequence[Product],
        limits: FetchLimits,
        timeout_s: float | None,
        *,
        watch: Watcher = silent,
    ) -> FetchedFiles:
        """Fetch outputs of an ended job, compared with its receipt, which has been verified.

        Raises: `FilesNotServedError` if the node has not what its receipt states, or does not serve it; as `submit`.
        """
        asked = receipt.asked.files
        left = FetchedFiles(() if asked is None else asked.outputs)
        try:
            for product in products:
                fetching = Fetching(product, limits)
                try:
                    await fetch_output(self.dialler, handle, fetching, timeout_s, watch)
                    entries = await trio.to_thread.run_sync(fetching.finish)
                    left.add(fetching, entries)
                    limits = limits.less([item.entry for item in entries])
                except BaseException:
                    fetching.close()
                    raise
        except BaseException as exc:
            left.close()
            if isinstance(exc, (ProtocolError, NodeStalledError, RefusedError)):
                raise FilesNotServedError(str(exc)) from exc
            raise
        return left

    async def _withdraw(self, submission: Submission, peers: Collection[PeerId]) -> None:
        """Cancel a job at the nodes where it was left waiting, as far as that takes no time."""
        if not peers:
            return

        async def cancel(peer: PeerId) -> None:
            with contextlib.suppress(PlasmError):
                await self.cancel(submission.handle(peer), timeout_s=_WITHDRAW_S)

        with trio.move_on_after(_WITHDRAW_S):
            async with trio.open_nursery() as nursery:
                for peer in peers:
                    nursery.start_soon(cancel, peer)

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
        """Wait for a job's result, and verify it. Output goes to the sink, or into the result.

        `manifest_json`, if it is at hand, is compared too; the handle alone binds the job. `sent`: what is known
        of how the job was submitted, if this client did not do it. `files` False leaves its files at the node.

        Raises: `ReceiptRejectedError`, `ReceiptUndecidedError`, `FilesNotServedError`; what the sink raises.
        """
        following, sent = Following(), sent or self._sent.find(handle.job_id)
        believed = self.dialler.is_own and (sent.through_gateway or self.dialler.route == "network")
        limit = sent.output_bytes
        if manifest_json is not None:
            limit = Manifest.from_json(manifest_json).limits.output_bytes
        check_callbacks(watch=watch, sink=sink)
        with collecting(sink) as (collected, digesting):

            async def once(link: Link, _peer: PeerId) -> Result:
                bounds = Bounds(own=True, output_bytes=limit)
                status = await session.attach(link, handle, following)
                return await session.follow(link, status, following, digesting, watch=watch, bounds=bounds)

            end = await persist(
                self.dialler, FailoverState(node=handle.peer), once, timeout_s, "the job's result", watch
            )
            given = Given.of(handle, end, digesting, believed=believed)
            left: FetchedFiles | None = None
            try:
                receipt, verdict = await self._judge.judge([given], manifest_json=manifest_json)
                if files and receipt.files:
                    watch("fetching the files", None)
                    left = await self._fetch(
                        handle, receipt, receipt.files, fetch_limits(receipt, sent), timeout_s, watch=watch
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
        ended = await self.wait(handle, timeout_s=timeout_s)

        async def once(link: Link, _peer: PeerId) -> Result:
            offsets = {channel: ended.output_bytes(channel.output) for channel in OUTPUTS}
            following = Following(attempt=ended.attempt, offsets=offsets)
            status = await session.attach(link, handle, following)
            bounds = Bounds(own=True, output_bytes=sent.output_bytes)
            return await session.follow(link, status, following, Nowhere(), bounds=bounds)

        end = await persist(
            self.dialler, FailoverState(node=handle.peer), once, timeout_s, "the job's receipt"
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
        receipt, _ = await self.receipt(handle, timeout_s=timeout_s, sent=sent)
        limits = fetch_limits(receipt, sent)
        return await list_files(self.dialler, handle, receipt.files, limits, timeout_s)

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
        """Pass the bytes of a file that `list_files` has told of to `take`, once all are here and have its digest.

        `take` is called in a thread. Raises: as `result`; what `take` raises.
        """
        sent = sent or self._sent.find(handle.job_id)
        limits = FetchLimits() if sent.file_bytes is None else FetchLimits(file_bytes=sent.file_bytes)
        fetched = await read_file(self.dialler, handle, entry, limits, timeout_s, watch)

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
        """Copy a job's output so far to the sink, and return the job's status.

        `timeout_s`: None for as long as output comes, with 30 s at most until the first and between two pieces.
        """
        following, limit = Following(), (sent or self._sent.find(handle.job_id)).output_bytes
        what = "the job's output so far"
        with trio.move_on_after(_PEEK_S if timeout_s is None else float("inf")) as silence:

            def came() -> None:
                if timeout_s is None:
                    silence.deadline = trio.current_time() + _PEEK_S

            async def once(link: Link, _peer: PeerId) -> Status:
                status = await session.attach(link, handle, following)
                await session.catch_up(link, status, following, sink, output_bytes=limit, came=came)
                return status

            return await persist(self.dialler, FailoverState(node=handle.peer), once, timeout_s, what)
        raise WaitTimeoutError(f"after {_PEEK_S:g} s without a word still waiting for {what}")

    async def wait(
        self, handle: Handle, *, timeout_s: float | None = None, watch: Watcher = silent
    ) -> Status:
        """Wait until a job has ended, without its output."""

        async def once(link: Link, _peer: PeerId) -> Status:
            status = await session.attach(link, handle, Following(), outputs=())
            watch(status.state, status)
            return await session.ended(link, status, watch=watch)

        return await persist(
            self.dialler, FailoverState(node=handle.peer), once, timeout_s, "the job to end", watch
        )

    async def status(self, handle: Handle, *, timeout_s: float | None = 30) -> Status:
        """Return where a job stands."""
        return await self._question(handle, AskStatus, timeout_s, "the job's status")

    async def statuses(
        self, handles: Sequence[Handle], *, timeout_s: float = 30
    ) -> list[Status | PlasmError]:
        """Return where each of many jobs stands, or why that could not be learnt, in their order.

        They are asked for beside one another, so that one deadline holds for all.
        """
        found: list[Status | PlasmError] = [
            WaitTimeoutError(f"no answer within {timeout_s:g} s: waiting for the job's status")
            for _ in handles
        ]
        places = trio.CapacityLimiter(_STATUSES_AT_ONCE)

        async def ask(index: int, handle: Handle) -> None:
            async with places:
                try:
                    found[index] = await self.status(handle, timeout_s=None)
                except PlasmError as exc:
                    found[index] = exc

        with trio.move_on_after(timeout_s):
            async with trio.open_nursery() as nursery:
                for index, handle in enumerate(handles):
                    nursery.start_soon(ask, index, handle)
        return found

    async def cancel(self, handle: Handle, *, timeout_s: float | None = 60) -> Status:
        """End a job, and return its status when it has ended."""
        return await self._question(handle, Cancel, timeout_s, "the job to be cancelled")

    async def release(self, handle: Handle, *, timeout_s: float | None = 30) -> Status:
        """Have an ended job's inputs and outputs deleted on the node."""
        return await self._question(handle, Release, timeout_s, "the job to be released")

    async def capabilities(self, peer: PeerId | None = None, *, timeout_s: float | None = 30) -> bytes:
        """Return a node's signed capability record, as JSON."""

        async def once(link: Link, _peer: PeerId) -> bytes:
            answer = await session.ask(link, AskCapabilities())
            return answer.envelope.encode() if isinstance(answer, Capabilities) else b""

        return await persist(
            self.dialler, FailoverState(node=peer), once, timeout_s, "the node's capabilities"
        )

    async def _question(
        self,
        handle: Handle,
        kind: type[AskStatus | Cancel | Release],
        timeout_s: float | None,
        what: str,
    ) -> Status:
        async def once(link: Link, _peer: PeerId) -> Status:
            question = kind(job_id=handle.job_id, token=handle.token().hex())
            return session.status_of(await session.ask(link, question))

        return await persist(self.dialler, FailoverState(node=handle.peer), once, timeout_s, what)
