"""The client for trio programs."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, TypeVar

import attrs
import trio

from plasm_core.client import evidence, job_control, session
from plasm_core.client.arguments import AHEAD, check_callbacks
from plasm_core.client.connection import Link
from plasm_core.client.deadline import Deadline
from plasm_core.client.dial import Dialler
from plasm_core.client.failover import FailoverState, persist
from plasm_core.client.fetched_files import FetchedFiles, FetchLimits
from plasm_core.client.file_fetch import fetch_outputs
from plasm_core.client.one_run import (
    AskedNodes,
    collecting,
    fetch_limits,
    result_of,
)
from plasm_core.client.output import Digesting, Nowhere, Sink, call_sink
from plasm_core.client.remote_files import LeftEntry, list_files, read_file
from plasm_core.client.result import JobResult
from plasm_core.client.result_files import ResultFiles
from plasm_core.client.result_verification import Given, Judge
from plasm_core.client.session import Following
from plasm_core.client.submission import Content, JobInputs, Submission, Terms
from plasm_core.client.submitted_job import Sent, SentJobs
from plasm_core.client.verified_run import VerifiedRun
from plasm_core.client.wait_limits import Bounds
from plasm_core.client.watcher import Watcher, silent
from plasm_core.errors import (
    FilesNotServedError,
    PlasmError,
    ReceiptRejectedError,
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
from plasm_core.records import Handle, Manifest, PeerId, Receipt, Verdict
from plasm_core.verification import plan

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from plasm_core.client.auditor import Auditor
    from plasm_core.client.reuse import Reuse

log = logging.getLogger(__name__)

T = TypeVar("T")

_CHUNK_BYTES = 1 << 20


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
        self._sent.forget(submission.job_id)

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
        self._sent.add(submission, through_gateway=self.dialler.route == "network")
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

        run = VerifiedRun(
            dialler=self.dialler,
            judge=self._judge,
            sent=self._sent,
            submission=submission,
            timeout_s=timeout_s,
            watch=watch,
            placed=placed,
            patience_s=patience_s,
            avoid=avoid,
        ).run
        return await run(sink) if self._reuse is None else await self._reuse.run(submission, sink, run)

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
        from plasm_core.client.job_map import map_jobs  # not all programs need it

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
            standing = self.dialler.standing(given.signer) or self._judge.standing(given.signer)
            found = result_of(given, receipt, verdict, collected, standing)
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
