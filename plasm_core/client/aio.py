"""The client for trio programs."""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import trio

from plasm_core import plugins
from plasm_core.abc import Transport, Verifier
from plasm_core.client import conversations
from plasm_core.client.conversations import Following, Watcher, silent
from plasm_core.client.dialling import Dialler, LocalDialler
from plasm_core.client.link import Link
from plasm_core.client.result import JobResult
from plasm_core.client.sink import Buffer, Digesting, Sink
from plasm_core.client.submission import Submission
from plasm_core.config import Config
from plasm_core.errors import (
    ConnectionLostError,
    PeerUnreachableError,
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
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 10.0
_WORTH_ASKING_AGAIN = frozenset({"queue_full", "storage_full", "too_many_offers", "shutting_down"})


class AsyncClient:
    """Hands jobs to nodes and takes their results, verified. Made by `open_client`.

    Whatever can be retried safely is, with growing pauses, until `timeout_s` (seconds, None: for ever) is
    over: submitting is idempotent, and following goes on where it broke off.
    All methods raise `WaitTimeoutError`, `PeerUnreachableError`, `RefusedError` and `ProtocolError`.
    """

    def __init__(self, dialler: Dialler, verifiers: Sequence[Verifier]) -> None:
        self._dialler = dialler
        self._verifiers = verifiers

    async def submit(
        self, submission: Submission, *, timeout_s: float | None = None, watch: Watcher = silent
    ) -> Handle:
        """Hand a job in. It is on the node's disk when this returns. Raises: OSError from its sources."""

        async def once(link: Link, peer: PeerId) -> Handle:
            await conversations.submit(link, submission, peer, follow=False, watch=watch)
            return submission.handle(peer)

        return await self._persist(None, once, timeout_s, "the job to be accepted")

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
        following = Following()
        collected, digesting = _sinks(sink)
        node: PeerId | None = None

        async def once(link: Link, peer: PeerId) -> tuple[Handle, Result]:
            nonlocal node
            handle = submission.handle(peer)
            if node is None:
                status = await conversations.submit(link, submission, peer, follow=True, watch=watch)
                node = peer
            else:
                status = await conversations.attach(link, handle, following)
            return handle, await conversations.follow(link, status, following, digesting, watch=watch)

        handle, end = await self._persist(lambda: node, once, timeout_s, "the job's result")
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

        end = await self._persist(lambda: handle.peer, once, timeout_s, "the job's result")
        return await self._verified(handle, end, digesting, collected, manifest_json)

    async def peek(self, handle: Handle, sink: Sink, *, timeout_s: float | None = 30) -> Status:
        """Take what a job has written so far, and return its status."""
        following = Following()

        async def once(link: Link, _peer: PeerId) -> Status:
            status = await conversations.attach(link, handle, following)
            await conversations.catch_up(link, status, following, sink)
            return status

        return await self._persist(lambda: handle.peer, once, timeout_s, "the job's output so far")

    async def wait(
        self, handle: Handle, *, timeout_s: float | None = None, watch: Watcher = silent
    ) -> Status:
        """Wait until a job has ended, without its output."""

        async def once(link: Link, _peer: PeerId) -> Status:
            status = await conversations.attach(link, handle, Following(), outputs=False)
            watch(status.state, status)
            return await conversations.ended(link, status, watch=watch)

        return await self._persist(lambda: handle.peer, once, timeout_s, "the job to end")

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

        return await self._persist(lambda: peer, once, timeout_s, "the node's capabilities")

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

        return await self._persist(lambda: handle.peer, once, timeout_s, what)

    async def _persist(
        self,
        peer: Callable[[], PeerId | None] | None,
        once: Callable[[Link, PeerId], Awaitable[T]],
        timeout_s: float | None,
        what: str,
    ) -> T:
        """Do something over a conversation, again and again until it is done or the time is over."""
        problem: Exception | None = None
        reached = False
        pauses = _pauses()
        with trio.move_on_after(float("inf") if timeout_s is None else timeout_s):
            while True:
                try:
                    async with self._dialler.converse(peer() if peer else None) as (link, found):
                        reached = True
                        return await once(link, found)
                except PeerUnreachableError as exc:
                    if not reached:
                        raise
                    problem, pause = exc, next(pauses)
                except ConnectionLostError as exc:
                    problem, pause = exc, next(pauses)
                except RefusedError as exc:
                    if exc.reason not in _WORTH_ASKING_AGAIN or exc.retry_after_s is None:
                        raise
                    problem, pause = exc, max(next(pauses), min(exc.retry_after_s, _LONGEST_PAUSE_S))
                log.info("asking again reason=%s pause_s=%.1f", problem, pause)
                await trio.sleep(pause)
        after = f"after {timeout_s:g} s still waiting for {what}" if timeout_s is not None else ""
        raise WaitTimeoutError(f"{after}: {problem}" if problem else after) from problem

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
    config: Config | None = None, *, dialler: Dialler | None = None
) -> AsyncIterator[AsyncClient]:
    """Make a client of the daemon on this machine, or of whatever `dialler` reaches."""
    config = config or Config()
    verifiers = [
        plugins.create(Verifier, name, config.table("verifier", name))  # type: ignore[type-abstract]
        for name in config.plasm.verifier
    ]
    if dialler is not None:
        yield AsyncClient(dialler, verifiers)
        return
    transport = plugins.create(Transport, "local", config.table("transport", "local"))  # type: ignore[type-abstract]
    async with transport.open(None, {}) as network:
        yield AsyncClient(LocalDialler(network), verifiers)
