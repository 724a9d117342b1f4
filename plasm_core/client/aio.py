"""The client for trio programs."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TypeVar

import attrs
import trio

from plasm_core import assurance, plugins
from plasm_core.abc import Discovery, Transport, Verifier
from plasm_core.assurance import Standing
from plasm_core.client import conversations, evidence
from plasm_core.client.bounds import Bounds
from plasm_core.client.conversations import Following, Watcher, silent
from plasm_core.client.dialling import Dialler, LocalDialler
from plasm_core.client.judging import Given, Judge
from plasm_core.client.link import Link
from plasm_core.client.persistence import Choice, NodeFailedError, give_up, persist
from plasm_core.client.remote import RemoteDialler
from plasm_core.client.result import JobResult, Rejected
from plasm_core.client.sent import Sent, SentJobs
from plasm_core.client.sink import Buffer, Digesting, Nowhere, Sink
from plasm_core.client.submission import Submission
from plasm_core.config import Config
from plasm_core.errors import (
    ConfigError,
    PeerUnreachableError,
    PlasmError,
    ReceiptRejectedError,
    ReceiptUndecidedError,
    RefusedError,
    WaitTimeoutError,
)
from plasm_core.records import Envelope, Handle, Manifest, PeerId, Receipt, Verdict
from plasm_core.records import job_id as digest_of_job
from plasm_core.records.cid import parse_peer
from plasm_core.verification import plan
from plasm_core.wire import ANY_NODE
from plasm_core.wire.frames import Channel
from plasm_core.wire.messages import (
    AskCapabilities,
    AskStatus,
    Cancel,
    Capabilities,
    Release,
    Result,
    Status,
)

log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_OUTPUT_BYTES = 1 << 30
DEFAULT_DISCOVERY = ("kademlia",)
_WITHDRAW_S = 2.0

_STATUSES_AT_ONCE = 16
"""How many jobs are asked about beside one another: each takes a connection."""


class AsyncClient:
    """Hands jobs to nodes and takes their results, verified. Made by `open_client`.

    Whatever can be retried safely is, with growing pauses, until `timeout_s` (seconds, None: for ever) is
    over: submitting is idempotent, and following goes on where it broke off.
    All methods raise `WaitTimeoutError`, `PeerUnreachableError`, `RefusedError` and `ProtocolError`.
    """

    def __init__(self, dialler: Dialler, judge: Judge, sent: SentJobs | None = None) -> None:
        self.dialler = dialler
        self._judge = judge
        self._sent = sent or SentJobs()

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
        self._remember(submission)
        tried: list[Handle] = []

        async def once(link: Link, peer: PeerId) -> Handle:
            handle = submission.handle(peer)
            tried.append(handle)
            await conversations.submit(
                link,
                submission,
                peer,
                follow=False,
                route=self.dialler.route,
                watch=watch,
                bounds=Bounds.of(submission, replaceable=self.dialler.fails_over, own=self.dialler.is_own),
            )
            placed(handle)
            return handle

        with _naming(tried):
            return await persist(self.dialler, Choice(submission), once, timeout_s, "the job to be accepted")

    async def run(
        self,
        submission: Submission,
        *,
        sink: Sink | None = None,
        timeout_s: float | None = None,
        watch: Watcher = silent,
        placed: Callable[[Handle], None] = lambda _handle: None,
        patience_s: float | None = None,
    ) -> JobResult:
        """Hand a job in and wait for its result. Output goes to the sink, or into the result.

        `placed` is called whenever a node has accepted it. If the verifiers' plan asks for several executions,
        as many nodes run it. `patience_s`: how long to wait for a node where none is left (None: the job's wall
        time). What a client believes of a node, and for how long it waits: docs/network.md.

        Raises: as `submit` and `result`.
        """
        self._remember(submission)
        with _collecting(sink) as (collected, first):
            executions = plan(self._judge.verifiers, submission.manifest).executions
            outputs = [first, *(Digesting(Nowhere()) for _ in range(executions - 1))]
            if executions > 1 and not self.dialler.fails_over:
                raise ReceiptUndecidedError((f"the verifiers ask for {executions} nodes, and there is one",))
            attempts: list[_Done] = []
            taken: set[PeerId] = set()
            for output in outputs:
                try:
                    attempt = await self._run_once(
                        *(submission, output, taken, timeout_s, watch, placed),
                        patience_s=patience_s,
                        alone=executions == 1,
                    )
                except PeerUnreachableError as exc:
                    if not attempts:
                        raise
                    few = f"the verifiers ask for {executions} nodes, and {len(attempts)} did the job"
                    raise ReceiptUndecidedError((f"{few}: {exc}",)) from exc
                attempts.append(attempt)
                taken.add(attempts[-1].given.handle.peer)
            done = attempts[0]
            await trio.to_thread.run_sync(first.settle)
            receipt, verdict = done.receipt, done.verdict
            if executions > 1:
                receipt, verdict = await self._judge.judge(
                    [item.given for item in attempts],
                    manifest_json=submission.manifest_json,
                    job=submission,
                )
            rejected = tuple(item for attempt in attempts for item in attempt.rejected)
            found = _result(done.given, receipt, verdict, collected, self._knows(done.given.signer), rejected)
            return self._judge.require(found)

    def _knows(self, signer: PeerId) -> Standing:
        """Return what this client knows of a node."""
        return self.dialler.standing(signer) or self._judge.standing(signer)

    async def _run_once(
        self,
        submission: Submission,
        output: Digesting,
        avoid: Collection[PeerId],
        timeout_s: float | None,
        watch: Watcher,
        placed: Callable[[Handle], None],
        *,
        patience_s: float | None,
        alone: bool,
    ) -> _Done:
        """Run a job on one node, or on another if that fails, but on none to avoid.

        `alone`: there are no other executions to judge it with.
        """
        dialler = self.dialler
        following = Following()
        choice = Choice(
            submission,
            avoid=set(avoid),
            patience_s=patience_s,
            waits=patience_s is not None and patience_s == float("inf"),
        )
        visits: dict[PeerId, Bounds] = {}
        bounds = Bounds()
        deadline = trio.current_time() + (float("inf") if timeout_s is None else timeout_s)
        rejected: list[Rejected] = []
        tried: list[Handle] = []

        async def once(link: Link, peer: PeerId) -> tuple[Handle, Result]:
            nonlocal following, bounds
            handle = submission.handle(peer)
            tried.append(handle)
            if choice.node is None:
                following = Following(attempt=conversations.NEVER)
                first = visits.get(peer)
                bounds = Bounds.of(submission, replaceable=dialler.fails_over, own=dialler.is_own)
                status = await conversations.submit(
                    link, submission, peer, follow=True, route=dialler.route, watch=watch, bounds=bounds
                )
                choice.node = peer
                visits[peer] = first or attrs.evolve(bounds)
                placed(handle)
            else:
                status = await conversations.attach(link, handle, following, answer_s=bounds.answer_s)
            end = await conversations.follow(link, status, following, output, watch=watch, bounds=bounds)
            return handle, end

        failed: _Done | None = None
        while True:
            left_s = None if timeout_s is None else max(0.0, deadline - trio.current_time())
            try:
                with _naming(tried):
                    handle, end = await persist(dialler, choice, once, left_s, "the job's result")
            except WaitTimeoutError:
                raise
            except PlasmError:
                if failed is None or not await _goes_with(output, failed.given):
                    raise
                return failed  # it failed everywhere: that is the result
            given = Given.of(handle, end, output, believed=dialler.is_own and dialler.route == "network")
            try:
                receipt, verdict = await self._judge.judge(
                    [given], manifest_json=submission.manifest_json, job=submission, signature_only=True
                )
                problem = _claim_problem(receipt, visits.get(handle.peer)) if dialler.fails_over else None
                if problem is None and alone:
                    receipt, verdict = await self._judge.judge(
                        [given], manifest_json=submission.manifest_json, job=submission
                    )
            except ReceiptRejectedError as exc:
                path = evidence.keep(handle.peer, handle.job_id, str(exc), end.envelope)
                rejected.append(Rejected(node=handle.peer, reason=str(exc), file=path))
                exc.hint = f"kept as evidence: {path}" if path else None
                choice.last = handle.peer
                if not give_up(dialler, choice, exc):
                    raise
                watch("looking for another node", None)
                continue
            done = _Done(given=given, receipt=receipt, verdict=verdict, rejected=tuple(rejected))
            if problem is None:
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

    async def result(
        self,
        handle: Handle,
        *,
        sink: Sink | None = None,
        manifest_json: bytes | None = None,
        timeout_s: float | None = None,
        watch: Watcher = silent,
        sent: Sent | None = None,
    ) -> JobResult:
        """Wait for a job's result, and verify it. Output goes to the sink, or into the result.

        `manifest_json`, if it is at hand, is compared too; the handle alone binds the job. `sent`: what is known
        of how the job was submitted, if this client did not do it.

        Raises: `ReceiptRejectedError`, `ReceiptUndecidedError`; what the sink raises.
        """
        following, sent = Following(), sent or self._sent.find(handle.job_id)
        believed = self.dialler.is_own and (sent.through_gateway or self.dialler.route == "network")
        limit = sent.output_bytes
        if manifest_json is not None:
            limit = Manifest.from_json(manifest_json).limits.output_bytes
        with _collecting(sink) as (collected, digesting):

            async def once(link: Link, _peer: PeerId) -> Result:
                bounds = Bounds(own=True, output_bytes=limit)
                status = await conversations.attach(link, handle, following)
                return await conversations.follow(
                    link, status, following, digesting, watch=watch, bounds=bounds
                )

            end = await persist(self.dialler, Choice(node=handle.peer), once, timeout_s, "the job's result")
            given = Given.of(handle, end, digesting, believed=believed)
            try:
                receipt, verdict = await self._judge.judge([given], manifest_json=manifest_json)
            except ReceiptRejectedError as exc:
                if self.dialler.is_own and end.status.node and not believed:
                    exc.hint = "a job that was sent through the daemon as a gateway: say so with --gateway"
                else:
                    path = evidence.keep(handle.peer, handle.job_id, str(exc), end.envelope)
                    exc.hint = f"kept as evidence: {path}" if path else None
                raise
            await trio.to_thread.run_sync(digesting.settle)
            found = _result(given, receipt, verdict, collected, self._knows(given.signer))
            return self._judge.require(found)

    def _remember(self, submission: Submission) -> None:
        job_id = digest_of_job(submission.manifest_json)
        self._sent.add(submission, job_id, through_gateway=self.dialler.route == "network")

    async def peek(
        self, handle: Handle, sink: Sink, *, timeout_s: float | None = 30, sent: Sent | None = None
    ) -> Status:
        """Take what a job has written so far, and return its status."""
        following, limit = Following(), (sent or self._sent.find(handle.job_id)).output_bytes

        async def once(link: Link, _peer: PeerId) -> Status:
            status = await conversations.attach(link, handle, following)
            await conversations.catch_up(link, status, following, sink, output_bytes=limit)
            return status

        return await persist(
            self.dialler, Choice(node=handle.peer), once, timeout_s, "the job's output so far"
        )

    async def wait(
        self, handle: Handle, *, timeout_s: float | None = None, watch: Watcher = silent
    ) -> Status:
        """Wait until a job has ended, without its output."""

        async def once(link: Link, _peer: PeerId) -> Status:
            status = await conversations.attach(link, handle, Following(), outputs=False)
            watch(status.state, status)
            return await conversations.ended(link, status, watch=watch)

        return await persist(self.dialler, Choice(node=handle.peer), once, timeout_s, "the job to end")

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
            answer = await conversations.ask(link, AskCapabilities())
            return answer.envelope.encode() if isinstance(answer, Capabilities) else b""

        return await persist(self.dialler, Choice(node=peer), once, timeout_s, "the node's capabilities")

    async def _question(
        self,
        handle: Handle,
        kind: type[AskStatus | Cancel | Release],
        timeout_s: float | None,
        what: str,
    ) -> Status:
        async def once(link: Link, _peer: PeerId) -> Status:
            question = kind(job_id=handle.job_id, token=handle.token().hex())
            return conversations.status_of(await conversations.ask(link, question))

        return await persist(self.dialler, Choice(node=handle.peer), once, timeout_s, what)


@attrs.frozen(kw_only=True)
class _Done:
    """One execution: what a node gave, and what came of judging it. `rejected`: what other nodes gave before."""

    given: Given
    receipt: Receipt
    verdict: Verdict
    rejected: tuple[Rejected, ...]


def _claim_problem(receipt: Receipt, bounds: Bounds | None) -> str | None:
    """Return why a job that has ended by its node's word alone has not ended for this client, or None."""
    outcome = receipt.result.outcome
    if outcome.kind == "system_error":
        return f"failed the job: {outcome.detail}" if outcome.detail else "failed the job"
    if outcome.kind == "cancelled":
        return "says that the job was cancelled, which this client has not asked for"
    if outcome.kind == "timed_out" and bounds is not None and not bounds.may_have_timed_out():
        return f"says that the job took more than {bounds.wall_time_s:.0f} s, which have not passed"
    return None


