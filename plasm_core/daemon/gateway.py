"""The gateway: has jobs of this daemon's clients run by nodes of the network."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import trio

from plasm_core.alongside import alongside
from plasm_core.client.aio import AsyncClient
from plasm_core.client.result import JobResult
from plasm_core.client.sink import Sink
from plasm_core.client.source import Bytes, Source
from plasm_core.client.submission import Submission
from plasm_core.errors import PlasmError
from plasm_core.records import Handle, JobInput
from plasm_core.records.digest import encode_list
from plasm_core.store import Job, Spool
from plasm_core.wire.frames import Channel

log = logging.getLogger(__name__)

_POLL_S = 0.2
_CANCEL_S = 10.0


class GatewayCancelledError(PlasmError):
    """The job was cancelled while another node had it."""


class SpoolSink(Sink):
    """Keeps a remote job's output as if it were one's own, that of each node apart.

    Output belongs to the node that it came from: when another node is to bring it, the store begins another
    attempt, whose outputs are empty, and those who follow the job are told so. `grown` is called when there is
    more, `again` for the next attempt and its spool.
    """

    def __init__(
        self, job: Job, spool: Spool, grown: Callable[[], None], again: Callable[[], tuple[Job, Spool]]
    ) -> None:
        self.job = job
        self.spool = spool
        self._grown = grown
        self._again = again
        self._kept = False

    def write(self, channel: Channel, data: bytes) -> None:
        self._kept = True
        self.spool.append(1 if channel is Channel.STDOUT else 2, data)
        self._grown()

    def restart(self) -> None:
        if self._kept:
            self._kept = False
            self.job, self.spool = self._again()


class Gateway:
    """Hands jobs on by a client with an identity of its own, so that nodes do not learn whose they are."""

    def __init__(self, client: AsyncClient, jobs: int) -> None:
        self._client = client
        self._places = trio.CapacityLimiter(jobs)

    def run(
        self,
        manifest_json: bytes,
        module: bytes,
        inputs: JobInput,
        stdin: Source,
        sink: Sink,
        *,
        cancelled: threading.Event,
        begun: Callable[[], object],
        timeout_s: float,
    ) -> JobResult:
        """Have a job run, and return its verified result. Blocking: called in a thread of the loop.

        `begun` is called, in the loop, when the first node has taken it; others may have to after it.

        Raises: `GatewayCancelledError`; as `AsyncClient.run`.
        """
        job = Submission(
            manifest_json=manifest_json,
            sources={
                Channel.MODULE: Bytes(module),
                Channel.ARGS: Bytes(encode_list(inputs.args)),
                Channel.ENV: Bytes(encode_list(inputs.env)),
                Channel.STDIN: stdin,
            },
        )
        return trio.from_thread.run(self._run, job, sink, cancelled, begun, timeout_s)

    async def _run(
        self,
        job: Submission,
        sink: Sink,
        cancelled: threading.Event,
        begun: Callable[[], object],
        timeout_s: float,
    ) -> JobResult:
        taken: list[Handle] = []

        def placed(handle: Handle) -> None:
            log.info("job handed on job=%s node=%s", handle.job_id, handle.peer)
            if not taken:
                begun()
            taken.append(handle)

        with trio.CancelScope() as scope:

            async def watch() -> None:
                while not cancelled.is_set():  # noqa: ASYNC110 - a thread sets it
                    await trio.sleep(_POLL_S)
                scope.cancel()

            async with alongside(watch), self._places:
                return await self._client.run(
                    job, sink=sink, timeout_s=timeout_s, placed=placed, patience_s=float("inf")
                )
        with trio.move_on_after(_CANCEL_S):
            for handle in taken[-1:]:
                try:
                    await self._client.cancel(handle, timeout_s=_CANCEL_S)
                except PlasmError as exc:
                    log.info("cannot cancel at the node that has it node=%s reason=%s", handle.peer, exc)
        raise GatewayCancelledError("cancelled")
