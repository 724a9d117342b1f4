"""The client for trio programs."""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeVar

import attrs
import trio

from plasm_core import plugins
from plasm_core.abc import Discovery, Transport, Verifier
from plasm_core.client import conversations
from plasm_core.client.conversations import Following, Watcher, silent
from plasm_core.client.dialling import Dialler, LocalDialler
from plasm_core.client.link import Link
from plasm_core.client.remote import ANY_NODE, RemoteDialler
from plasm_core.client.result import JobResult
from plasm_core.client.sink import Buffer, Digesting, Sink
from plasm_core.client.submission import Submission
from plasm_core.config import Config
from plasm_core.errors import (
    ConfigError,
    ConnectionLostError,
    PeerUnreachableError,
    PlasmError,
    ReceiptRejectedError,
    ReceiptUndecidedError,
    RefusedError,
    WaitTimeoutError,
)
from plasm_core.records import Decision, Envelope, Handle, PeerId
from plasm_core.verification import Expectation, verify
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
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 10.0
_PATIENCE_S = 15.0
"""How long a node that has the job may be away before another gets it, where there are others."""
_WORTH_ASKING_AGAIN = frozenset({"queue_full", "storage_full", "too_many_offers", "shutting_down"})


class NodeFailedError(PlasmError):
    """A node gave a job up as its own fault. `handle` and `end` are what it gave."""

    def __init__(self, message: str, handle: Handle, end: Result) -> None:
        super().__init__(message)
        self.handle = handle
        self.end = end


@attrs.define
class _Choice:
    """Which node to talk to: a certain one, or whichever takes a job and has not failed it before."""

    job: Submission | None = None
    node: PeerId | None = None
    avoid: set[PeerId] = attrs.field(factory=set)
    last: PeerId | None = None
    best_reason: PlasmError | None = None
    _reached_at: float = 0.0

    def reached(self, peer: PeerId) -> None:
        """Note that a node answered."""
        self.last = peer
        self._reached_at = trio.current_time()

    def has_been_away_for(self, seconds: float) -> bool:
        """Return whether the node has not answered for so long."""
        return trio.current_time() - self._reached_at >= seconds

    def pass_on(self, reason: PlasmError) -> bool:
        """Give the node up for this job. Return whether there may be another."""
        if self.job is None or self.last is None:
            return False
        log.info("another node is to do it node=%s reason=%s", self.last, reason)
        self.avoid.add(self.last)
        self.best_reason = reason
        self.node = self.last = None
        return True


