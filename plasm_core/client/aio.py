"""The client for trio programs."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TypeVar

from plasm_core import plugins
from plasm_core.abc import Discovery, Transport, Verifier
from plasm_core.client import conversations
from plasm_core.client.conversations import Following, Watcher, silent
from plasm_core.client.dialling import Dialler, LocalDialler
from plasm_core.client.judging import Given, Judge
from plasm_core.client.link import Link
from plasm_core.client.persistence import Choice, NodeFailedError, persist
from plasm_core.client.remote import RemoteDialler
from plasm_core.client.result import JobResult
from plasm_core.client.sink import Buffer, Digesting, Nowhere, Sink
from plasm_core.client.submission import Submission
from plasm_core.config import Config
from plasm_core.errors import (
    ConfigError,
    ReceiptUndecidedError,
)
from plasm_core.records import Envelope, Handle, PeerId, Receipt, Verdict
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


class AsyncClient:
    """Hands jobs to nodes and takes their results, verified. Made by `open_client`.

    Whatever can be retried safely is, with growing pauses, until `timeout_s` (seconds, None: for ever) is
    over: submitting is idempotent, and following goes on where it broke off.
    All methods raise `WaitTimeoutError`, `PeerUnreachableError`, `RefusedError` and `ProtocolError`.
    """

    def __init__(self, dialler: Dialler, judge: Judge) -> None:
        self.dialler = dialler
        self._judge = judge

    async def submit(
        self, submission: Submission, *, timeout_s: float | None = None, watch: Watcher = silent
    ) -> Handle:
        """Hand a job in. It is on the node's disk when this returns. Raises: OSError from its sources."""

        async def once(link: Link, peer: PeerId) -> Handle:
            await conversations.submit(
                link, submission, peer, follow=False, route=self.dialler.route, watch=watch
            )
            return submission.handle(peer)

        return await persist(self.dialler, Choice(submission), once, timeout_s, "the job to be accepted")

    async def run(
        self,
        submission: Submission,
        *,
        sink: Sink | None = None,
        timeout_s: float | None = None,
        watch: Watcher = silent,
        placed: Callable[[Handle], None] = lambda _handle: None,
    ) -> JobResult:
        """Hand a job in and wait for its result. Output goes to the sink, or into the result.

        `placed` is called whenever a node has accepted it. If the verifiers' plan asks for several executions,
        as many nodes run it.

        Raises: as `submit` and `result`.
        """
        with _collecting(sink) as (collected, first):
            executions = plan(self._judge.verifiers, submission.manifest).executions
            outputs = [first, *(Digesting(Nowhere()) for _ in range(executions - 1))]
            if executions > 1 and not self.dialler.fails_over:
                raise ReceiptUndecidedError((f"the verifiers ask for {executions} nodes, and there is one",))
            given: list[Given] = []
            taken: set[PeerId] = set()
            for output in outputs:
                given.append(await self._run_once(submission, output, taken, timeout_s, watch, placed))
                taken.add(given[-1].handle.peer)
            receipt, verdict = await self._judge.judge(
                given, manifest_json=submission.manifest_json, job=submission
            )
            return _result(given[0], receipt, verdict, collected)

    async def _run_once(
        self,
        submission: Submission,
        output: Digesting,
        avoid: Collection[PeerId],
        timeout_s: float | None,
        watch: Watcher,
        placed: Callable[[Handle], None],
    ) -> Given:
        """Run a job on one node, or on another if that fails, but on none to avoid."""
        following = Following()
        choice = Choice(submission, avoid=set(avoid))

        async def once(link: Link, peer: PeerId) -> tuple[Handle, Result]:
            nonlocal following
            handle = submission.handle(peer)
            if choice.node is None:
                following = Following(attempt=conversations.NEVER)
                status = await conversations.submit(
                    link, submission, peer, follow=True, route=self.dialler.route, watch=watch
                )
                choice.node = peer
                placed(handle)
            else:
                status = await conversations.attach(link, handle, following)
            end = await conversations.follow(link, status, following, output, watch=watch)
            if end.status.state == "SYSTEM_ERROR" and self.dialler.fails_over:
                raise NodeFailedError(f"the node {peer} failed the job", handle, end)
            return handle, end

        try:
            handle, end = await persist(self.dialler, choice, once, timeout_s, "the job's result")
        except NodeFailedError as exc:  # it failed everywhere: that is the result
            handle, end = exc.handle, exc.end
        return Given.of(handle, end, output, own=self.dialler.is_own)

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
        with _collecting(sink) as (collected, digesting):

            async def once(link: Link, _peer: PeerId) -> Result:
                status = await conversations.attach(link, handle, following)
                return await conversations.follow(link, status, following, digesting, watch=watch)

            end = await persist(self.dialler, Choice(node=handle.peer), once, timeout_s, "the job's result")
            given = Given.of(handle, end, digesting, own=self.dialler.is_own)
            receipt, verdict = await self._judge.judge([given], manifest_json=manifest_json)
            return _result(given, receipt, verdict, collected)

    async def peek(self, handle: Handle, sink: Sink, *, timeout_s: float | None = 30) -> Status:
        """Take what a job has written so far, and return its status."""
        following = Following()

        async def once(link: Link, _peer: PeerId) -> Status:
            status = await conversations.attach(link, handle, following)
            await conversations.catch_up(link, status, following, sink)
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


def _result(given: Given, receipt: Receipt, verdict: Verdict, collected: Buffer | None) -> JobResult:
    return JobResult(
        handle=given.handle,
        state=given.end.status.state,
        receipt=receipt,
        envelope=Envelope.from_json(given.end.envelope.encode()),
        verdict=verdict,
        stdout=collected.take(Channel.STDOUT) if collected else b"",
        stderr=collected.take(Channel.STDERR) if collected else b"",
    )


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
) -> AsyncIterator[AsyncClient]:
    """Make a client of the daemon on this machine or, with another transport, of nodes found over a network.

    `peer` pins one node, by its PeerId or an address that ends in it; `capability` is the class of nodes to
    look for (docs/network.md). `gateway` has the daemon on this machine look for one. Over a network the client
    has a fresh identity, known to nobody.

    Raises: `ConfigError`, `PluginError`, `TransportError`.
    """
    config = config or Config()
    verifiers = [
        plugins.create(Verifier, name, config.table("verifier", name))  # type: ignore[type-abstract]
        for name in config.plasm.verifier
    ]
    carrier = plugins.create(Transport, transport, config.table("transport", transport))  # type: ignore[type-abstract]
    async with AsyncExitStack() as stack:
        judge = stack.enter_context(Judge(verifiers, config))
        network = await stack.enter_async_context(carrier.open(None, {}))
        if transport == "local":
            yield AsyncClient(LocalDialler(network, route="network" if gateway else "here"), judge)
            return
        name = (config.plasm.discovery or DEFAULT_DISCOVERY)[0]
        discovery = plugins.create(Discovery, name, config.table("discovery", name))  # type: ignore[type-abstract]
        directory = await stack.enter_async_context(discovery.open(network))
        pinned, addresses = _pinned(peer)
        yield AsyncClient(
            RemoteDialler(network, directory, capability=capability, pinned=pinned, addresses=addresses),
            judge,
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