async def _goes_with(output: Digesting, given: Given) -> bool:
    """Return whether a sink has what a node gave, or can: an output that was empty is empty again."""
    nothing = Digesting(Nowhere())
    if given.stdout == nothing.digest(Channel.STDOUT) and given.stderr == nothing.digest(Channel.STDERR):
        await trio.to_thread.run_sync(output.restart)
    return (given.stdout, given.stderr) == (output.digest(Channel.STDOUT), output.digest(Channel.STDERR))


def _result(
    given: Given,
    receipt: Receipt,
    verdict: Verdict,
    collected: Buffer | None,
    standing: Standing,
    rejected: tuple[Rejected, ...] = (),
) -> JobResult:
    return JobResult(
        handle=given.handle,
        state=given.end.status.state,
        receipt=receipt,
        envelope=Envelope.from_json(given.end.envelope.encode()),
        verdict=verdict,
        standing=standing,
        rejected=rejected,
        stdout=collected.take(Channel.STDOUT) if collected else b"",
        stderr=collected.take(Channel.STDERR) if collected else b"",
    )


@contextmanager
def _naming(tried: list[Handle]) -> Iterator[None]:
    """Give an error the handle at the node that may have the job: the last that was asked and did not refuse."""
    try:
        yield
    except PlasmError as exc:
        if tried and not isinstance(exc, RefusedError):
            exc.handle = str(tried[-1])
        raise