class AsyncClient:
    """Hands jobs to nodes and takes their results, verified. Made by `open_client`.

    Whatever can be retried safely is, with growing pauses, until `timeout_s` (seconds, None: for ever) is
    over: submitting is idempotent, and following goes on where it broke off.
    All methods raise `WaitTimeoutError`, `PeerUnreachableError`, `RefusedError` and `ProtocolError`.
    """

    def __init__(self, dialler: Dialler, verifiers: Sequence[Verifier]) -> None:
        self.dialler = dialler
        self._verifiers = verifiers

    async def submit(
        self, submission: Submission, *, timeout_s: float | None = None, watch: Watcher = silent
    ) -> Handle:
        """Hand a job in. It is on the node's disk when this returns. Raises: OSError from its sources."""

        async def once(link: Link, peer: PeerId) -> Handle:
            await conversations.submit(link, submission, peer, follow=False, watch=watch)
            return submission.handle(peer)

        return await self._persist(_Choice(submission), once, timeout_s, "the job to be accepted")

    async def run(
        self,
        submission: Submission,
        *,
        sink: Sink | None = None,
        timeout_s: float | None = None,
        watch: Watcher = silent,
    ) -> JobResult:
        """Hand a job in and wait for its result. Output goes to the sink, or into the result.

        Raises: as `submit` and `result`.
        """
        collected, digesting = _sinks(sink)
        following = Following()
        choice = _Choice(submission)

        async def once(link: Link, peer: PeerId) -> tuple[Handle, Result]:
            nonlocal following
            handle = submission.handle(peer)
            if choice.node is None:
                following = Following(attempt=conversations.NEVER)
                status = await conversations.submit(link, submission, peer, follow=True, watch=watch)
                choice.node = peer
            else:
                status = await conversations.attach(link, handle, following)
            end = await conversations.follow(link, status, following, digesting, watch=watch)
            if end.status.state == "SYSTEM_ERROR" and self.dialler.fails_over:
                raise NodeFailedError(f"the node {peer} failed the job", handle, end)
            return handle, end

        try:
            handle, end = await self._persist(choice, once, timeout_s, "the job's result")
        except NodeFailedError as exc:  # it failed everywhere: that is the result
            handle, end = exc.handle, exc.end
        return await self._verified(handle, end, digesting, collected, submission.manifest_json)

    async def result(
        self,
        handle: Handle,
        *,
        sink: Sink | None = None,
        manifest_json: bytes | None = None,
        timeout_s: float | None = None,
        watch: Watcher = silent,
    ) -> JobResult:
        """Wait for a job's result, and verify it. Output goes to the sink, or into the result.

        `manifest_json`, if it is at hand, is compared too; the handle alone binds the job.

        Raises: `ReceiptRejectedError`, `ReceiptUndecidedError`; what the sink raises.
        """
        following = Following()
        collected, digesting = _sinks(sink)

        async def once(link: Link, _peer: PeerId) -> Result:
            status = await conversations.attach(link, handle, following)
            return await conversations.follow(link, status, following, digesting, watch=watch)

        end = await self._persist(_Choice(node=handle.peer), once, timeout_s, "the job's result")
        return await self._verified(handle, end, digesting, collected, manifest_json)

    async def peek(self, handle: Handle, sink: Sink, *, timeout_s: float | None = 30) -> Status:
        """Take what a job has written so far, and return its status."""
        following = Following()

        async def once(link: Link, _peer: PeerId) -> Status:
            status = await conversations.attach(link, handle, following)
            await conversations.catch_up(link, status, following, sink)
            return status

        return await self._persist(_Choice(node=handle.peer), once, timeout_s, "the job's output so far")

    async def wait(
        self, handle: Handle, *, timeout_s: float | None = None, watch: Watcher = silent
    ) -> Status:
        """Wait until a job has ended, without its output."""

        async def once(link: Link, _peer: PeerId) -> Status:
            status = await conversations.attach(link, handle, Following(), outputs=False)
            watch(status.state, status)
            return await conversations.ended(link, status, watch=watch)

        return await self._persist(_Choice(node=handle.peer), once, timeout_s, "the job to end")

    async def status(self, handle: Handle, *, timeout_s: float | None = 30) -> Status:
        """Return where a job stands."""
        return await self._question(handle, AskStatus, timeout_s, "the job's status")

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

        return await self._persist(_Choice(node=peer), once, timeout_s, "the node's capabilities")

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

        return await self._persist(_Choice(node=handle.peer), once, timeout_s, what)

    async def _persist(
        self,
        choice: _Choice,
        once: Callable[[Link, PeerId], Awaitable[T]],
        timeout_s: float | None,
        what: str,
    ) -> T:
        """Do something over a conversation, again and again until it is done or the time is over."""
        problem: Exception | None = None
        pauses = _pauses()
        with trio.move_on_after(float("inf") if timeout_s is None else timeout_s):
            while True:
                try:
                    async with self.dialler.converse(choice.node, job=choice.job, avoid=choice.avoid) as (
                        link,
                        peer,
                    ):
                        choice.reached(peer)
                        return await once(link, peer)
                except PlasmError as exc:
                    problem = exc
                    pause = self._pause(exc, choice, pauses)
                log.info("asking again reason=%s pause_s=%.1f", problem, pause)
                await trio.sleep(pause)
        after = f"after {timeout_s:g} s still waiting for {what}" if timeout_s is not None else ""
        raise WaitTimeoutError(f"{after}: {problem}" if problem else after) from problem

    def _pause(self, exc: PlasmError, choice: _Choice, pauses: Iterator[float]) -> float:
        """Return how long to wait before another try, at another node perhaps. Raises: the error, if none may help."""
        if isinstance(exc, RefusedError):
            if self.dialler.fails_over and choice.pass_on(exc):
                return 0.0
            if exc.reason not in _WORTH_ASKING_AGAIN or exc.retry_after_s is None:
                raise exc
            return max(next(pauses), min(exc.retry_after_s, _LONGEST_PAUSE_S))
        if isinstance(exc, NodeFailedError):
            if not choice.pass_on(exc):
                raise exc
            return 0.0
        if isinstance(exc, PeerUnreachableError):
            if choice.last is None:
                raise choice.best_reason or exc
        elif not isinstance(exc, ConnectionLostError):
            raise exc
        if self.dialler.fails_over and choice.has_been_away_for(_PATIENCE_S) and choice.pass_on(exc):
            return 0.0
        return next(pauses)

    async def _verified(
        self,
        handle: Handle,
        end: Result,
        digesting: Digesting,
        collected: Buffer | None,
        manifest_json: bytes | None,
    ) -> JobResult:
        envelope_json = end.envelope.encode()
        expectation = Expectation(
            peer=handle.peer,
            job_id=handle.job_id,
            manifest_json=manifest_json,
            stdout=digesting.digest(Channel.STDOUT),
            stderr=digesting.digest(Channel.STDERR),
        )
        receipt, verdict = await trio.to_thread.run_sync(verify, envelope_json, expectation, self._verifiers)
        if verdict.decision is Decision.REJECT or receipt is None:
            raise ReceiptRejectedError(verdict.reasons)
        if verdict.decision is not Decision.ACCEPT:
            raise ReceiptUndecidedError(verdict.reasons)
        if end.status.state != receipt.result.outcome.state:
            raise ReceiptRejectedError(("the node tells another state than its receipt",))
        return JobResult(
            handle=handle,
            state=end.status.state,
            receipt=receipt,
            envelope=Envelope.from_json(envelope_json),
            verdict=verdict,
            stdout=collected.take(Channel.STDOUT) if collected else b"",
            stderr=collected.take(Channel.STDERR) if collected else b"",
        )


