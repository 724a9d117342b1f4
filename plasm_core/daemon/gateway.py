"""The gateway: has jobs of this daemon's clients run by nodes of the network."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import trio

from plasm_core.background_tasks import alongside
from plasm_core.client.async_client import AsyncClient
from plasm_core.client.output import Sink
from plasm_core.client.result import JobResult
from plasm_core.client.submission import Submission
from plasm_core.client.upload import Bytes, Pack, Source
from plasm_core.daemon.store import Job, Spool
from plasm_core.errors import PlasmError
from plasm_core.protocol.channels import Channel
from plasm_core.records import Handle, JobInput
from plasm_core.records.digest import encode_list
from plasm_core.records.output import OutputDigest, OutputStream
from plasm_core.sandbox.process.file_pack import FilePack

log = logging.getLogger(__name__)

_POLL_S = 0.2
_CANCEL_S = 10.0


class GatewayCancelledError(PlasmError):
    """The job was cancelled while another node had it."""


class SpoolSink(Sink):
    """Stores the output of a job that another node runs in this node's spool.

    When another node takes over the job, the store begins a new attempt with empty outputs, and the job's followers
    are told. `grown` is called with the number of bytes when there is more output, `again` returns the next attempt
    and its spool.
    """

    def __init__(
        self, job: Job, spool: Spool, grown: Callable[[int], None], again: Callable[[], tuple[Job, Spool]]
    ) -> None:
        self.job = job
        self.spool = spool
        self._grown = grown
        self._again = again
        self._kept = False

    def write(self, stream: OutputStream, data: bytes) -> None:
        self._kept = True
        self.spool.append(stream, data)
        self._grown(len(data))

    def seal(self) -> dict[OutputStream, OutputDigest]:
        """Accept no more output, and return its sizes and digests."""
        return self.spool.seal()

    def restart(self) -> None:
        if self._kept:
            self._kept = False
            self.job, self.spool = self._again()


class Gateway:
    """Submits jobs to other nodes under an identity of its own, so that they do not learn whose jobs they are.

    How many at once is for its caller to say.
    """

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    def run(
        self,
        manifest_json: bytes,
        module: Source,
        inputs: JobInput,
        stdin: Source,
        sink: Sink,
        *,
        pack: FilePack | None = None,
        cancelled: threading.Event,
        begun: Callable[[], object],
        timeout_s: float,
    ) -> JobResult:
        """Submit a job, and return its verified result. Blocks: call it in a thread of the loop.

        `module`, `stdin`: the caller's to close. `pack`: the input tree of a job with files.

        `begun` is called in the loop when the first node has accepted the job; other nodes may have to take it
        over.

        Raises: `GatewayCancelledError`; as `AsyncClient.run`.
        """
        sources: dict[Channel, Source] = {
            Channel.MODULE: module,
            Channel.ARGS: Bytes(encode_list(inputs.args)),
            Channel.ENV: Bytes(encode_list(inputs.env)),
            Channel.STDIN: stdin,
        }
        if pack is not None:
            sources[Channel.FILES] = Pack(pack)
        job = Submission(manifest_json=manifest_json, sources=sources, pack=pack)
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

            async with alongside(watch):
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