@contextmanager
def _collecting(sink: Sink | None) -> Iterator[tuple[Buffer | None, Digesting]]:
    """Take output into the caller's sink, or into a buffer as long as the context lasts."""
    if sink is not None:
        yield None, Digesting(sink)
        return
    collected = Buffer(MAX_OUTPUT_BYTES)
    try:
        yield collected, Digesting(collected)
    finally:
        collected.close()


@asynccontextmanager
async def open_client(
    config: Config | None = None,
    *,
    transport: str = "local",
    peer: str | None = None,
    capability: str = ANY_NODE,
    gateway: bool = False,
    require: str | None = None,
    sent: SentJobs | None = None,
) -> AsyncIterator[AsyncClient]:
    """Make a client of the daemon on this machine or, with another transport, of nodes found over a network.

    `peer` pins one node, by its PeerId or an address that ends in it; `capability` is the class of nodes to
    look for (docs/network.md). `gateway` has the daemon on this machine look for one. `require` is what must be
    established of a result, one of `plasm_core.assurance.REQUIREMENTS`. Over a network the client has a fresh
    identity, known to nobody.

    Raises: `ConfigError`, `PluginError`, `TransportError`.
    """
    if transport == "local" and peer is not None:
        raise ConfigError("a peer is reached over a network", hint='name it with transport="libp2p"')
    if transport == "local" and not gateway and capability != ANY_NODE:
        raise ConfigError(
            "a class of nodes is looked for over a network", hint='say so with transport="libp2p"'
        )
    if transport != "local" and gateway:
        raise ConfigError("a gateway is the daemon of this machine", hint='leave transport="local" as it is')
    pinned, addresses = _pinned(peer)
    config = config or Config()
    require = require or config.plasm.require
    if require not in assurance.REQUIREMENTS:
        raise ConfigError(f"require {require}: expected one of {', '.join(assurance.REQUIREMENTS)}")
    verifiers = [
        plugins.create(Verifier, name, config.table("verifier", name))  # type: ignore[type-abstract]
        for name in assurance.verifiers_for(require, config.plasm.verifier)
    ]
    assurance.check_possible(require, {item for verifier in verifiers for item in verifier.establishes})
    carrier = plugins.create(Transport, transport, config.table("transport", transport))  # type: ignore[type-abstract]
    async with AsyncExitStack() as stack:
        judge = stack.enter_context(Judge(verifiers, config, require=require))
        network = await stack.enter_async_context(carrier.open(None, {}))
        if transport == "local":
            yield AsyncClient(LocalDialler(network, route="network" if gateway else "here"), judge, sent)
            return
        name = (config.plasm.discovery or DEFAULT_DISCOVERY)[0]
        discovery = plugins.create(Discovery, name, config.table("discovery", name))  # type: ignore[type-abstract]
        directory = await stack.enter_async_context(discovery.open(network))
        directory.permit(addresses)
        yield AsyncClient(
            RemoteDialler(network, directory, capability=capability, pinned=pinned, addresses=addresses),
            judge,
            sent,
        )


def _pinned(peer: str | None) -> tuple[PeerId | None, tuple[str, ...]]:
    """Read who and where. Blanks around it and a slash behind it come with copying, and mean nothing."""
    if peer is None:
        return None, ()
    text = peer.strip().rstrip("/")
    where, separator, who = text.rpartition("/p2p/")
    try:
        found = parse_peer(who)
        if not separator or not where:
            return found, ()
        if not where.startswith("/") or not re.fullmatch("[!-~]+", where):
            raise ValueError("not an address")
        return found, (f"{where}/p2p/{found}",)
    except ValueError as exc:
        raise ConfigError(
            f"{peer} is neither a PeerId nor an address that ends in one",
            hint="an address looks like /ip4/192.0.2.1/tcp/4001/p2p/12D3KooW…",
        ) from exc