def _sinks(sink: Sink | None) -> tuple[Buffer | None, Digesting]:
    if sink is not None:
        return None, Digesting(sink)
    collected = Buffer(MAX_OUTPUT_BYTES)
    return collected, Digesting(collected)


def _pauses() -> Iterator[float]:
    """Yield pauses in seconds that double up to a bound, each drawn at random from its upper half."""
    pause = _FIRST_PAUSE_S
    while True:
        yield random.uniform(pause / 2, pause)
        pause = min(2 * pause, _LONGEST_PAUSE_S)


@asynccontextmanager
async def open_client(
    config: Config | None = None,
    *,
    transport: str = "local",
    peer: str | None = None,
    capability: str = ANY_NODE,
) -> AsyncIterator[AsyncClient]:
    """Make a client of the daemon on this machine or, with another transport, of nodes found over a network.

    `peer` pins one node, by its PeerId or an address that ends in it; `capability` is the class of nodes to
    look for (docs/network.md). Over a network the client has a fresh identity, known to nobody.

    Raises: `ConfigError`, `PluginError`, `TransportError`.
    """
    config = config or Config()
    verifiers = [
        plugins.create(Verifier, name, config.table("verifier", name))  # type: ignore[type-abstract]
        for name in config.plasm.verifier
    ]
    carrier = plugins.create(Transport, transport, config.table("transport", transport))  # type: ignore[type-abstract]
    async with AsyncExitStack() as stack:
        network = await stack.enter_async_context(carrier.open(None, {}))
        if transport == "local":
            yield AsyncClient(LocalDialler(network), verifiers)
            return
        name = (config.plasm.discovery or DEFAULT_DISCOVERY)[0]
        discovery = plugins.create(Discovery, name, config.table("discovery", name))  # type: ignore[type-abstract]
        directory = await stack.enter_async_context(discovery.open(network))
        pinned, addresses = _pinned(peer)
        yield AsyncClient(
            RemoteDialler(network, directory, capability=capability, pinned=pinned, addresses=addresses),
            verifiers,
        )


def _pinned(peer: str | None) -> tuple[PeerId | None, tuple[str, ...]]:
    if peer is None:
        return None, ()
    try:
        return PeerId.parse(peer.rpartition("/p2p/")[2]), (peer,) if peer.startswith("/") else ()
    except ValueError as exc:
        raise ConfigError(
            f"{peer} is neither a PeerId nor an address that ends in one",
            hint="an address looks like /ip4/192.0.2.1/tcp/4001/p2p/12D3KooW…",
        ) from exc
