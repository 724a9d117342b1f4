"""The client for programs that wait: each call runs to its end."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import trio

from plasm_core.alongside import sole
from plasm_core.client.aio import AsyncClient, open_client
from plasm_core.client.conversations import Watcher, silent
from plasm_core.client.known_nodes import Candidate
from plasm_core.client.remote import RemoteDialler
from plasm_core.client.result import JobResult
from plasm_core.client.sent import Sent, SentJobs
from plasm_core.client.sink import Live, Sink
from plasm_core.client.submission import Content, Submission, Terms
from plasm_core.config import Config
from plasm_core.errors import PlasmError
from plasm_core.records import Handle
from plasm_core.wire import ANY_NODE
from plasm_core.wire.messages import Status

if TYPE_CHECKING:
    from typing_extensions import Unpack

T = TypeVar("T")


class Client:
    """Runs jobs on the daemon of this machine, or on nodes found over a network (`transport="libp2p"`).

        from plasm_core import Client

        client = Client()
        result = client.run("hello.wasm", stdin=b"Hello, world")
        print(result, result.verdict)

    What `submit` returns is kept as text (`str(handle)`); with it any process fetches the result.
    For the errors and for `timeout_s` see `AsyncClient`.
    """

    def __init__(
        self,
        config: Config | None = None,
        *,
        transport: str = "local",
        peer: str | None = None,
        capability: str = ANY_NODE,
        gateway: bool = False,
        require: str | None = None,
    ) -> None:
        """See `open_client` for the parameters. Nothing is opened before the first call."""
        self._open = functools.partial(
            open_client,
            config,
            transport=transport,
            peer=peer,
            capability=capability,
            gateway=gateway,
            require=require,
            sent=SentJobs(),
        )

    def submit(
        self,
        module: Content | Submission,
        *,
        timeout_s: float | None = 120,
        watch: Watcher = silent,
        placed: Callable[[Handle], None] = lambda _handle: None,
        **terms: Unpack[Terms],
    ) -> Handle:
        """Hand a job in: a module with its `Terms`, or a submission, which is closed then.

        `placed` is called with the handle when a node has accepted the job, before anything else happens: what is
        kept there survives an interrupt. Errors that come later have it as `handle`.

        Raises: TypeError, ValueError and OSError, as `Submission.of`.
        """
        with _submission(module, terms) as job:
            return self._do(
                lambda client: client.submit(job, timeout_s=timeout_s, watch=watch, placed=placed)
            )

    def run(
        self,
        module: Content | Submission,
        *,
        sink: Sink | None = None,
        timeout_s: float | None = None,
        watch: Watcher = silent,
        placed: Callable[[Handle], None] = lambda _handle: None,
        **terms: Unpack[Terms],
    ) -> JobResult:
        """Hand a job in, as `submit`, and wait for its verified result."""
        with _submission(module, terms) as job:
            return self._do(
                lambda client: client.run(job, sink=sink, timeout_s=timeout_s, watch=watch, placed=placed)
            )

    def result(
        self,
        handle: Handle | str,
        *,
        sink: Sink | None = None,
        timeout_s: float | None = None,
        watch: Watcher = silent,
        sent: Sent | None = None,
    ) -> JobResult:
        """Wait for a job's verified result. `sent`: as of `AsyncClient.result`."""
        held = _handle(handle)
        return self._do(
            lambda client: client.result(held, sink=sink, timeout_s=timeout_s, watch=watch, sent=sent)
        )

    def logs(
        self,
        handle: Handle | str,
        show: Callable[[str, bytes], None],
        *,
        again: Callable[[str], None] = lambda _where: None,
        timeout_s: float | None = None,
        sent: Sent | None = None,
    ) -> JobResult:
        """Show a job's output as it comes, each piece with "stdout" or "stderr", and return its result.

        What is shown is not verified before this returns. `again` is told of an output whose earlier pieces came
        from a failed attempt and differ: it follows from its beginning.
        """
        sink = Live(lambda where, data: show(where.label, data), lambda where: again(where.label))
        return self.result(handle, sink=sink, timeout_s=timeout_s, sent=sent)

    def peek(
        self, handle: Handle | str, sink: Sink, *, timeout_s: float | None = 30, sent: Sent | None = None
    ) -> Status:
        """Take what a job has written so far."""
        held = _handle(handle)
        return self._do(lambda client: client.peek(held, sink, timeout_s=timeout_s, sent=sent))

    def wait(
        self, handle: Handle | str, *, timeout_s: float | None = None, watch: Watcher = silent
    ) -> Status:
        """Wait until a job has ended."""
        held = _handle(handle)
        return self._do(lambda client: client.wait(held, timeout_s=timeout_s, watch=watch))

    def status(self, handle: Handle | str, *, timeout_s: float | None = 30) -> Status:
        """Return where a job stands."""
        held = _handle(handle)
        return self._do(lambda client: client.status(held, timeout_s=timeout_s))

    def statuses(
        self, handles: Sequence[Handle | str], *, timeout_s: float = 30
    ) -> list[Status | PlasmError]:
        """Return where each of many jobs stands, or why that could not be learnt, in their order."""
        held = [_handle(handle) for handle in handles]
        return self._do(lambda client: client.statuses(held, timeout_s=timeout_s))

    def cancel(self, handle: Handle | str, *, timeout_s: float | None = 60) -> Status:
        """End a job."""
        held = _handle(handle)
        return self._do(lambda client: client.cancel(held, timeout_s=timeout_s))

    def release(self, handle: Handle | str, *, timeout_s: float | None = 30) -> Status:
        """Have an ended job's inputs and outputs deleted on the node."""
        held = _handle(handle)
        return self._do(lambda client: client.release(held, timeout_s=timeout_s))

    def peers(self, *, settle_s: float = 3.0) -> list[Candidate]:
        """Return the nodes that a network's directory knows and that answer, the best first."""

        async def look(client: AsyncClient) -> list[Candidate]:
            dialler = client.dialler
            if not isinstance(dialler, RemoteDialler):
                return []
            return await dialler.candidates(enough=10_000, settle_s=settle_s)

        return self._do(look)

    def _do(self, work: Callable[[AsyncClient], Awaitable[T]]) -> T:
        async def main() -> T:
            async with self._open() as client:
                return await work(client)

        with sole():
            return trio.run(main)


def _submission(module: Content | Submission, terms: Terms) -> Submission:
    if not isinstance(module, Submission):
        return Submission.of(module, **terms)
    if terms:
        raise TypeError(f"a submission has its terms by now: {', '.join(terms)}")
    return module


def _handle(handle: Handle | str) -> Handle:
    return Handle.parse(handle.strip()) if isinstance(handle, str) else handle
